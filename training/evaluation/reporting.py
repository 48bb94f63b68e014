"""Results of `training.evaluation.measuring.evaluate` for people: table, plot, a card's summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from c3det.commands import naming
from training.evaluation.measuring import METRICS, PARTS

TITLES = {"ap50": "AP at IoU 0.5", "ap": "AP at IoU 0.5:0.95", "voc07": "VOC07 AP at IoU 0.5"}
NAMES = {"served": "{}", "model-only": "{}, model only", "passthrough": "{}, clicks pasted in"}
"""Of a model in a mode."""

Rows = list[tuple[str, list[float | None]]]
"""Titles and numbers."""


def entrants(results: Mapping[str, Any], test_set: str) -> dict[str, tuple[str, str]]:
    """Name each model that was measured on a set, in each mode; what is served first."""
    found = [
        (name, mode)
        for mode in NAMES
        for name, model in results["models"].items()
        if mode in model["sets"].get(test_set, {})
    ]
    return {NAMES[mode].format(name): (name, mode) for name, mode in found}


def table(results: Mapping[str, Any]) -> str:
    """Lay results out for a terminal; differences are those to a set's first model as served."""
    counts = [str(number) for number in results["clicks"]]
    lines: list[str] = []
    for test_set, content in results["sets"].items():
        about = f"{content['pictures']} pictures, {content['objects']} objects"
        lines += ["", f"== {test_set}: {about}, {len(results['seeds'])} click seeds =="]
        named = entrants(results, test_set)
        curves = {
            title: results["models"][name]["sets"][test_set][mode]
            for title, (name, mode) in named.items()
        }
        for part in PARTS:
            for metric in METRICS:
                rows: Rows = []
                for title in (title for title, curve in curves.items() if part in curve):
                    measured = curves[title][part][metric]
                    means = [measured["clicks"][number]["mean"] for number in counts]
                    rows.append((title, [*means, measured["area"]["mean"]]))
                if metric == "ap50":
                    rows += _differences(results, test_set, part)
                lines += block(f"{part}: {TITLES[metric]}, %", [*counts, "area"], rows)
        first, curve = next(iter(curves.items()))
        points = curve["all"]["ap50"]["clicks"]
        classes = [
            (name, [points[number]["classes"][name] for number in counts])
            for name in content["classes"]
        ]
        lines += block(f"classes: {TITLES['ap50']} of {first}, %", counts, classes)
        for title, (name, mode) in named.items():
            if mode != "model-only":
                shown = results["models"][name]["at_threshold"][test_set]
                lines += _shown(title, shown["threshold"], shown[mode], counts)
        lines.append("")
        for name, model in results["models"].items():
            if test_set not in model["sets"]:
                lines.append(f"{name} lacks classes of this set")
                continue
            lines.append(
                f"{name}: {_seconds(model['seconds_per_click'][test_set])} s a click, "
                f"{_seconds(model['seconds_per_encode'][test_set])} s to encode a picture"
            )
    return "\n".join(lines)


def _differences(results: Mapping[str, Any], test_set: str, part: str) -> Rows:
    rows: Rows = []
    first = next(iter(entrants(results, test_set).values()))[0]
    others: dict[str, list[Mapping[str, Any]]] = {}
    for row in results["differences"]:
        found = (row["set"], row["part"], row["model"], row["mode"])
        if found == (test_set, part, first, "served"):
            other = NAMES[row["minus_mode"]].format(row["minus"])
            others.setdefault(other, []).append(row)
    for other, points in others.items():
        rows.append((f"{first} - {other}", [point["ap50"] for point in points]))
        rows.append(("  95 % interval from", [point["interval"][0] for point in points]))
        rows.append(("  to", [point["interval"][1] for point in points]))
    return rows


def _shown(
    title: str, threshold: float, shown: Mapping[str, Any], counts: Sequence[str]
) -> list[str]:
    rows = [
        (quantity, [shown["clicks"][number][quantity] for number in counts])
        for quantity in ("precision", "recall", "f1", "missed", "wrong")
    ]
    heading = (
        f"{title}: shown from the score {threshold} on "
        "(precision, recall, F1 in %; missed objects and wrong boxes a picture)"
    )
    lines = block(heading, counts, rows)
    for target, reached in shown["to_f1"].items():
        others = _number(reached["clicks_of_those_that_do"])
        lines.append(
            f"F1 {target}: {_number(reached['clicks'])} clicks a picture; "
            f"{_number(reached['never'])} of {reached['pictures']} pictures never reach it "
            f"(counted as {counts[-1]}), the others take {others}"
        )
    return lines


