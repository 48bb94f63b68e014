"""Curves, controls, differences and counts, of predictors whose predictions are known."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.training.fake_predictor import FakePredictor, picture, pictures_of
from training.clicks.sampling import STRATEGIES
from training.evaluation.evaluator import evaluate
from training.evaluation.metrics import IOU, MAX_DETECTIONS
from training.evaluation.protocol import ClickPlan, EvaluationSet, draw_clicks
from training.evaluation.summary import evaluation_report

CARS = pictures_of(3)
COUNTS = (0, 1, 2, 4)
PLAN = ClickPlan(STRATEGIES["centre"], seeds=(0, 1), counts=COUNTS)


def results(
    test_set: EvaluationSet = CARS, plan: ClickPlan = PLAN, **predictors: FakePredictor
) -> dict[str, Any]:
    content, _ = evaluate(
        predictors,
        [test_set],
        plan,
        passthrough=list(predictors)[:1],
        bootstrap=20,
    )
    return content


def curve(
    content: dict[str, Any], model: str, mode: str, subset: str, metric: str = "ap50"
) -> list[float | None]:
    points = content["models"][model]["sets"]["toy"][mode][subset][metric]["clicks"]
    return [points[str(number)]["mean"] for number in COUNTS]


def test_boxes_of_clicks_raise_what_is_served_only() -> None:
    content = results(clicker=FakePredictor(CARS))
    # A recall of k / 4 at full precision: 25 k + 1 of the 101 recalls, but none without a click.
    rising = [0, 100 * 26 / 101, 100 * 51 / 101, 100]
    for mode in ("served", "passthrough"):
        assert curve(content, "clicker", mode, "all") == pytest.approx(rising, abs=1e-3)
    assert curve(content, "clicker", "model-only", "all") == [0, 0, 0, 0]
    # The unclicked ones stay unfound; in the end there is none.
    assert curve(content, "clicker", "served", "unclicked") == [0, 0, 0, None]
    # Of VOC07's 11 recalls 0, 0.1 and 0.2 are below a quarter, and six up to a half.
    voc = [0, 100 * 3 / 11, 100 * 6 / 11, 100]
    assert curve(content, "clicker", "served", "all", "voc07") == pytest.approx(voc, abs=1e-3)
    # The predictions fit exactly, so that all IoUs are reached.
    assert curve(content, "clicker", "served", "all", "ap") == pytest.approx(rising, abs=1e-3)


def test_known_objects_count_when_unclicked() -> None:
    content = results(knower=FakePredictor(CARS, known=4))
    assert curve(content, "knower", "served", "all") == pytest.approx([100] * 4)
    assert curve(content, "knower", "served", "unclicked") == [100, 100, 100, None]


def test_a_model_that_reads_clicks_beats_its_control() -> None:
    test_set = pictures_of(3, labels=(1, 2))
    reader = FakePredictor(test_set, reads=True)
    content = results(test_set, reader=reader)
    served = curve(content, "reader", "served", "unclicked")
    control = curve(content, "reader", "passthrough", "unclicked")
    # One click finds the other object of its class, in every picture.
    assert served[1] > control[1] == 0
    measured = content["models"]["reader"]["sets"]["toy"]["passthrough"]["unclicked"]["ap50"]
    assert measured["difference"][1][0] == pytest.approx(-served[1])


def test_classes_that_were_never_clicked() -> None:
    test_set = pictures_of(2, labels=(1, 2))
    plan = ClickPlan(STRATEGIES["centre"], seeds=(0,), counts=COUNTS)
    sequences = draw_clicks([test_set], plan)
    content = results(test_set, plan, knower=FakePredictor(test_set, known=2))
    points = content["models"]["knower"]["sets"]["toy"]["served"]["unseen classes"]["ap50"][
        "clicks"
    ]
    named = [{click.label for click in one.first(1).clicks} for one in sequences.values()]
    for label, name in ((1, "car"), (2, "ship")):
        clicked_everywhere = all(label in labels for labels in named)
        # Of two objects of each class, one is known: 51 of 101 recalls.
        expected = None if clicked_everywhere else pytest.approx(100 * 51 / 101, abs=1e-3)
        assert points["1"]["classes"][name] == expected
    assert points["4"]["mean"] is None


def test_seeds_classes_intervals_and_area() -> None:
    content = results(clicker=FakePredictor(CARS))
    measured = content["models"]["clicker"]["sets"]["toy"]["served"]["all"]["ap50"]
    expected = pytest.approx(100 * 26 / 101, abs=1e-3)
    assert measured["clicks"]["1"] == {
        "mean": expected,
        "seeds": [expected, expected],
        "classes": {"car": expected},
        "interval": [expected, expected],  # all pictures are alike
    }
    # Trapezoids over 0, 1, 2 and 4 clicks: (26 / 2 + 77 / 2 + 152) / 4 of 101.
    area = pytest.approx(100 * (13 + 38.5 + 152) / 4 / 101, abs=1e-3)
    assert measured["area"] == {"mean": area, "seeds": [area, area], "classes": {"car": area}}
    ended = content["models"]["clicker"]["sets"]["toy"]["served"]["unclicked"]["ap50"]
    assert ended["area"]["mean"] == 0


def test_differences_are_from_the_first_model_as_served() -> None:
    content = results(knower=FakePredictor(CARS, known=4), clicker=FakePredictor(CARS))
    knower, clicker = (content["models"][name]["sets"]["toy"] for name in ("knower", "clicker"))
    expected = pytest.approx(-100 * 75 / 101, abs=1e-3)
    assert clicker["served"]["all"]["ap50"]["difference"][1] == [expected] * 3
    assert len(clicker["served"]["unseen classes"]["ap50"]["difference"]) == len(COUNTS)
    assert "difference" in knower["passthrough"]["all"]["ap50"]
    for first in (knower["served"], knower["model-only"], clicker["model-only"]):
        assert "difference" not in first["all"]["ap50"]


def test_a_model_is_measured_on_the_sets_whose_classes_it_knows() -> None:
    ships = replace(pictures_of(2, labels=(2,)), name="ships")
    both = FakePredictor(CARS, known=4)
    other = FakePredictor(ships, known=4, classes=("ship",))
    content, given = evaluate({"both": both, "other": other}, [CARS, ships], PLAN, bootstrap=1)
    models = content["models"]
    assert [*models["both"]["sets"]] == ["toy", "ships"]
    assert [*models["other"]["sets"]] == ["ships"]
    assert "difference" in models["other"]["sets"]["ships"]["served"]["all"]["ap50"]
    assert len(given["both"]) == 2 * len(given["other"]) + 2  # three cars' pictures, two of ships
    assert "other lacks classes of toy." in evaluation_report(content, "", "").about
    with pytest.raises(ValueError, match="have no class 'car', only ship"):
        evaluate({"other": other}, [CARS], PLAN, bootstrap=1)


def test_what_is_shown_at_the_cards_threshold() -> None:
    # At 0.3 the wrong box of score 0.1 is not shown; with k clicks, k of four objects are.
    shown = results(clicker=FakePredictor(CARS))["models"]["clicker"]["at_threshold"]["toy"]
    assert shown["threshold"] == 0.3
    assert shown["served"]["clicks"]["1"] == {
        "precision": 100,
        "recall": 25,
        "f1": 40,
        "missed": 3,
        "wrong": 0,
    }
    assert shown["served"] == shown["passthrough"]


def test_clicks_to_reach_f1() -> None:
    # F1 after k clicks is 2 k / (4 + k): 0, 0.4, 0.667 and 1.
    reached = results(clicker=FakePredictor(CARS))["models"]["clicker"]["at_threshold"]["toy"]
    for target in ("0.8", "0.9"):
        assert reached["served"]["to_f1"][target] == {
            "pictures": 3,
            "clicks": 4,
            "never": 0,
            "clicks_of_those_that_do": 4,
        }
    # With a wrong box that is shown, 2 k / (5 + k): 8 / 9 at the most. A picture without objects
    # does not count.
    mixed = EvaluationSet("toy", CARS.classes, (1,), (*CARS.pictures, picture(3, objects=0)))
    wrong = FakePredictor(mixed, wrong=0.5)
    reached = results(mixed, wrong=wrong)["models"]["wrong"]["at_threshold"]["toy"]["served"]
    assert reached["to_f1"]["0.8"]["clicks"] == 4
    assert reached["to_f1"]["0.9"] == {
        "pictures": 3,
        "clicks": 4,
        "never": 3,
        "clicks_of_those_that_do": None,
    }


def test_results_say_how_they_were_measured() -> None:
    content = json.loads(json.dumps(results(clicker=FakePredictor(CARS)), allow_nan=False))
    assert content["sets"]["toy"] == {"pictures": 3, "objects": 12, "classes": ["car"]}
    assert content["strategy"]["extent"] == 0
    assert (content["budget"], content["seeds"], content["clicks"]) == ("patch", [0, 1], [*COUNTS])
    model = content["models"]["clicker"]
    assert model["seconds_per_click"]["toy"] >= 0
    assert model["seconds_per_encode"]["toy"] >= 0


def test_models_are_given_the_same_clicks_unless_these_are_of_errors() -> None:
    predictors = {"one": FakePredictor(CARS), "two": FakePredictor(CARS, known=2)}
    _, given = evaluate(predictors, [CARS], PLAN, bootstrap=1)
    assert given["one"] == given["two"] == draw_clicks([CARS], PLAN)
    plan = ClickPlan(STRATEGIES["errors"], seeds=(0,), counts=(0, 2))
    _, given = evaluate(predictors, [CARS], plan, bootstrap=1)
    assert given["one"] != given["two"]
    _, replayed = evaluate(predictors, [CARS], plan, given["two"], bootstrap=1)
    assert replayed["one"] == given["two"]


def test_saved_samples_are_those_of_the_curves_and_of_the_intervals(tmp_path: Path) -> None:
    file = tmp_path / "new" / "samples.npz"
    predictors = {"knower": FakePredictor(CARS, known=4), "clicker": FakePredictor(CARS)}
    content, _ = evaluate(predictors, [CARS], PLAN, bootstrap=20, samples=file)
    with np.load(file) as samples:
        means = {key: samples[key] for key in samples.files}
    for name in predictors:
        found = means[f"toy/{name}/served/all"]
        assert found.shape == (len(COUNTS), 21)
        assert (100 * found[:, 0]).tolist() == pytest.approx(
            curve(content, name, "served", "all"), abs=1e-3
        )
    assert "toy/knower/model-only/all" in means
    assert "toy/knower/passthrough/all" not in means


def test_saved_detections_give_the_same_precision(tmp_path: Path) -> None:
    """By a plain run of pycocotools on the files alone."""
    rng = np.random.default_rng(0)
    test_set = pictures_of(6, labels=(1, 2))
    for one in test_set.pictures:
        one.boxes[:] += rng.uniform(-2, 2, one.boxes.shape).astype(np.float32)
        one.ignored[:] = rng.random(4) < 0.2
    found = pictures_of(6, labels=(1, 2))
    predictor = FakePredictor(found, known=2, wrong=0.55, reads=True)
    content, _ = evaluate(
        {"one": predictor},
        [test_set],
        ClickPlan(seeds=(0,), counts=(0, 2)),
        passthrough=["one"],
        bootstrap=1,
        detections=tmp_path,
    )
    values = set()
    for mode in ("served", "model-only", "passthrough"):
        for number in (0, 2):
            truth = tmp_path / "toy" / "truth.json"
            file = tmp_path / "toy" / "one" / mode / f"seed-0-clicks-{number}.json"
            with contextlib.redirect_stdout(io.StringIO()):
                objects = COCO(str(truth))
                plain = COCOeval(objects, objects.loadRes(str(file)), "bbox")
                plain.params.maxDets = [1, 10, MAX_DETECTIONS]
                plain.evaluate()
                plain.accumulate()
            precision = plain.eval["precision"][:, :, :, 0, 2]
            measured = content["models"]["one"]["sets"]["toy"][mode]["all"]
            point = {name: measured[name]["clicks"][str(number)] for name in ("ap50", "ap")}
            assert point["ap"]["mean"] == pytest.approx(100 * precision.mean(), abs=6e-4)
            at_half = precision[plain.params.iouThrs == IOU]
            assert point["ap50"]["mean"] == pytest.approx(100 * at_half.mean(), abs=6e-4)
            classes = 100 * at_half[0].mean(axis=0)
            assert [*point["ap50"]["classes"].values()] == pytest.approx(classes.tolist(), abs=6e-4)
            values.add(point["ap"]["mean"])
    assert len(values) >= 3  # the files differ


def test_tiles_of_one_picture_have_no_interval() -> None:
    tiles = [replace(one, name=f"big@{i},0,100x20") for i, one in enumerate(CARS.pictures)]
    cut = replace(CARS, pictures=tuple(tiles))
    content = results(cut, first=FakePredictor(cut, known=2), other=FakePredictor(cut, known=1))
    measured = content["models"]["other"]["sets"]["toy"]["served"]["all"]["ap50"]
    assert measured["clicks"]["0"]["interval"] == [None, None]
    mean, low, high = measured["difference"][0]
    assert mean < 0
    assert (low, high) == (None, None)
    page = evaluation_report(content, "Tiles", "go").page("x.png")
    assert f"| other | {mean:+.1f} |" in page
