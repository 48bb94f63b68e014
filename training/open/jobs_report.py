"""Results of `training.open.jobs`: means, a table and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.open.economy import STUDY, Work
from training.open.reporting import MAIN_COUNT, cell, mean_of, write_texts
from training.open.transfer import OBJECTS, WAYS, Rows, ratio

ACCEPTED = (1, 3, 10)
"""Pictures that the model is adapted to."""

Results = dict[str, dict[str, Any]]
"""By set: kind, whether it is multi-class, pictures, transfer, economy and adapt."""


def means(results: Results, counts: Sequence[int]) -> dict[str, Any]:
    """Means over the sets, of one class and of several apart.

    Ratios of AP are those of the means; ratios of times are means over the sets.
    """
    out: dict[str, Any] = {}
    for name, multi in (("single-class", False), ("multi-class", True)):
        rows = [one for one in results.values() if one["multi"] == multi]
        if not rows:
            continue
        moved: Rows = {
            str(number): {
                way: {
                    objects: mean_of([row["transfer"][str(number)][way][objects] for row in rows])
                    for objects in OBJECTS
                }
                for way in WAYS
            }
            for number in counts
        }
        for row in moved.values():
            row["ratio"] = {objects: ratio(row, objects) for objects in OBJECTS}
        out[name] = {
            "sets": len(rows),
            "transfer": moved,
            "economy": {
                way: mean_of([row["economy"][way]["ratio"] for row in rows])
                for way in ("carried", "alone")
            },
            "spent": spent([row["economy"]["carried"] for row in rows]),
        }
        fitted = [row["adapt"] for row in rows if row.get("adapt")]
        if fitted:
            out[name]["adapt"] = {
                str(number): {
                    when: {
                        way: mean_of([one[str(number)][when][way]["all"] for one in known])
                        for way in WAYS
                    }
                    for when in ("before", "after")
                }
                for number in ACCEPTED
                if (known := [one for one in fitted if one[str(number)]])
            }
    return out


def spent(works: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What the assisted seconds of jobs went to, in percent, each job weighing the same."""
    names = Work.__dataclass_fields__
    jobs = [Work(**{name: work[name] for name in names}) for work in works]
    shares = [{name: seconds / job.assisted for name, seconds in job.spent.items()} for job in jobs]
    return {
        name: round(100 * float(np.mean([one[name] for one in shares])), 1) for name in shares[0]
    }


def table(results: Results, counts: Sequence[int]) -> str:
    """Markdown: transfer and economy of each set, and the means.

    Args:
        results: Of the sets.
        counts: Clicks a class.
    """
    heads = [f"{title}, {number}" for title in ("exemplars", "own clicks") for number in counts]
    lines = [
        "AP at IoU 0.5 in pictures of which none is clicked, from exemplars of the first picture,",
        "and with as many clicks on each picture itself; their ratio, of all objects and of those",
        "that nobody clicked; and seconds by hand over seconds assisted in a job.",
        "",
        f"| set | pictures | {' | '.join(heads)} | ratio, % | of unclicked, % | by hand, s "
        "| assisted, s | times faster | each alone |",
        f"| --- | {' | '.join('---:' for _ in range(len(heads) + 7))} |",
    ]

    def moved(row: Rows) -> str:
        cells = [cell(row[str(number)][way]["all"]) for way in WAYS for number in counts]
        cells += [
            "/".join(cell(ratio(row[str(number)], objects)) for number in counts)
            for objects in OBJECTS
        ]
        return " | ".join(cells)

    for name in sorted(results, key=lambda one: (results[one]["multi"], one)):
        row = results[name]
        carried, alone = row["economy"]["carried"], row["economy"]["alone"]
        seconds = " | ".join(cell(carried[name]) for name in ("by hand", "assisted"))
        times = f"{_times(carried['ratio'])} | {_times(alone['ratio'])}"
        lines.append(
            f"| {name} | {row['pictures']} | {moved(row['transfer'])} | {seconds} | {times} |"
        )
    averages = means(results, counts)
    for group, row in averages.items():
        times = " | ".join(_times(row["economy"][way]) for way in ("carried", "alone"))
        lines.append(f"| **{group}** | | {moved(row['transfer'])} | | | {times} |")
    lines += [
        "",
        "What the assisted seconds go to, in percent.",
        "",
        f"| sets | {' | '.join(Work().spent)} |",
        f"| --- | {' | '.join('---:' for _ in Work().spent)} |",
    ]
    lines += [
        f"| {group} | {' | '.join(cell(value) for value in row['spent'].values())} |"
        for group, row in averages.items()
    ]
    lines += _adapted(results, averages)
    return "\n".join(lines) + "\n"


