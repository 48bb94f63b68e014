"""Fitting to done pictures: what is kept aside, what is trained, what is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.c3det.open.small import untrained
from training.data.index import Annotated
from training.open import adapt
from training.open.adapt import (
    AdaptSettings,
    Quality,
    Trainer,
    Watch,
    cut,
    divide,
    fit,
    shown_section,
    window_of,
)
from training.open.windows import RealPicture


def picture(
    name: str, xs: Sequence[int], width: int = 128, height: int = 96, ignored: Sequence[int] = ()
) -> Annotated:
    """Squares of 12 pixels from given places on, in turn red and blue, of two classes."""
    image = np.random.default_rng(len(xs)).integers(90, 130, (height, width, 3)).astype(np.uint8)
    boxes = np.array([[x, 20, x + 12, 32] for x in xs], np.float32).reshape(-1, 4)
    for number, x in enumerate(xs):
        image[20:32, x : x + 12] = (220, 30, 30) if number % 2 else (30, 30, 220)
    labels = np.arange(len(xs), dtype=np.int64) % 2
    flags = np.isin(np.arange(len(xs)), ignored)
    return Annotated(name, image, boxes, labels, flags)


XS = (4, 24, 44, 64, 84, 104)


@pytest.mark.parametrize(
    ("count", "fitted", "watched", "tested"),
    [
        (2, "b", "a", "a"),
        (4, "abd", "c", "c"),
        (5, "ace", "b", "d"),
        (10, "acefhj", "bg", "di"),
    ],
)
def test_pictures_kept_aside_are_spread(count: int, fitted: str, watched: str, tested: str) -> None:
    pictures = [picture("abcdefghij"[n], XS) for n in range(count)]
    nothing = [picture("empty", ()), picture("ignored", (4, 24), ignored=(0, 1))]
    sides = divide([*nothing, *pictures])
    names = [
        "".join(one.name for one in side) for side in (sides.fitted, sides.watched, sides.tested)
    ]
    assert names == [fitted, watched, tested]
    assert sides.is_independent == (count >= 5)


def test_nothing_is_done() -> None:
    with pytest.raises(ValueError, match="no picture is done"):
        divide([picture("empty", ())])


def test_a_single_picture_is_cut_between_its_objects() -> None:
    sides = divide([picture("one", XS, ignored=(5,))])
    ((fitted,), (kept,)) = sides.fitted, sides.watched
    assert sides.tested == sides.watched
    assert not sides.is_independent
    # Of the five that count, a third, about, is kept aside.
    assert (kept.name, fitted.name) == ("one, first part", "one, second part")
    assert kept.boxes[:, 0].tolist() == [4, 24]
    assert (fitted.boxes[:, 0] + kept.width).tolist() == [44, 64, 84, 104]
    assert fitted.ignored.tolist() == [False, False, False, True]
    assert np.array_equal(np.concatenate([kept.image, fitted.image], 1), picture("", XS).image)


def test_objects_that_the_cut_goes_through_are_ignored() -> None:
    boxes = np.array([[2, 2, 20, 8], [2, 30, 20, 38], [2, 60, 20, 64], [2, 90, 20, 99]], np.float32)
    long = np.array([[0, 40, 20, 58]], np.float32)
    one = Annotated(
        "tall",
        np.zeros((100, 22, 3), np.uint8),
        np.concatenate([boxes, long, long + 1]),
        np.zeros(6, np.int64),
    )
    first, second = cut(one)
    assert len(first.boxes) + len(second.boxes) >= 6
    for part in (first, second):
        assert part.width == 22
        assert (~part.ignored).sum() >= 2
        assert (part.boxes <= [part.width, part.height] * 2).all()
    with pytest.raises(ValueError, match=r"few is the only picture .* finish another picture"):
        cut(picture("few", XS[:3]))


def test_of_a_large_picture_is_shown_where_most_objects_are() -> None:
    whole = picture("wide", (10, 500, 1500, 1540, 1580), width=1600)
    part = shown_section(whole)
    assert (part.name, part.width, part.height) == ("wide", adapt.SHOWN_SIDE, 96)
    assert part.boxes[:, 0].tolist() == [668, 708, 748]
    small = picture("small", XS)
    assert shown_section(small) is small


@pytest.mark.parametrize(
    ("side", "count", "length", "expected"),
    [
        (1000, 10, 20, 256),
        (1000, 10, 80, 320),
        (1000, 10, 300, 384),
        (150, 4, 20, 128),
        (1000, 1000, 10, 160),
        (1000, 5000, 10, 128),
    ],
)
def test_windows_hold_large_objects_and_no_crowds(
    side: int, count: int, length: int, expected: int
) -> None:
    boxes = np.tile(np.array([0, 0, length, length // 2], np.float32), (count, 1))
    one = RealPicture(
        np.zeros((side, side, 3), np.uint8),
        boxes,
        np.zeros(count, np.int64),
        np.zeros((0, 4), np.float32),
    )
    found, scales = window_of([one])
    assert found == expected
    assert scales.largest == expected


def trainer(**settings: float) -> tuple[Trainer, torch.nn.Module]:
    start = untrained()
    given = AdaptSettings(batch=2, **settings)  # type: ignore[arg-type]
    return Trainer(start, [picture("a", XS), picture("b", XS)], given), start


def changed(one: torch.nn.Module, other: torch.nn.Module) -> set[str]:
    theirs = other.state_dict()
    return {
        name for name, value in one.state_dict().items() if not torch.equal(value, theirs[name])
    }


def test_backbone_and_statistics_stay() -> None:
    one, start = trainer(pull=0.0)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    for _ in range(2):
        losses = one.step(0.0)
    assert all(np.isfinite(value) for value in losses.values())
    assert one.steps == 2
    names = changed(one.averaged, start)
    assert {"dense.weight", "region_embedding.weight", "comparison.first.0.weight"} <= names
    assert not any(name.startswith("backbone.") for name in names)
    assert not any("running" in name or "num_batches" in name for name in names)
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())


def test_pull_draws_the_weights_back() -> None:
    settings = AdaptSettings()
    one, start = trainer(pull=1 / settings.rate_at(0, 0.0))
    one.step(0.0)
    drawn = one._network.state_dict()
    assert all(
        torch.allclose(value, drawn[name], atol=1e-6) for name, value in start.state_dict().items()
    )


def test_the_same_seed_draws_the_same_windows() -> None:
    (one, _), (other, _) = trainer(), trainer()
    assert torch.equal(one.draw().images, other.draw().images)
    other.steps = 1
    assert not torch.equal(one.draw().images, other.draw().images)


def scripted(monkeypatch: pytest.MonkeyPatch, **answers: list[float]) -> None:
    """Let each look find what is next of its first picture's name."""

    def look(self: Watch, network: torch.nn.Module) -> Quality:
        value = answers[self._pictures[0].name].pop(0)
        return Quality(value, value, None)

    monkeypatch.setattr(Watch, "look", look)


