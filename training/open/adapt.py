"""Fits the open model to a job of which some pictures are done, on a CPU, within minutes.

What is trained is all behind the backbone: neck, proposals, regions, embedding and comparison, on
windows of the done pictures with clicks of a simulated annotator, as `training.open.train` does it.
Three things keep the rest from being forgotten: the backbone and all statistics of BatchNorm stay
as they are; each step draws the weights back to where they began; and what is kept is the moving
average of the weights at the step that did best on pictures that were not trained on.

Which pictures are trained on, choose the step and tell the gain says `training.open.splitting`.
Whether anything was gained is decided by the last two together.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from c3det.clicks import Click
from c3det.commands import positive
from c3det.exemplars import Exemplar
from c3det.open.detector import PAD, OpenDetector
from c3det.open.model import OpenModel
from training.data.annotated import Annotated
from training.evaluation import metrics
from training.open.clicking import click_at_random, members
from training.open.episodes import Episode, collate
from training.open.evaluate import Pairs, agnostic, quality
from training.open.reporting import MAIN_COUNT, MOST_PROPOSALS
from training.open.splitting import Split, evaluated_section
from training.open.step import StepSettings, run
from training.open.train import CLIP, RECENT
from training.open.windows import RealPicture, Scales, draw_windows
from training.options import option

EVALUATED_AT = (0.25, 0.5, 0.75, 1.0)
"""Shares of the time after which the held-out pictures are evaluated."""

WARM_UP = 10
"""Steps in which the learning rate rises."""

SIDES = (128, 384)
"""Of a window in pixels, least and most."""

FACTORS = (0.7, 1.4)
"""By which windows are made smaller or larger: the function shows pictures as they are."""

AVERAGE = 0.98
"""Decay of the moving average of the weights."""

CROWD = 60
"""Objects of a window, on the average, where they stand most densely."""


@dataclass(frozen=True, slots=True)
class AdaptSettings:
    """How the model is fitted.

    Attributes:
        minutes: Approximate training time. An option of the command line.
        steps: So many instead, whatever time they take; 0: by the clock.
        batch: Windows of a step.
        rate: Highest learning rate, falling as a cosine.
        pull: How strongly each step draws the weights back: by the learning rate times this.
        seed: Of all that is random.
    """

    minutes: float = option(4.0, "approximate training time", parse=positive)
    steps: int = 0
    batch: int = 4
    rate: float = 3e-4
    pull: float = 150.0
    seed: int = 0

    def rate_at(self, step: int, share: float) -> float:
        """The learning rate of a step."""
        return (
            self.rate * min(1.0, (step + 1) / WARM_UP) * (0.55 + 0.45 * math.cos(math.pi * share))
        )


@dataclass(frozen=True, slots=True)
class Quality:
    """Average precision (IoU 0.5) in percent, None where there is nothing to find.

    Attributes:
        clicked: Of what nobody clicked, after three clicks a class on each picture.
        carried: Of the classes of one of the pictures that are trained on, after three clicks a
            class on that one, none on each picture.
        any_object: Without clicks, whatever the class.
    """

    clicked: float | None
    carried: float | None
    any_object: float | None

    @property
    def mean(self) -> float:
        """Of the two with clicks, as far as they are known: what is chosen by."""
        known = [value for value in (self.clicked, self.carried) if value is not None]
        return sum(known) / len(known) if known else 0.0

    def summary(self) -> str:
        """One line for people."""
        words = {
            "after 3 clicks a class": self.clicked,
            "after 3 clicks a class on another picture": self.carried,
            "without clicks": self.any_object,
        }
        return "AP " + ", ".join(
            f"{'-' if value is None else f'{value:.1f}'} {name}" for name, value in words.items()
        )


def exemplars_of(model: OpenModel, picture: Annotated, clicks: Sequence[Click]) -> list[Exemplar]:
    """What the model takes under clicks, to find the like in other pictures."""
    templates = model.templates(model.encode_whole(picture.image), clicks)
    examples = []
    for click, template in zip(clicks, templates, strict=True):
        vector, box = model.described(template)
        width, height = (box[2:] - box[:2]).tolist()
        numbers = vector.astype(np.float16).tobytes()
        examples.append(Exemplar(click.label, click.positive, numbers, width, height))
    return examples


class HeldOutEvaluator:
    """Measures how well weights find the objects of held-out pictures.

    Args:
        pictures: That were held out.
        clicked: A picture that is trained on, whose clicks are carried over.
    """

    def __init__(self, pictures: Sequence[Annotated], clicked: Annotated) -> None:
        self._pictures = [evaluated_section(one) for one in pictures]
        self._clicked = evaluated_section(clicked)
        (self._carried,) = click_at_random(self._clicked, (MAIN_COUNT,), 0)
        self._labels = sorted({label for one in self._pictures for label in members(one)})
        self._shared = [label for label in self._labels if label in members(self._clicked)]

    @torch.inference_mode()
    def evaluate(self, network: OpenDetector) -> Quality:
        """How well the objects are found."""
        model = OpenModel(network)
        exemplars = exemplars_of(model, self._clicked, self._carried.clicks)
        clicked: Pairs = []
        rest: Pairs = []
        carried: Pairs = []
        blind: Pairs = []
        for place, picture in enumerate(self._pictures):
            tile = model.encode_whole(picture.image)
            (state,) = click_at_random(picture, (MAIN_COUNT,), place)
            found = model.detect_whole(tile, state.clicks)
            clicked.append((picture, found))
            rest.append(metrics.unclicked(picture, found, state.objects))
            carried.append((picture, model.detect_whole(tile, [], exemplars)))
            proposals = model.detect_whole(tile, [])
            proposals = proposals.take(np.arange(min(len(proposals), MOST_PROPOSALS)))
            blind.append((picture, replace(proposals, labels=np.zeros_like(proposals.labels))))
        unclicked = quality(rest, self._labels, 0.0)["AP"]
        return Quality(
            quality(clicked, self._labels, 0.0)["AP"] if unclicked is None else unclicked,
            quality(carried, self._shared, 0.0)["AP"] if self._shared else None,
            agnostic(blind)["AP"],
        )


@dataclass(slots=True)
class FitResult:
    """What came of it.

    Attributes:
        network: The best one on the validation pictures; the given one where none was better.
        steps: After how many it was.
        evaluations: Steps, and the quality on the validation pictures then; the first without any
            step.
        before: Quality on the test pictures.
        after: Likewise, of ``network``.
        seconds: That it took.
    """

    network: OpenDetector
    steps: int
    evaluations: list[tuple[int, Quality]]
    before: Quality
    after: Quality
    seconds: float

    @property
    def gained(self) -> bool:
        """Whether it is better on all pictures that were kept aside.

        Two test pictures alone tell too little: two of three fits to ten pictures that found far
        more in the rest of a job were worse on them.
        """
        chosen = dict(self.evaluations)
        before = chosen[0].mean + self.before.mean
        return self.steps > 0 and chosen[self.steps].mean + self.after.mean > before


def fit(
    network: OpenDetector,
    split: Split,
    settings: AdaptSettings,
    log: Callable[[str], None] = lambda line: None,
) -> FitResult:
    """Fit a network to pictures.

    Args:
        network: Stays as it is.
        split: The pictures.
        settings: Of all of it.
        log: Takes a line of progress now and then.

    Raises:
        ValueError: No window of the pictures can be trained on.
    """
    started = time.monotonic()
    torch.manual_seed(settings.seed)
    validation = HeldOutEvaluator(split.validation, split.train[0])
    test = HeldOutEvaluator(split.test, split.train[0]) if split.is_independent else validation
    start = copy.deepcopy(network).float().eval()
    for parameter in start.parameters():
        parameter.requires_grad_(False)
    before = validation.evaluate(start)
    evaluations = [(0, before)]
    best, best_steps = start, 0
    tested = before if test is validation else test.evaluate(start)
    seconds_each = (time.monotonic() - started) / (1 if test is validation else 2)
    log(f"before: {before.summary()}")
    # What is left for training, without the evaluations that are to come.
    count = len(EVALUATED_AT) + (2 if test is validation else 3)
    limit = 60 * settings.minutes - seconds_each * count
    limit = max(limit, 0.2 * 60 * settings.minutes)
    trainer = Trainer(start, split.train, settings)
    left = list(EVALUATED_AT)
    trained = 0.0
    while left:
        since = time.monotonic()
        share = trainer.steps / settings.steps if settings.steps else trained / limit
        if share < left[0]:
            trainer.step(share)
            trained += time.monotonic() - since
            continue
        left.pop(0)
        if trainer.steps == evaluations[-1][0]:  # one step took longer than the time between two
            continue
        now = copy.deepcopy(trainer.averaged)
        found = validation.evaluate(now)
        evaluations.append((trainer.steps, found))
        log(f"{time.monotonic() - started:.0f} s, after {trainer.steps} steps: {found.summary()}")
        if found.mean > max(quality.mean for _, quality in evaluations[:-1]):
            best, best_steps = now, trainer.steps
    if not best_steps:
        after = tested
    elif test is validation:
        after = dict(evaluations)[best_steps]
    else:
        after = test.evaluate(best)
    return FitResult(best, best_steps, evaluations, tested, after, time.monotonic() - started)


class Trainer:
    """Steps on windows of pictures.

    Args:
        start: In evaluation mode; stays as it is.
        pictures: Of which windows are drawn.
        settings: Of the steps.

    Attributes:
        averaged: The moving average of the weights.
        steps: That were made.
    """

    def __init__(
        self, start: OpenDetector, pictures: Sequence[Annotated], settings: AdaptSettings
    ) -> None:
        self._settings = settings
        self._network = copy.deepcopy(start)
        self.averaged, self.steps = copy.deepcopy(start), 0
        for network in (self._network, self.averaged):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        names = [name for name, _ in start.named_parameters() if not name.startswith("backbone.")]
        self._trained, self._averages, self._start = (
            _tensors(one, names) for one in (self._network, self.averaged, start)
        )
        for tensor in self._trained:
            tensor.requires_grad_(True)
        self._optimizer = torch.optim.AdamW(self._trained, lr=settings.rate, weight_decay=0.0)
        self._pictures = [
            RealPicture(
                one.image, one.boxes[~one.ignored], one.labels[~one.ignored], one.boxes[one.ignored]
            )
            for one in pictures
        ]
        self._side, self._scales = window_of(self._pictures)

    def draw(self) -> Episode:
        """The next step's windows."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self._settings.seed, self.steps])
        windows = [
            window
            for _ in range(self._settings.batch)
            for window in draw_windows({"done": self._pictures}, rng, self._side, 1, self._scales)
        ]
        return collate(windows, rng)

    def step(self, share: float) -> dict[str, float]:
        """Make a step, at a share of all of them; returns its losses by name."""
        rate = self._settings.rate_at(self.steps, share)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        losses = run(self._network, self.draw(), StepSettings(), amp=False, one_set=True)
        self._optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(self._trained, CLIP)
        if bool(norm.isfinite()):
            self._optimizer.step()
        self.steps += 1
        with torch.no_grad():
            torch._foreach_lerp_(self._trained, self._start, rate * self._settings.pull)
            share = max(1 - AVERAGE, RECENT / (self.steps + RECENT))
            torch._foreach_lerp_(self._averages, self._trained, share)
        return {name: float(value.detach()) for name, value in losses.items()}


def _tensors(network: OpenDetector, names: Sequence[str]) -> list[Tensor]:
    return [network.get_parameter(name) for name in names]


def window_of(pictures: Sequence[RealPicture]) -> tuple[int, Scales]:
    """Side of the windows in pixels, and their scales.

    Large objects fit in, crowds are not more than a window may hold, and no picture is far smaller.
    """
    longest = np.concatenate([(one.boxes[:, 2:] - one.boxes[:, :2]).max(1) for one in pictures])
    largest_picture = max(max(one.image.shape[:2]) for one in pictures)
    crowd = max(len(one.boxes) / math.prod(one.image.shape[:2]) for one in pictures)
    wanted = max(256, 4 * float(np.percentile(longest, 75)))
    wanted = min(wanted, largest_picture, FACTORS[0] * math.sqrt(CROWD / crowd))
    side = int(np.clip(wanted // PAD * PAD, *SIDES))
    return side, Scales(None, FACTORS, largest=float(side), objects=1)