def _adapted(results: Results, averages: dict[str, Any]) -> list[str]:
    """The table of what adapting brings, by set and mean; no lines if it was not measured."""
    rows = [
        (name, number, one["before"]["carried"]["all"], one["after"]["carried"]["all"])
        for name in sorted(results, key=lambda name: (results[name]["multi"], name))
        for number, one in results[name].get("adapt", {}).items()
        if one
    ]
    rows += [
        (f"**{group}**", number, one["before"]["carried"], one["after"]["carried"])
        for group, average in averages.items()
        for number, one in average.get("adapt", {}).items()
    ]
    if not rows:
        return []
    return [
        "",
        f"AP with exemplars of {MAIN_COUNT} clicks a class before and after adapting.",
        "",
        "| set | accepted pictures | before | after |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {number} | {cell(before)} | {cell(after)} |"
            for name, number, before, after in rows
        ),
    ]


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def plot(results: Results, counts: Sequence[int], path: Path) -> None:
    """Draw the means of AP over the clicks a class, and how many times faster each job is.

    Where adapting was measured, a third panel has the means over the accepted pictures.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    height = max(3.4, 0.22 * len(results) + 1)
    averages = means(results, counts)
    fitted = {group: row["adapt"] for group, row in averages.items() if row.get("adapt")}
    panels = 3 if fitted else 2
    figure, axes = pyplot.subplots(1, panels, figsize=(4.5 * panels, height))
    left, right = axes[:2]
    for number, (group, row) in enumerate(averages.items()):
        for (way, title), style in zip(WAYS.items(), ("-", ":"), strict=True):
            heights = [row["transfer"][str(count)][way]["all"] for count in counts]
            shown = [np.nan if value is None else value for value in heights]
            left.plot(
                counts, shown, style, color=f"C{number}", marker=".", label=f"{group}, {title}"
            )
    left.set_xlabel("clicks a class")
    left.set_xticks(counts)
    left.set_ylim(0, 100)
    left.set_ylabel("AP 0.5 in the other pictures")
    left.grid(alpha=0.3)
    left.legend(fontsize=7)
    ratios = {name: row["economy"]["carried"]["ratio"] or 0.0 for name, row in results.items()}
    names = sorted(ratios, key=lambda name: (results[name]["multi"], ratios[name]))
    colours = ["C1" if results[name]["multi"] else "C0" for name in names]
    right.barh(names, [ratios[name] for name in names], color=colours)
    right.axvline(STUDY.manual_seconds / STUDY.assisted_seconds, color="grey", linestyle=":")
    right.tick_params(axis="y", labelsize=7)
    right.set_xlabel("times faster than by hand (dotted: the paper's study)")
    for number, (group, row) in enumerate(fitted.items()):
        for when, style in (("before", ":"), ("after", "-")):
            heights = [one[when]["carried"] for one in row.values()]
            label = f"{group}, {when} adapting"
            axes[2].plot(list(row), heights, style, color=f"C{number}", marker=".", label=label)
    if fitted:
        axes[2].set_xlabel("accepted pictures")
        axes[2].set_ylim(0, 100)
        axes[2].set_ylabel(f"AP 0.5, exemplars of {MAIN_COUNT} clicks a class")
        axes[2].grid(alpha=0.3)
        axes[2].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def write(results: Results, counts: Sequence[int], about: dict[str, Any], out: Path) -> None:
    """Write results as JSON, and the table and the plot beside.

    Args:
        results: Of the sets.
        counts: Clicks a class.
        about: What else the JSON file says.
        out: The JSON file.
    """
    content = about | {"counts": list(counts), "means": means(results, counts), "sets": results}
    write_texts(content, table(results, counts), out)
    plot(results, counts, out.with_suffix(".png"))
