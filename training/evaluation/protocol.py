"""How an evaluation is done: on which pictures, with which clicks, and after how many of them.

The objects that are clicked, and where, depend on the strategy, the seed and the picture alone, so
that every model is given the same clicks. The exception is a strategy that clicks the errors of the
model: there each model is given its own clicks, see `training.evaluation.predictions`.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from c3det.boxes import contains
from training.clicks.sampling import STRATEGIES, ClickStrategy
from training.clicks.sequences import BACKGROUND, ClickSequence
from training.data.annotated import Annotated, keep_objects
from training.data.sets import load_set
from training.evaluation.metrics import resamples

CLICKS = (0, 1, 2, 3, 5, 10, 15, 20)

Budget = Literal["patch", "picture"]


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Pictures to measure on.

    Attributes:
        name: Of the set.
        classes: Names, by the labels of its pictures.
        labels: The classes that count.
        pictures: With objects of any class. They are gone through one by one, and each time anew,
            so that a set which reads them from disk need not keep them.
        kind: What they show, see `training.data.real_sets.RealSet`; empty where it is not known.
    """

    name: str
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    pictures: Sequence[Annotated]
    kind: str = ""

    @property
    def is_multi_class(self) -> bool:
        """Whether there are objects of more than one class."""
        return len({label for one in self.objects for label in one.labels.tolist()}) > 1

    @cached_property
    def objects(self) -> tuple[Annotated, ...]:
        """The pictures with only the objects that count, black: their pixels take no memory."""
        return tuple(
            replace(picture, image=np.broadcast_to(np.uint8(0), picture.image.shape))
            for picture in map(self.counted, self.pictures)
        )

    def counted(self, picture: Annotated) -> Annotated:
        """A picture with only the objects that count."""
        return keep_objects(picture, np.isin(picture.labels, self.labels))


def load_test_set(spec: str, pictures: int | None = None) -> EvaluationSet:
    """Load the test set that a spec names, or the first pictures of it.

    Raises:
        OSError: A file of a folder cannot be read.
        ValueError: There is no such set, it has no picture, or a file is broken; see
            `training.data.sets.load_set`.
    """
    source = load_set(spec)
    labels = tuple(source.classes.index(name) for name in source.counted)
    found = source.test_pictures(pictures)
    if not found:
        raise ValueError(f"there is no test picture in the set {spec}")
    return EvaluationSet(source.name, source.classes, labels, found)


@dataclass(frozen=True)
class ClickPlan:
    """How clicks are given.

    Attributes:
        strategy: The annotator. Its number of clicks is for training and plays no part here.
        seeds: Of the clicks; each repeats the evaluation with others.
        counts: Numbers of clicks, rising, after which is measured.
        budget: Whether each patch gets so many clicks, as in the paper, or each picture, spread
            over its patches. Patches of a picture are those whose names differ only from the last
            ``@`` on. An object that lies in two overlapping patches counts twice.
    """

    strategy: ClickStrategy = STRATEGIES["uniform"]
    seeds: tuple[int, ...] = tuple(range(5))
    counts: tuple[int, ...] = CLICKS
    budget: Budget = "patch"

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("at least one click seed is needed")
        if not self.counts or list(self.counts) != sorted(set(self.counts)) or self.counts[0] < 0:
            raise ValueError(
                f"the numbers of clicks must rise from 0 or more on, they are {self.counts}"
            )

    @property
    def most(self) -> int:
        """The largest number of clicks."""
        return self.counts[-1]


def click_name(test_set: EvaluationSet, seed: int, picture: Annotated) -> str:
    """Name of a click sequence, such as ``"composite/seed 0/composite-0-17"``."""
    return f"{test_set.name}/seed {seed}/{picture.name}"


def picture_name(patch: str) -> str:
    """Name of the picture that a patch was cut from, its own for what is no patch."""
    name, _, window = patch.rpartition("@")
    return name or window


def resamples_of(test_set: EvaluationSet, number: int) -> NDArray[np.int64]:
    """Bootstrap samples of a set, in which the patches of a picture go together.

    Returns:
        int64 (1 + number, patches), see `training.evaluation.metrics.resamples`. Of a single
        picture there are none but the first, so that there is no interval.
    """
    names = [picture_name(patch.name) for patch in test_set.objects]
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    drawn = resamples(len(places), number if len(places) > 1 else 0)
    return drawn[:, [places[name] for name in names]]


def share_budget(test_set: EvaluationSet, plan: ClickPlan) -> list[list[Annotated]]:
    """Group the patches of a set: those of a group have one budget together."""
    if plan.budget == "patch":
        return [[patch] for patch in test_set.objects]
    groups: dict[str, list[Annotated]] = {}
    for patch in test_set.objects:
        groups.setdefault(picture_name(patch.name), []).append(patch)
    return list(groups.values())


