from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data.annotated import Index
from training.data.index import read_index, write_index
from training.data.readers.objects import Objects, enclosed_area, rotated
from training.data.readers.reading import Report


def test_rotated_square_and_area() -> None:
    corners = rotated((0, 0, 2, 2), 45)
    root = 2**0.5
    np.testing.assert_allclose(
        corners, [[1, 1 - root], [1 + root, 1], [1, 1 + root], [1 - root, 1]], atol=1e-12
    )
    assert enclosed_area(corners) == pytest.approx(4)
    assert enclosed_area([(0, 0), (4, 0), (4, 3), (0, 3)]) == 12
    assert enclosed_area([(0, 3), (4, 3), (4, 0), (0, 0)]) == 12


def test_two_decimals_of_rounding_are_no_defect() -> None:
    report = Report(Path("a.txt"))
    objects = Objects("a.png", Path("a.png"), 100, 80, report)
    objects.add(1, "the object", 0, (-0.01, 0, 100.01, 80))
    assert report.defects == []
    assert objects.to_record().boxes.tolist() == [[0, 0, 100, 80]]
    objects.add(2, "the object", 0, (-0.03, 0, 100, 79))
    assert [defect.kind for defect in report.defects] == ["partly outside"]


@pytest.mark.parametrize("box", [(20, 10, 10, 20), (10, 20, 20, 10)])
@pytest.mark.parametrize("rotation", [0, 30])
def test_a_box_that_lies_the_wrong_way_round_has_no_area(
    box: tuple[float, float, float, float], rotation: float
) -> None:
    report = Report(Path("a.txt"))
    objects = Objects("a.png", Path("a.png"), 100, 80, report)
    objects.add(1, "the object", 0, box, rotation=rotation)
    assert [defect.kind for defect in report.defects] == ["no area"]


def test_same_box_of_another_class_is_another_object() -> None:
    report = Report(Path("a.txt"))
    objects = Objects("a.png", Path("a.png"), 100, 80, report)
    for label in (0, 1, 0):
        objects.add(label + 1, "the object", label, (0, 0, 5, 5))
    assert [defect.kind for defect in report.defects] == ["duplicate object"]


def test_what_is_sound_is_sound_when_written_and_read_again(tmp_path: Path) -> None:
    report = Report(Path("a.txt"))
    objects = Objects("a.png", Path("a.png"), 100, 80, report)
    out = "; it is left out"
    thin = [(10, 10), (20, 10), (20, 10.0000001), (10, 10.0000001)]
    objects.add(1, "one", 0, (50.00000001, 1, 50.0000001, 6))
    objects.add(2, "two", 0, (10, 10, 20, 20), corners=thin)
    objects.add(3, "three", 0, (10, 10, 20, 20), corners=[(10, 10), (20, 10), (20, 1e39), (10, 20)])
    objects.add(4, "four", 0, (30, 30, 40, 40))
    objects.add(5, "five", 0, (30.00000001, 30, 40, 40))
    objects.add(6, "six", 0, (90, 30, 110, 40))
    objects.add(7, "seven", 0, (90, 30, 120, 40))
    assert [(defect.place, defect.sentence) for defect in report.defects] == [
        (1, "one encloses no area: 50, 1, 50, 6; it is left out"),
        (2, "two encloses no area: 10, 10, 20, 10, 20, 10, 10, 10; it is left out"),
        (3, f"three has a coordinate that is no number: 10, 10, 20, 10, 20, inf, 10, 20{out}"),
        (5, "five is the same as the object in line 4; it is left out"),
        (6, "six reaches 10 px out of the picture of 100 x 80 pixels: 90, 30, 110, 40; it is cut"),
        (7, "seven is, as far as it is in the picture, the object in line 6; it is left out"),
    ]
    index = Index(("ship",), (objects.to_record(),))
    write_index(index, tmp_path / "a.json")
    assert read_index(tmp_path / "a.json").records[0].boxes.tolist() == [
        [30, 30, 40, 40],
        [90, 30, 100, 40],
    ]


def test_a_box_and_the_corners_of_the_same_box_are_one_object(tmp_path: Path) -> None:
    report = Report(Path("a.txt"))
    objects = Objects("a.png", Path("a.png"), 100, 80, report)
    objects.add(1, "one", 0, (0.1, 0.3, 7.7, 8.1))
    objects.add(2, "two", 0, corners=rotated((0.1, 0.3, 7.7, 8.1), 0))
    objects.add(3, "three", 0, corners=[(5, 0), (9, 4), (5, 8), (1, 4)])
    objects.add(4, "four", 0, (1, 0, 9, 8))
    assert [defect.sentence for defect in report.defects] == [
        "two is the same as the object in line 1; it is left out"
    ]
    write_index(Index(("ship",), (objects.to_record(),)), tmp_path / "a.json")
    assert len(read_index(tmp_path / "a.json").records[0].boxes) == 3


def test_the_box_of_an_oriented_object_is_around_what_is_in_the_picture(tmp_path: Path) -> None:
    report = Report(Path("a.txt"))
    objects = Objects("a.png", Path("a.png"), 100, 80, report)
    objects.add(1, "one", 0, corners=[(-10, 20), (10, 40), (-10, 60), (-30, 40)])
    objects.add(2, "two", 0, corners=[(-10, -15), (15, 10), (-10, 35), (-35, 10)])
    objects.add(3, "three", 0, corners=[(-20, -5), (5, -30), (30, -5), (5, 20)])
    objects.add(4, "four", 0, corners=[(85, -20), (105, 0), (125, -20), (105, -40)])
    objects.add(5, "five", 0, corners=[(95, -15), (125, 15), (125, -15), (110, -30)])
    record = objects.to_record()
    assert record.boxes.tolist() == [[0, 30, 10, 50], [0, 0, 15, 25], [0, 0, 25, 20]]
    assert [defect.kind for defect in report.defects[:3]] == ["partly outside"] * 3
    assert [defect.kind for defect in report.defects[3:]] == ["outside the picture"] * 2
    write_index(Index(("ship",), (record,)), tmp_path / "a.json")
    assert read_index(tmp_path / "a.json").records[0].boxes.tolist() == record.boxes.tolist()
