"""A picture gives the detections of the whole computation, at every click."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from c3det import picture as picture_module
from c3det import timing
from c3det.clicks import Click
from c3det.closed.architecture import Fusion
from c3det.closed.incremental import IncrementalDetector
from c3det.closed.presets import Preset, Stages
from c3det.detections import answered_clicks, overruled
from c3det.exemplars import Exemplars, ExemplarsError
from c3det.picture import Picture
from c3det.predictor import Detections, Predictor
from c3det.tiles import TileLimitError
from tests.c3det.growth import GROWTH
from tests.c3det.small import NUM_CLASSES, build, saved, shrunk, small_detectors

STARTER = Path(__file__).parents[2] / "serverless" / "weights" / "starter.safetensors"

PIXELS, SCORE = 1e-3, 1e-4
"""How far the answers may lie from those of the whole computation."""

PACKED_PIXELS, PACKED_SCORE = 0.2, 5e-3
"""The same, where features were kept in half precision for lack of memory."""

VARIANTS: list[tuple[Preset, Stages, Fusion, dict[str, Any]]] = [
    ("starter", "two-stage", "c3det", {}),
    ("starter", "one-stage", "c3det", {}),
    ("paper", "two-stage", "c3det", {}),
    ("paper", "one-stage", "c3det", {}),
    ("starter", "two-stage", "c3det", {"late": False}),
    ("starter", "two-stage", "late", {}),
    ("starter", "one-stage", "plain", {}),
    ("starter", "two-stage", "early", {}),
]


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with small_detectors():
        yield


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join(map(str, v)))
def predictor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, device: str
) -> Predictor:
    return saved(tmp_path_factory.mktemp("weights"), *request.param, device)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory, device: str) -> Predictor:
    return saved(tmp_path_factory.mktemp("weights"), *VARIANTS[0], device)


def pixels(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_click(draw: random.Random, height: int, width: int) -> Click:
    return Click(
        draw.uniform(0, width),
        draw.uniform(0, height),
        draw.randrange(NUM_CLASSES),
        draw.random() < 0.85,
    )


def edited_clicks(seed: int, steps: int, size: tuple[int, int], more: int) -> Iterator[list[Click]]:
    """Clicks that come, move and go one by one; half-way some come at once, one of them twice."""
    draw = random.Random(seed)
    clicks: list[Click] = []
    for step in range(steps):
        change = draw.random()
        if change < 0.6 or not clicks:
            clicks.append(random_click(draw, *size))
        elif change < 0.8:
            clicks[draw.randrange(len(clicks))] = random_click(draw, *size)
        else:
            del clicks[draw.randrange(len(clicks))]
        if step == steps // 2:
            clicks += [random_click(draw, *size) for _ in range(more)] + clicks[:1]
        yield clicks


def assert_same(
    got: Detections, wanted: Detections, pixels: float = PIXELS, score_step: float = SCORE
) -> None:
    assert len(got) == len(wanted)
    left = np.ones(len(wanted), bool)
    for box, score, label, click in zip(got.boxes, got.scores, got.labels, got.clicks, strict=True):
        near = (
            left
            & (np.abs(wanted.boxes - box).max(1) <= pixels)
            & (np.abs(wanted.scores - score) <= score_step)
            & (wanted.labels == label)
            & (wanted.clicks == click)
        )
        if not near.any():
            # Of two boxes with the same last score, the limit on their number may keep either.
            lowest = wanted.scores.min(initial=1)
            assert score <= lowest + score_step, (
                f"{box} {score} {label} {click} is not in the whole"
            )
            continue
        left[np.flatnonzero(near)[0]] = False


def whole(predictor: Predictor, image: NDArray[np.uint8], clicks: Sequence[Click]) -> Detections:
    return predictor.detect(predictor.encode(image), clicks, 0)


@pytest.mark.parametrize("size", [(100, 130), (256, 200)])
@pytest.mark.parametrize("seed", range(3))
def test_every_click_of_a_sequence_is_the_whole_computation(
    predictor: Predictor, size: tuple[int, int], seed: int
) -> None:
    image = pixels(*size)
    picture = predictor.open(image)
    for clicks in edited_clicks(seed, 12, size, more=4):
        answer = picture.detect(clicks, 0)
        assert answer.coverage == 1
        assert_same(answer.detections, whole(predictor, image, clicks))
    assert_same(picture.detect([], 0).detections, whole(predictor, image, []))


def test_long_sequences_do_not_drift(starter: Predictor) -> None:
    draw, image = random.Random(5), pixels(128, 128)
    picture = starter.open(image)
    for _ in range(150):
        clicks = [random_click(draw, 128, 128) for _ in range(draw.randrange(4))]
        found = picture.detect(clicks, 0).detections
    assert_same(found, whole(starter, image, clicks))


class Counting:
    """Counts the work that a picture asks of its detector."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = {"encode": 0, "detect": 0}
        for name in self.calls:
            method = getattr(IncrementalDetector, name)
            monkeypatch.setattr(IncrementalDetector, name, self._counted(name, method))

    def _counted(self, name: str, method: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            return method(*args, **kwargs)

        return counted


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(monkeypatch)


def test_what_is_known_is_not_computed_again(starter: Predictor, counting: Counting) -> None:
    picture = starter.open(pixels(100, 130))
    assert counting.calls["encode"] == 0
    first = picture.detect([], 0.3)
    click, no = Click(20, 30, 1), Click(60, 60, 0, positive=False)
    picture.detect([click], 0.3)
    assert counting.calls == {"encode": 1, "detect": 2}
    # Another threshold, a negative click and the answer without clicks need no model.
    picture.detect([click], 0.7)
    picture.detect([click, no], 0.3)
    again = picture.detect([], 0.3)
    assert counting.calls == {"encode": 1, "detect": 2}
    assert np.array_equal(first.detections.boxes, again.detections.boxes)
    picture.detect([click, click, no], 0.3)
    assert counting.calls["detect"] == 2


def small_tiles(
    predictor: Predictor, image: NDArray[np.uint8], max_bytes: int = 1 << 30
) -> Picture:
    return Picture(
        predictor.model,
        predictor.card,
        image,
        side=128,
        overlap=48,
        max_bytes=max_bytes,
    )


def test_one_tile_equals_the_untiled_picture(starter: Predictor) -> None:
    image, clicks = pixels(128, 128), [Click(20, 30, 1), Click(100, 90, 0)]
    assert_same(
        small_tiles(starter, image).detect(clicks, 0).detections, whole(starter, image, clicks)
    )


def test_clicks_reach_objects_on_other_tiles(starter: Predictor) -> None:
    image = pixels(128, 400)
    picture = small_tiles(starter, image)
    before = picture.detect([], 0).detections
    after = picture.detect([Click(20, 60, 1)], 0).detections
    far_before = before.take(before.boxes[:, 0] > 300)
    far_after = after.take(after.boxes[:, 0] > 300)
    assert len(far_before)
    assert not np.array_equal(far_before.scores, far_after.scores)


def test_every_click_is_answered_wherever_it_lies(starter: Predictor) -> None:
    draw, image = random.Random(1), pixels(300, 280)
    clicks = [random_click(draw, 300, 280) for _ in range(30)]
    found = small_tiles(starter, image).detect(clicks).detections
    answers = [index for of_box in answered_clicks(found, clicks) for index in of_box]
    lost = [index for index, _ in overruled(found, clicks)]
    wanted = [index for index, click in enumerate(clicks) if click.positive]
    assert sorted([*answers, *lost]) == wanted
    assert len(lost) < 3


class Clock:
    """A clock that each look moves on by one second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now

    perf_counter = staticmethod(time.perf_counter)


def test_a_deadline_stops_and_the_next_call_goes_on(
    starter: Predictor, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, clicks = pixels(300, 300), [Click(280, 280, 1)]
    complete = small_tiles(starter, image).detect(clicks, 0)
    tiles = counting.calls["encode"]
    assert tiles == 16
    picture = small_tiles(starter, image)
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    coverages, calls = [0.0], 0
    while coverages[-1] < 1:
        answer = picture.detect(clicks, 0, deadline=clock.now + 5)
        coverages.append(answer.coverage)
        calls += 1
        if calls == 1:
            # What is nearest to the click comes first.
            assert (answer.detections.boxes[:, 2] > 128).all()
    assert calls > 2
    assert coverages == sorted(set(coverages))
    assert counting.calls["encode"] == 2 * tiles
    assert_same(answer.detections, complete.detections)


def test_a_deadline_that_is_over_still_makes_progress(starter: Predictor) -> None:
    """Every call does one piece of work, and the first answers tell that already."""
    draw, image = random.Random(3), pixels(300, 300)
    clicks = [random_click(draw, 300, 300) for _ in range(60)]
    picture = small_tiles(starter, image)
    answers = [picture.detect(clicks, 0, deadline=0.0)]
    while answers[-1].progress < 1:
        assert answers[-1].coverage < 1
        answers.append(picture.detect(clicks, 0, deadline=0.0))
    progress = [answer.progress for answer in answers]
    assert progress == sorted(set(progress)), "it grows with every call"
    under = len({int(i) for i in picture._owners([(c.x, c.y) for c in clicks if c.positive])})
    assert len(answers) == under + 16
    assert [answer.coverage for answer in answers[:under]] == [0] * under
    assert [answer.under_clicks for answer in answers] == [False] * (2 * under - 1) + [True] * (
        len(answers) - 2 * under + 1
    )
    assert answers[-1].coverage == 1
    complete = small_tiles(starter, image).detect(clicks, 0)
    assert (complete.progress, complete.under_clicks) == (1, True)
    assert_same(answers[-1].detections, complete.detections)


def test_two_people_with_different_clicks_do_not_hold_each_other_up(starter: Predictor) -> None:
    picture = small_tiles(starter, pixels(300, 300))
    questions = [[Click(10, 10, 0), Click(290, 150, 2)], [Click(290, 290, 1)], []]
    calls = 0
    unfinished = list(questions)
    while unfinished:
        answers = [picture.detect(clicks, 0, deadline=0.0) for clicks in unfinished]
        unfinished = [c for c, a in zip(unfinished, answers, strict=True) if a.progress < 1]
        calls += 1
        assert calls <= 2 + 16


class WorkingClock:
    """A clock that only the work of the detector moves on."""

    def __init__(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        for module in (picture_module, timing):
            monkeypatch.setattr(module, "time", self)
        for name, seconds in (("encode", 2.0), ("detect", 0.5)):
            method = getattr(IncrementalDetector, name)
            monkeypatch.setattr(IncrementalDetector, name, self._taking(seconds, method))
        merge = picture_module.merge_tiles
        monkeypatch.setattr(picture_module, "merge_tiles", self._taking(0.7, merge))

    def _taking(self, seconds: float, method: Any) -> Any:
        def taking(*args: Any, **kwargs: Any) -> Any:
            self.now += seconds
            return method(*args, **kwargs)

        return taking

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic


def test_no_tile_is_started_that_would_end_too_late_to_merge_it(
    starter: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tile takes 2.5 s and merging 0.7 s, so that three fit into 8.3 s, and two into 8.1."""
    for budget, tiles in ((8.3, 3), (8.1, 2)):
        picture = small_tiles(starter, pixels(300, 300))
        with monkeypatch.context() as patch:
            clock = WorkingClock(starter, patch)
            picture.detect([], 0, deadline=0.0)  # what the first one took is what is known
            before = clock.now
            answer = picture.detect([], 0, deadline=before + budget)
            assert clock.now - before == pytest.approx(2.5 * tiles + 0.7)
            assert answer.progress == (1 + tiles) / 16


def test_what_is_under_a_point_is_found_in_its_tile_alone(
    starter: Predictor, counting: Counting
) -> None:
    image = pixels(300, 300)
    picture = small_tiles(starter, image)
    answer = picture.detect_at([(290.0, 290.0), (280.0, 295.0)])
    assert counting.calls == {"encode": 1, "detect": 1}
    assert (answer.under_clicks, answer.progress) == (True, 1)
    assert 0 < answer.coverage < 0.2
    assert len(answer.detections)
    assert (answer.detections.boxes[:, :2] >= 300 - 128).all()
    again = picture.detect_at([(290.0, 290.0)])
    assert counting.calls == {"encode": 1, "detect": 1}
    assert np.array_equal(again.detections.boxes, answer.detections.boxes)
    # What was computed for it is not computed again.
    found = picture.detect([], 0).detections
    assert counting.calls == {"encode": 16, "detect": 16}
    assert_same(found, small_tiles(starter, image).detect([], 0).detections)


def test_points_in_several_tiles_the_last_one_first(starter: Predictor) -> None:
    picture = small_tiles(starter, pixels(128, 400))
    points = [(10.0, 10.0), (390.0, 10.0)]
    answers = [picture.detect_at(points, deadline=0.0) for _ in range(2)]
    assert [answer.under_clicks for answer in answers] == [False, True]
    assert [answer.progress for answer in answers] == [0.5, 1]
    assert (answers[0].detections.boxes[:, 0] > 200).all()
    assert (answers[1].detections.boxes[:, 0] < 200).any()


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.42, 0.9])
def test_the_threshold_changes_no_answer(starter: Predictor, threshold: float) -> None:
    draw, image = random.Random(4), pixels(300, 280)
    clicks = [random_click(draw, 300, 280) for _ in range(30)]
    picture = small_tiles(starter, image)
    found, wanted = (picture.detect(clicks, t).detections for t in (threshold, None))
    for answers in (found, wanted):
        assert (answers.clicks >= 0).sum() > 20
    assert np.array_equal(found.boxes[found.clicks >= 0], wanted.boxes[wanted.clicks >= 0])
    assert found.answer_of.tolist() == wanted.answer_of.tolist()


