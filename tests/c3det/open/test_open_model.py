"""The open model in a picture: tiles, clicks that come and go, memory, cards."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from c3det.boxes import pairwise_iou
from c3det.clicks import Click
from c3det.detections import Detections
from c3det.open.architecture import OpenArchitecture
from c3det.open.detector import OpenDetector, PaddedClicks, SlotSizes
from c3det.open.folding import folded
from c3det.open.model import (
    CLICKED_SCORE,
    OPTIONS,
    SAME_PROPOSAL,
    SCALES,
    OpenModel,
    _collated_at_once,
    _detections,
    _options,
    _Suppression,
)
from c3det.open.slots import SlotInputs
from c3det.open.tile import OpenTile
from c3det.picture import Picture
from c3det.predictor import Predictor, load
from c3det.weights import WeightsError, card_path, digest, read_card, save
from tests.c3det.growth import GROWTH
from tests.c3det.mutations import mutate
from tests.c3det.open.small import CARD, load_of_one_scale, pixels, saved, untrained


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="module")
def predictor(weights: Path) -> Predictor:
    return load_of_one_scale(weights)


def tiled(
    predictor: Predictor,
    image: NDArray[np.uint8],
    side: int = 160,
    max_bytes: int = 1 << 30,
) -> Picture:
    return Picture(
        predictor.model, predictor.card, image, side=side, overlap=64, max_bytes=max_bytes
    )


def open_model(predictor: Predictor) -> OpenModel:
    assert isinstance(predictor.model, OpenModel)
    return predictor.model


def random_clicks(seed: int, count: int, height: int, width: int) -> list[Click]:
    draw = random.Random(seed)
    signs = [draw.random() < 0.8 for _ in range(count)]
    return [
        Click(
            draw.uniform(0, width),
            draw.uniform(0, height),
            number % 3,
            positive,
            choice=draw.randrange(3) if positive else 0,
        )
        for number, positive in enumerate(signs)
    ]


def assert_near(got: Detections, wanted: Detections, score: float = 1e-4) -> None:
    """The same boxes but for rounding; a few near a threshold may be in one of them alone."""
    alone = 0
    for first, second in ((got, wanted), (wanted, got)):
        near = (
            (np.abs(first.boxes[:, None] - second.boxes).max(2) < 0.05)
            & (np.abs(first.scores[:, None] - second.scores) < score)
            & (first.labels[:, None] == second.labels)
        )
        alone += len(first) - int(near.any(1).sum())
    assert len(wanted)
    assert alone <= 0.04 * len(wanted)


def assert_exchanged(got: Detections, wanted: Detections, labels: dict[int, int]) -> None:
    """The very same boxes, with other names."""
    order = [np.lexsort((*one.boxes.T, -one.scores)) for one in (got, wanted)]
    first, second = got.take(order[0]), wanted.take(order[1])
    assert np.array_equal(first.boxes, second.boxes)
    assert np.array_equal(first.scores, second.scores)
    for one, other in ((first.labels, second.labels), (first.rivals, second.rivals)):
        assert one.tolist() == [{-1: -1, **labels}[label] for label in other.tolist()]
    assert np.array_equal(first.rival_scores, second.rival_scores)


def test_no_classes_and_any_labels(predictor: Predictor) -> None:
    assert predictor.classes == ()
    assert predictor.model.counts_negative
    picture = predictor.open(pixels(100, 120))
    found = picture.detect([Click(30, 30, 123_456), Click(80, 60, 7)], 0).detections
    assert set(found.labels.tolist()) == {123_456, 7}
    assert found.answer_of.tolist() == [0, 1]
    with pytest.raises(ValueError, match="click 0 is at"):
        picture.detect([Click(130, 30, 0)])


def test_no_clicks_show_boxes_of_no_class(predictor: Predictor) -> None:
    picture = predictor.open(pixels(100, 120))
    found = picture.detect([], 0).detections
    assert len(found)
    assert set(found.labels.tolist()) == {-1}
    # Negative clicks alone make no slot, and nothing is left that could be claimed.
    assert len(picture.detect([Click(30, 30, 0, positive=False)], 0).detections) == 0
    # Nor is anything of no class shown beside what was clicked.
    assert -1 not in picture.detect([Click(30, 30, 0)], 0).detections.labels
    assert np.array_equal(picture.detect([], 0).detections.boxes, found.boxes)


def test_rivals_are_the_second_best_slots(predictor: Predictor) -> None:
    model = predictor.model
    assert isinstance(model, OpenModel)
    boxes = torch.tensor(
        [[10, 10, 30, 30], [50, 50, 70, 70], [11, 10, 30, 30]], dtype=torch.float32
    )
    scores = torch.tensor([[0.1, 0.3, 0.2], [0.5, 0.0, 0.4], [0.0, 0.1, 0.25]])
    with torch.inference_mode():
        tile = model.encode(pixels(96, 128))
        answer = model._ranked(tile, boxes, scores, _Suppression(0))
        found = _detections(answer, [5, 9, 7])
        alone = _detections(model._ranked(tile, boxes, scores[:, :1], _Suppression(0)), [5])
        two = _detections(model._ranked(tile, boxes, scores[:, :2], _Suppression(0)), [5, 9])
    # The third box gives way to the first one.
    assert found.boxes.tolist() == [[50, 50, 70, 70], [10, 10, 30, 30]]
    assert found.labels.tolist() == [5, 9]
    assert found.rivals.tolist() == [7, 7]
    assert np.allclose(found.rival_scores, [0.4, 0.2])
    assert set(alone.rivals.tolist()) == {-1}
    assert (two.labels.tolist(), two.rivals.tolist()) == ([5, 9], [9, 5])


@torch.inference_mode()
def test_boxes_are_clipped_nested_ones_less_sure_and_what_is_left_ranked(
    predictor: Predictor,
) -> None:
    model = open_model(predictor)
    rows: list[tuple[list[float], list[float]]] = [
        ([10, 10, 30, 30], [0.8, 0.0]),
        ([12, 12, 20, 20], [0.6, 0.0]),  # in the first one, of its slot
        ([22, 22, 29, 29], [0.0, 0.5]),  # in the first one, of another slot
        ([10, 16, 30, 36], [0.7, 0.0]),  # gives way to the first one
        ([12, 31, 18, 36], [0.2, 0.0]),  # in the one that gives way
        ([27, 12, 32, 17], [0.35, 0.0]),  # three fifths in the first one
        ([120, 40, 140, 60], [0.4, 0.0]),  # partly beside the tile
        ([127.5, 5, 150, 20], [0.9, 0.0]),  # of which less than a pixel lies in it
        ([60, 60, 80, 80], [0.009, 0.0]),
    ]
    boxes, scores = (torch.tensor(part) for part in zip(*rows, strict=True))
    tile = model.encode(pixels(96, 128))

    def ranked(nests: bool) -> list[tuple[list[float], float, int]]:
        answer = model._ranked(tile, boxes, scores, _Suppression(0), nests=nests)
        found = _detections(answer, [5, 9])
        sure = [round(score, 4) for score in found.scores.tolist()]
        return list(zip(found.boxes.tolist(), sure, found.labels.tolist(), strict=True))

    first, other_slot, last = ([10, 10, 30, 30], 0.8, 5), ([22, 22, 29, 29], 0.5, 9), rows[4][0]
    middle, nested = [([120, 40, 128, 60], 0.4, 5), ([27, 12, 32, 17], 0.35, 5)], [12, 12, 20, 20]
    assert ranked(nests=True) == [first, other_slot, *middle, (nested, 0.3, 5), (last, 0.2, 5)]
    assert ranked(nests=False) == [first, (nested, 0.6, 5), other_slot, *middle, (last, 0.2, 5)]


@torch.inference_mode()
def test_other_scales_are_searched_and_described_at_the_tile_s_own(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In float32 on every processor: what random weights find hangs on the last bits.
    monkeypatch.setattr(
        "c3det.open.model.other_scales_precision", lambda device: contextlib.nullcontext()
    )
    network = load(weights).model.network
    small = pixels(96, 128)
    large = small.repeat(2, 0).repeat(2, 1)
    # At half its size, `large` is `small`, whose proposals lie in it twice as large.
    own = OpenModel(network, {}).encode(small).proposals
    tile = OpenModel(network, {0.5: 0.0}).encode(large)
    found = tile.proposals
    sure = own.boxes[0][own.scores[0] > own.scores[0].median()] * 2
    overlap = pairwise_iou(sure, found.boxes[0]).amax(1)
    assert (overlap > SAME_PROPOSAL).float().mean() > 0.8
    # At its own scale alone fewer are found.
    alone = OpenModel(network, {}).encode(large).proposals
    overlap = pairwise_iou(sure, alone.boxes[0]).amax(1)
    assert (overlap > SAME_PROPOSAL).float().mean() < 0.5
    assert load(weights).model.scales == SCALES
    # Where only large ones count, they come to what is found without them, whose scores stay.
    least = float((sure[:, 2:] - sure[:, :2]).amax(1).median())
    few = OpenModel(network, {0.5: least}).encode(large).proposals
    near = pairwise_iou(alone.boxes[0], few.boxes[0])
    same = near.amax(1) > 0.999
    assert same.any()
    assert torch.allclose(alone.scores[0, same], few.scores[0, near.argmax(1)[same]], atol=1e-4)
    longest = (few.boxes[0, :, 2:] - few.boxes[0, :, :2]).amax(1)
    new = pairwise_iou(few.boxes[0], alone.boxes[0]).amax(1) < SAME_PROPOSAL
    assert new.any()
    assert float(longest[new].min()) >= least
    given, layouts, fits = network.describe_as_given(tile.features, found.boxes)
    assert torch.equal(given, found.embeddings)
    assert torch.equal(layouts, found.layouts)
    assert torch.equal(fits, found.fits)


def test_a_picture_in_tiles_is_searched_at_all_scales_and_answers_as_a_fresh_one(
    weights: Path,
) -> None:
    predictor, image = load(weights), pixels(150, 300)
    clicks = random_clicks(2, 6, 150, 300)
    picture = tiled(predictor, image)
    for count in (3, 6, 4):
        got = picture.detect(clicks[:count], 0).detections
        assert_near(got, tiled(predictor, image).detect(clicks[:count], 0).detections)
    own_scale = tiled(load_of_one_scale(weights), image).detect(clicks[:4], 0).detections
    assert len(got) > len(own_scale)
    # So it does in half precision, in which tiles are kept where there is no room.
    limit = picture.nbytes * 6 // 10
    limited = tiled(predictor, image, max_bytes=limit)
    for count in (6, 4):
        found = limited.detect(clicks[:count], 0).detections
        assert limited.nbytes <= limit
    assert_near(found, got, score=0.02)


def test_folding_changes_nothing_but_rounding() -> None:
    plain = untrained()
    image = torch.rand(1, 3, 96, 128) * 255
    with torch.inference_mode():
        one, other = plain.encode(image), folded(plain).encode(image)
    for a, b in zip(
        (*one.scores, *one.boxes, *one.embeddings),
        (*other.scores, *other.boxes, *other.embeddings),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    left = [m for m in folded(plain).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(left) == len(plain.early_norms)  # which stand before their convolutions


@pytest.mark.parametrize("kept", [True, False], ids=["kept maps", "at once"])
def test_the_logit_shift_is_that_of_the_network(predictor: Predictor, kept: bool) -> None:
    """One slot after the other, against `OpenDetector.conditioned_logits`, which trains."""
    model = predictor.model
    assert isinstance(model, OpenModel)
    xy = torch.tensor([[22.0, 42.0], [90.0, 60.0], [50.0, 80.0], [70.0, 20.0]])
    slots, positive = torch.tensor([0, 0, 1, 1]), torch.tensor([True, True, True, False])
    with torch.inference_mode():
        tile = model.encode(pixels(96, 128))
        clicks = [Click(float(x), float(y), 0) for x, y in xy]
        templates = model.templates(tile, clicks)
        own = slots == torch.arange(2)[:, None]
        cells = [template[0] for template in templates]
        places = torch.cat([xy, slots[:, None], positive[:, None]], 1)
        inputs = SlotInputs.of(places, *model._stacked(templates), 2)
        assert torch.equal(inputs.positive, own & positive)
        assert torch.equal(inputs.negative, own & ~positive)
        if kept:
            model._correlate(tile, cells)
            collated = model._collated(tile, inputs, cells)
        else:
            collated = _collated_at_once(tile, inputs)
        got = model._click_logit_shift(tile, inputs, collated)
        network = model.network
        given = PaddedClicks(xy[None], slots[None], positive[None])
        of_clicks = network.templates(tile.features, xy[None])
        sizes = SlotSizes.of(torch.rand(1, 4, 4) * 40, (own & positive)[None])
        wanted = network.conditioned_logits(tile.features, given, of_clicks, sizes)[1]
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_clicks_that_come_and_go_give_the_detections_of_a_fresh_picture(
    predictor: Predictor, seed: int
) -> None:
    image = pixels(150, 200, seed)
    picture, draw = predictor.open(image), random.Random(seed)
    clicks = random_clicks(seed, 9, 150, 200)
    shown: list[Click] = [clicks[0]]
    for _ in range(8):
        shown = draw.sample(clicks, draw.randrange(1, 9))
        if not any(click.positive for click in shown):
            continue
        fresh = predictor.open(image).detect(shown, 0).detections
        assert_near(picture.detect(shown, 0).detections, fresh)


@pytest.mark.parametrize("side", [1024, 160], ids=["one tile", "tiles"])
def test_exchanged_slots_exchange_the_answers(predictor: Predictor, side: int) -> None:
    image, names = pixels(150, 300), {0: 5, 1: 0, 2: 1}
    clicks = random_clicks(4, 12, 150, 300)
    renamed = [replace(c, label=names[c.label]) for c in reversed(clicks)]
    picture = tiled(predictor, image, side)
    found = picture.detect(clicks, 0).detections
    assert {0, 1, 2} <= set(found.labels.tolist())
    assert_exchanged(picture.detect(renamed, 0).detections, found, names)
    assert_exchanged(tiled(predictor, image, side).detect(renamed, 0).detections, found, names)


def test_clicks_that_are_repeated_count_once(predictor: Predictor) -> None:
    image, clicks = pixels(128, 160), [Click(40, 50, 0), Click(90, 30, 1), Click(60, 90, 0, False)]
    features = predictor.encode(image)
    wanted = predictor.detect(features, clicks, 0)
    for found in (
        predictor.detect(features, clicks * 3, 0),
        predictor.open(image).detect(clicks * 3, 0).detections,
    ):
        assert np.array_equal(found.boxes, wanted.boxes)
        assert np.allclose(found.scores, wanted.scores, atol=1e-5)


def meant(boxes: torch.Tensor, *logits: torch.Tensor) -> list[list[int]]:
    """By clicks at (8, 3) of every choice from 0 on, a row for each of some logits."""
    rows, choices = torch.stack(logits).repeat_interleave(len(boxes), 0), torch.arange(len(boxes))
    count = len(rows)
    chosen = _options(
        boxes.expand(count, *boxes.shape),
        rows,
        torch.tensor([[8.0, 3.0]]).expand(count, 2),
        choices.repeat(len(logits)).float(),
    )
    return chosen.view(len(logits), -1).tolist()


def test_which_boxes_a_click_can_mean_and_in_which_order() -> None:
    """Those that hold it and are likely enough, each once; the likeliest wherever it lies."""
    boxes = torch.tensor(
        [
            [0.0, 0.0, 10.0, 10.0],
            [0.0, 0.0, 10.0, 9.0],  # much the same as the first
            [20.0, 20.0, 30.0, 30.0],  # beside the click
            [7.0, 2.0, 9.0, 5.0],
            [0.0, 0.0, 20.0, 20.0],
            [5.0, 1.0, 40.0, 40.0],  # too unlikely
            [2.0, 7.0, 5.0, 9.0],  # beside the click
            [0.0, 0.0, 10.0, 6.5],  # much the same as the second alone
            [0.0, 0.0, 30.0, 30.0],  # just likely enough
        ]
    )
    logits = torch.tensor([3.0, 2.9, 2.8, 0.0, 1.0, -1.1, 0.5, 2.0, -1.0])
    wanted = [0, 7, 4, 3, 8, 0, 7, 4, 3]
    assert meant(boxes, logits, logits - 8) == [wanted, wanted], "each click by its own likeliest"
    nothing = -torch.inf
    first_beside = torch.tensor([2.0, nothing, 5.0, 1.5, 0, nothing, nothing, nothing, nothing])
    assert meant(boxes, first_beside) == [[2, 0, 3] * 3]
    assert meant(boxes, torch.tensor([9.0] + [1.0] * 8)) == [[0] * 9]


def test_a_click_can_mean_one_of_so_many_boxes() -> None:
    sides = 4 * 1.25 ** torch.arange(30.0)
    boxes = torch.stack([8 - sides, 3 - sides, 8 + sides, 3 + sides], 1)
    assert meant(boxes, -torch.arange(30.0) / 10) == [[*range(OPTIONS), *range(30 - OPTIONS)]]


@pytest.mark.parametrize("side", [1024, 160], ids=["one tile", "tiles"])
def test_a_click_of_a_choice_is_answered_by_another_box(predictor: Predictor, side: int) -> None:
    image = pixels(150, 300)
    picture = tiled(predictor, image, side=side)
    around = Click(250, 30, 1)
    first, *others = [
        picture.detect([around, Click(60, 70, 0, choice=choice)], 0).detections
        for choice in (0, 1, 2)
    ]
    before = first.boxes[first.clicks == 1]
    for choice, found in enumerate(others, 1):
        (box,) = found.boxes[found.clicks == 1]
        template = picture._templates[60, 70, choice]
        relative = open_model(predictor).described(template)[1]
        wanted = relative + np.array([60, 70, 60, 70])
        assert box == pytest.approx(wanted.clip(0, (300, 150, 300, 150)), abs=1e-3)
        assert pairwise_iou(torch.tensor(before), torch.tensor(box)[None]).item() < 0.95
        assert found.scores[found.clicks == 1] == 1
        assert len(found.boxes[found.clicks == 0]) == 1
        before = box[None]


def test_one_tile_is_the_whole_picture(predictor: Predictor) -> None:
    image, clicks = pixels(150, 160), random_clicks(1, 6, 150, 160)
    features = predictor.encode(image)
    got = tiled(predictor, image).detect(clicks, 0).detections
    assert_near(got, predictor.detect(features, clicks, 0))


def test_clicks_reach_objects_on_other_tiles(predictor: Predictor) -> None:
    image = pixels(150, 500)
    picture = tiled(predictor, image)
    one = picture.detect([Click(30, 60, 0)], 0).detections
    two = picture.detect([Click(30, 60, 0), Click(60, 90, 1)], 0).detections
    far = [found.take(found.boxes[:, 0] > 340) for found in (one, two)]
    assert len(far[0])
    assert set(far[0].labels.tolist()) == {0}
    assert set(far[1].labels.tolist()) == {0, 1}, "slots compete where nothing was clicked"


def test_what_the_exemplar_is_does_not_depend_on_other_clicks(predictor: Predictor) -> None:
    """Of more clicks than are described at once."""
    model = open_model(predictor)
    clicks = [Click(30, 40, 0), Click(90, 60, 0), Click(110, 20, 0)]
    clicks += [*random_clicks(7, 70, 100, 130), *clicks]
    with torch.inference_mode():
        tile = model.encode(pixels(100, 130))
        together = model.templates(tile, clicks)
        for click, of_all in zip(clicks[:3] * 2, together[:3] + together[-3:], strict=True):
            (alone,) = model.templates(tile, [click])
            for a, b in zip(alone, of_all, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
        assert len(together) == len(clicks)


def test_a_template_is_of_a_box_that_holds_its_click(predictor: Predictor) -> None:
    """But for the likeliest one; the cell is the one at the click, a proposal's logit its own."""
    model, draw = open_model(predictor), np.random.default_rng(1)
    clicks = [Click(x, y, 0, choice=1) for x, y in draw.uniform(0, (130, 100), (50, 2)).tolist()]
    with torch.inference_mode():
        tile = model.encode(pixels(100, 130))
        found, likeliest = (
            model.templates(tile, some)
            for some in (clicks, [replace(click, choice=0) for click in clicks])
        )
        xy = torch.tensor([[click.x, click.y] for click in clicks])
        cells = model.network.templates(tile.features, xy[None])[0]
    proposed, changed = [], 0
    for (cell, exemplar, logit), first, wanted, at in zip(found, likeliest, cells, xy, strict=True):
        torch.testing.assert_close(cell, wanted)
        x1, y1, x2, y2 = exemplar[:4].tolist()
        assert x1 <= 0 <= x2
        assert y1 <= 0 <= y2
        changed += not torch.equal(exemplar, first[1])
        overlaps = pairwise_iou(exemplar[None, :4] + at.repeat(2), tile.proposals.boxes[0])[0]
        overlap, same = overlaps.max(0)
        if overlap > 0.9999:
            proposed.append((float(logit), float(tile.proposals.scores[0, same])))
    assert len(proposed) > 2
    assert changed > 25
    assert all(logit == pytest.approx(score, abs=1e-4) for logit, score in proposed)


