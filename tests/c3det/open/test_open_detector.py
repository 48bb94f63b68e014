"""The open detector: shapes, C3 and late fusion, and that slots are all alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from c3det.clicks import Click
from c3det.detections import Detections
from c3det.open.detector import (
    BINS,
    CELL,
    CLICKED_BOXES,
    MOST_MISFIT,
    OpenDetector,
    PaddedClicks,
    SlotSizes,
    _folded,
    sampled_at,
)
from c3det.open.mobilenet import CHANNELS, STRIDES, MobileNetV2
from c3det.open.model import OpenModel

SIDE = 128


@pytest.fixture(scope="module")
def model() -> OpenDetector:
    torch.manual_seed(0)
    detector = OpenDetector()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter += torch.randn_like(parameter) * 0.02
    return detector.eval()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (100, 120, 3)).astype(np.uint8)


CLICKS = [
    Click(20, 30, 0),
    Click(60, 31, 0),
    Click(90, 80, 1),
    Click(15, 70, 2),
    Click(40, 44, 2, positive=False),
]


def same(first: Detections, second: Detections, labels: dict[int, int]) -> bool:
    renamed = [labels[int(label)] for label in first.labels]
    return (
        np.array_equal(first.boxes, second.boxes)
        and np.array_equal(first.scores, second.scores)
        and renamed == second.labels.tolist()
    )


def test_backbone_levels() -> None:
    levels = MobileNetV2().eval()(torch.zeros(1, 3, 64, 96))
    assert [level.shape[1] for level in levels] == list(CHANNELS)
    assert [level.shape[2:] for level in levels] == [(64 // s, 96 // s) for s in STRIDES]


def test_what_is_encoded(model: OpenDetector) -> None:
    with torch.inference_mode():
        features = model.encode(torch.rand(2, 3, SIDE, 96) * 255)
    assert [score.shape for score in features.scores] == [(2, 32, 24), (2, 16, 12), (2, 8, 6)]
    assert features.boxes[0].shape == (2, 32, 24, 4)
    assert [cells.shape for cells in features.embeddings] == [
        (2, CELL, 32, 24),
        (2, CELL, 16, 12),
        (2, CELL, 8, 6),
    ]
    for cells in features.embeddings:
        assert torch.allclose(cells.norm(dim=1), torch.ones(1), atol=1e-5)
    # A dense box lies around the centre of its cell.
    x1, y1, x2, y2 = features.boxes[1][0, 3, 2]
    assert x1 < 20 < x2
    assert y1 < 28 < y2


def test_a_template_is_the_cells_under_its_click(model: OpenDetector) -> None:
    with torch.inference_mode():
        features = model.encode(torch.rand(1, 3, SIDE, SIDE) * 255)
        # In the middle of a cell of stride 4, and of one of stride 16.
        templates = model.templates(features, torch.tensor([[[22.0, 42.0], [24.0, 40.0]]]))
    assert templates.shape == (1, 2, 3, CELL)
    assert torch.allclose(templates[0, 0, 0], features.embeddings[0][0, :, 10, 5], atol=1e-5)
    assert torch.allclose(templates[0, 1, 2], features.embeddings[2][0, :, 2, 1], atol=1e-5)


def test_conditioned_logits_collate_by_slot(model: OpenDetector) -> None:
    """Of two clicks of a slot the better counts; a click of one slot changes another's maps only
    as that of another slot does."""
    with torch.inference_mode():
        features = model.encode(torch.rand(1, 3, SIDE, SIDE) * 255)
        xy = torch.tensor([[[22.0, 42.0], [90.0, 60.0], [50.0, 100.0]]])
        positive = torch.ones(1, 3, dtype=torch.bool)

        def change(slots: list[int]) -> torch.Tensor:
            clicks = PaddedClicks(xy, torch.tensor([slots]), positive)
            members, _ = clicks.members(2)
            sizes = SlotSizes.of(torch.tensor([[[0.0, 0, 20, 20]]]).expand(-1, 3, -1), members)
            templates = model.templates(features, xy)
            return model.conditioned_logits(features, clicks, templates, sizes)[1]

        exchanged = change([1, 1, 0])
        assert torch.allclose(change([0, 0, 1])[:, [1, 0]], exchanged, atol=1e-5)
        assert not torch.allclose(change([0, 1, 1])[:, 0], change([0, 0, 1])[:, 0], atol=1e-5)


def test_boxes_of_the_size_of_the_exemplars_keep_their_logits(model: OpenDetector) -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 20], [5, 5, 25, 35], [0, 0, 40, 10]]])
    positive = torch.tensor([[[True, True, False], [False, False, True], [False] * 3]])
    sizes = SlotSizes.of(boxes, positive)
    assert torch.allclose(sizes.mean[0, 1], torch.tensor([40.0, 10]).log())
    assert sizes.known.tolist() == [[True, True, False]]
    misfit = sizes.misfit(boxes[:, None])[0, :, 0]
    # Both exemplars of the first slot are within its spread; the third slot has none.
    assert torch.allclose(misfit[0, :2], torch.zeros(2), atol=1e-6)
    away = torch.tensor([40 / 20, 20 / 10]).log()  # from the nearer end of the spread
    assert misfit[0, 2].item() == pytest.approx(float(away.square().sum()), abs=1e-4)
    assert misfit[1].tolist() == [MOST_MISFIT, MOST_MISFIT, 0]
    assert misfit[2].tolist() == [0, 0, 0]
    ratio = SlotSizes.of(boxes[:, :1], positive[:, :1, :1]).misfit(boxes[:, 1:2, None])
    assert ratio.item() == pytest.approx(float(torch.tensor([2.0, 1.5]).log().square().sum()))
    with torch.inference_mode():
        features = model.encode(torch.rand(1, 3, SIDE, SIDE) * 255)
        xy = torch.tensor([[[22.0, 42.0]]])
        clicks = PaddedClicks(xy, torch.tensor([[0]]), torch.ones(1, 1, dtype=torch.bool))
        templates = model.templates(features, xy)
        one = torch.ones(1, 1, 1, dtype=torch.bool)
        by_size = [
            model.conditioned_logits(features, clicks, templates, SlotSizes.of(box, one))
            for box in boxes.split(1, 1)
        ]
    assert torch.equal(by_size[0][1], by_size[1][1])
    assert not torch.allclose(by_size[0][0][0], by_size[1][0][0])


def test_a_box_is_shifted_by_the_level_of_its_size() -> None:
    shift = torch.arange(3.0).view(1, 1, 3, 1, 1).expand(1, 2, 3, 8, 8).contiguous()
    boxes = torch.tensor([[[0.0, 0, 26, 10], [0, 0, 28, 10], [0, 0, 10, 60], [0, 0, 9, 63]]])
    assert sampled_at(shift, boxes)[0].T.tolist() == [[0, 1, 1, 2]] * 2


def test_a_click_means_the_box_it_lies_in_the_middle_of(model: OpenDetector) -> None:
    boxes = [[0.0, 0, 40, 40], [10, 10, 34, 34], [60, 60, 80, 80]]
    at_clicks = [[0.0, 0, 9, 9]] * CLICKED_BOXES * 2
    with torch.inference_mode():
        features = model.encode(torch.rand(1, 3, SIDE, SIDE) * 255)
        every = torch.tensor([boxes + at_clicks])
        described = model.describe(features, every, torch.ones(1, 9, dtype=torch.bool))
        torch.nn.init.zeros_(model.choice.out.weight)
        torch.nn.init.zeros_(model.choice.out.bias)
        even = replace(described, boxes=every, scores=torch.zeros_like(described.scores))
        logits = model.choice(even, torch.tensor([[[22.0, 22.0], [100.0, 100.0]]]))[0]
    assert logits[0].argmax() == 1
    # The second click lies in no box; its own stand in, those of the first click do not.
    assert logits.isfinite().tolist() == [
        [True, True, False] + [True] * CLICKED_BOXES + [False] * CLICKED_BOXES,
        [False] * (3 + CLICKED_BOXES) + [True] * CLICKED_BOXES,
    ]


def test_boxes_are_described_alike_alone_and_together(model: OpenDetector) -> None:
    with torch.inference_mode():
        features = model.encode(torch.rand(1, 3, SIDE, SIDE) * 255)
        boxes = torch.tensor([[[4.0, 4, 40, 30], [50, 60, 90, 80], [100, 100, 120, 127]]])
        valid = torch.ones(1, 3, dtype=torch.bool)
        together = model.describe(features, boxes, valid)
        alone = model.describe(features, boxes[:, 1:2], valid[:, 1:2])
    assert torch.allclose(together.embeddings[:, 1:2], alone.embeddings, atol=1e-5)
    assert torch.allclose(together.layouts[:, 1:2], alone.layouts, atol=1e-5)
    assert torch.allclose(together.boxes[:, 1:2], alone.boxes, atol=1e-3)
    assert BINS == 7


def test_layouts_are_those_of_the_refined_boxes(model: OpenDetector) -> None:
    with torch.inference_mode():
        features = model.encode(torch.rand(1, 3, SIDE, SIDE) * 255)
        boxes = torch.tensor([[[4.0, 4, 40, 30], [50, 60, 90, 80]]])
        found = model.describe(features, boxes, torch.ones(1, 2, dtype=torch.bool))
        assert not torch.allclose(found.boxes, boxes, atol=1e-2)
        assert torch.equal(found.layouts, model.layouts(features, found.boxes))
    assert torch.allclose(found.layouts.norm(dim=2), torch.ones(1, 2))


@torch.inference_mode()
def test_other_names_and_orders_give_the_very_same_boxes(
    model: OpenDetector, image: np.ndarray
) -> None:
    open_model = OpenModel(model)
    picture = open_model.encode_whole(image)
    found = open_model.detect_whole(picture, CLICKS)
    assert len(found.boxes) > 3
    assert {0, 1, 2} >= set(found.labels.tolist())
    for names in ({0: 1, 1: 0, 2: 2}, {0: 7, 1: 3, 2: 0}):
        renamed = [replace(c, label=names[c.label]) for c in reversed(CLICKS)]
        assert same(found, open_model.detect_whole(picture, renamed), names)


@torch.inference_mode()
def test_slots_that_nothing_was_clicked_for_claim_nothing(
    model: OpenDetector, image: np.ndarray
) -> None:
    open_model = OpenModel(model)
    picture = open_model.encode_whole(image)
    only_negative = [Click(40, 44, 2, positive=False)]
    assert len(open_model.detect_whole(picture, only_negative).boxes) == 0
    with_it = open_model.detect_whole(picture, [*CLICKS[:3], *only_negative])
    without = open_model.detect_whole(picture, CLICKS[:3])
    assert same(without, with_it, {0: 0, 1: 1})


@torch.inference_mode()
def test_zero_clicks_give_any_object(model: OpenDetector, image: np.ndarray) -> None:
    open_model = OpenModel(model)
    found = open_model.detect_whole(open_model.encode_whole(image), [])
    assert set(found.labels.tolist()) <= {-1}
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, 2] <= 120).all()
    assert (found.boxes[:, 3] <= 100).all()


def test_no_boxes_to_describe(model: OpenDetector) -> None:
    with torch.inference_mode():
        features = model.encode(torch.rand(1, 3, SIDE, SIDE) * 255)
        none = model.describe(features, torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool))
    assert none.embeddings.shape == (1, 0, 128)


def test_folding_is_pixel_unshuffle() -> None:
    samples = torch.rand(3, 2, 6, 6)
    assert torch.equal(_folded(samples), torch.nn.functional.pixel_unshuffle(samples, 2))
