"""What a detector predicts after the clicks of a plan.

Three modes. ``served`` is what the annotator sees: detections reconciled with the clicks (see
`c3det.answering`). ``model-only`` is the output before that step. ``passthrough`` is the control
for both: the model gets no click, and that step alone puts the boxes of the clicks into its output.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from tqdm import tqdm

from c3det.answering import answer_clicks
from c3det.clicks import Click
from c3det.detections import Detections
from c3det.devices import wait_for
from c3det.model import Features
from c3det.predictor import Predictor
from training.clicks.sampling import ClickStrategy
from training.clicks.sequences import ClickSequence
from training.data.annotated import Annotated
from training.evaluation.protocol import (
    ClickPlan,
    EvaluationSet,
    at_ranks,
    click_name,
    generator,
    share_ranks,
)

MODES = ("served", "model-only", "passthrough")
SCORE_THRESHOLD = 0.02
"""Detections below it are not measured."""

Key = tuple[str, int, int]
"""Mode, seed and number of clicks."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a detector predicts on one set, with labels of the set.

    Attributes:
        detections: By mode, seed and number of clicks, one a picture, from `SCORE_THRESHOLD` on.
        shown: The same from the served threshold on, without ``model-only``.
        sequences: The clicks that were given, by the names of `click_name`.
        encode_seconds: Of every picture.
        click_seconds: Of every answer to at least one click.
    """

    detections: dict[Key, list[Detections]] = field(default_factory=dict)
    shown: dict[Key, list[Detections]] = field(default_factory=dict)
    sequences: dict[str, ClickSequence] = field(default_factory=dict)
    encode_seconds: list[float] = field(default_factory=list)
    click_seconds: list[float] = field(default_factory=list)


def predict(
    predictor: Predictor,
    test_set: EvaluationSet,
    plan: ClickPlan,
    sequences: Mapping[str, ClickSequence] | None = None,
    *,
    threshold: float | None = None,
    modes: Sequence[str] = MODES,
) -> Predictions:
    """Encode every picture once and detect after each number of clicks, for every seed.

    Args:
        predictor: Of the detector.
        test_set: The pictures.
        plan: Seeds and numbers of clicks.
        sequences: The clicks, see `draw_clicks`; ``None``: drawn one by one by the plan's strategy,
            each after the answer to the ones before.
        threshold: The served one; ``None``: the card's.
        modes: Some of `MODES`.

    Raises:
        ValueError: The predictor lacks a class that counts.
    """
    session = _Session(predictor, test_set.classes, test_set.labels)
    served = predictor.card.score_threshold if threshold is None else threshold
    predictions = Predictions(
        encode_seconds=session.encode_seconds, click_seconds=session.click_seconds
    )
    ranks = {seed: share_ranks(test_set, plan, seed) for seed in plan.seeds}
    for picture in tqdm(
        test_set.pictures,
        desc=f"{test_set.name}, {predictor.card.name}",
        unit="picture",
        disable=None,
    ):
        session.encode(picture)
        for seed in plan.seeds:
            name = click_name(test_set, seed, picture)
            if sequences is None:
                objects = test_set.counted(picture)
                own = ranks[seed][picture.name]
                rng = generator(seed, picture)
                grown = _grow(session, plan.strategy, objects, len(own), rng, served)
                sequence = at_ranks(grown, own)
            else:
                sequence = sequences[name]
            predictions.sequences[name] = sequence
            for number in plan.counts:
                clicks = sequence.first(number).clicks
                for mode in modes:
                    key = (mode, seed, number)
                    of_model = () if mode == "passthrough" else clicks
                    if mode == "model-only":
                        found = session.model_output(of_model, SCORE_THRESHOLD)
                    else:
                        found = session.reconciled(of_model, clicks, SCORE_THRESHOLD)
                        shown = session.reconciled(of_model, clicks, served)
                        predictions.shown.setdefault(key, []).append(shown)
                    predictions.detections.setdefault(key, []).append(found)
    return predictions


def _grow(
    session: _Session,
    strategy: ClickStrategy,
    objects: Annotated,
    number: int,
    rng: np.random.Generator,
    threshold: float,
) -> ClickSequence:
    """Let an annotator click who sees the answer to each click before the next one."""
    sequence = ClickSequence()
    for _ in range(number):
        shown = session.reconciled(sequence.clicks, sequence.clicks, threshold)
        grown = strategy.grow(objects, sequence, 1, rng, shown, session.labels)
        if len(grown) == len(sequence):
            break
        sequence = grown
    return sequence


class _Session:
    """One predictor and one picture at a time; the same clicks are computed only once.

    Labels of clicks and detections are those of the set; detections of classes that the set does
    not know are left out.
    """

    def __init__(self, predictor: Predictor, classes: Sequence[str], labels: Sequence[int]) -> None:
        own = list(predictor.classes)
        for label in labels:
            if classes[label] not in own:
                raise ValueError(
                    f"the weights {predictor.card.name} have no class {classes[label]!r}, only "
                    f"{', '.join(own)}"
                )
        self.labels = labels
        self._predictor = predictor
        self._own_label = [own.index(name) if name in own else -1 for name in classes]
        self._label = np.array(
            [list(classes).index(name) if name in classes else -1 for name in own], np.int64
        )
        self._features: Features
        self._candidates: dict[tuple[Click, ...], Detections] = {}
        self.encode_seconds: list[float] = []
        self.click_seconds: list[float] = []

    def encode(self, picture: Annotated) -> None:
        """Go on to a picture."""
        start = time.perf_counter()
        self._features = self._predictor.encode(picture.image)
        wait_for(self._predictor.device)
        self.encode_seconds.append(time.perf_counter() - start)
        self._candidates = {}

    def model_output(self, clicks: tuple[Click, ...], threshold: float) -> Detections:
        """What the model finds with some clicks."""
        candidates = self._detect(clicks)
        return self._of_set(candidates.take(candidates.scores >= threshold))

    def reconciled(
        self, of_model: tuple[Click, ...], clicks: tuple[Click, ...], threshold: float
    ) -> Detections:
        """What the model finds with the clicks ``of_model``, reconciled with ``clicks``."""
        return self._of_set(self._reconcile(self._detect(of_model), clicks, threshold))

    def _detect(self, clicks: tuple[Click, ...]) -> Detections:
        if clicks not in self._candidates:
            start = time.perf_counter()
            candidates = self._predictor.detect(
                self._features, self._to_model(clicks), score_threshold=0.0, answer_clicks=False
            )
            if clicks:
                self._reconcile(candidates, clicks, self._predictor.card.score_threshold)
                self.click_seconds.append(time.perf_counter() - start)
            self._candidates[clicks] = candidates
        return self._candidates[clicks]

    def _reconcile(
        self, candidates: Detections, clicks: tuple[Click, ...], threshold: float
    ) -> Detections:
        return answer_clicks(
            candidates,
            self._to_model(clicks),
            score_threshold=threshold,
            typical_sizes=self._predictor.card.typical_sizes,
            image_size=self._features.image_size,
        )

    def _to_model(self, clicks: tuple[Click, ...]) -> list[Click]:
        return [replace(click, label=self._own_label[click.label]) for click in clicks]

    def _of_set(self, detections: Detections) -> Detections:
        labels = self._label[detections.labels]
        return replace(detections, labels=labels).take(labels >= 0)
