from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from c3det.clicks import Click
from training.clicks.sequences import BACKGROUND, load_sequences
from training.data.annotated import Index, Record
from training.data.index import read_index
from training.data.splits import (
    SPLITS,
    on_objects,
    split_by_file,
    split_by_name,
    split_of,
    write_splits,
)


def record(name: str, clicks: tuple[Click, ...] = ()) -> Record:
    return Record(
        name,
        Path(name),
        100,
        80,
        np.array([[0, 0, 40, 40], [10, 10, 20, 20], [0, 0, 5, 5], [50, 0, 60, 9]], np.float32),
        np.array([0, 0, 1, 1]),
        ignored=np.array([False, False, False, True]),
        clicks=clicks,
    )


def index(*names: str) -> Index:
    return Index(("car", "tree"), tuple(record(name) for name in names))


@pytest.mark.parametrize("name", ["P0001.png", "P0002.png", "deep/a b.tif", "\u00e4.jpg"])
def test_split_is_the_hash_in_thousandths(name: str) -> None:
    # The slow twin: the first 16 hexadecimal digits as a fraction.
    fraction = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) / 16**16
    expected = "train" if fraction < 0.7 else "val" if fraction < 0.8 else "test"
    assert split_of(name) == expected


def test_splits_never_change() -> None:
    # The hashes begin with af47, cb0e, 8c88, cd91, e212, 8790, 4805 and 996c; 0.7 is b333 and 0.8
    # is cccc.
    names = [f"P{number:04}.png" for number in range(8)]
    expected = ["train", "val", "train", "test", "test", "train", "train", "train"]
    assert [split_of(name) for name in names] == expected


def test_shares_of_many_pictures() -> None:
    counts = Counter(split_of(f"{number}.png") for number in range(10_000))
    # Within four standard deviations of a binomial: 46, 30 and 40.
    assert abs(counts["train"] - 7000) < 4 * 46
    assert abs(counts["val"] - 1000) < 4 * 30
    assert abs(counts["test"] - 2000) < 4 * 40


def test_order_and_company_do_not_matter() -> None:
    names = [f"{number}.png" for number in range(50)]
    alone = {name: split for name in names for split, part in split_by_name(index(name)).items()
             if part.records}  # fmt: skip
    together = split_by_name(index(*reversed(names)))
    assert {r.name: split for split, part in together.items() for r in part.records} == alone


def test_split_file_gives_the_same_split_again(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(20)]
    content = {"train": names[10:], "val": names[:4], "test": names[4:10]}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    splits = split_by_file(index(*names), tmp_path / "mine.json")
    assert {split: [r.name for r in part.records] for split, part in splits.items()} == content
    write_splits(splits, tmp_path / "set")
    again = split_by_file(index(*names), tmp_path / "set" / "split.json")
    assert {split: [r.name for r in part.records] for split, part in again.items()} == content
    for split in SPLITS:
        read = read_index(tmp_path / "set" / f"{split}.json")
        assert [r.name for r in read.records] == content[split]
        assert read.classes == ("car", "tree")
    assert not list((tmp_path / "set").glob("*.clicks.json"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"must be JSON with the lists train, val, test: JSONDecodeError"),
        ('{"train": [], "val": []}', r"must be JSON with the lists train, val, test: KeyError\('t"),
        ('{"train": ["a"], "val": ["a"], "test": []}', r"has the picture 'a' twice"),
        (
            '{"train": ["a"], "val": [], "test": []}',
            r"does not say where 2 of the pictures go, such as b$",
        ),
    ],
)
def test_broken_split_file(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(ValueError, match=rf"split.json {message}"):
        split_by_file(index("a", "b", "c"), tmp_path / "split.json")


def test_a_list_may_have_names_in_other_unicode_letters(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    composed, apart = "K\u00f6ln.png", "Ko\u0308ln.png"
    for listed, there in ((composed, apart), (apart, composed)):
        path.write_text(json.dumps({"train": [], "val": [listed], "test": []}))
        assert split_by_file(index(there), path)["val"].records[0].name == there
    path.write_text(json.dumps({"train": [apart], "val": [composed], "test": []}))
    splits = split_by_file(index(apart, composed), path)
    assert [splits[split].records[0].name for split in ("train", "val")] == [apart, composed]


@pytest.mark.parametrize("names", [[1], [["a"]], [None], 5, {"a": 1}])
def test_names_that_are_no_texts(names: object, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": names, "val": [], "test": []}))
    with pytest.raises(ValueError, match=r"must be JSON with the lists|does not say where"):
        split_by_file(index("b"), path)


def test_missing_split_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"split.json: there is no such file$"):
        split_by_file(index("a"), tmp_path / "split.json")


def test_clicks_find_the_smallest_object_of_their_class() -> None:
    clicks = (
        Click(15, 15, 0),  # in both cars: the small one
        Click(3, 3, 0),  # in the large car, and in a tree
        Click(3, 3, 1),
        Click(40, 40, 0),  # on the far edge, which is outside
        Click(55, 5, 1),  # an ignored object
        Click(15, 15, 0, positive=False),
    )
    sequence = on_objects(record("a", clicks))
    assert sequence.clicks == clicks
    assert sequence.objects == (1, 0, 2, BACKGROUND, BACKGROUND, BACKGROUND)


def test_clicks_are_written_for_replay(tmp_path: Path) -> None:
    click = Click(15, 15, 0)
    records = (record("a", (click,)), record("b"))
    splits = {split: Index(("car", "tree"), ()) for split in SPLITS}
    splits["test"] = Index(("car", "tree"), records)
    write_splits(splits, tmp_path / "ships")
    assert [p.name for p in (tmp_path / "ships").glob("*.clicks.json")] == ["test.clicks.json"]
    sequences = load_sequences(tmp_path / "ships" / "test.clicks.json")
    assert {name: sequence.clicks for name, sequence in sequences.items()} == {
        "ships/seed 0/a": (click,),
        "ships/seed 0/b": (),
    }
    assert sequences["ships/seed 0/a"].objects == (1,)
    # Another set in the same folder must not be asked about these.
    splits["test"] = Index(("car", "tree"), records[1:])
    write_splits(splits, tmp_path / "ships")
    assert not list((tmp_path / "ships").glob("*.clicks.json"))