def block(heading: str, columns: Sequence[str], rows: Rows) -> list[str]:
    """A heading, a line of columns, and rows of numbers, all of one width."""
    width = max(len(title) for title, _ in rows)
    return [
        "",
        heading,
        " " * width + "".join(f"{column:>8}" for column in columns),
        *(f"{title:<{width}}" + "".join(map(_cell, values)) for title, values in rows),
    ]


def _cell(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:8.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw AP at IoU 0.5 against the number of clicks: the mean and the range over the seeds.

    A row a set, a column a part; every model as served, and dashed the controls.
    """
    figure = Figure(figsize=(5 * len(PARTS), 4 * len(results["sets"])), layout="constrained")
    figure.suptitle(f"mean and range of {len(results['seeds'])} click seeds")
    panels = figure.subplots(len(results["sets"]), len(PARTS), squeeze=False, sharey="row")
    colours = {name: f"C{number}" for number, name in enumerate(results["models"])}
    for row, test_set in zip(panels, results["sets"], strict=True):
        for axes, part in zip(row, PARTS, strict=True):
            for title, (name, mode) in entrants(results, test_set).items():
                if mode != "model-only":
                    curve = results["models"][name]["sets"][test_set][mode][part]["ap50"]["clicks"]
                    style = "--" if mode == "passthrough" else "-"
                    draw_curve(axes, curve, title, colours[name], style)
            finish_axes(axes, f"{test_set}, {part}", results)
    with naming(path):
        figure.savefig(path, dpi=120)


def draw_curve(
    axes: Any, curve: Mapping[str, Mapping[str, Any]], title: str, colour: str, style: str = "-"
) -> None:
    """Draw a curve of `training.evaluation.measuring.describe`, a line in a band, gaps left out."""
    points = [(int(number), one) for number, one in curve.items() if one["mean"] is not None]
    if not points:
        return
    clicks = [number for number, _ in points]
    means = [one["mean"] for _, one in points]
    axes.plot(clicks, means, style, marker=".", color=colour, label=title)
    low, high = [min(one["seeds"]) for _, one in points], [max(one["seeds"]) for _, one in points]
    axes.fill_between(clicks, low, high, alpha=0.15, color=colour, linewidth=0)


def finish_axes(axes: Any, title: str, results: Mapping[str, Any]) -> None:
    """Give a panel of curves its title, axes and legend."""
    axes.set_title(title)
    axes.set_xlabel(f"clicks per {results['budget']}")
    axes.set_ylabel(f"{TITLES['ap50']}, %")
    axes.set_xticks(results["clicks"])
    axes.grid(alpha=0.3)
    axes.legend()


def write_json(results: Mapping[str, Any], path: Path) -> None:
    """Write results, in a folder that need not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), naming(path):
        path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """Shorten results to what a card tells: AP at IoU 0.5, in percent to one decimal.

    Returns:
        By set, model and mode (see `NAMES`), and part, by number of clicks and ``"area"``:
        ``{"trees": {"c3det": {"all": {"0": 61.3, "1": 62.0, "area": 61.7}}}}``.
    """

    def rounded(curve: Mapping[str, Any]) -> dict[str, float | None]:
        points = chain(curve["clicks"].items(), [("area", curve["area"])])
        return {
            number: None if one["mean"] is None else round(one["mean"], 1) for number, one in points
        }

    return {
        test_set: {
            title: {
                part: rounded(curves["ap50"])
                for part, curves in results["models"][name]["sets"][test_set][mode].items()
            }
            for title, (name, mode) in entrants(results, test_set).items()
        }
        for test_set in results["sets"]
    }


def card_results(results: Mapping[str, Any]) -> dict[str, Any]:
    """What a card tells of results: how they were measured, on what, and the summary."""
    return {
        "command": "python -m training.evaluate",
        "machine": results["machine"],
        "clicks": f"{len(results['seeds'])} seeds, {results['strategy']['name']}, "
        f"per {results['budget']}",
        "sets": results["sets"],
        "AP at IoU 0.5, percent, by clicks": summary(results),
        "differences in AP, with 95 % intervals by a bootstrap over the pictures": [
            row for row in results["differences"] if row["mode"] != "model-only"
        ],
        "at the served threshold": {
            name: model["at_threshold"] for name, model in results["models"].items()
        },
        "seconds a click": {
            name: model["seconds_per_click"] for name, model in results["models"].items()
        },
    }
