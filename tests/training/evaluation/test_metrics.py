"""Average precision against numbers worked out by hand, COCOeval and slow twins."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from c3det.boxes import iou
from c3det.clicks import Click
from c3det.detections import Detections
from training.clicks.sequences import BACKGROUND, ClickSequence
from training.data.annotated import Annotated
from training.data.index import to_coco
from training.evaluation import metrics
from training.evaluation.metrics import (
    IOUS,
    MAX_DETECTIONS,
    VOC07_RECALLS,
    area_under,
    average_precision,
    clicks_to_reach,
    count,
    interval,
    match,
    match_voc,
    mean_over_classes,
    resamples,
    to_coco_results,
    unclicked,
    unseen_classes,
)

Found = tuple[float, float, int]


def box(x: float) -> list[float]:
    """A box of 10 x 10; boxes from multiples of 20 on do not touch."""
    return [x, 0, x + 10, 10]


def picture(*labels: int, name: str = "picture", ignored: Sequence[int] = ()) -> Annotated:
    """A picture with objects at x = 0, 20, 40, ..."""
    return Annotated(
        name,
        np.zeros((20, 400, 3), np.uint8),
        np.array([box(20 * i) for i in range(len(labels))], np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.isin(np.arange(len(labels)), ignored),
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
    ((matches,),) = match([objects], [found], [label])
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
    ((matches,),) = match([picture(0)], [detections((0, 0.9, 0), (1, 0.8, 0))], [0])
    assert matches.correct.tolist() == [True, False]


@pytest.mark.parametrize(("shift", "correct"), [(3, True), (4, False)])
def test_half_overlap_is_needed(shift: float, correct: bool) -> None:
    # Shifted by s, two squares of 10 have the IoU (10 - s) / (10 + s): 7 / 13 and 6 / 14.
    ((matches,),) = match([picture(0)], [detections((shift, 0.9, 0))], [0])
    assert matches.correct.tolist() == [correct]


def test_other_classes_are_left_out() -> None:
    objects = picture(0, 3)
    found = detections((0, 0.9, 0), (20, 0.8, 3), (40, 0.7, 5))
    ((zero, three),) = match([objects], [found], [0, 3])
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


def test_detection_of_an_ignored_object_counts_neither_way() -> None:
    objects = picture(0, 0, ignored=[0])
    found = detections((0, 0.9, 0), (1, 0.8, 0), (20, 0.3, 0))
    assert ap(objects, found) == pytest.approx(1)
    ((matches,),) = match([objects], [found], [0])
    assert matches.objects.tolist() == [1]
    assert matches.scores == pytest.approx([0.3])
    assert np.isnan(ap(picture(0, ignored=[0]), found))


def test_ious_are_separate() -> None:
    # Shifted by 2, the IoU is 8 / 12 = 0.667: correct at 0.5 to 0.65 only.
    rows = match([picture(0)], [detections((2, 0.9, 0))], [0], IOUS)
    assert [row[0].correct.tolist() for row in rows] == [[True]] * 4 + [[False]] * 6


def random_set(
    rng: np.random.Generator, ignored: float = 0.0
) -> tuple[list[Annotated], list[Detections]]:
    """Six pictures of three classes with hits, near misses, wrong classes and inventions."""
    pictures, found = [], []
    for i in range(6):
        labels = rng.integers(3, size=rng.integers(12))
        skipped = np.flatnonzero(rng.random(len(labels)) < ignored)
        objects = picture(*labels.tolist(), name=str(i), ignored=skipped.tolist())
        hits = [
            (20 * j + rng.uniform(-6, 6), rng.random(), rng.choice([label, rng.integers(3)]))
            for j, label in enumerate(objects.labels)
            for _ in range(rng.integers(3))
        ]
        inventions = [(rng.uniform(0, 390), rng.random(), rng.integers(3)) for _ in range(4)]
        pictures.append(objects)
        found.append(detections(*hits, *inventions))
    return pictures, found


@pytest.mark.parametrize("ignored", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_equals_cocoeval(seed: int, ignored: float) -> None:
    pictures, found = random_set(np.random.default_rng(seed), ignored)
    truth = COCO()
    truth.dataset = to_coco(pictures, ["a", "b", "c"])
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(to_coco_results(found)), "bbox")
        evaluator.params.maxDets = [MAX_DETECTIONS]
        evaluator.params.areaRng = [[0, 1e10]]
        evaluator.params.areaRngLbl = ["all"]
        evaluator.evaluate()
        evaluator.accumulate()
    expected = evaluator.eval["precision"][:, :, :, 0, 0].mean(axis=1)
    one = np.ones((1, len(pictures)), np.int64)
    rows = match(pictures, found, [0, 1, 2], IOUS)
    own = [[average_precision(matches, one)[0] for matches in row] for row in rows]
    np.testing.assert_allclose(own, expected, rtol=1e-12)


def slow_voc07(
    pictures: list[Annotated], found: list[Detections], label: int
) -> tuple[Fraction, list[bool]]:
    """VOC07's AP of one class by its definition, and whether each counted detection is correct."""
    ranked = sorted(
        (
            (-score, i, box_)
            for i, one in enumerate(found)
            for box_, score, of in zip(one.boxes, one.scores, one.labels, strict=True)
            if of == label
        ),
        key=lambda row: row[:2],
    )
    taken: set[tuple[int, int]] = set()
    correct = []
    for _, i, box_ in ranked:
        best, owner = 0.0, -1
        for j, other in enumerate(pictures[i].boxes):
            overlap = float(iou(box_, other[None])[0])
            if pictures[i].labels[j] == label and overlap > best:
                best, owner = overlap, j
        if best <= 0.5:
            correct.append(False)
        elif not pictures[i].ignored[owner]:
            correct.append((i, owner) not in taken)
            taken.add((i, owner))
    objects = sum(int(((one.labels == label) & ~one.ignored).sum()) for one in pictures)
    points = []
    for tenth in range(11):
        precisions = [
            Fraction(sum(correct[: n + 1]), n + 1)
            for n in range(len(correct))
            if Fraction(sum(correct[: n + 1]), objects) >= Fraction(tenth, 10)
        ]
        points.append(max(precisions, default=Fraction(0)))
    return sum(points, Fraction(0)) / 11, correct


