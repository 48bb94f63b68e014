"""A step of training: whom it clicks and what it wants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from c3det.open.compare import ExemplarBatch
from c3det.open.detector import FIT, Described, OpenDetector, PaddedClicks, SlotSizes
from training.open.composites import Drawn
from training.open.episodes import SLOTS, Episode, collate
from training.open.step import (
    UNKNOWN,
    StepSettings,
    _exemplars,
    _hard_clicks,
    _less_sure,
    _targets,
    _with_support,
    augmented,
    run,
)

SIDE = 96


def episode(seed: int = 0) -> Episode:
    """Two pictures of squares, of two classes each; the first has something ignored."""
    rng = np.random.default_rng(seed)
    drawn = []
    for number in range(2):
        image = rng.integers(90, 110, (SIDE, SIDE, 3)).astype(np.uint8)
        boxes, kinds = [], []
        for row in range(3):
            for column in range(3):
                x, y, kind = 8 + 30 * column, 8 + 30 * row, (row + column) % 2
                image[y : y + 14, x : x + 14] = (220, 30, 30) if kind else (30, 220, 30)
                boxes.append((x, y, x + 14, y + 14))
                kinds.append(kind)
        ignored = np.array([[68, 68, 82, 82]], np.float32) if number == 0 else np.zeros((0, 4))
        drawn.append(
            Drawn(
                image,
                np.array(boxes, np.float32),
                np.array(kinds, np.int64),
                ignored=ignored.astype(np.float32),
            )
        )
    return collate(drawn, rng)


def described(boxes: torch.Tensor) -> Described:
    count = boxes.shape[1]
    return Described(
        boxes,
        torch.full((len(boxes), count), 4.0),
        torch.nn.functional.normalize(torch.ones(len(boxes), count, 8), dim=2),
        torch.nn.functional.normalize(torch.ones(len(boxes), count, 6), dim=2),
        torch.zeros(len(boxes), count, FIT),
        torch.ones(len(boxes), count, dtype=torch.bool),
    )


def test_classes_of_one_set_are_the_same_in_all_pictures() -> None:
    model = OpenDetector().eval()
    told = episode()
    swapped = replace(told, kinds=torch.stack([told.kinds[0], 1 - told.kinds[1].clamp(max=1)]))
    swapped.kinds[told.kinds < 0] = -1

    def contrast(one: Episode, one_set: bool) -> float:
        torch.manual_seed(0)
        losses = run(model, one, StepSettings(hard=0.0), False, one_set=one_set)
        return float(losses["contrast"].detach())

    assert contrast(told, False) == pytest.approx(contrast(swapped, False))
    assert abs(contrast(told, True) - contrast(swapped, True)) > 1e-3


def test_losses_are_finite_and_reach_every_weight(device: str) -> None:
    torch.manual_seed(0)
    model = OpenDetector().to(device)
    losses = run(model, episode().to(torch.device(device)), StepSettings(hard=1.0), amp=False)
    assert set(losses) >= {"object", "object box", "region score", "contrast", "second round"}
    assert all(bool(value.isfinite()) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == ["comparison.nearest", "propagation.likeness", "propagation.drawn"]  # by hand


def test_what_was_clicked_goes_along_to_the_second_picture() -> None:
    found = described(torch.tensor([[[0.0, 0, 8, 8]], [[20, 20, 40, 30]]]))
    found.embeddings[0] = -found.embeddings[0]
    clicks = PaddedClicks(
        torch.tensor([[[4.0, 4]], [[30, 25]]]),
        torch.tensor([[2], [-1]]),
        torch.tensor([[True]] * 2),
    )
    support = torch.tensor([-1, 0])
    own = torch.zeros(2, 1, dtype=torch.long)
    exemplars = _exemplars(found, own, _with_support(clicks, support), support)
    assert exemplars.positive[0].nonzero().tolist() == [[2, 0]]
    assert exemplars.positive[1].nonzero().tolist() == [[2, 1]]
    assert not exemplars.negative.any()
    assert exemplars.foreign is not None
    assert exemplars.foreign.tolist() == [[False, True]] * 2
    assert torch.equal(exemplars.embeddings[1, 1], found.embeddings[0, 0])
    assert torch.equal(exemplars.boxes[1, 1], found.boxes[0, 0])
    assert not exemplars.xy[:, 1].isfinite().any()


def test_logits_are_less_sure_by_shares() -> None:
    logits = torch.tensor([[5.0, -9.0]] * 3)
    less = _less_sure(logits, torch.tensor([[1.0], [0.5], [0.0]]))
    assert less.tolist() == [[5, -9], [1, -6], [UNKNOWN, UNKNOWN]]


def test_sizes_are_exact_where_convolutions_are_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    found: list[SlotSizes] = []

    def kept(*given: Any) -> Any:
        found.append(given[-1])
        return original(*given)

    model = OpenDetector().to(device)
    original = model.conditioned_logits
    monkeypatch.setattr(model, "conditioned_logits", kept)
    run(model, episode().to(torch.device(device)), StepSettings(), amp=True)
    (sizes,) = found
    assert (sizes.mean.dtype, sizes.spread.dtype) == (torch.float32, torch.float32)


def test_pairs_train_too(device: str) -> None:
    torch.manual_seed(0)
    one = episode()
    one.support[1] = 0
    one.click_slots[1] = -1
    model, one = OpenDetector().to(device), one.to(torch.device(device))
    losses = run(model, one, StepSettings(hard=1.0), amp=False)
    assert all(bool(value.isfinite()) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()


def test_a_few_steps_on_one_batch_lower_its_loss(device: str) -> None:
    torch.manual_seed(0)
    model, batch = OpenDetector().to(device), episode().to(torch.device(device))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    values = []
    for _ in range(6):
        losses = run(model, batch, StepSettings(hard=0.0), amp=False)
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert min(values[-2:]) < values[0]


def test_other_light_keeps_pictures_pictures() -> None:
    images = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    changed = augmented(images, torch.full((len(images),), -1))
    assert changed.shape == (4, 3, 8, 8)
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 255


def test_the_pictures_of_a_pair_have_the_same_order_of_colours() -> None:
    torch.manual_seed(0)
    count = 200
    images = torch.tensor([10, 120, 240], dtype=torch.uint8).expand(2 * count, 4, 4, 3)
    alone = torch.full((2 * count,), -1)
    pairs = alone.clone()
    pairs[1::2] = torch.arange(0, 2 * count, 2)

    def orders(support: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return augmented(images, support)[:, :, 0, 0].argsort(1)

    together, apart = orders(pairs), orders(alone)
    assert torch.equal(together[::2], together[1::2])
    assert torch.equal(together[::2], apart[::2]), "a picture without a support is as it was"
    same = (apart[::2] == apart[1::2]).all(1).float().mean()
    assert 0.5 < same < 0.8


def test_candidates_are_of_their_objects_slot_or_of_none() -> None:
    one = episode()
    one.slots[:] = torch.where(one.kinds == 0, 3, torch.where(one.kinds == 1, -1, -1))
    truth = one.boxes
    far = torch.tensor([[30.0, 30, 37, 37]]).expand(2, 1, 4)
    near = truth[:, :2] + torch.tensor([0.0, 0, 2, 2])
    found = described(torch.cat([near, far], 1))
    members = torch.zeros(2, SLOTS, 1, dtype=torch.bool)
    members[:, 3] = True
    xy = (truth[:, :1, :2] + truth[:, :1, 2:]) / 2
    embeddings, layouts = found.embeddings[:, :1], found.layouts[:, :1]
    exemplars = ExemplarBatch(xy, truth[:, :1], embeddings, layouts, members, ~members & False)
    targets = _targets(found, exemplars, one, one.kinds >= 0)
    kinds = one.kinds[:, :2].tolist()
    for row in range(2):
        wanted = [3 if kind == 0 else SLOTS for kind in kinds[row]] + [SLOTS]
        assert targets.slot[row].tolist() == wanted
    assert (targets.weight > 0).all()
    assert targets.clicked.tolist() == [
        [kind == 0 and n == 0 for n, kind in enumerate(row)] + [False] for row in kinds
    ]


def test_a_negative_click_tells_its_look_alikes_and_the_objects_of_the_slot_apart() -> None:
    one = episode()
    kinds = one.kinds[0]
    first, other = int(kinds[0]), 1 - int(kinds[0])
    assert kinds[:9].tolist() == [first, other] * 4 + [first]
    # Slot 2 is the class of the first object; the second object is clicked as not of it.
    one.slots[:] = torch.where(one.kinds == first, 2, -1)
    found = described(one.boxes[:, :9])
    members = torch.zeros(2, SLOTS, 2, dtype=torch.bool)
    positive, negative = members.clone(), members.clone()
    positive[:, 2, 0] = negative[:, 2, 1] = True
    boxes = one.boxes[:, :2]
    exemplars = ExemplarBatch(
        (boxes[..., :2] + boxes[..., 2:]) / 2,
        boxes,
        found.embeddings[:, :2],
        found.layouts[:, :2],
        positive,
        negative,
    )

    def contested(exemplars: ExemplarBatch) -> torch.Tensor:
        return _targets(found, exemplars, one, one.kinds >= 0).contested

    assert contested(exemplars).all()
    # A third class, and what is of another slot, are not.
    third = kinds.clone()
    third[[2, 5]] = 7
    one.kinds[0], one.slots[0, [2, 5]] = third, 4
    assert contested(exemplars)[0].tolist() == [n not in (2, 5) for n in range(9)]
    # On the ground there is no class; of another picture, no object here.
    assert not contested(replace(exemplars, boxes=boxes + 15)).any()
    nowhere = torch.stack([exemplars.xy[:, 0], torch.full((2, 2), -torch.inf)], 1)
    assert not contested(replace(exemplars, xy=nowhere)).any()


def test_hard_clicks_fall_on_what_is_missed_and_on_what_is_wrong() -> None:
    torch.manual_seed(0)
    one = episode()
    one.slots[:] = torch.where(one.kinds >= 0, one.kinds, -1)
    # The first object of each picture is found, the others are not; a wrong box lies between.
    wrong = torch.tensor([[26.0, 26, 36, 36]]).expand(2, 1, 4)
    found = described(torch.cat([one.boxes[:, :1], wrong], 1))
    shares = torch.zeros(2, 2, SLOTS)
    for row in range(2):
        shares[row, 0, int(one.slots[row, 0])] = 0.99
        shares[row, 1, 0] = 0.9
    clicked = torch.zeros_like(one.kinds, dtype=torch.bool)
    clicks = _hard_clicks(shares, found, one, clicked, 1.0)
    half = clicks.slots.shape[1] // 2
    for row in range(2):
        used = clicks.slots[row] >= 0
        assert used[:half].any()
        for x, y in clicks.xy[row][:half][used[:half]].tolist():
            inside = [
                index
                for index, (x1, y1, x2, y2) in enumerate(one.boxes[row].tolist())
                if x1 < x < x2 and y1 < y < y2
            ]
            assert inside
            assert inside != [0], "that object is found"
        negative = used[half:].nonzero()[:, 0] + half
        assert clicks.slots[row, negative].tolist() == [0] * len(negative)
        for x, y in clicks.xy[row, negative].tolist():
            assert (x, y) == pytest.approx((31, 31))
    assert clicks.positive[:, :half].all()
    assert not clicks.positive[:, half:].any()
