"""The report of what `training.evaluation.evaluator.evaluate` has measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.annotation_time import Study, estimate
from training.evaluation.evaluator import SUBSETS
from training.evaluation.reporting import Panel, StudyReport, Table, rounded, to_curve

OTHER_METRICS = {"ap": "AP at IoU 0.5:0.95", "voc07": "VOC07 AP"}
MODES = {"served": "{}", "model-only": "{}, model only", "passthrough": "{}, passthrough"}
"""What the curve of a model is called in each mode, see `training.evaluation.predictions`."""


def evaluation_report(results: Mapping[str, Any], title: str, command: str) -> StudyReport:
    """Sum up results.

    The panels are by set and subset, and the differences from the first model as served.

    Args:
        results: Of `training.evaluation.evaluator.evaluate`.
        title: Of the page.
        command: That measured them.
    """
    lacking = [
        f" {name} lacks classes of {test_set}."
        for name, model in results["models"].items()
        for test_set in results["sets"]
        if test_set not in model["sets"]
    ]
    return StudyReport(
        title,
        f"AP at IoU 0.5, percent, after so many clicks a {results['budget']} and as the area under "
        f"the curve: means of {len(results['seeds'])} click seeds, clicks of the strategy "
        f"{results['strategy']['name']}. *Passthrough*: the same weights without clicks, the boxes "
        "of the clicks put into the output. Intervals are by a bootstrap over the pictures."
        + "".join(lacking),
        [command],
        results["machine"],
        {name: model["sha256"] for name, model in results["models"].items()},
        results["clicks"],
        [
            panel
            for test_set in results["sets"]
            for subset in SUBSETS
            if (panel := _panel(results, test_set, subset)).curves
        ],
        [table for test_set in results["sets"] for table in _tables(results, test_set)],
    )


def _series(results: Mapping[str, Any], test_set: str) -> Iterator[tuple[str, str, str]]:
    """Title, model and mode of all that was measured on a set, what is served first."""
    for mode, title in MODES.items():
        for name, model in results["models"].items():
            if mode in model["sets"].get(test_set, {}):
                yield title.format(name), name, mode


def _panel(results: Mapping[str, Any], test_set: str, subset: str) -> Panel:
    about = results["sets"][test_set]
    found = (
        (title, results["models"][name]["sets"][test_set][mode].get(subset))
        for title, name, mode in _series(results, test_set)
    )
    curves = [
        to_curve(title, measured["ap50"], measured["ap50"].get("difference"))
        for title, measured in found
        if measured is not None
    ]
    return Panel(
        f"{test_set} ({about['pictures']} pictures, {about['objects']} objects): {subset}", curves
    )


def _tables(results: Mapping[str, Any], test_set: str) -> Iterator[Table]:
    counts = [str(number) for number in results["clicks"]]
    found = list(_series(results, test_set))
    models = {name: results["models"][name] for _, name, mode in found if mode == "served"}
    others = [
        (
            f"{title}, {subset}: {text}",
            *(rounded(curves[metric]["clicks"][number]["mean"]) for number in counts),
            rounded(curves[metric]["area"]["mean"]),
        )
        for title, name, mode in found
        for subset, curves in results["models"][name]["sets"][test_set][mode].items()
        for metric, text in OTHER_METRICS.items()
    ]
    yield Table(f"{test_set}: other metrics", [*counts, "area"], others)
    for name, model in models.items():
        points = model["sets"][test_set]["served"]["all"]["ap50"]["clicks"]
        classes = [
            (one, *(rounded(points[number]["classes"][one]) for number in counts))
            for one in results["sets"][test_set]["classes"]
        ]
        yield Table(f"{test_set}: AP of each class, {name}", counts, classes)
    for title, name, mode in found:
        if mode == "model-only":
            continue
        shown = results["models"][name]["at_threshold"][test_set]
        rows = [
            (text, *(rounded(shown[mode]["clicks"][number][quantity]) for number in counts))
            for quantity, text in (
                ("precision", "precision"),
                ("recall", "recall"),
                ("f1", "F1"),
                ("missed", "missed objects a picture"),
                ("wrong", "wrong boxes a picture"),
            )
        ]
        yield Table(f"{test_set}: {title}, scores from {shown['threshold']} on", counts, rows)
        columns = ["clicks", "pictures", "that never reach it", "clicks of those that do"]
        reached = [
            (
                f"F1 of {target}",
                rounded(one["clicks"]),
                one["pictures"],
                rounded(one["never"]),
                rounded(one["clicks_of_those_that_do"]),
            )
            for target, one in shown[mode]["to_f1"].items()
        ]
        yield Table(f"{test_set}: {title}, clicks to reach", columns, reached)
    yield _seconds(results, test_set, models)


def _seconds(results: Mapping[str, Any], test_set: str, models: Mapping[str, Any]) -> Table:
    """Seconds of the model, and of an annotator by `training.annotation_time`."""
    about = results["sets"][test_set]
    rows: list[Sequence[Any]] = []
    for name, model in models.items():
        click, encode = (
            model[key][test_set] for key in ("seconds_per_click", "seconds_per_encode")
        )
        corrections = {
            int(number): one["missed"] + one["wrong"]
            for number, one in model["at_threshold"][test_set]["served"]["clicks"].items()
        }
        found = estimate(
            Study(), about["objects"] / about["pictures"], corrections, click or 0, encode
        )
        rows.append(
            (
                name,
                rounded(click),
                rounded(encode),
                rounded(found.manual),
                rounded(found.assisted),
                found.clicks,
            )
        )
    columns = ["a click", "to encode a picture", "by hand", "assisted", "with clicks"]
    return Table(f"{test_set}: seconds, the last three estimated of a picture", columns, rows)
