"""Synthetic annotators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c3det.clicks import Click
from c3det.detections import Detections
from training.clicks.sampling import (
    STRATEGIES,
    ClickStrategy,
    background_point,
    false_positives,
    missed,
    order_objects,
    parse_strategy,
)
from training.clicks.sequences import BACKGROUND, ClickSequence
from training.data.annotated import Annotated


def picture(number: int, ignored: Sequence[int] = ()) -> Annotated:
    """Boxes of 4 x 8 pixels in a row, 10 apart, with labels 0, 1, 2, 0, 1, ..."""
    x = np.arange(number, dtype=np.float32) * 10
    return Annotated(
        "toy",
        np.zeros((100, 300, 3), np.uint8),
        np.stack([x, np.zeros_like(x), x + 4, np.full_like(x, 8)], axis=1),
        np.arange(number, dtype=np.int64) % 3,
        np.isin(np.arange(number), ignored),
    )


def clicked(clicks: Sequence[Click]) -> list[int]:
    return [int(click.x // 10) for click in clicks]


def grown(
    strategy: ClickStrategy, objects: Annotated, number: int, seed: int = 0, **options: object
) -> ClickSequence:
    rng = np.random.default_rng(seed)
    return strategy.grow(objects, ClickSequence(), number, rng, **options)


def found(*boxes: tuple[float, int], clicks: Sequence[int] = ()) -> Detections:
    """Detections of 4 x 8 pixels from (x, label)."""
    return Detections(
        np.array([[x, 0, x + 4, 8] for x, _ in boxes], np.float32).reshape(-1, 4),
        np.full(len(boxes), 0.5, np.float32),
        np.array([label for _, label in boxes], np.int64),
        np.array(clicks or [-1] * len(boxes), np.int64),
    )


# Places.


def test_click_in_the_centre() -> None:
    assert grown(STRATEGIES["centre"], picture(1), 1).clicks == (Click(2, 4, 0),)


@pytest.mark.parametrize(("name", "extent"), [("uniform", 0.5), ("in-box", 1.0)])
def test_click_fills_the_extent_of_the_box(name: str, extent: float) -> None:
    one = picture(1)
    one.boxes[0] = [0, 0, 40, 80]
    clicks = [grown(STRATEGIES[name], one, 1, seed).clicks[0] for seed in range(2000)]
    for values, centre, size in (([c.x for c in clicks], 20, 40), ([c.y for c in clicks], 40, 80)):
        assert centre - extent * size / 2 <= min(values) < centre - extent * size / 2 + 0.4
        assert centre + extent * size / 2 - 0.4 < max(values) <= centre + extent * size / 2


def test_jitter_is_normal_and_ends_at_the_edge() -> None:
    one = picture(1)
    one.boxes[0] = [98, 0, 102, 8]
    clicks = [grown(STRATEGIES["jitter"], one, 1, seed).clicks[0] for seed in range(2000)]
    xs, ys = np.array([(click.x, click.y) for click in clicks]).T
    assert xs.mean() == pytest.approx(100, abs=0.25)
    assert xs.std() == pytest.approx(3, abs=0.2)
    # The centre lies 4 px under the edge: P(z < -4 / 3) = 0.091 of the clicks end there.
    assert (ys == 0).mean() == pytest.approx(0.091, abs=0.025)


def test_reference_clicks_the_whole_pixel_of_the_centre() -> None:
    one = picture(1)
    one.boxes[0] = [0, 0, 5, 9]
    assert grown(STRATEGIES["reference"], one, 1).clicks == (Click(2, 4, 0),)


# Numbers.


def number_of_clicks(strategy: ClickStrategy, objects: Annotated, draws: int) -> list[float]:
    """How often each number of clicks is drawn, from 0 to the largest drawn one."""
    rng = np.random.default_rng(0)
    counts = Counter(len(strategy.sample(objects, rng)) for _ in range(draws))
    return [counts[n] / draws for n in range(max(counts) + 1)]


def test_number_of_clicks() -> None:
    parts = number_of_clicks(STRATEGIES["uniform"], picture(30), 6000)
    # 0.15 + 0.85 / 21 = 0.190 without a click; 0.85 / 21 = 0.040 for each other number.
    assert len(parts) == 21
    assert parts[0] == pytest.approx(0.190, abs=0.02)
    assert parts[1:] == pytest.approx([0.040] * 20, abs=0.012)


def test_number_of_clicks_with_few_objects() -> None:
    strategy = parse_strategy("uniform,zero_probability=0.1")
    # 0.1 + 0.9 / 3 = 0.4 without a click, 0.3 with one, 0.3 with two.
    assert number_of_clicks(strategy, picture(2), 3000) == pytest.approx([0.4, 0.3, 0.3], abs=0.03)


def test_reference_leaves_the_largest_number_out() -> None:
    parts = number_of_clicks(STRATEGIES["reference"], picture(30), 6000)
    assert len(parts) == 20
    assert parts == pytest.approx([0.05] * 20, abs=0.013)
    assert number_of_clicks(STRATEGIES["reference"], picture(3), 900) == pytest.approx(
        [1 / 3] * 3, abs=0.06
    )
    # A single object is never clicked.
    assert number_of_clicks(STRATEGIES["reference"], picture(1), 100) == [1.0]
    assert number_of_clicks(STRATEGIES["reference"], picture(0), 10) == [1.0]


def test_ignored_objects_are_never_clicked() -> None:
    objects = picture(4, ignored=[0, 2])
    for strategy in STRATEGIES.values():
        sequence = grown(strategy, objects, 4)
        assert {1, 3} == set(sequence.objects) - {BACKGROUND}
    assert len(number_of_clicks(STRATEGIES["uniform"], objects, 300)) == 3


def test_training_clicks_are_those_of_the_first_version() -> None:
    """The draws of ``mixed``, written out; recorded runs can be repeated."""
    objects = picture(30)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        expected = []
        if rng.random() >= 0.35:
            number = rng.integers(0, 20, endpoint=True)
            balanced = rng.random() < 0.5
            for i in order_objects(objects.labels, bool(balanced), rng)[:number]:
                u, v = rng.uniform(-0.5, 0.5, size=2) * 0.5
                expected.append(Click(10 * i + 2 + 4 * u, 4 + 8 * v, int(i) % 3))
        drawn = STRATEGIES["mixed"].sample(objects, np.random.default_rng(seed))
        assert [c.label for c in drawn] == [c.label for c in expected]
        assert [c.x for c in drawn] == pytest.approx([c.x for c in expected])
        assert [c.y for c in drawn] == pytest.approx([c.y for c in expected])


@given(number=st.integers(0, 30), seed=st.integers(0, 1000), name=st.sampled_from([*STRATEGIES]))
def test_sample_is_valid(number: int, seed: int, name: str) -> None:
    objects = picture(number)
    clicks = STRATEGIES[name].sample(objects, np.random.default_rng(seed))
    assert clicks == STRATEGIES[name].sample(objects, np.random.default_rng(seed))
    assert len(clicks) <= min(number, 20)
    for click in clicks:
        assert 0 <= click.x <= objects.width
        assert 0 <= click.y <= objects.height
        assert click.label in objects.labels
    sequence = grown(STRATEGIES[name], objects, 20, seed)
    hit = [index for index in sequence.objects if index != BACKGROUND]
    assert len(set(hit)) == len(hit)
    if name in ("uniform", "mixed", "class-balanced", "centre", "in-box", "errors"):
        assert clicked(sequence.clicks) == hit
        assert all(
            click.positive and click.label == objects.labels[i]
            for click, i in zip(sequence.clicks, hit, strict=True)
        )


# Orders.


def test_balanced_order_goes_in_rounds() -> None:
    labels = np.array([5] * 6 + [1] * 2 + [9], np.int64)
    order = order_objects(labels, True, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(9))
    in_order = labels[order].tolist()
    assert sorted(in_order[:3]) == [1, 5, 9]
    assert sorted(in_order[3:5]) == [1, 5]
    assert in_order[5:] == [5, 5, 5, 5]


def test_balanced_rounds_count_the_clicks_before() -> None:
    objects = picture(9)
    begun = ClickSequence((Click(2, 4, 0), Click(12, 4, 1)), (0, 1))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        went_on = STRATEGIES["class-balanced"].grow(objects, begun, 4, rng)
        assert went_on.objects[:2] == (0, 1)
        labels = [click.label for click in went_on.clicks[2:]]
        assert labels[0] == 2
        assert sorted(labels[1:]) == [0, 1, 2]


def test_uniform_order_follows_frequency() -> None:
    labels = np.array([0] * 9 + [1], np.int64)
    rng = np.random.default_rng(0)
    firsts = [labels[order_objects(labels, False, rng)[0]] for _ in range(2000)]
    assert np.mean(firsts) == pytest.approx(0.1, abs=0.02)
    firsts = [labels[order_objects(labels, True, rng)[0]] for _ in range(2000)]
    assert np.mean(firsts) == pytest.approx(0.5, abs=0.04)


def test_growing_ends_with_the_objects() -> None:
    strategy = STRATEGIES["uniform"]
    sequence = grown(strategy, picture(3), 2)
    whole = strategy.grow(picture(3), sequence, 5, np.random.default_rng(1))
    assert whole.first(2) == sequence
    assert sorted(whole.objects) == [0, 1, 2]


# Wrong classes and background.


def test_wrong_classes() -> None:
    objects = picture(30)
    sequences = [grown(STRATEGIES["wrong-class"], objects, 30, seed) for seed in range(50)]
    pairs = [
        (click.label, int(objects.labels[index]))
        for sequence in sequences
        for click, index in zip(sequence.clicks, sequence.objects, strict=True)
    ]
    wrong = [said for said, is_ in pairs if said != is_]
    assert len(wrong) / len(pairs) == pytest.approx(0.1, abs=0.025)
    assert set(wrong) == {0, 1, 2}
    named = grown(
        parse_strategy("wrong-class,wrong_class_probability=1"), picture(1), 1, labels=[7]
    )
    assert named.clicks[0].label == 7
    # Where there is no other class, the click stays right.
    right = grown(parse_strategy("wrong-class,wrong_class_probability=1"), picture(1), 1)
    assert right.clicks[0].label == 0


def test_background_clicks_lie_outside_all_boxes() -> None:
    objects = picture(30, ignored=[5])
    sequences = [grown(STRATEGIES["background"], objects, 20, seed) for seed in range(50)]
    negative = [click for one in sequences for click in one.clicks if not click.positive]
    assert len(negative) / 1000 == pytest.approx(0.2, abs=0.04)
    for click in negative:
        assert click.x % 10 > 4 or click.y > 8
        assert click.label in (0, 1, 2)
    for one in sequences:
        assert [index == BACKGROUND for index in one.objects] == [
            not click.positive for click in one.clicks
        ]


def test_without_background_an_object_is_clicked() -> None:
    full = picture(1)
    full.boxes[0] = [0, 0, 300, 100]
    assert background_point(full, np.random.default_rng(0)) is None
    sequence = grown(parse_strategy("background,background_probability=1"), full, 1)
    assert sequence.objects == (0,)
    assert sequence.clicks[0].positive


# Errors.


def test_errors_of_detections() -> None:
    objects = picture(4)  # at 0, 10, 20, 30 with the labels 0, 1, 2, 0
    # Found; of another class; shifted by 1 of 4 px (IoU 3 / 5); by 2 px (IoU 1 / 3).
    detections = found((0, 0), (10, 2), (21, 2), (32, 0))
    assert missed(objects, detections).tolist() == [1, 3]
    assert missed(objects, found()).tolist() == [0, 1, 2, 3]
    # Nothing at 6 and at 50; the one at 52 answers a click; at 1.5 lies the centre in an object.
    false = found((6, 0), (50, 1), (52, 1), (1.5, 2), clicks=(-1, -1, 0, -1))
    assert false_positives(objects, false).tolist() == [0, 1]


def test_errors_are_clicked_first() -> None:
    objects = picture(6)
    detections = found((0, 0), (10, 2), (20, 2), (30, 0), (50, 2))  # missed: 1 and 4
    firsts = Counter()
    for seed in range(200):
        sequence = grown(STRATEGIES["errors"], objects, 4, seed, detections=detections)
        assert set(sequence.objects[:2]) == {1, 4}
        assert len(set(sequence.objects)) == 4
        firsts[sequence.objects[0]] += 1
    assert firsts[1] == pytest.approx(100, abs=25)


def test_error_probability_is_of_each_click() -> None:
    objects = picture(10)
    detections = found(*((10.0 * i, i % 3) for i in range(9)))  # the last one is missed
    strategy = parse_strategy("errors,error_probability=0.5")
    firsts = [
        grown(strategy, objects, 1, seed, detections=detections).objects[0] == 9
        for seed in range(2000)
    ]
    # Half of the clicks, and a tenth of the other half.
    assert np.mean(firsts) == pytest.approx(0.55, abs=0.035)


def test_negative_clicks_go_to_detections_of_nothing() -> None:
    strategy = parse_strategy("errors,background_probability=1")
    detections = found((0, 0), (6, 0), (50, 1))
    sequence = grown(strategy, picture(3), 2, detections=detections)
    assert sorted((click.x, click.y) for click in sequence.clicks) == [(8, 4), (52, 4)]
    assert not any(click.positive for click in sequence.clicks)


# Names.


def test_registry_goes_by_name() -> None:
    assert [strategy.name for strategy in STRATEGIES.values()] == list(STRATEGIES)
    assert parse_strategy("uniform") == STRATEGIES["uniform"]
    assert {name for name, one in STRATEGIES.items() if one.sees_answers} == {"errors"}


def test_spec_changes_fields() -> None:
    spec = "reference,max_clicks=5,extent=1,number=inclusive,whole_pixels=false,jitter_px=1.5"
    assert parse_strategy(spec) == ClickStrategy(
        spec,
        max_clicks=5,
        number="inclusive",
        zero_probability=0.0,
        extent=1.0,
        jitter_px=1.5,
        whole_pixels=False,
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("random", "there is no click strategy 'random', only uniform, mixed, "),
        ("uniform,speed=1", "there is no field 'speed', only max_clicks, number, "),
        ("uniform,name=x", "there is no field 'name'"),
        ("uniform,extent", "extent is '', not a number"),
        ("uniform,max_clicks=1.5", "max_clicks is '1.5', not a whole number"),
        ("uniform,whole_pixels=1", "whole_pixels is '1', not true or false"),
        ("uniform,extent=1.5", "'uniform,extent=1.5': extent must be between 0 and 1, it is 1.5"),
        ("uniform,error_probability=nan", "error_probability must be between 0 and 1, it is nan"),
        ("uniform,max_clicks=-1", "max_clicks must be a number of at least 0, it is -1"),
        ("uniform,jitter_px=-1", "jitter_px must be a number of at least 0, it is -1"),
        ("uniform,jitter_px=inf", "jitter_px must be a number of at least 0, it is inf"),
        ("uniform,number=all", "number must be inclusive or reference, it is 'all'"),
    ],
)
def test_wrong_specs_are_refused(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parse_strategy(spec)