def test_a_picture_of_too_many_tiles_is_refused(starter: Predictor) -> None:
    strip = np.zeros((1, 50_000_000, 3), np.uint8)
    with pytest.raises(TileLimitError, match="50000000 x 1 pixels is too long: it takes 46297"):
        starter.open(strip)


def test_tiles_not_reached_in_time_show_what_earlier_clicks_found(starter: Predictor) -> None:
    picture = small_tiles(starter, pixels(128, 400))
    before = picture.detect([Click(5, 5, 0)], 0).detections
    answer = picture.detect([Click(5, 5, 0), Click(390, 100, 1)], 0, deadline=0.0)
    assert answer.coverage < 1
    middle = [
        d.take((d.boxes[:, 0] > 150) & (d.boxes[:, 2] < 220)) for d in (before, answer.detections)
    ]
    assert len(middle[0])
    assert np.array_equal(middle[0].boxes, middle[1].boxes)


SMALL = 50_000
"""Bytes: more than templates and boxes take here, and less than the features of half a tile."""


def tile_bytes(predictor: Predictor) -> int:
    """Of a tile of `small_tiles` that a click has reached."""
    picture = small_tiles(predictor, pixels(128, 128))
    picture.detect([Click(64, 64, 0)], 0)
    return picture.nbytes - 128 * 128 * 3


