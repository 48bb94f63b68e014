"""What is asked of a predictor, and in which modes its predictions are kept."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from c3det.clicks import Click
from c3det.closed.architecture import Architecture
from c3det.closed.model import ClosedModel
from c3det.detections import Detections
from c3det.predictor import Predictor
from c3det.weights import Card
from tests.c3det.small import NUM_CLASSES, build, shrunk
from tests.training.fake_predictor import CLASSES, FakePredictor, pictures_of
from training.clicks.sampling import STRATEGIES, parse_strategy
from training.clicks.sequences import BACKGROUND
from training.data.annotated import Annotated
from training.evaluation import predictions
from training.evaluation.predictions import SCORE_THRESHOLD, Predictions, predict
from training.evaluation.protocol import ClickPlan, EvaluationSet, draw_clicks

PLAN = ClickPlan(STRATEGIES["centre"], seeds=(0, 1), counts=(0, 1, 2, 4))
CARS = pictures_of(3)


def asked(predictor: FakePredictor, plan: ClickPlan = PLAN, **options: object) -> Predictions:
    test_set = predictor.pictures
    return predict(predictor, test_set, plan, draw_clicks([test_set], plan), **options)


def test_each_state_is_asked_about_once() -> None:
    predictor = FakePredictor(CARS)
    predictions = asked(predictor)
    # Without clicks once a picture; with 1, 2 and 4 clicks for both seeds.
    assert len(predictor.asked) == 3 * (1 + 2 * 3)
    assert len(predictions.click_seconds) == 3 * 2 * 3
    assert len(predictions.encode_seconds) == 3
    assert all(len(found) == 3 for found in predictions.detections.values())


def test_the_device_is_waited_for_before_the_clock_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []
    clock = time.perf_counter

    class Watched(FakePredictor):
        def encode(self, image: np.ndarray) -> object:
            happened.append("encode")
            return super().encode(image)

    monkeypatch.setattr(predictions, "wait_for", lambda device: happened.append(str(device)))
    monkeypatch.setattr(time, "perf_counter", lambda: happened.append("clock") or clock())
    asked(Watched(pictures_of(1)), replace(PLAN, seeds=(0,), counts=(0,)))
    assert happened[:4] == ["clock", "encode", "cpu", "clock"]


def test_served_answers_contain_the_clicks_and_the_model_alone_does_not() -> None:
    predictions = asked(FakePredictor(CARS))
    for seed in PLAN.seeds:
        for number in PLAN.counts:
            for found in predictions.detections["served", seed, number]:
                assert (found.clicks >= 0).sum() == number
                assert len(found) == number + 1
            for found in predictions.detections["model-only", seed, number]:
                assert len(found) == 1


def test_the_control_is_told_of_no_click() -> None:
    predictor = FakePredictor(CARS, reads=True)
    predictions = asked(predictor)
    served, control = (predictions.detections[mode, 0, 1][0] for mode in ("served", "passthrough"))
    # The model finds all four objects once it is told of one, the control the clicked one alone.
    assert len(served) == 4 + 1
    assert len(control) == 1 + 1
    assert control.scores[0] == 1


def test_shown_is_what_is_served_from_the_threshold_on() -> None:
    predictions = asked(FakePredictor(CARS, known=4))
    assert len(predictions.detections["served", 0, 0][0]) == 5
    assert len(predictions.shown["served", 0, 0][0]) == 4
    assert set(predictions.shown) == {
        key for key in predictions.detections if key[0] != "model-only"
    }
    higher = asked(FakePredictor(CARS, known=4), threshold=0.55)
    assert len(higher.shown["served", 0, 0][0]) == 0


def test_labels_are_translated() -> None:
    test_set = pictures_of(1, labels=(1, 2))
    predictions = asked(FakePredictor(test_set, known=4, classes=("ship", "lorry", "car")))
    assert predictions.detections["served", 0, 0][0].labels.tolist() == [1, 2, 1, 2, 1]
    told = FakePredictor(test_set, classes=("ship", "lorry", "car"))
    sequence = asked(told).sequences["toy/seed 0/picture 0"]
    own = {1: 2, 2: 0}
    assert told.asked[-1] == tuple(
        replace(click, label=own[click.label])
        for click in asked(told).sequences["toy/seed 1/picture 0"].clicks
    )
    assert {click.label for click in sequence.clicks} == {1, 2}


def test_detections_of_unknown_classes_are_left_out() -> None:
    only_cars = EvaluationSet("toy", ("car",), (0,), pictures_of(1, labels=(0,)).pictures)
    predictor = FakePredictor(only_cars, known=4, classes=("lorry", "car"))
    assert len(asked(predictor).detections["served", 0, 0][0]) == 5
    predictor.pictures = pictures_of(1, labels=(0,))  # whose label 0 is a tree
    predictor.classes = ("tree", "car")
    found = predict(predictor, only_cars, PLAN, draw_clicks([only_cars], PLAN))
    assert len(found.detections["served", 0, 0][0]) == 0


def test_a_class_that_counts_must_be_known() -> None:
    predictor = FakePredictor(CARS, classes=("tree", "ship"))
    with pytest.raises(ValueError, match="the weights fake have no class 'car', only tree, ship"):
        predict(predictor, CARS, PLAN, draw_clicks([CARS], PLAN))


def test_error_clicks_follow_the_answers() -> None:
    predictor = FakePredictor(CARS, known=2)
    plan = replace(PLAN, strategy=STRATEGIES["errors"])
    predictions = predict(predictor, CARS, plan)
    for sequence in predictions.sequences.values():
        # The objects 2 and 3 are missed, and found as soon as they are clicked.
        assert set(sequence.objects[:2]) == {2, 3}
        assert sorted(sequence.objects) == [0, 1, 2, 3]
    replayed = predict(predictor, CARS, plan, predictions.sequences)
    assert replayed.sequences == predictions.sequences
    for key, found in predictions.detections.items():
        for one, other in zip(found, replayed.detections[key], strict=True):
            np.testing.assert_array_equal(one.boxes, other.boxes)


def test_error_clicks_depend_on_what_is_clicked_before() -> None:
    # Told of one car, the model finds them all: the second click is no longer led by errors.
    predictor = FakePredictor(CARS, known=2, reads=True)
    plan = ClickPlan(STRATEGIES["errors"], seeds=tuple(range(40)), counts=(0, 2))
    predictions = predict(predictor, CARS, plan)
    assert {one.objects[0] for one in predictions.sequences.values()} == {2, 3}
    assert {one.objects[1] for one in predictions.sequences.values()} == {0, 1, 2, 3}


def test_errors_are_judged_from_the_served_threshold_on() -> None:
    # The wrong box is not shown at 0.3, so that no negative click can go to it.
    strategy = parse_strategy("errors,background_probability=0.5")
    plan = ClickPlan(strategy, seeds=tuple(range(20)), counts=(0, 3))
    hidden = predict(FakePredictor(CARS, wrong=0.1), CARS, plan)
    shown = predict(FakePredictor(CARS, wrong=0.45), CARS, plan)

    def at_the_wrong_box(predictions: Predictions) -> int:
        return sum(
            (click.x, click.y) == (85, 5) and index == BACKGROUND
            for one in predictions.sequences.values()
            for click, index in zip(one.clicks, one.objects, strict=True)
        )

    assert at_the_wrong_box(hidden) == 0
    assert at_the_wrong_box(shown) > 10


def test_a_shared_budget_gives_error_clicks_their_ranks() -> None:
    named = tuple(
        replace(one, name=f"big@{i},0,100x20") for i, one in enumerate(pictures_of(2).pictures)
    )
    patches = EvaluationSet("toy", CLASSES, (1,), named)
    plan = ClickPlan(STRATEGIES["errors"], seeds=(0,), counts=(0, 3, 5), budget="picture")
    predictions = predict(FakePredictor(patches, known=2), patches, plan)
    first, second = predictions.sequences.values()
    assert sorted(first.ranks + second.ranks) == [0, 1, 2, 3, 4]
    assert len(first.first(3)) + len(second.first(3)) == 3


def test_answers_are_those_of_the_predictor() -> None:
    """`Predictor.detect` serves what is put together here; of a network that was not trained."""
    detector = build("starter", shrunk("starter", stages="two-stage"))
    card = Card(
        name="random",
        classes=CLASSES,
        architecture=Architecture("starter"),
        score_threshold=0.3,
        typical_sizes=((10.0, 10.0),) * NUM_CLASSES,
        training={},
        results={},
        licence={},
    )
    predictor = Predictor(ClosedModel(detector, torch.device("cpu")), card)
    image = np.random.default_rng(0).integers(0, 256, (96, 100, 3), dtype=np.uint8)
    boxes = np.array([[10, 10, 30, 30], [50, 40, 70, 80]], np.float32)
    one = Annotated("noise", image, boxes, np.array([1, 2], np.int64))
    test_set = EvaluationSet("noise", CLASSES, (1, 2), (one,))
    plan = ClickPlan(seeds=(0,), counts=(0, 2))
    predictions = predict(predictor, test_set, plan, draw_clicks([test_set], plan))

    def same(own: Detections, clicks: tuple[Click, ...], **options: object) -> None:
        expected = predictor.detect(predictor.encode(image), clicks, **options)
        for name in ("boxes", "scores", "labels", "clicks"):
            np.testing.assert_allclose(
                getattr(own, name), getattr(expected, name), rtol=1e-5, atol=1e-4
            )

    clicks = predictions.sequences["noise/seed 0/noise"].clicks
    for number in (0, 2):
        detections = {
            mode: predictions.detections[mode, 0, number][0] for mode in ("served", "model-only")
        }
        assert len(detections["served"]) > number
        same(detections["served"], clicks[:number], score_threshold=SCORE_THRESHOLD)
        same(
            detections["model-only"],
            clicks[:number],
            score_threshold=SCORE_THRESHOLD,
            answer_clicks=False,
        )
        same(predictions.shown["served", 0, number][0], clicks[:number])
