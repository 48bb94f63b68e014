"""What was clicked in one picture finds the like in another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from c3det.boxes import iou
from c3det.clicks import Click, LabelledBox
from c3det.exemplars import Exemplars, ExemplarsError, OtherWeightsError
from c3det.limits import MAX_PER_QUERY
from c3det.open.model import PROPOSAL_SCORE, RATIO_UNIT, SAME_OBJECT, OpenModel
from c3det.picture import Picture
from c3det.predictor import Predictor
from tests.c3det.open.small import load_of_one_scale, pixels, saved
from tests.c3det.open.test_open_model import (
    assert_exchanged,
    assert_near,
    open_model,
    random_clicks,
    tiled,
)

NAMES = ("nut", "bolt", "washer")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load_of_one_scale(saved(tmp_path_factory.mktemp("open")))


def exemplars_of(
    picture: Picture,
    clicks: Sequence[Click],
    boxes: Sequence[LabelledBox] = (),
    source: str = "frame 3",
) -> Exemplars:
    found = picture.exemplars(clicks, NAMES, boxes=boxes, source=source)
    assert found is not None
    return found


def with_rivals(count: int = 9, seed: int = 5) -> list[Click]:
    """Clicks of which the last one of each slot is negative, so that all have a rival."""
    return [
        replace(click, positive=number < count - 3)
        for number, click in enumerate(random_clicks(seed, count, 150, 200))
    ]


def taken(predictor: Predictor, count: int = 9, seed: int = 5) -> Exemplars:
    """Of another picture."""
    return exemplars_of(predictor.open(pixels(150, 200, seed)), with_rivals(count, seed))


class Counting(OpenModel):
    """Counts how often tiles are searched, and what for."""

    calls = 0

    def detect(self, *args: Any) -> Any:
        self.calls += 1
        return super().detect(*args)


def test_exemplars_hold_what_a_click_has_in_the_model(predictor: Predictor) -> None:
    model, image = open_model(predictor), pixels(150, 200)
    clicks = random_clicks(1, 5, 150, 200)
    exemplars = exemplars_of(predictor.open(image), clicks)
    assert exemplars.labels.tolist() == [click.label for click in clicks]
    assert exemplars.positive.tolist() == [click.positive for click in clicks]
    assert exemplars.sources == ("frame 3",) * 5
    assert exemplars.weights == predictor.card.tensors
    assert exemplars.vectors.shape == (5, model.numbers) == (5, 128 + 896 + 2 + 3 * 48)
    with torch.inference_mode():
        tile = model.encode(image)
        for again, (cell, exemplar, _) in zip(
            model.templates_of(list(exemplars)), model.templates(tile, clicks), strict=True
        ):
            torch.testing.assert_close(again[0], cell, rtol=0, atol=1e-3)
            torch.testing.assert_close(again[1][4:], exemplar[4:], rtol=0, atol=1e-3)
            size = exemplar[2:4] - exemplar[:2]
            torch.testing.assert_close(again[1][2:4] - again[1][:2], size, rtol=0, atol=1e-3)


def test_a_box_is_described_as_it_is_and_gives_its_size(predictor: Predictor) -> None:
    model, image = open_model(predictor), pixels(150, 200)
    with torch.inference_mode():
        tile = model.encode(image)
        ((_, exemplar, _),) = model.templates(tile, [Click(60, 50, 0)])
    refined = (exemplar[:4] + torch.tensor([60.0, 50, 60, 50])).tolist()
    picture = predictor.open(image)
    boxes = [LabelledBox(*refined, 1), LabelledBox(20, 30, 50, 42, 2, positive=False)]
    found = exemplars_of(picture, [], boxes)
    assert found.labels.tolist() == [1, 2]
    assert found.positive.tolist() == [True, False]
    wanted = [refined[2] - refined[0], refined[3] - refined[1]]
    assert np.allclose(found.sizes, [wanted, [30, 12]], atol=1e-3)
    # The box that a click means is described from the same pixels.
    assert np.allclose(found.vectors[0, :128], exemplar[4 : 4 + 128].numpy(), atol=1e-3)
    # Clicks come first.
    both = exemplars_of(picture, [Click(60, 50, 0)], boxes)
    assert both.labels.tolist() == [0, 1, 2]
    assert np.array_equal(both.vectors[1:], found.vectors)
    # In the tile that holds its middle, it is described alike.
    far = LabelledBox(380, 80, 400, 100, 0)
    apart = exemplars_of(tiled(predictor, pixels(150, 420)), [Click(30, 40, 0)], [far])
    assert apart.sizes[1].tolist() == [20, 20]
    assert apart.thumbnails[1].any()


RATIOS = slice(128 + 896, 128 + 896 + 2)
"""Of a vector."""


def given_boxes(predictor: Predictor) -> list[LabelledBox]:
    """A quarter larger than what the model finds in a picture, of the labels 0 and 1."""
    found = predictor.open(pixels(150, 200, 5)).detect([], 0).detections
    middle, half = found.boxes[:, :2] + found.boxes[:, 2:], found.boxes[:, 2:] - found.boxes[:, :2]
    boxes = np.concatenate([middle - 1.25 * half, middle + 1.25 * half], 1) / 2
    return [LabelledBox(*box, number % 2) for number, box in enumerate(boxes[:30].tolist())]


def test_a_box_knows_how_large_the_proposal_in_it_is(predictor: Predictor) -> None:
    model, image = open_model(predictor), pixels(150, 200, 5)
    boxes = [*given_boxes(predictor), LabelledBox(3, 3, 3.5, 140, 0)]
    found = exemplars_of(predictor.open(image), [Click(60, 50, 0)], boxes)
    with torch.inference_mode():
        proposals = model.encode(image).proposals
    usable = proposals.valid[0] & (proposals.scores[0].sigmoid() > PROPOSAL_SCORE)
    proposed = proposals.boxes[0][usable].numpy().clip(0, [200, 150, 200, 150])
    wanted = [[0.0, 0.0]]  # of the click
    for box in boxes:
        own = np.array([box.x1, box.y1, box.x2, box.y2], np.float32)
        own = own.clip(0, [200, 150, 200, 150])  # as far as it lies in the picture
        best = max(proposed, key=lambda one: float(iou(own, one)))
        size = (best[2:] - best[:2]) / (own[2:] - own[:2])
        wanted.append(size.tolist() if iou(own, best) >= SAME_OBJECT else [0.0, 0.0])
    ratios = found.vectors[:, RATIOS].astype(np.float32) / RATIO_UNIT
    assert ratios == pytest.approx(np.array(wanted), abs=2e-3)
    assert wanted[-1] == [0, 0]
    assert np.count_nonzero(np.array(wanted)[:, 0]) > 8
    # Unlike the numbers beside them, they are not brought to length 1.
    again = [template[1][-2:] / RATIO_UNIT for template in model.templates_of(list(found))]
    assert torch.stack(again).numpy() == pytest.approx(ratios, abs=1e-5)


def with_ratio(exemplars: Exemplars, ratio: float) -> Exemplars:
    vectors = exemplars.vectors.copy()
    vectors[:, RATIOS] = ratio * RATIO_UNIT
    return replace(exemplars, vectors=vectors)


def test_boxes_of_people_correct_sizes_and_nothing_else(predictor: Predictor) -> None:
    """Of each label 15 boxes: 15 pairs of a factor 1.25, beside two of none (`SHIFT_RIDGE`)."""
    picture, clicks = predictor.open(pixels(150, 300)), random_clicks(4, 5, 150, 300)
    exemplars = exemplars_of(predictor.open(pixels(150, 200, 5)), [], given_boxes(predictor))
    assert np.bincount(exemplars.labels).tolist() == [15, 15]
    for some in ([], clicks):
        got, plain = (
            picture.detect(some, 0, exemplars=with_ratio(exemplars, ratio)).detections
            for ratio in (0.8, 0)
        )
        assert {0, 1} <= set(got.labels.tolist())
        assert (got.boxes >= 0).all()
        assert (got.boxes[:, 2:] <= [300, 150]).all()
        if some:  # whose answers give way to each other by their new sizes
            assert len(got) != len(plain) or not np.allclose(got.boxes, plain.boxes)
            continue
        assert np.array_equal(got.scores, plain.scores)
        assert np.array_equal(got.labels, plain.labels)
        inside = (got.boxes > 0).all(1) & (got.boxes[:, 2:] < [300, 150]).all(1)
        assert inside.any()
        sizes, middles = (
            [one.boxes[inside, 2:] + sign * one.boxes[inside, :2] for one in (got, plain)]
            for sign in (-1, 1)
        )
        assert sizes[0] / sizes[1] == pytest.approx(1.25 ** (15 / 17), rel=2e-3)
        assert middles[0] == pytest.approx(middles[1], abs=1e-2)


@pytest.mark.parametrize("side", [1024, 160], ids=["one tile", "tiles"])
def test_exchanged_slots_exchange_corrected_answers(predictor: Predictor, side: int) -> None:
    image, clicks = pixels(150, 300), [Click(60, 50, 2), Click(250, 90, 0)]
    found = exemplars_of(predictor.open(pixels(150, 200, 5)), [], given_boxes(predictor))
    wanted = tiled(predictor, image, side).detect(clicks, 0, exemplars=found).detections
    renamed = found.take(np.arange(len(found))[::-1]).numbered([NAMES[1], NAMES[2], NAMES[0]])
    names = {0: 2, 1: 0, 2: 1}
    others = [replace(click, label=names[click.label]) for click in reversed(clicks)]
    got = tiled(predictor, image, side).detect(others, 0, exemplars=renamed).detections
    assert_exchanged(got, wanted, names)


def test_exemplars_of_another_length_are_refused(predictor: Predictor) -> None:
    """Those of the version before have two numbers less: a proposal's were not yet known."""
    exemplars = taken(predictor)
    before = replace(exemplars, vectors=np.delete(exemplars.vectors, [1024, 1025], 1))
    with pytest.raises(OtherWeightsError, match="has 1168 numbers, and untrained takes 1170: take"):
        predictor.open(pixels(100, 120)).detect([], exemplars=before)
    longer = replace(exemplars, vectors=np.pad(exemplars.vectors, ((0, 0), (0, 1))))
    with pytest.raises(OtherWeightsError, match="has 1171 numbers, and untrained takes 1170: take"):
        predictor.open(pixels(100, 120)).detect([], exemplars=longer)


