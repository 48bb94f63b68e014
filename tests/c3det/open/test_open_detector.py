"""The open detector: shapes, C3 and late fusion, and that slots are all alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from c3det.clicks import Click
from c3det.detections import Detections
from c3det.open.detector import BINS, OpenDetector, PaddedClicks, _folded, choose_exemplars
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
    assert torch.allclose(features.embedding.norm(dim=1), torch.ones(2, 32, 24), atol=1e-5)
    # A dense box lies around the centre of its cell.
    x1, y1, x2, y2 = features.boxes[1][0, 3, 2]
    assert x1 < 20 < x2
    assert y1 < 28 < y2


def test_a_template_is_the_cell_under_its_click(model: OpenDetector) -> None:
    with torch.inference_mode():
        features = model.encode(torch.rand(1, 3, SIDE, SIDE) * 255)
        templates = model.templates(features, torch.tensor([[[22.0, 42.0]]]))
    assert torch.allclose(templates[0, 0], features.embedding[0, :, 10, 5], atol=1e-5)


def test_conditioned_logits_collate_by_slot(model: OpenDetector) -> None:
    """Of two clicks of a slot the better counts; a click of one slot changes another's maps only
    as that of another slot does."""
    with torch.inference_mode():
        features = model.encode(torch.rand(1, 3, SIDE, SIDE) * 255)
        xy = torch.tensor([[[22.0, 42.0], [90.0, 60.0], [50.0, 100.0]]])
        positive = torch.ones(1, 3, dtype=torch.bool)

        def change(slots: list[int]) -> torch.Tensor:
            clicks = PaddedClicks(xy, torch.tensor([slots]), positive)
            return model.conditioned_logits(features, clicks, model.templates(features, xy), 2)[1]

        exchanged = change([1, 1, 0])
        assert torch.allclose(change([0, 0, 1])[:, [1, 0]], exchanged, atol=1e-5)
        assert not torch.allclose(change([0, 1, 1])[:, 0], change([0, 0, 1])[:, 0], atol=1e-5)


def test_a_click_means_the_box_it_lies_in_the_middle_of(model: OpenDetector) -> None:
    with torch.inference_mode():
        features = model.encode(torch.rand(1, 3, SIDE, SIDE) * 255)
        boxes = torch.tensor([[[0.0, 0, 40, 40], [10, 10, 34, 34], [60, 60, 80, 80], [0, 0, 9, 9]]])
        described = model.describe(features, boxes, torch.ones(1, 4, dtype=torch.bool))
    even = torch.zeros_like(described.scores)
    fixed = replace(described, boxes=boxes, scores=even)
    # The last boxes are those of the clicks; the second click lies in no other.
    chosen = choose_exemplars(fixed, torch.tensor([[[22.0, 22.0], [100.0, 100.0]]]))
    assert chosen.tolist() == [[1, 3]]


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
        renamed = [Click(c.x, c.y, names[c.label], c.positive) for c in reversed(CLICKS)]
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
