"""Results of the open model's evaluation: means, a table and a plot.

    python -m training.open.reporting part1.json part2.json --out all.json

puts together what `training.open.evaluate` measured in several calls, say of other sets, and writes
``all.md`` and ``all.png`` beside.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from c3det.commands import command

MAIN_COUNT = 3
"""Clicks a class, of the short table and of the negative clicks."""

TABLE_COUNTS = (1, MAIN_COUNT, 10)

MOST_PROPOSALS = 300
"""Boxes without clicks that are measured."""

WAYS = ("random", "person")

Results = dict[str, dict[str, dict[str, Any]]]
"""By method and set, see `training.open.evaluate.evaluate_set`."""


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of those that are known, None where there is none."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 2) if known else None


def mean(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The same of each column of rows."""
    return {name: mean_of([row[name] for row in rows]) for name in rows[0]}


def means(results: dict[str, dict[str, Any]], counts: Sequence[int]) -> dict[str, Any]:
    """Means over the sets, of one class and of several apart."""
    out: dict[str, Any] = {}
    for name, multi in (("single-class", False), ("multi-class", True)):
        rows = [one for one in results.values() if one["multi"] == multi]
        if not rows:
            continue
        out[name] = {"sets": len(rows)}
        blind = [row["0"] for row in rows if row["0"] is not None]
        if blind:
            out[name]["0"] = mean(blind)
        for way in WAYS:
            out[name][way] = {
                str(number): {
                    objects: mean([row[way][str(number)][objects] for row in rows])
                    for objects in ("all", "unclicked")
                }
                for number in counts
            }
    wrong = [one["negative"] for one in results.values()]
    if wrong:
        removed = sum(one["wrong boxes"] * (one["removed"] or 0) for one in wrong)
        lost = sum(one["right boxes"] * (one["lost"] or 0) for one in wrong)
        out["negative"] = {
            "removed": round(removed / max(1, sum(one["wrong boxes"] for one in wrong)), 1),
            "lost": round(lost / max(1, sum(one["right boxes"] for one in wrong)), 1),
        }
    return out


def table(results: Results, counts: Sequence[int]) -> str:
    """Markdown: AP of unclicked objects after random clicks, for each set and method.

    Args:
        results: Of every method.
        counts: Clicks a class.
    """
    shown = [number for number in counts if number in TABLE_COUNTS]
    first = next(iter(results.values()))
    heads = [f"{method}, {number}" for method in results for number in shown]
    lines = [
        "AP at IoU 0.5 of unclicked objects after so many random clicks a class.",
        "",
        f"| set | kind | recall, {MOST_PROPOSALS} boxes | {' | '.join(heads)} |",
        f"| --- | --- | ---: | {' | '.join('---:' for _ in heads)} |",
    ]
    for name in sorted(first, key=lambda one: (first[one]["multi"], one)):
        cells = [
            cell(rows[name]["random"][str(number)]["unclicked"]["AP"]) if name in rows else ""
            for rows in results.values()
            for number in shown
        ]
        recall = first[name]["0"]["recall"] if first[name]["0"] else None
        lines.append(f"| {name} | {first[name]['kind']} | {cell(recall)} | {' | '.join(cells)} |")
    for group in ("single-class", "multi-class"):
        averages = [means(rows, counts).get(group) for rows in results.values()]
        if averages[0] is None:
            continue
        cells = [
            cell(one["random"][str(number)]["unclicked"]["AP"]) if one else ""
            for one in averages
            for number in shown
        ]
        recall = averages[0].get("0", {}).get("recall")
        lines.append(f"| **{group}** | mean | {cell(recall)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(value: float | None) -> str:
    """A number in a table."""
    return "" if value is None else f"{value:.1f}"


def plot(results: Results, counts: Sequence[int], path: Path) -> None:
    """Draw AP of unclicked objects over the clicks a class, of one class and of several apart."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    averages = {method: means(rows, counts) for method, rows in results.items()}
    groups = [
        group
        for group in ("single-class", "multi-class")
        if any(group in average for average in averages.values())
    ]
    figure, axes = pyplot.subplots(
        1, len(groups), figsize=(4.5 * len(groups), 3.4), sharey=True, squeeze=False
    )
    for axis, group in zip(axes[0], groups, strict=True):
        for number, (method, average) in enumerate(averages.items()):
            for way, style in zip(WAYS, ("-", ":"), strict=True):
                values = [
                    average.get(group, {}).get(way, {}).get(str(count), {}) for count in counts
                ]
                heights = [value.get("unclicked", {}).get("AP") for value in values]
                heights = [np.nan if height is None else height for height in heights]
                label = f"{method}, {way}" if way == "person" else method
                axis.plot(counts, heights, style, color=f"C{number}", marker=".", label=label)
        axis.set_title(f"sets: {group}")
        axis.set_xlabel("clicks a class")
        axis.set_xticks(counts)
        axis.set_ylim(0, 100)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("AP 0.5, unclicked objects")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def page(content: dict[str, Any], tables: str) -> str:
    """The page of a study: the command of its JSON file, and its tables."""
    return f"`{content['command']}`\n\n{tables}"


def write_texts(content: dict[str, Any], tables: str, out: Path) -> None:
    """Write a study's compact JSON, and its page beside."""
    out.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(page(content, tables), encoding="utf-8")


def write(results: Results, counts: Sequence[int], about: dict[str, Any], out: Path) -> None:
    """Write results as JSON, and the table and the plot beside.

    Args:
        results: Of every method.
        counts: Clicks a class.
        about: What else the JSON file says.
        out: The JSON file.
    """
    averages = {method: means(rows, counts) for method, rows in results.items()}
    content = about | {"counts": list(counts), "means": averages, "sets": results}
    write_texts(content, table(results, counts), out)
    plot(results, counts, out.with_suffix(".png"))


def merged(contents: Sequence[dict[str, Any]]) -> tuple[Results, tuple[int, ...], dict[str, Any]]:
    """The results, the numbers of clicks and the rest of several files.

    Raises:
        ValueError: They were measured in other ways, or a set stands in two of them.
    """
    first = contents[0]
    about = {"command": first["command"], "weights": [], "threshold": first["threshold"]}
    results: Results = {}
    for content in contents:
        for name in ("threshold", "counts"):
            if content[name] != first[name]:
                raise ValueError(f"the files do not go together: {name} differs")
        about["weights"] += [name for name in content["weights"] if name not in about["weights"]]
        for method, rows in content["sets"].items():
            twice = sorted(set(rows) & set(results.get(method, {})))
            if twice:
                raise ValueError(f"{', '.join(twice)} of {method} stands in two files")
            results.setdefault(method, {}).update(rows)
    return results, tuple(first["counts"]), about


@command("training.open.reporting")
def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Put results of the open model together.")
    parser.add_argument("files", type=Path, nargs="+", help="JSON files of training.open.evaluate")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args(arguments)
    try:
        contents = [json.loads(path.read_text(encoding="utf-8")) for path in options.files]
        write(*merged(contents), options.out)
    except (OSError, ValueError) as error:
        raise SystemExit(f"training.open.reporting: {error}") from error


if __name__ == "__main__":
    main()