def test_tiles_are_read_for_exemplars_in_time(predictor: Predictor) -> None:
    image = pixels(150, 420)
    clicks, boxes = [Click(30, 40, 0), Click(200, 60, 1)], [LabelledBox(380, 80, 400, 100, 0)]
    wanted = exemplars_of(tiled(predictor, image), clicks, boxes)
    picture = tiled(predictor, image, max_bytes=image.nbytes + 200_000)  # no room for a tile
    calls, shares = [], [picture.exemplars_progress(clicks, boxes)]
    for _ in range(3):
        calls.append(picture.exemplars(clicks, NAMES, boxes=boxes, source="frame 3", deadline=0.0))
        shares.append(picture.exemplars_progress(clicks, boxes))
    assert shares == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert picture.exemplars_progress([]) == 1
    assert calls[:2] == [None, None]
    assert calls[2] is not None
    assert np.allclose(calls[2].vectors, wanted.vectors, atol=1e-3)
    assert np.array_equal(calls[2].thumbnails, wanted.thumbnails)


def test_an_exemplar_is_a_click_that_lies_nowhere(predictor: Predictor) -> None:
    """Against clicks on the same objects, far outside of the tile, which the model knows."""
    model = open_model(predictor)
    exemplars = taken(predictor)
    with torch.inference_mode():
        first, second = model.encode(pixels(150, 200, 5)), model.encode(pixels(150, 200, 6))
        clicks = with_rivals()
        templates = model.templates(first, clicks)
        away = [replace(click, x=click.x - 3000) for click in clicks]
        wanted = model.detect(second, templates, away)
        examples = list(zip(exemplars, model.templates_of(list(exemplars)), strict=True))
        got = model.detect(second, [], [], examples)
    assert len(set(got.labels.tolist())) > 1
    assert_near(got, wanted, score=2e-3)