def test_a_negative_click_changes_what_is_found_and_removes_the_box_under_it(
    predictor: Predictor,
) -> None:
    image = pixels(150, 200)
    picture = predictor.open(image)
    clicks = [Click(30, 40, 0), Click(150, 90, 1)]
    before = picture.detect(clicks, 0).detections
    rest = before.take((before.clicks < 0) & (before.labels == 0))
    x1, y1, x2, y2 = rest.boxes[0].tolist()
    no = Click((x1 + x2) / 2, (y1 + y2) / 2, 0, positive=False)
    after = picture.detect([*clicks, no], 0).detections
    under = (after.boxes[:, :2] <= (no.x, no.y)) & ((no.x, no.y) <= after.boxes[:, 2:])
    assert not (under.all(1) & (after.labels >= 0)).any()
    elsewhere = [
        dict(zip(map(tuple, found.boxes.round().tolist()), found.scores.tolist(), strict=True))
        for found in (before, after)
    ]
    both = elsewhere[0].keys() & elsewhere[1].keys()
    assert any(abs(elsewhere[0][box] - elsewhere[1][box]) > 1e-4 for box in both)


def test_what_was_clicked_has_its_box_though_the_model_says_none_of_these(weights: Path) -> None:
    predictor = load(weights)
    model = predictor.model
    assert isinstance(model, OpenModel)
    with torch.no_grad():
        list(model.network.comparison.none)[-1].bias += 1000.0
    image, clicks = pixels(100, 130), [Click(30, 40, 0), Click(110, 70, 1)]
    with torch.inference_mode():
        tile = model.encode(image)
        templates = model.templates(tile, clicks)
        found = model.detect(tile, templates, clicks)
        # A click of a choice is sure of its box, one beside the tile has none, at a corner one.
        meant = [*clicks, Click(90, 20, 3, choice=1), Click(0, 0, 4), Click(130, 100, 5)]
        of_meant = [*templates, *model.templates(tile, meant[2:])]
        shown = model.detect(tile, [*of_meant, templates[0]], [*meant, Click(-1, 40, 2)])
    assert sorted(found.labels.tolist()) == [0, 1]
    assert dict(zip(shown.labels.tolist(), shown.scores.tolist(), strict=True)) == pytest.approx(
        {3: 1.0, **dict.fromkeys((0, 1, 4, 5), CLICKED_SCORE)}
    )
    answers = predictor.open(image).detect(clicks).detections
    for row, (click, template) in enumerate(zip(clicks, templates, strict=True)):
        box = template[1][:4].numpy() + (click.x, click.y) * 2
        box = np.clip(box, 0, [130, 100, 130, 100])
        assert np.abs(answers.boxes[row] - box).max() < 0.01