@pytest.mark.parametrize("ignored", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_voc07_equals_a_slow_twin(seed: int, ignored: float) -> None:
    pictures, found = random_set(np.random.default_rng(seed), ignored)
    one = np.ones((1, len(pictures)), np.int64)
    for label, matches in enumerate(match_voc(pictures, found, [0, 1, 2])):
        expected, correct = slow_voc07(pictures, found, label)
        assert matches.correct.tolist() == correct
        own = average_precision(matches, one, VOC07_RECALLS)[0]
        assert own == pytest.approx(float(expected), abs=1e-12)


def test_voc07_by_hand() -> None:
    # 3 of 10 objects: the recalls 0, 0.1, 0.2 and 0.3 are reached, with the precisions 1, 1, 2/3
    # (or 3/4 from further on) and 3/4.
    found = detections((0, 0.9, 0), (300, 0.8, 0), (20, 0.7, 0), (40, 0.6, 0))
    (matches,) = match_voc([picture(*[0] * 10)], [found], [0])
    one = np.ones((1, 1), np.int64)
    expected = (1 + 1 + 3 / 4 + 3 / 4) / 11
    assert average_precision(matches, one, VOC07_RECALLS) == pytest.approx([expected])


def test_voc_takes_no_second_choice() -> None:
    # Both detections overlap the first object most, the second of them also the other object.
    objects = picture(0, 0)
    objects.boxes[1] = [3, 0, 13, 10]
    found = detections((0, 0.9, 0), (1, 0.8, 0))
    (voc,) = match_voc([objects], [found], [0])
    assert voc.correct.tolist() == [True, False]
    ((coco,),) = match([objects], [found], [0])
    assert coco.correct.tolist() == [True, True]


@pytest.mark.parametrize("seed", range(5))
def test_resampling_equals_repeating_pictures(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CHUNK", 1)
    rng = np.random.default_rng(seed)
    pictures, found = random_set(rng, ignored=0.2)
    times = rng.multinomial(6, np.full(6, 1 / 6), size=3)
    own = [average_precision(one, times) for one in match(pictures, found, [0, 1, 2])[0]]
    for column, sample in enumerate(times):
        repeated = [i for i, number in enumerate(sample) for _ in range(number)]
        (matches,) = match([pictures[i] for i in repeated], [found[i] for i in repeated], [0, 1, 2])
        expected = [average_precision(one, np.ones((1, 6), np.int64))[0] for one in matches]
        np.testing.assert_allclose([one[column] for one in own], expected, rtol=1e-12)


def test_order_of_pictures_does_not_matter() -> None:
    pictures, found = random_set(np.random.default_rng(0))
    one = np.ones((1, 6), np.int64)
    forward, backward = (
        [average_precision(matches, one)[0] for matches in match(*of, [0, 1, 2])[0]]
        for of in ((pictures, found), (pictures[::-1], found[::-1]))
    )
    assert forward == pytest.approx(backward)


def test_identical_pictures_have_an_interval_of_no_width() -> None:
    pictures = [picture(0, 0, name=str(i)) for i in range(5)]
    found = [detections((0, 0.9, 0), (100, 0.5, 0))] * 5
    ((matches,),) = match(pictures, found, [0])
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
        average_precision(match(pictures, found, [0])[0][0], weights) for found in (first, second)
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


def test_background_clicks_take_nothing_out() -> None:
    objects, found = unclicked(picture(0, 1), detections((0, 0.9, 0)), [BACKGROUND])
    assert len(objects.boxes) == 2
    assert len(found) == 1


def test_ignored_objects_stay_ignored() -> None:
    objects, _ = unclicked(picture(0, 0, 0, ignored=[2]), detections(), [0])
    assert objects.ignored.tolist() == [False, True]


def test_classes_that_no_click_has_named() -> None:
    objects = picture(0, 0, 1, 1, 2)
    found = detections((0, 0.9, 0), (20, 0.8, 0), (40, 0.7, 1), (60, 0.6, 1), (80, 0.5, 2))
    named = ClickSequence((Click(5, 5, 0), Click(300, 5, 2, positive=False)), (0, BACKGROUND))
    left, kept = unseen_classes(objects, found, named)
    assert left.labels.tolist() == [1, 1, 2]
    assert kept.labels.tolist() == [1, 1, 2]
    # An object of class 1 that was called 2 was clicked, and 2 was named.
    wrong = ClickSequence((Click(45, 5, 2),), (2,))
    left, kept = unseen_classes(objects, found, wrong)
    assert left.boxes[:, 0].tolist() == [0, 20, 60]
    assert kept.labels.tolist() == [0, 0, 1]
    assert len(unseen_classes(objects, found, ClickSequence())[0].boxes) == 5


def test_counts_at_a_threshold() -> None:
    found = detections((0, 0.9, 0), (100, 0.5, 0), (20, 0.3, 1))
    (matches,) = match([picture(0, 1, 1), picture(1)], [found, detections()], [0, 1])
    low, high = count(matches, 0.2), count(matches, 0.4)
    assert (low.correct.tolist(), low.wrong.tolist(), low.missed.tolist()) == (
        [2, 0],
        [1, 0],
        [1, 1],
    )
    assert (high.correct.tolist(), high.wrong.tolist()) == ([1, 0], [1, 0])
    assert high.precision == pytest.approx([1 / 2, 0])
    assert high.recall == pytest.approx([1 / 3, 0])
    assert high.f1 == pytest.approx([2 / 5, 0])
    total = high.total()
    assert total.missed.tolist() == [3]
    assert total.f1 == pytest.approx([2 / 6])


def test_counts_of_nothing() -> None:
    (matches,) = match([picture()], [detections()], [0])
    nothing = count(matches)
    assert (nothing.precision, nothing.recall, nothing.f1) == ([0], [0], [0])


def test_first_number_of_clicks_that_is_enough() -> None:
    quality = np.array([[0.9, 0.1, 0.1], [0.2, 0.8, 0.7], [0.9, 0.2, 0.79]])
    needed = clicks_to_reach(quality, [0, 5, 20], 0.8)
    np.testing.assert_array_equal(needed, [0, 5, np.nan])


def test_area_is_the_mean_height() -> None:
    counts = [0, 1, 3, 10]
    assert area_under(np.full(4, 0.5), counts) == pytest.approx(0.5)
    # (1 * 0.05 + 2 * 0.15 + 7 * 0.2) / 10
    assert area_under(np.array([0, 0.1, 0.2, 0.2]), counts) == pytest.approx(0.175)
    ended = np.array([[0, 0], [0.1, np.nan], [np.nan, np.nan], [np.nan, np.nan]])
    np.testing.assert_allclose(area_under(ended, counts), [0.05, np.nan])
    assert np.isnan(area_under(np.array([0.5]), [3]))