def share_ranks(test_set: EvaluationSet, plan: ClickPlan, seed: int) -> dict[str, tuple[int, ...]]:
    """The ranks in the budget at which each patch of the set may be clicked, by its name.

    A shared budget goes to the patches as if the objects of the picture were clicked in random
    order: a patch of many objects has many ranks.
    """
    if plan.budget == "patch":
        return {patch.name: tuple(range(plan.most)) for patch in test_set.objects}
    ranks = {}
    for patches in share_budget(test_set, plan):
        owners = np.repeat(np.arange(len(patches)), [_clickable(patch) for patch in patches])
        rng = np.random.default_rng([seed, _number(picture_name(patches[0].name))])
        order = rng.permutation(owners)[: plan.most]
        for index, patch in enumerate(patches):
            ranks[patch.name] = tuple(np.flatnonzero(order == index).tolist())
    return ranks


def draw_clicks(test_sets: Sequence[EvaluationSet], plan: ClickPlan) -> dict[str, ClickSequence]:
    """Draw the clicks on every picture, for every seed, by the names of `click_name`.

    Of a strategy that clicks errors, the clicks depend on the model, see
    `training.evaluation.predictions.predict`.
    """
    sequences = {}
    for test_set in test_sets:
        for seed in plan.seeds:
            ranks = share_ranks(test_set, plan, seed)
            for picture in test_set.objects:
                drawn = plan.strategy.grow(
                    picture,
                    ClickSequence(),
                    len(ranks[picture.name]),
                    generator(seed, picture),
                    labels=test_set.labels,
                )
                sequences[click_name(test_set, seed, picture)] = at_ranks(
                    drawn, ranks[picture.name]
                )
    return sequences


def at_ranks(sequence: ClickSequence, ranks: tuple[int, ...]) -> ClickSequence:
    """The same clicks, made at the first ones of some ranks."""
    return replace(sequence, ranks=ranks[: len(sequence)])


def generator(seed: int, picture: Annotated) -> np.random.Generator:
    """What the clicks on a picture are drawn from."""
    return np.random.default_rng([seed, _number(picture.name)])


def _number(name: str) -> int:
    return zlib.crc32(name.encode())


def _clickable(picture: Annotated) -> int:
    return int((~picture.ignored).sum())


def check_clicks(
    sequences: Mapping[str, ClickSequence], test_sets: Sequence[EvaluationSet], plan: ClickPlan
) -> None:
    """Raise ``ValueError`` where clicks are missing or cannot have been made on these pictures.

    Clicks may be wrong in place and class, but of those on objects at least half must be right.
    """
    for test_set in test_sets:
        on_objects = right = 0
        for seed in plan.seeds:
            for patches in share_budget(test_set, plan):
                ranks: list[int] = []
                for picture in patches:
                    name = click_name(test_set, seed, picture)
                    if name not in sequences:
                        raise ValueError(f"there are no clicks for {name}")
                    hits = _hits(name, sequences[name], picture, test_set.labels)
                    on_objects, right = on_objects + len(hits), right + sum(hits)
                    ranks += sequences[name].ranks
                needed = min(plan.most, sum(map(_clickable, patches)))
                if len(ranks) < needed:
                    raise ValueError(f"{name} has {len(ranks)} clicks, {needed} are needed")
                if len(set(ranks)) < len(ranks):
                    raise ValueError(f"{name} has clicks of a budget per patch, not per picture")
        if 2 * right < on_objects:
            raise ValueError(
                f"of {on_objects} clicks on objects of the set {test_set.name} only {right} lie on "
                "their object and name its class: they were made for other pictures"
            )


def _hits(
    name: str, sequence: ClickSequence, picture: Annotated, labels: Collection[int]
) -> list[bool]:
    """Of each click on an object, whether it lies there and names its class."""
    hits = []
    for click, index in zip(sequence.clicks, sequence.objects, strict=True):
        if not BACKGROUND <= index < len(picture.boxes):
            raise ValueError(f"{name} has a click on object {index}, there is none")
        if click.label not in labels:
            raise ValueError(f"{name} has a click of the class {click.label}, which does not count")
        if not (0 <= click.x <= picture.width and 0 <= click.y <= picture.height):
            raise ValueError(f"{name} has a click outside of the picture")
        if index != BACKGROUND:
            inside = contains(picture.boxes[index : index + 1], click.x, click.y)[0]
            hits.append(bool(inside and click.label == picture.labels[index]))
    return hits