def test_the_best_step_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = divide([picture(name, XS) for name in "abcde"])
    scripted(monkeypatch, b=[30, 20, 50, 40, 50], d=[10, 35])
    lines: list[str] = []
    start = untrained()
    fitted = fit(start, sides, AdaptSettings(steps=4, batch=1), lines.append)
    assert [steps for steps, _ in fitted.looks] == [0, 1, 2, 3, 4]
    assert (fitted.steps, fitted.before.mean, fitted.after.mean) == (2, 10, 35)
    assert fitted.gained
    assert changed(fitted.network, start)
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("watched", "tested", "steps"),
    [([30, 20, 30, 10, 0], [10], 0), ([30, 40, 30, 10, 0], [10, 9], 1)],
)
def test_what_is_not_better_gained_nothing(
    watched: list[float], tested: list[float], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = divide([picture(name, XS) for name in "abcde"])
    scripted(monkeypatch, b=watched, d=tested)
    fitted = fit(untrained(), sides, AdaptSettings(steps=4, batch=1))
    assert fitted.steps == steps
    assert not fitted.gained


def test_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = divide([picture(name, XS) for name in "ab"])
    scripted(monkeypatch, a=[30, 40, 30, 20, 10])
    fitted = fit(untrained(), sides, AdaptSettings(minutes=0.0001, batch=1))
    assert [steps for steps, _ in fitted.looks] == [0, 1], "the first step took all of it"
    assert (fitted.steps, fitted.after.mean) == (1, 40)


def test_a_look_counts_what_clicks_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Watch([picture("a", XS)], picture("b", XS)).look(untrained())
    assert all(0 <= value <= 100 for value in (found.clicked, found.carried, found.any_object))  # type: ignore[operator]
    # No class of the one picture is in the other: nothing can be carried over.
    one_class = picture("c", XS[:1])
    other_class = Annotated("d", one_class.image, one_class.boxes, one_class.labels + 1)
    assert Watch([one_class], other_class).look(untrained()).carried is None
    assert Quality(40.0, None, 3.0).mean == 40
    assert Quality(None, None, 3.0).mean == 0
