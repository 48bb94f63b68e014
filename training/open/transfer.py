"""What clicks on the first picture of a job find in the others.

In the first picture that has objects, some objects of each class are clicked at random. The clicks
become exemplars, and nothing is clicked in the other pictures. Beside that, in each of the other
pictures as many objects of the same classes are clicked, and nothing is known of the first one.
Average precision (IoU 0.5) of the model's own boxes in the other pictures, for the classes that the
first picture has; of all objects, and of those that are clicked in neither way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from c3det.detections import Detections
from c3det.exemplars import Exemplars
from c3det.limits import MAX_PER_QUERY
from training.data.annotated import Annotated, keep_objects
from training.evaluation import metrics
from training.open.clicking import click_at_random, members
from training.open.encoded import EncodedPicture
from training.open.evaluate import quality
from training.open.reporting import mean_of

MOST_OF_A_LABEL = 16
"""Exemplars that go to the next picture, as `serverless.annotate` has it."""

WAYS = {"carried": "exemplars", "own": "own clicks"}

OBJECTS = ("all", "unclicked")

Rows = dict[str, dict[str, dict[str, float | None]]]
"""By clicks a class and way: AP in percent of each of `OBJECTS`."""


def thinned(exemplars: Exemplars) -> Exemplars:
    """The most typical ones of each label, so many that a question may have them all."""
    return exemplars.thinned(MOST_OF_A_LABEL, MAX_PER_QUERY)


class Transfer:
    """Takes the pictures of a set one by one, see the module.

    Args:
        names: Of the labels.
        counts: Clicks a class, rising.
        seeds: Of the clicks; the mean over them is returned.
    """

    def __init__(self, names: Sequence[str], counts: Sequence[int], seeds: int) -> None:
        self._names, self._counts, self._seeds = names, counts, seeds
        self._labels: list[int] = []
        self._known: dict[tuple[int, int], Exemplars] = {}
        self._found: dict[tuple[str, str, int, int], list[tuple[int, Annotated, Detections]]] = (
            defaultdict(list)
        )

    def add(self, place: int, encoded: EncodedPicture) -> None:
        """Take the picture at a place of the set: the first one with objects is clicked."""
        if self._known:
            self._ask(place, encoded)
        elif members(encoded.picture):
            self._labels = sorted(members(encoded.picture))
            for seed in range(self._seeds):
                states = click_at_random(encoded.picture, self._counts, seed)
                for number, state in zip(self._counts, states, strict=True):
                    exemplars = encoded.exemplars(state.clicks, self._names)
                    self._known[seed, number] = thinned(exemplars)

    def _ask(self, place: int, encoded: EncodedPicture) -> None:
        is_known = np.isin(encoded.picture.labels, self._labels)
        picture = keep_objects(encoded.picture, is_known)
        for seed in range(self._seeds):
            states = click_at_random(picture, self._counts, 1000 * place + seed)
            for number, state in zip(self._counts, states, strict=True):
                answers = {
                    "carried": encoded.detect([], self._known[seed, number]),
                    "own": encoded.detect(state.clicks) if state.clicks else Detections.none(),
                }
                for way, found in answers.items():
                    rest = metrics.unclicked(picture, found, state.objects)
                    self._found["all", way, seed, number].append((place, picture, found))
                    self._found["unclicked", way, seed, number].append((place, *rest))

    def rows(self, first: int = 0) -> Rows:
        """The average precisions, of the pictures from a place on."""

        def precision(objects: str, way: str, seed: int, number: int) -> float | None:
            found = self._found[objects, way, seed, number]
            pairs = [(picture, boxes) for place, picture, boxes in found if place >= first]
            return quality(pairs, self._labels, 0.0)["AP"]

        return {
            str(number): {
                way: {
                    objects: mean_of(
                        [precision(objects, way, seed, number) for seed in range(self._seeds)]
                    )
                    for objects in OBJECTS
                }
                for way in WAYS
            }
            for number in self._counts
        }


def ratio(row: dict[str, Any], objects: str = "all") -> float | None:
    """AP with exemplars in percent of that with own clicks."""
    carried, own = row["carried"][objects], row["own"][objects]
    return None if carried is None or not own else round(100 * carried / own, 1)