@pytest.mark.parametrize("side", [1024, 160], ids=["one tile", "tiles"])
def test_exchanged_slots_exchange_the_answers(predictor: Predictor, side: int) -> None:
    image, names = pixels(150, 300), {0: 5, 1: 0, 2: 1}
    exemplars = taken(predictor)
    renamed = exemplars.take(np.arange(9)[::-1]).numbered(
        [NAMES[1], NAMES[2], "a", "b", "c", NAMES[0]]
    )
    here = random_clicks(4, 5, 150, 300)
    clicks = [click for click in here if click.label != 1]  # that slot has exemplars alone
    others = [replace(c, label=names[c.label]) for c in reversed(clicks)]
    for shown, changed in (([], []), (clicks, others)):
        picture = tiled(predictor, image, side)
        found = picture.detect(shown, 0, exemplars=exemplars).detections
        assert len(set(found.labels.tolist())) > 1
        again = picture.detect(changed, 0, exemplars=renamed).detections
        assert_exchanged(again, found, names)
        fresh = tiled(predictor, image, side).detect(changed, 0, exemplars=renamed).detections
        assert_exchanged(fresh, found, names)


@pytest.mark.parametrize("count", [0, 6])
def test_one_tile_is_the_whole_picture(predictor: Predictor, count: int) -> None:
    image, clicks = pixels(150, 160), random_clicks(1, count, 150, 160)
    exemplars = taken(predictor)
    wanted = predictor.detect(predictor.encode(image), clicks, 0, exemplars=exemplars)
    picture = tiled(predictor, image)
    assert_near(picture.detect(clicks, 0, exemplars=exemplars).detections, wanted)
    without = picture.detect(clicks, 0).detections
    assert len(without) != len(wanted) or not np.allclose(without.scores, wanted.scores)
    # They come and go.
    again = picture.detect(clicks, 0, exemplars=exemplars).detections
    assert_near(again, wanted)


