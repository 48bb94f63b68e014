"""Test sets, plans, budgets, and the clicks that are given."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from c3det.clicks import Click
from tests.training.fake_predictor import CLASSES, picture, pictures_of
from training.clicks.sampling import STRATEGIES, parse_strategy
from training.clicks.sequences import ClickSequence, load_sequences, save_sequences
from training.data.annotated import Annotated
from training.evaluation.metrics import resamples
from training.evaluation.protocol import (
    ClickPlan,
    EvaluationSet,
    check_clicks,
    click_name,
    draw_clicks,
    load_test_set,
    picture_name,
    resamples_of,
    share_ranks,
)

CARS = pictures_of(3)
PLAN = ClickPlan(seeds=(0, 1), counts=(0, 1, 4))


def test_only_the_classes_that_count() -> None:
    mixed = pictures_of(1, labels=(0, 1, 0, 2))
    counted = EvaluationSet("toy", CLASSES, (1, 2), mixed.pictures)
    (objects,) = counted.objects
    assert objects.labels.tolist() == [1, 2]
    assert objects.boxes[:, 0].tolist() == [20, 60]
    assert (objects.height, objects.width) == (20, 100)


def test_objects_hold_no_pixels() -> None:
    assert CARS.objects[0].image.strides == (0, 0, 0)
    assert not CARS.objects[1].image.any()


def test_sets_are_loaded_by_their_spec() -> None:
    trees = load_test_set("trees", 2)
    assert (trees.name, trees.labels, len(trees.pictures)) == ("trees", (0,), 2)
    composite = load_test_set("composite", 1)
    assert [composite.classes[label] for label in composite.labels] == list("0123456789")
    assert set(composite.objects[0].labels) <= set(composite.labels)
    with pytest.raises(ValueError, match="there is no set 'nowhere'"):
        load_test_set("nowhere")
    with pytest.raises(ValueError, match="there is no test picture in the set trees"):
        load_test_set("trees", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ()}, "at least one click seed is needed"),
        ({"counts": ()}, "must rise from 0 or more on"),
        ({"counts": (1, 0)}, "must rise from 0 or more on"),
        ({"counts": (-1, 0)}, "must rise from 0 or more on"),
    ],
)
def test_plans_are_checked(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PLAN, **change)


def test_clicks_depend_on_seed_and_picture_alone() -> None:
    alone = draw_clicks(
        [EvaluationSet("toy", CLASSES, (1,), CARS.pictures[1:2])], replace(PLAN, seeds=(1,))
    )
    among = draw_clicks([CARS], PLAN)
    (name,) = alone
    assert name == "toy/seed 1/picture 1"
    assert among[name] == alone[name]
    assert among["toy/seed 0/picture 1"] != among[name]
    assert among["toy/seed 1/picture 2"].objects != among[name].objects


def test_uniform_clicks_are_those_of_the_first_version() -> None:
    """The draws written out; recorded evaluations can be repeated."""
    rng = np.random.default_rng([1, zlib.crc32(b"picture 1")])
    order = rng.permutation(4)
    clicks = []
    for i in order:
        u, v = rng.uniform(-0.5, 0.5, size=2) * 0.5
        clicks.append(Click(20 * i + 5 + 10 * u, 5 + 10 * v, 1))
    drawn = draw_clicks([CARS], PLAN)["toy/seed 1/picture 1"]
    assert drawn.objects == tuple(order)
    assert [c.x for c in drawn.clicks] == pytest.approx([c.x for c in clicks])
    assert [c.y for c in drawn.clicks] == pytest.approx([c.y for c in clicks])


def patches(*objects: int) -> EvaluationSet:
    """Patches of one picture with so many objects, and a picture of its own with three."""
    named = [
        replace(picture(i, objects=number), name=f"big@{100 * i},0,100x20")
        for i, number in enumerate(objects)
    ]
    return EvaluationSet("patches", CLASSES, (1,), (*named, picture(9, objects=3)))


def test_picture_of_a_patch() -> None:
    assert picture_name("a@b*0.500@0,128,64x64") == "a@b*0.500"
    assert picture_name("whole") == "whole"


def test_patches_of_a_picture_are_drawn_together() -> None:
    test_set = patches(4, 1, 3)
    weights = resamples_of(test_set, 100)
    assert weights.shape == (101, 4)
    assert weights[0].tolist() == [1, 1, 1, 1]
    assert (weights[:, :3] == weights[:, :1]).all()
    assert sorted(set(map(tuple, weights.tolist()))) == [(0, 0, 0, 2), (1, 1, 1, 1), (2, 2, 2, 0)]
    # Where nothing is cut, they are what they always were.
    whole = pictures_of(5)
    assert (resamples_of(whole, 50) == resamples(5, 50)).all()
    # One picture tells nothing of others.
    single = replace(test_set, pictures=test_set.pictures[:3])
    assert resamples_of(single, 50).tolist() == [[1, 1, 1]]


def test_each_patch_has_its_own_budget() -> None:
    ranks = share_ranks(patches(4, 1), replace(PLAN, counts=(0, 3)), 0)
    assert set(ranks.values()) == {(0, 1, 2)}


def test_patches_share_the_budget_of_a_picture() -> None:
    plan = replace(PLAN, budget="picture", counts=(0, 2, 3), strategy=STRATEGIES["centre"])
    test_set = patches(4, 1, 3)
    firsts = []
    for seed in range(300):
        ranks = share_ranks(test_set, plan, seed)
        first, second, third, own = ranks.values()
        assert sorted(first + second + third) == [0, 1, 2]
        assert len(second) <= 1
        assert own == (0, 1, 2)
        firsts.append([0 in first, 0 in second, 0 in third])
    # As if objects were clicked at random: 4, 1 and 3 of 8.
    assert np.mean(firsts, axis=0) == pytest.approx([4 / 8, 1 / 8, 3 / 8], abs=0.08)
    sequences = draw_clicks([test_set], replace(plan, seeds=(5,)))
    of_big = [
        sequences[click_name(test_set, 5, one)]
        for one in test_set.objects
        if one.name.startswith("big")
    ]
    assert sum(len(one.first(2)) for one in of_big) == 2
    assert sum(map(len, of_big)) == 3


def test_a_shared_budget_ends_with_the_objects() -> None:
    plan = replace(PLAN, budget="picture", counts=(20,))
    ranks = share_ranks(patches(1, 0, 2), plan, 0)
    assert sorted(sum(ranks.values(), ())) == [0, 0, 1, 1, 2, 2]


def test_ignored_objects_get_no_rank() -> None:
    one = replace(picture(0), ignored=np.array([True, True, True, False]))
    ranks = share_ranks(
        EvaluationSet("toy", CLASSES, (1,), (one,)), replace(PLAN, budget="picture"), 0
    )
    assert ranks == {"picture 0": (0,)}


def test_saved_clicks_are_replayed(tmp_path: Path) -> None:
    clicks = draw_clicks([CARS], PLAN)
    save_sequences(tmp_path / "clicks.json", clicks)
    replayed = load_sequences(tmp_path / "clicks.json")
    assert replayed == clicks
    check_clicks(replayed, [CARS], PLAN)


@pytest.mark.parametrize(
    "spec", ["jitter,jitter_px=2", "wrong-class,wrong_class_probability=0.2", "background"]
)
def test_noisy_clicks_can_be_replayed(spec: str) -> None:
    test_set = pictures_of(8, labels=(1, 2))
    clicks = draw_clicks([test_set], replace(PLAN, strategy=parse_strategy(spec)))
    check_clicks(clicks, [test_set], PLAN)


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        (None, "no clicks for toy/seed 0/picture 2"),
        (ClickSequence((Click(5, 5, 1),), (4,)), "on object 4, there is none"),
        (ClickSequence((Click(5, 5, 1),), (-2,)), "on object -2, there is none"),
        (ClickSequence((Click(5, 5, 2),), (0,)), "of the class 2, which does not count"),
        (ClickSequence((Click(5, 21, 1),), (0,)), "outside of the picture"),
        (ClickSequence((Click(5, 5, 1),), (0,)), "has 1 clicks, 4 are needed"),
    ],
)
def test_impossible_clicks_are_refused(sequence: ClickSequence | None, message: str) -> None:
    clicks = draw_clicks([CARS], PLAN)
    name = "toy/seed 0/picture 2"
    del clicks[name]
    if sequence is not None:
        clicks[name] = sequence
    with pytest.raises(ValueError, match=message):
        check_clicks(clicks, [CARS], PLAN)


def test_clicks_of_the_other_budget_are_refused() -> None:
    test_set = patches(4, 4)
    of_patch = replace(PLAN, counts=(0, 3))
    of_picture = replace(of_patch, budget="picture")
    check_clicks(draw_clicks([test_set], of_picture), [test_set], of_picture)
    with pytest.raises(ValueError, match="of a budget per patch, not per picture"):
        check_clicks(draw_clicks([test_set], of_patch), [test_set], of_picture)
    with pytest.raises(ValueError, match=r"has \d clicks, 3 are needed"):
        check_clicks(draw_clicks([test_set], of_picture), [test_set], of_patch)


def test_clicks_of_other_pictures_are_refused() -> None:
    clicks = draw_clicks([CARS], PLAN)
    moved = tuple(
        Annotated(one.name, one.image, one.boxes + np.float32(10), one.labels)
        for one in CARS.pictures
    )
    message = "of 24 clicks on objects of the set toy only 0 lie on their object"
    with pytest.raises(ValueError, match=message):
        check_clicks(clicks, [EvaluationSet("toy", CLASSES, (1,), moved)], PLAN)
