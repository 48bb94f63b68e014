from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.data.readers.builder import ReadingBuilder


def test_a_picture_is_opened_once(tmp_path: Path, make_picture: Callable[..., Path]) -> None:
    path = make_picture("deep/a.png")
    builder = ReadingBuilder(tmp_path)
    report = builder.report(tmp_path / "labels.txt")
    objects = builder.open(path, report, 3)
    assert objects is not None
    assert (objects.name, objects.width, objects.height) == ("deep/a.png", 100, 80)
    assert builder.open(tmp_path / "deep" / ".." / "deep" / "a.png", report, 5) is None
    assert builder.open(path, report, "images[1]", name="other") is None
    assert [defect.sentence for defect in builder.reading(()).defects] == [
        f"the picture {path} is that of line 3; it is left out",
        "the picture deep/a.png has another file already; this one is left out",
    ]


def test_what_to_do_is_noted_where_all_pictures_are_missing(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    builder = ReadingBuilder(tmp_path)
    report = builder.report(tmp_path / "labels.txt")
    assert builder.reading((), none_found="export it again").notes == ()
    assert builder.use(None, report, 1, "a.png") is None
    builder.counts["mask is", "masks are"] += 2
    assert builder.reading((), none_found="export it again").notes == (
        "2 masks are",
        "export it again",
    )
    builder.open(make_picture("b.png"), report, 2)
    reading = builder.reading(["ship"], none_found="export it again")
    assert reading.notes == ("2 masks are",)
    assert [record.name for record in reading.index.records] == ["b.png"]
    assert [str(defect) for defect in reading.defects] == [
        f"{tmp_path}/labels.txt:1: there is no picture a.png; it is left out"
    ]
