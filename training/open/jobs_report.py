"""The report of `training.open.jobs`: means over the sets, tables and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from training.evaluation.reporting import Table, draw_line
from training.open.economy import STUDY, Work
from training.open.reporting import MAIN_COUNT, ResultsReport, by_group, mean_of
from training.open.transfer import OBJECTS, WAYS, Rows, ratio

ACCEPTED = (1, 3, 10)
"""Pictures that the model is adapted to."""


def means(results: Mapping[str, dict[str, Any]], counts: Sequence[int]) -> dict[str, Any]:
    """Means over the sets, of one class and of several apart.

    Ratios of AP are those of the means; ratios of times are means over the sets. The means of
    adapting are over the sets that have enough pictures for each number of accepted ones.
    """
    out: dict[str, Any] = {}
    for group, by_name in by_group(results).items():
        rows = list(by_name.values())
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
        out[group] = {
            "sets": len(rows),
            "transfer": moved,
            "economy": {
                way: mean_of([row["economy"][way]["ratio"] for row in rows])
                for way in ("carried", "alone")
            },
            "spent": spent([row["economy"]["carried"] for row in rows]),
        }
        fitted = [row["adapt"] for row in rows if row.get("adapt")]
        numbers = [number for number in map(str, ACCEPTED) if any(one[number] for one in fitted)]
        # The same sets for each number of pictures, so that the means can be compared.
        if known := [one for one in fitted if numbers and all(one[each] for each in numbers)]:
            out[group]["adapted sets"] = len(known)
            out[group]["adapt"] = {
                number: {
                    when: {
                        way: mean_of([one[number][when][way]["all"] for one in known])
                        for way in WAYS
                    }
                    for when in ("before", "after")
                }
                for number in numbers
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


@dataclass(frozen=True, kw_only=True)
class JobsReport(ResultsReport):
    """What `training.open.jobs` measured; the results are by set.

    Attributes:
        seeds: Of the random clicks.
        study: The constants of `training.annotation_time.Study`.
    """

    seeds: int
    study: Mapping[str, float]

    title = "From picture to picture"
    about = (
        "AP at IoU 0.5 in pictures of which none is clicked, from exemplars of the first picture, "
        "and with so many clicks a class on each picture itself; their ratio, of all objects and "
        "of those that nobody clicked; and seconds by hand over seconds assisted in a job."
    )

    def means(self) -> dict[str, Any]:
        """See `means`."""
        return means(self.sets, self.counts)

    def page_tables(self) -> list[Table]:
        """Transfer and economy by set and mean, what the seconds go to, and adapting."""
        averages = self.means()
        rows = [
            (
                name,
                row["pictures"],
                *self._transfer(row["transfer"]),
                row["economy"]["carried"]["by hand"],
                row["economy"]["carried"]["assisted"],
                *(_times(row["economy"][way]["ratio"]) for way in ("carried", "alone")),
            )
            for group in by_group(self.sets).values()
            for name, row in group.items()
        ]
        rows += [
            (
                f"**{group}**",
                None,
                *self._transfer(row["transfer"]),
                None,
                None,
                *(_times(row["economy"][way]) for way in ("carried", "alone")),
            )
            for group, row in averages.items()
        ]
        heads = [f"{title}, {n}" for title in ("exemplars", "own clicks") for n in self.counts]
        heads += ["ratio, %", "of unclicked, %", "by hand, s", "assisted, s"]
        heads += ["times faster", "each alone"]
        shares = [(group, *row["spent"].values()) for group, row in averages.items()]
        tables = [
            Table("set", ["pictures", *heads], rows),
            Table("what the assisted seconds go to, %", list(Work().spent), shares),
        ]
        if fitted := self._adapted(averages):
            title = f"AP with exemplars of {MAIN_COUNT} clicks a class, adapting"
            tables.append(Table(title, ["accepted pictures", "before", "after"], fitted))
        return tables

    def _transfer(self, row: Rows) -> list[Any]:
        numbers = [str(number) for number in self.counts]
        ratios = [[ratio(row[number], objects) for number in numbers] for objects in OBJECTS]
        return [
            *(row[number][way]["all"] for way in WAYS for number in numbers),
            *("/".join("-" if one is None else f"{one:.1f}" for one in each) for each in ratios),
        ]

    def _adapted(self, averages: Mapping[str, Any]) -> list[Sequence[Any]]:
        """What adapting brings, by set and mean; nothing if it was not measured."""
        rows = [
            (name, number, one["before"]["carried"]["all"], one["after"]["carried"]["all"])
            for group in by_group(self.sets).values()
            for name, row in group.items()
            for number, one in row.get("adapt", {}).items()
            if one
        ]
        return rows + [
            (
                f"**{group}**, sets: {average['adapted sets']}",
                number,
                one["before"]["carried"],
                one["after"]["carried"],
            )
            for group, average in averages.items()
            for number, one in average.get("adapt", {}).items()
        ]

    def figure(self) -> Figure:
        """Draw the means of AP over the clicks a class, and how many times faster each job is.

        Where adapting was measured, a third panel has the means over the accepted pictures.
        """
        averages = self.means()
        fitted = {group: row["adapt"] for group, row in averages.items() if row.get("adapt")}
        panels = 3 if fitted else 2
        size = (4.5 * panels, max(3.4, 0.22 * len(self.sets) + 1))
        figure = Figure(figsize=size)
        left, right, *last = figure.subplots(1, panels)
        for number, (group, row) in enumerate(averages.items()):
            for (way, title), style in zip(WAYS.items(), ("-", ":"), strict=True):
                heights = [row["transfer"][str(count)][way]["all"] for count in self.counts]
                label = f"{group}, {title}"
                draw_line(left, self.counts, heights, style, color=f"C{number}", label=label)
        left.set_xlabel("clicks a class")
        left.set_xticks(self.counts)
        left.set_ylabel("AP 0.5 in the other pictures")
        ratios = {
            name: row["economy"]["carried"]["ratio"] or 0.0 for name, row in self.sets.items()
        }
        names = sorted(ratios, key=lambda name: (self.sets[name]["multi"], ratios[name]))
        colours = ["C1" if self.sets[name]["multi"] else "C0" for name in names]
        right.barh(names, [ratios[name] for name in names], color=colours)
        right.axvline(STUDY.manual_seconds / STUDY.assisted_seconds, color="grey", linestyle=":")
        right.tick_params(axis="y", labelsize=7)
        right.set_xlabel("times faster than by hand (dotted: the paper's study)")
        for axes in last:
            for number, (group, row) in enumerate(fitted.items()):
                for when, style in (("before", ":"), ("after", "-")):
                    heights = [one[when]["carried"] for one in row.values()]
                    label = f"{group}, {when} adapting"
                    draw_line(axes, list(row), heights, style, color=f"C{number}", label=label)
            axes.set_xlabel("accepted pictures")
            axes.set_ylabel(f"AP 0.5, exemplars of {MAIN_COUNT} clicks a class")
        for axes in (left, *last):
            axes.set_ylim(0, 100)
            axes.grid(alpha=0.3)
            axes.legend(fontsize=7)
        figure.tight_layout()
        return figure


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
