from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.annotated import Index, Record
from training.data.readers.reading import Defect, Reading, defect_table, merge


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