def test_tiles_are_searched_once_and_in_time(predictor: Predictor) -> None:
    model = Counting(open_model(predictor).network)
    image, exemplars = pixels(300, 420), taken(predictor)

    def fresh() -> Picture:
        return Picture(model, predictor.card, image, side=160, overlap=64, max_bytes=1 << 30)

    wanted = fresh().detect([], 0, exemplars=exemplars)
    tiles = model.calls
    assert tiles > 6
    picture, model.calls = fresh(), 0
    before = picture.detect([], 0, deadline=0.0)
    assert set(before.detections.labels.tolist()) == {-1}
    progress = []
    while not progress or progress[-1] < 1:
        answer = picture.detect([], 0, exemplars=exemplars, deadline=0.0)
        progress.append(answer.progress)
        assert -1 not in answer.detections.labels
    assert progress == sorted(set(progress))
    assert len(progress) == tiles
    assert model.calls == 1 + tiles
    assert_near(answer.detections, wanted.detections)
    # Another threshold, another order, and one that is there twice, ask nothing new.
    turned = exemplars.take(np.array([*range(8, -1, -1), 0]))
    picture.detect([], 0.5, exemplars=turned)
    assert model.calls == 1 + tiles
    picture.detect([], 0, exemplars=exemplars.take(np.arange(8)))
    assert model.calls == 1 + 2 * tiles


