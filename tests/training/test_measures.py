"""Average precision against numbers worked out by hand and against COCOeval."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from c3det.answering import Detections
from training.index import Annotated
from training.measures import (
    Counts,
    average_precision,
    coco_evaluator,
    count,
    interval,
    match,
    mean_over_classes,
    resamples,
    unclicked,
)

Found = tuple[float, float, int]


def box(x: float) -> list[float]:
    """A box of 10 x 10; boxes from multiples of 20 on do not touch."""
    return [x, 0, x + 10, 10]


def picture(*labels: int, name: str = "picture") -> Annotated:
    """A picture with objects at x = 0, 20, 40, ..."""
    return Annotated(
        name,
        np.zeros((20, 400, 3), np.uint8),
        np.array([box(20 * i) for i in range(len(labels))], np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
    )


def detections(*found: Found, clicks: tuple[int, ...] = ()) -> Detections:
    """Boxes from (x, score, label)."""
    return Detections(
        np.array([box(x) for x, _, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in found], np.float32),
        np.array([label for _, _, label in found], np.int64),
        np.array(clicks or [-1] * len(found), np.int64),
    )


def ap(objects: Annotated, found: Detections, label: int = 0) -> float:
    (matches,) = match([objects], [found], [label])
    return float(average_precision(matches, np.ones((1, 1), np.int64))[0])


def test_perfect_detections() -> None:
    assert ap(picture(0, 0), detections((0, 0.9, 0), (20, 0.1, 0))) == pytest.approx(1)


def test_half_of_the_objects() -> None:
    # Recalls 0, 0.01, ..., 0.5 are reached: 51 of 101.
    assert ap(picture(0, 0), detections((20, 0.9, 0))) == pytest.approx(51 / 101)


def test_false_detection_counts_by_its_rank() -> None:
    first = detections((100, 0.9, 0), (0, 0.5, 0))
    last = detections((0, 0.9, 0), (100, 0.5, 0))
    assert ap(picture(0), first) == pytest.approx(1 / 2)
    assert ap(picture(0), last) == pytest.approx(1)


def test_false_detection_between_two_correct_ones() -> None:
    found = detections((0, 0.9, 0), (100, 0.5, 0), (20, 0.3, 0))
    assert ap(picture(0, 0), found) == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_second_detection_of_an_object_is_false() -> None:
    (matches,) = match([picture(0)], [detections((0, 0.9, 0), (1, 0.8, 0))], [0])
    assert matches.correct.tolist() == [True, False]


@pytest.mark.parametrize(("shift", "correct"), [(3, True), (4, False)])
def test_half_overlap_is_needed(shift: float, correct: bool) -> None:
    # Shifted by s, two squares of 10 have the IoU (10 - s) / (10 + s): 7 / 13 and 6 / 14.
    (matches,) = match([picture(0)], [detections((shift, 0.9, 0))], [0])
    assert matches.correct.tolist() == [correct]


def test_other_classes_are_left_out() -> None:
    objects = picture(0, 3)
    found = detections((0, 0.9, 0), (20, 0.8, 3), (40, 0.7, 5))
    zero, three = match([objects], [found], [0, 3])
    assert zero.scores == pytest.approx([0.9])
    assert three.scores == pytest.approx([0.8])
    assert (zero.objects.tolist(), three.objects.tolist()) == ([1], [1])


def test_without_objects_there_is_no_precision() -> None:
    assert np.isnan(ap(picture(1), detections((0, 0.9, 0))))
    assert np.isnan(ap(picture(1), detections()))
    assert ap(picture(0), detections()) == 0


def test_absent_class_is_not_part_of_the_mean() -> None:
    precisions = np.array([[0.2, np.nan, np.nan], [0.4, 0.5, np.nan]])
    assert mean_over_classes(precisions) == pytest.approx([0.3, 0.5, np.nan], nan_ok=True)


def random_set(rng: np.random.Generator) -> tuple[list[Annotated], list[Detections]]:
    """Six pictures of three classes with hits, near misses, wrong classes and inventions."""
    pictures, found = [], []
    for i in range(6):
        objects = picture(*rng.integers(3, size=rng.integers(12)).tolist(), name=str(i))
        hits = [
            (20 * j + rng.uniform(-6, 6), rng.random(), rng.choice([label, rng.integers(3)]))
            for j, label in enumerate(objects.labels)
            for _ in range(rng.integers(3))
        ]
        inventions = [(rng.uniform(0, 390), rng.random(), rng.integers(3)) for _ in range(4)]
        pictures.append(objects)
        found.append(detections(*hits, *inventions))
    return pictures, found


@pytest.mark.parametrize("seed", range(10))
def test_equals_cocoeval(seed: int) -> None:
    pictures, found = random_set(np.random.default_rng(seed))
    evaluator = coco_evaluator(pictures, found, [0, 1, 2])
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    expected = evaluator.eval["precision"][0, :, :, 0, 0].mean(axis=0)
    one = np.ones((1, len(pictures)), np.int64)
    own = [average_precision(matches, one)[0] for matches in match(pictures, found, [0, 1, 2])]
    np.testing.assert_allclose(own, expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_resampling_equals_repeating_pictures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures, found = random_set(rng)
    times = rng.multinomial(6, np.full(6, 1 / 6))
    repeated = [i for i, number in enumerate(times) for _ in range(number)]
    matches = match([pictures[i] for i in repeated], [found[i] for i in repeated], [0, 1, 2])
    expected = [average_precision(one, np.ones((1, 6), np.int64))[0] for one in matches]
    own = [average_precision(one, times[None])[0] for one in match(pictures, found, [0, 1, 2])]
    np.testing.assert_allclose(own, expected, rtol=1e-12)


def test_order_of_pictures_does_not_matter() -> None:
    pictures, found = random_set(np.random.default_rng(0))
    one = np.ones((1, 6), np.int64)
    forward = [average_precision(m, one)[0] for m in match(pictures, found, [0, 1, 2])]
    backward = [average_precision(m, one)[0] for m in match(pictures[::-1], found[::-1], [0, 1, 2])]
    assert forward == pytest.approx(backward)


def test_identical_pictures_have_an_interval_of_no_width() -> None:
    pictures = [picture(0, 0, name=str(i)) for i in range(5)]
    found = [detections((0, 0.9, 0), (100, 0.5, 0))] * 5
    (matches,) = match(pictures, found, [0])
    samples = average_precision(matches, resamples(5, 50))
    assert interval(samples) == pytest.approx((51 / 101, 51 / 101))


def test_resamples_draw_as_many_pictures() -> None:
    weights = resamples(4, 100)
    assert weights.shape == (101, 4)
    assert weights[0].tolist() == [1, 1, 1, 1]
    assert (weights.sum(axis=1) == 4).all()
    assert weights.max() > 1


def test_paired_difference_is_narrower_than_its_parts() -> None:
    # Pictures are wholly found or not at all; the second detector invents one box in each.
    pictures = [picture(0, name=str(i)) for i in range(20)]
    first = [detections((0, 0.5, 0)) if i % 2 else detections() for i in range(20)]
    second = [detections((0, 0.5, 0), (100, 0.4, 0)) if i % 2 else detections() for i in range(20)]
    weights = resamples(20, 200)
    samples = [
        average_precision(match(pictures, found, [0])[0], weights) for found in (first, second)
    ]
    low, high = interval(samples[0])
    assert high - low > 0.3
    assert interval(samples[0] - samples[1]) == pytest.approx((0, 0))


def test_interval_leaves_empty_samples_out() -> None:
    assert interval(np.array([np.nan, 0.5, 0.5])) == (0.5, 0.5)
    assert np.isnan(interval(np.array([np.nan]))).all()


@pytest.mark.parametrize(
    "found",
    [
        detections((20, 0.3, 0)),
        detections((0, 0.9, 0), (20, 0.3, 0)),
        detections((0, 0.9, 0), (1, 0.8, 0), (20, 0.3, 0)),
        detections((0, 0.9, 1), (20, 0.3, 0)),
    ],
    ids=["ignored", "found", "found twice", "wrong class"],
)
def test_clicked_object_counts_neither_way(found: Detections) -> None:
    assert ap(*unclicked(picture(0, 0), found, [0])) == pytest.approx(1)


def test_answer_counts_neither_way_wherever_it_lies() -> None:
    found = detections((6, 1.0, 0), (20, 0.3, 0), clicks=(0, -1))
    assert ap(*unclicked(picture(0, 0), found, [0])) == pytest.approx(1)


def test_detection_of_nothing_still_counts_beside_clicked_objects() -> None:
    found = detections((0, 0.9, 0), (100, 0.8, 0), (20, 0.3, 0))
    assert ap(*unclicked(picture(0, 0), found, [0])) == pytest.approx(1 / 2)


def test_detection_goes_with_the_object_it_overlaps_most() -> None:
    # Objects at 0 and 2; the detection at 2 is of the second, though it overlaps both.
    objects = picture(0, 0)
    objects.boxes[1] = box(2)
    found = detections((2, 0.9, 0))
    assert len(unclicked(objects, found, [0])[1]) == 1
    assert len(unclicked(objects, found, [1])[1]) == 0


def test_without_clicks_all_is_unclicked() -> None:
    objects, found = unclicked(picture(0, 1), detections((0, 0.9, 0), (3, 0.2, 1)), [])
    assert len(objects.boxes) == 2
    assert len(found) == 2
    assert len(unclicked(picture(), detections((0, 0.9, 0)), [])[1]) == 1
    assert len(unclicked(picture(0), detections(), [0])[0].boxes) == 0


def test_counts_at_a_threshold() -> None:
    found = detections((0, 0.9, 0), (100, 0.5, 0), (20, 0.3, 1))
    matches = match([picture(0, 1, 1)], [found], [0, 1])
    assert count(matches, 0.2) == Counts(correct=2, wrong=1, missed=1)
    assert count(matches, 0.4) == Counts(correct=1, wrong=1, missed=2)
    half = count(matches, 0.4)
    assert half.precision == pytest.approx(1 / 2)
    assert half.recall == pytest.approx(1 / 3)
    assert half.f1 == pytest.approx(2 / 5)


def test_counts_of_nothing() -> None:
    nothing = Counts(0, 0, 0)
    assert (nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0)