def test_memory_is_bounded_and_answers_stay(starter: Predictor) -> None:
    image, draw = pixels(300, 300), random.Random(2)
    clicks = [random_click(draw, 300, 300) for _ in range(6)]
    wanted = small_tiles(starter, image).detect(clicks, 0).detections
    # Room for two tiles of sixteen in full, beside the one that is worked on.
    bound = image.nbytes + SMALL + 2 * tile_bytes(starter)
    picture = small_tiles(starter, image, max_bytes=bound)
    for number in range(len(clicks) + 1):
        found = picture.detect(clicks[:number], 0).detections
        assert picture.nbytes <= bound
    assert_same(found, wanted, PACKED_PIXELS, PACKED_SCORE)


def test_half_precision_before_anything_is_forgotten(
    starter: Predictor, counting: Counting
) -> None:
    image, clicks = pixels(128, 128), [Click(20, 30, 1), Click(100, 90, 0)]
    picture = small_tiles(starter, image)
    picture.detect(clicks[:1], 0)
    held = picture.nbytes
    picture.trim(held - 1)
    assert image.nbytes < picture.nbytes < held
    wanted = whole(starter, image, clicks)
    assert_same(picture.detect(clicks, 0).detections, wanted, PACKED_PIXELS, PACKED_SCORE)
    assert counting.calls["encode"] == 1
    picture.trim(0)
    assert picture.nbytes < image.nbytes + SMALL
    assert_same(picture.detect(clicks[1:], 0).detections, whole(starter, image, clicks[1:]))
    assert counting.calls["encode"] == 2