def test_negative_ones_alone_find_nothing_and_beside_others_they_count(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Untrained, a slot that is alone hardly heeds its rival.
    bias = open_model(predictor).network.comparison.rival_bias
    monkeypatch.setattr(bias, "data", torch.tensor(6.0))
    image, exemplars = pixels(150, 200), taken(predictor)
    picture = predictor.open(image)
    negative = exemplars.take(~exemplars.positive)
    assert 0 < len(negative) < 9
    assert len(picture.detect([], 0, exemplars=negative).detections) == 0
    positive = exemplars.take(exemplars.positive)
    found = [picture.detect([], 0, exemplars=one).detections for one in (positive, exemplars)]
    assert len(found[0]) != len(found[1]) or not np.allclose(found[0].scores, found[1].scores)
    # Clicks are the positive ones of exemplars, and exemplars those of clicks.
    label = int(negative.labels[0])
    mine = [Click(60, 60, label)]
    alone, both = (picture.detect(mine, 0, exemplars=one).detections for one in (None, negative))
    assert len(alone) != len(both) or not np.allclose(alone.scores, both.scores)
    own = positive.take(positive.labels == label)
    no = [Click(60, 60, label, positive=False)]
    without, with_no = (picture.detect(some, 0, exemplars=own).detections for some in ([], no))
    assert len(without) != len(with_no) or not np.allclose(without.scores, with_no.scores)


def test_no_exemplars_are_no_clicks(predictor: Predictor) -> None:
    picture = predictor.open(pixels(100, 120))
    none = Exemplars.none(predictor.card.tensors, open_model(predictor).numbers)
    found = [picture.detect([], 0, exemplars=one).detections for one in (None, none)]
    assert np.array_equal(found[0].boxes, found[1].boxes)
    assert set(found[1].labels.tolist()) == {-1}
    assert len(exemplars_of(picture, [])) == 0


def test_memory_stays_bounded(predictor: Predictor) -> None:
    image, exemplars = pixels(300, 420), taken(predictor, 60)
    free = tiled(predictor, image)
    free.detect([], 0)
    before = free.nbytes
    wanted = free.detect([], 0, exemplars=exemplars).detections
    numbers = open_model(predictor).numbers
    assert free.nbytes > before + 60 * numbers * (4 + 2 + 2)  # with templates and two keys
    limit = free.nbytes * 6 // 10
    limited = tiled(predictor, image, max_bytes=limit)
    for _ in range(2):
        found = limited.detect([], 0, exemplars=exemplars).detections
        assert limited.nbytes <= limit
    assert_near(found, wanted, score=0.02)


def test_wrong_exemplars_and_places_are_named(predictor: Predictor) -> None:
    picture, exemplars = predictor.open(pixels(100, 120)), taken(predictor)
    with pytest.raises(
        ExemplarsError,
        match=r"are of the weights cdcdcdcdcdcd \(sha256\), and untrained has .*: take them again",
    ):
        picture.detect([], exemplars=replace(exemplars, weights="cd" * 32))
    with pytest.raises(ExemplarsError, match="an exemplar has 575 numbers, and untrained takes"):
        picture.detect([], exemplars=replace(exemplars, vectors=exemplars.vectors[:, :575]))
    many = exemplars.take(np.zeros(MAX_PER_QUERY + 1, np.int64))
    with pytest.raises(ExemplarsError, match="at most 256 exemplars, not 257: thin them"):
        picture.detect([], exemplars=many)
    picture.detect([], exemplars=many.take(np.arange(MAX_PER_QUERY)))
    with pytest.raises(ValueError, match="click 0 has label 3, but there are 3 classes"):
        picture.exemplars([Click(3, 3, 3)], NAMES)
    with pytest.raises(ValueError, match="click 0 is at"):
        picture.exemplars([Click(300, 3, 0)], NAMES)
    with pytest.raises(ValueError, match="click 0 is at"):
        picture.exemplars([], NAMES, boxes=[LabelledBox(200, 3, 210, 9, 0)])


def test_saved_exemplars_answer_as_before(predictor: Predictor, tmp_path: Path) -> None:
    exemplars, picture = taken(predictor), predictor.open(pixels(100, 120))
    exemplars.save(tmp_path / "e.safetensors")
    found = picture.detect([], 0, exemplars=exemplars).detections
    again = Exemplars.load(tmp_path / "e.safetensors")
    other = predictor.open(pixels(100, 120)).detect([], 0, exemplars=again).detections
    assert np.array_equal(found.boxes, other.boxes)
    assert np.array_equal(found.scores, other.scores)