def test_a_device_answers_as_the_cpu_does(weights: Path, predictor: Predictor, device: str) -> None:
    """With ``--device cuda`` on the GPU, where all slots are computed at once."""
    there = load_of_one_scale(weights, device)
    assert str(there.device) == device
    image, clicks = pixels(150, 200), random_clicks(3, 9, 150, 200)
    wanted = predictor.open(image).detect(clicks, 0).detections
    assert_near(there.open(image).detect(clicks, 0).detections, wanted, score=1e-3)


def test_how_many_slots_are_computed_at_once_changes_nothing(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pixels(150, 200)
    clicks = [Click(20 + 18 * slot, 30 + 9 * slot, slot) for slot in range(9)]
    wanted = predictor.open(image).detect(clicks, 0).detections
    monkeypatch.setattr("c3det.open.model.SLOTS_AT_ONCE", 100)
    assert_near(predictor.open(image).detect(clicks, 0).detections, wanted)


def detect_until_done(picture: Picture, clicks: Sequence[Click]) -> list[float]:
    progress = [picture.detect(clicks, 0, deadline=0.0).progress]
    while progress[-1] < 1:
        progress.append(picture.detect(clicks, 0, deadline=0.0).progress)
        assert progress[-1] > progress[-2]
    return progress


def test_outlines_are_those_of_the_tile_at_hand(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outline of an object is computed in pixels of its tile, and returned in the picture's."""
    calls: list[tuple[tuple[int, ...], list[list[float]], list[int]]] = []

    def outlines(cells: np.ndarray, boxes: np.ndarray, wanted: list[int]) -> list[Any]:
        calls.append((cells.shape[1:], boxes.tolist(), list(wanted)))
        return [boxes[row].reshape(2, 2).astype(float) if row % 2 else None for row in wanted]

    monkeypatch.setattr("c3det.open.model.outlines", outlines)
    picture = tiled(predictor, pixels(128, 240))
    boxes = np.array([[10, 10, 30, 30], [20, 40, 50, 60], [200, 90, 220, 110], [190, 5, 210, 25]])
    none = np.zeros(4, np.int64)
    found = Detections(boxes.astype(np.float32), np.ones(4, np.float32), none, none)
    assert picture.outlines(found, [0, 1, 2]) == [None] * 3, "no tile is held"
    assert calls == []
    picture.detect([])
    got = picture.outlines(found, [3, 0, 1])
    assert got[1] is None
    for row, outline in ((1, got[2]), (3, got[0])):
        assert outline.tolist() == boxes[row].reshape(2, 2).tolist()
    assert {row for *_, rows in calls for row in rows} == {0, 1, 3}
    assert len(calls) == 2
    for shape, shifted, rows in calls:
        for row in rows:
            assert 0 <= shifted[row][0] < shape[1] * 4
            assert 0 <= shifted[row][1] < shape[0] * 4


def test_many_tiles_within_a_budget(predictor: Predictor) -> None:
    image = pixels(300, 420)
    clicks = [Click(30, 40, 0), Click(390, 280, 1), Click(200, 20, 0, positive=False)]
    picture = tiled(predictor, image)
    progress = detect_until_done(picture, clicks)
    assert len(progress) > 6
    answer = picture.detect(clicks, 0)
    assert answer.coverage == pytest.approx(1)
    assert_near(answer.detections, tiled(predictor, image).detect(clicks, 0).detections)


def test_packed_tiles_answer_alike_and_a_limit_holds(predictor: Predictor) -> None:
    image, clicks = pixels(300, 420), [Click(30, 40, 0), Click(390, 280, 1)]
    free = tiled(predictor, image)
    wanted = free.detect(clicks, 0).detections
    limit = free.nbytes * 6 // 10
    limited = tiled(predictor, image, max_bytes=limit)
    for number in (1, 2, 1, 2):
        found = limited.detect(clicks[:number], 0).detections
        assert limited.nbytes <= limit
    assert any(tile.packed for _, tile in limited._tiles.items())
    assert_near(found, wanted, score=0.02)


def test_memory_is_all_that_a_tile_holds(predictor: Predictor) -> None:
    with torch.inference_mode():
        tile = predictor.model.encode(pixels(256, 256))
        assert isinstance(tile, OpenTile)
        before = tile.nbytes
        # 16 channels of stride 2, 48 + 24 + 48 of stride 4 and more of stride 8.
        assert before > 4 * (16 * 128**2 + 120 * 64**2 + 24 * 32**2)
        clicks = [Click(30, 30, 0), Click(90, 90, 1)]
        predictor.model.detect(tile, predictor.model.templates(tile, clicks), clicks)
        assert tile.nbytes > before
        tile.pack()
        assert tile.nbytes < 0.65 * before
        assert tile.proposals.boxes.dtype == torch.float32
        tile.unpack()
    assert tile.features.embeddings[0].dtype == torch.float32


@pytest.mark.parametrize("limit", [1 << 10, 40])
def test_all_that_the_process_holds_is_counted(weights: Path, limit: int) -> None:
    """Every tensor of the process is looked for, whoever holds it."""
    arguments = [sys.executable, "-c", GROWTH, str(weights), "1500", str(limit)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=300)
    mib = 2**20
    for holds, counted in json.loads(done.stdout.splitlines()[-1]):
        assert holds <= counted < holds + mib
        assert 20 * mib < counted <= limit * mib


def test_a_picture_of_1024_px_takes_few_mebibytes(predictor: Predictor) -> None:
    picture = predictor.open(pixels(1024, 1024))
    picture.detect(random_clicks(0, 12, 1024, 1024))
    assert picture.nbytes < 80 * 2**20


def edit(path: Path, **fields: Any) -> None:
    content = json.loads(card_path(path).read_text()) | fields
    content["sha256"] = digest(content)
    card_path(path).write_text(json.dumps(content))


def test_a_card_comes_back(weights: Path) -> None:
    card = read_card(weights)
    assert card.architecture == OpenArchitecture(96, 128)
    assert card.classes == ()
    content = json.loads(card_path(weights).read_text())
    assert content["architecture"] == {"model": "open", "channels": 96, "embedding": 128}
    with pytest.raises(WeightsError, match="choose weights of a closed one"):
        _ = card.closed_architecture


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("classes", ["ship"], "classes must be empty, the open model takes any label"),
        ("typical_sizes", [[3, 4]], "1 typical_sizes for 0 classes"),
        ("architecture", {"model": "open", "channels": 96}, "architecture.embedding is missing"),
        (
            "architecture",
            {"model": "open", "channels": 10**9, "embedding": 128},
            "channels must be a whole number from 16 to 512",
        ),
        (
            "architecture",
            {"model": "open", "channels": 96.0, "embedding": 128},
            "channels must be a whole number",
        ),
        (
            "architecture",
            {**asdict(CARD.architecture), "type": "os"},
            "architecture.type is unknown",
        ),
        ("architecture", {**asdict(CARD.architecture), "model": "x"}, "model must be 'open'"),
        ("score_threshold", 2, "score_threshold must be a number from 0 to 1"),
    ],
)
def test_cards_that_cannot_be_used(tmp_path: Path, field: str, value: object, message: str) -> None:
    path = saved(tmp_path)
    edit(path, **{field: value})
    with pytest.raises(WeightsError, match=message):
        load(path)


def test_tensors_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(path, OpenDetector(channels=32).state_dict(), CARD)
    with pytest.raises(WeightsError, match="do not fit the architecture in their card"):
        load(path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="copy both files again"):
        load(path)


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_in_a_card_is_refused_or_detects(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "open.safetensors"
    if not path.exists():
        saved(tmp_path)
        (tmp_path / "card").write_bytes(card_path(path).read_bytes())
    content = json.loads((tmp_path / "card").read_text())
    mutate(data, content)
    with contextlib.suppress(ValueError):  # NaN and Infinity
        content["sha256"] = digest(content)
    card_path(path).write_text(json.dumps(content), encoding="utf-8")
    try:
        loaded = load(path)
    except WeightsError:
        return
    assert len(loaded.detect(loaded.encode(pixels(64, 64)), [Click(8, 9, 0)], 0)) > 0
