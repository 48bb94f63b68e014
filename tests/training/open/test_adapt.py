"""Fitting to done pictures: what is kept aside, what is trained, what is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.c3det.open.small import untrained
from tests.training.open.small_jobs import XS, squares
from training.data.annotated import Annotated
from training.open.adapt import AdaptSettings, HeldOutEvaluator, Quality, Trainer, fit, window_of
from training.open.splitting import split_pictures
from training.open.windows import RealPicture


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
    return Trainer(start, [squares("a", XS), squares("b", XS)], given), start


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
    """Let each evaluation find what is next of its first picture's name."""

    def evaluate(self: HeldOutEvaluator, network: torch.nn.Module) -> Quality:
        value = answers[self._pictures[0].name].pop(0)
        return Quality(value, value, None)

    monkeypatch.setattr(HeldOutEvaluator, "evaluate", evaluate)


def test_the_best_step_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    split = split_pictures([squares(name, XS) for name in "abcde"])
    scripted(monkeypatch, b=[30, 20, 50, 40, 50], d=[10, 35])
    lines: list[str] = []
    start = untrained()
    fitted = fit(start, split, AdaptSettings(steps=4, batch=1), lines.append)
    assert [steps for steps, _ in fitted.evaluations] == [0, 1, 2, 3, 4]
    assert (fitted.steps, fitted.before.mean, fitted.after.mean) == (2, 10, 35)
    assert fitted.gained
    assert changed(fitted.network, start)
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("watched", "tested", "steps"),
    [([30, 20, 30, 10, 0], [10], 0), ([30, 31, 30, 10, 0], [10, 9], 1)],
)
def test_what_is_not_better_gained_nothing(
    watched: list[float], tested: list[float], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = split_pictures([squares(name, XS) for name in "abcde"])
    scripted(monkeypatch, b=watched, d=tested)
    fitted = fit(untrained(), split, AdaptSettings(steps=4, batch=1))
    assert fitted.steps == steps
    assert not fitted.gained


def test_what_is_far_better_on_the_other_half_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    split = split_pictures([squares(name, XS) for name in "abcde"])
    scripted(monkeypatch, b=[30, 40, 30, 10, 0], d=[10, 9])
    fitted = fit(untrained(), split, AdaptSettings(steps=4, batch=1))
    assert fitted.gained


def test_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    split = split_pictures([squares(name, XS) for name in "ab"])
    scripted(monkeypatch, a=[30, 40, 30, 20, 10])
    fitted = fit(untrained(), split, AdaptSettings(minutes=0.0001, batch=1))
    assert [steps for steps, _ in fitted.evaluations] == [0, 1], "the first step took all of it"
    assert (fitted.steps, fitted.after.mean) == (1, 40)


def test_an_evaluation_counts_what_clicks_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    found = HeldOutEvaluator([squares("a", XS)], squares("b", XS)).evaluate(untrained())
    assert all(0 <= value <= 100 for value in (found.clicked, found.carried, found.any_object))  # type: ignore[operator]
    # No class of the one picture is in the other: nothing can be carried over.
    one_class = squares("c", XS[:1])
    other_class = Annotated("d", one_class.image, one_class.boxes, one_class.labels + 1)
    assert HeldOutEvaluator([one_class], other_class).evaluate(untrained()).carried is None
    assert Quality(40.0, None, 3.0).mean == 40
    assert Quality(None, None, 3.0).mean == 0
