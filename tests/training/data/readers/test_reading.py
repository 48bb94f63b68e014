from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from training.data.annotated import Index, Record
from training.data.readers.reading import Defect, Reading, defect_table, distinct, merge


def record(name: str, *labels: int) -> Record:
    boxes = np.array([[0, 0, 5, 5]] * len(labels), np.float32).reshape(-1, 4)
    return Record(name, Path(name), 10, 10, boxes, np.array(labels, np.int64))


def test_table_counts_by_kind_and_names_the_first() -> None:
    a, b = Path("a.txt"), Path("b.txt")
    defects = [
        Defect(b, 3, "no area", ""),
        Defect(a, 12, "unknown class", ""),
        Defect(b, 1, "no area", ""),
    ]
    assert defect_table(defects).splitlines() == [
        "defect         count  first",
        "no area            2  b.txt:1",
        "unknown class      1  a.txt:12",
    ]


def test_merging_unites_classes_and_reports_names_that_are_taken() -> None:
    first = Index(("car", "tree"), (record("a", 0, 1),))
    second = Index(("tree", "ship"), (record("b", 0, 1), record("a", 1)))
    defect = Defect(Path("x"), 1, "no area", "")
    reading = merge([Reading(first, (defect,)), Reading(second, ())])
    assert reading.index.classes == ("car", "tree", "ship")
    assert [(r.name, r.labels.tolist()) for r in reading.index.records] == [
        ("a", [0, 1]),
        ("b", [1, 2]),
    ]
    assert [str(defect) for defect in reading.defects] == [
        "x:1: ",
        "a:1: the name a is taken by a; the picture is left out",
    ]


def of_folder(folder: str, *names: str) -> Reading:
    records = tuple(replace(record(name), path=Path(folder, name)) for name in names)
    return Reading(Index((), records), (), splits=dict.fromkeys(names, folder))


def test_pictures_of_one_name_in_several_sets_are_told_apart() -> None:
    sets = [of_folder("train", "a", "b"), of_folder("val", "a", "c"), of_folder("val", "c")]
    reading = merge(sets, ["train", "val", "more"])
    assert {one.name: str(one.path) for one in reading.index.records} == {
        "train/a": "train/a",
        "b": "train/b",
        "val/a": "val/a",
        "c": "val/c",
    }
    assert reading.splits == {"train/a": "train", "b": "train", "val/a": "val", "c": "val"}
    # The same file named twice is no other picture.
    assert [defect.kind for defect in reading.defects] == ["duplicate picture"]
    odd = merge([of_folder("one", "a", "x/a"), of_folder("two", "a")], ["x", "y"])
    assert [one.name for one in odd.index.records] == ["a", "x/a", "y/a"]


def test_names_of_sets_differ() -> None:
    assert distinct(["a", "b"], ["c", "d"]) == ["a", "b"]
    assert distinct(["a", "a"], ["c", "d"]) == ["c", "d"]
    assert distinct(["a", "a"], ["c", "c"]) == ["0-a", "1-a"]