def test_what_half_precision_cannot_hold_stays(starter: Predictor) -> None:
    with torch.inference_mode():
        tile = starter.model.encode(pixels(64, 64))
        tile.values[0][0, 0, 0, 0] = 1e6
        tile.pack()
        assert tile.values[0].dtype == torch.float32
        assert tile.values[1].dtype == torch.float16
        tile.unpack()
        assert {value.dtype for value in tile.values} == {torch.float32}


def test_a_failure_leaves_nothing_half_done(
    starter: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, clicks = pixels(128, 300), [Click(10, 10, 0), Click(290, 10, 1)]
    picture = small_tiles(starter, image)
    picture.detect(clicks[:1], 0)
    draw_clicks = IncrementalDetector.draw_clicks

    def fails_after(self: IncrementalDetector, tile: Any, clicks: Any) -> None:
        draw_clicks(self, tile, clicks)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(IncrementalDetector, "draw_clicks", fails_after)
        with pytest.raises(MemoryError):
            picture.detect(clicks, 0)
    assert picture.nbytes < image.nbytes + SMALL
    assert_same(
        picture.detect(clicks, 0).detections,
        small_tiles(starter, image).detect(clicks, 0).detections,
    )


def test_wrong_questions_are_named(starter: Predictor) -> None:
    picture = starter.open(pixels(40, 56))
    with pytest.raises(
        ValueError, match=r"click 0 is at \(57, 3\), outside the picture of 56 x 40"
    ):
        picture.detect([Click(57, 3, 0)])
    with pytest.raises(ValueError, match="click 0 has label 3, but there are 3 classes"):
        picture.detect([Click(1, 1, 3)])
    with pytest.raises(ValueError, match="a closed model lets no click choose"):
        picture.detect([Click(1, 1, 2), Click(1, 1, 2, choice=1)])
    with pytest.raises(ValueError, match="score_threshold must be between 0 and 1"):
        picture.detect([], 2)
    with pytest.raises(ValueError, match="image must be a uint8 array"):
        starter.open(np.zeros((8, 8), np.uint8))


def test_exemplars_are_refused(starter: Predictor) -> None:
    picture = starter.open(pixels(40, 56))
    exemplars = Exemplars.none("ab" * 32, 4)
    message = "shrunk is a closed model, which knows its classes and takes no exemplars"
    with pytest.raises(ExemplarsError, match=message):
        picture.detect([], exemplars=exemplars)
    with pytest.raises(ExemplarsError, match=message):
        picture.exemplars([Click(3, 3, 0)], ["a", "b", "c"])
    with pytest.raises(ExemplarsError, match=message):
        starter.detect(starter.encode(pixels(40, 56)), [], exemplars=exemplars)


def test_a_branch_of_another_kind_is_refused() -> None:
    config = shrunk("starter")
    config["clicks"]["late"]["backbone"]["deep_stem"] = True
    with pytest.raises(ValueError, match="late-fusion branch must be a plain ResNet"):
        IncrementalDetector(build("starter", config))


def test_the_branch_without_clicks_is_shared(tmp_path: Path) -> None:
    starter = saved(tmp_path, *VARIANTS[0])
    with torch.inference_mode():
        first, second = (starter.model.encode(pixels(64, 64, seed)) for seed in range(2))
        shared = sorted(first.shared)
        assert shared
        assert all(first.values[i] is second.values[i] for i in shared)
        before = [first.values[i].clone() for i in shared]
        starter.model.incremental.draw_clicks(second, [Click(20, 20, 0)])
        assert not second.shared
        assert all(torch.equal(first.values[i], old) for i, old in zip(shared, before, strict=True))
        assert any(not torch.equal(first.values[i], second.values[i]) for i in shared)
        starter.model.encode(pixels(96, 96))  # the model keeps what it needs for this size now
        held = starter.model.shared_by([first, second])
        assert {id(value) for value in held} == {id(first.values[i]) for i in shared}


@pytest.mark.parametrize(
    ("side", "limit"), [(1024, 1024), (1500, 250)], ids=["one tile", "four tiles under a limit"]
)
def test_all_that_the_process_holds_is_counted(side: int, limit: int) -> None:
    """With the shipped weights; every tensor of the process is looked for, whoever holds it."""
    arguments = [sys.executable, "-c", GROWTH, str(STARTER), str(side), str(limit)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=300)
    mib = 2**20
    for holds, counted in json.loads(done.stdout.splitlines()[-1]):
        assert holds <= counted < holds + mib  # boxes are counted, and are no tensors
        assert counted <= limit * mib
        assert counted > 100 * mib, "otherwise nothing was tested"
