"""The report of the open model's evaluation: means over the sets, a table and a figure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure

from training.evaluation.metrics import interval, resamples
from training.evaluation.reporting import Numbers, Report, Table, difference_cell, draw_line

MAIN_COUNT = 3
"""Clicks a class, of the short table and of the negative clicks."""

TABLE_COUNTS = (1, MAIN_COUNT, 10)

MOST_PROPOSALS = 300
"""Boxes without clicks that are measured."""

RESAMPLES = 1000
"""Of the sets, for an interval."""

WAYS = ("random", "person")

NEGATIVE = ("negative", "negative, look-alikes", "negative, background")
"""What is known of negative clicks, see `training.open.evaluate.NegativeClicks`."""


REPEATED, MOST_REPEATS = "repeated", 2
"""What is known of clicks that are repeated, see `training.open.evaluate.RepeatedClicks`, and how
often they are."""


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of those that are known, None where there is none."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 2) if known else None


def mean(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The same of each column of rows."""
    return {name: mean_of([row[name] for row in rows]) for name in rows[0]}


def by_group(results: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """The results of sets of one class and of several apart, by name; no group is empty."""
    groups: dict[str, dict[str, dict[str, Any]]] = {"single-class": {}, "multi-class": {}}
    for name in sorted(results):
        groups["multi-class" if results[name]["multi"] else "single-class"][name] = results[name]
    return {group: rows for group, rows in groups.items() if rows}


def means(results: Mapping[str, dict[str, Any]], counts: Sequence[int]) -> dict[str, Any]:
    """Means over the sets of each group."""
    out: dict[str, Any] = {}
    for group, by_name in by_group(results).items():
        rows = list(by_name.values())
        out[group] = {"sets": len(rows)}
        if blind := [row["0"] for row in rows if row["0"] is not None]:
            out[group]["0"] = mean(blind)
        for way in WAYS:
            out[group][way] = {
                str(number): {
                    objects: mean([row[way][str(number)][objects] for row in rows])
                    for objects in ("all", "unclicked")
                }
                for number in counts
            }
        if repeated := [row[REPEATED] for row in rows if REPEATED in row]:
            out[group][REPEATED] = {
                repeats: {
                    "right": mean_of([one[repeats]["right"] for one in repeated]),
                    **{
                        objects: mean([one[repeats][objects] for one in repeated])
                        for objects in ("all", "unclicked")
                    },
                }
                for repeats in repeated[0]
            }
    for name in NEGATIVE:
        if effects := [one[name] for one in results.values() if name in one]:
            out[name] = {
                share: _mean_share(effects, share, boxes)
                for share, boxes in (("removed", "wrong boxes"), ("lost", "right boxes"))
            }
    return out


def _mean_share(effects: Sequence[dict[str, Any]], share: str, boxes: str) -> float | None:
    """The mean of a share over boxes, None where there are none."""
    total = sum(one[boxes] for one in effects)
    if not total:
        return None
    return round(sum(one[boxes] * (one[share] or 0) for one in effects) / total, 1)


def paired_differences(
    first: Mapping[str, dict[str, Any]], other: Mapping[str, dict[str, Any]], count: int
) -> list[float]:
    """By how much AP of unclicked objects differs, of each set where both are known.

    Args:
        first: The results of a method, by set.
        other: Of another one, which is measured against it.
        count: Random clicks a class.
    """
    pairs = [
        [one[name]["random"][str(count)]["unclicked"]["AP"] for one in (first, other)]
        for name in first
        if name in other
    ]
    return [after - before for before, after in pairs if None not in (before, after)]


def difference_over_sets(differences: Sequence[float]) -> Numbers:
    """The mean of differences and the ends of its 95 % interval, by a bootstrap over them.

    All are None for fewer than two: they tell nothing of other sets.
    """
    if len(differences) < 2:
        return (None, None, None)
    weights = resamples(len(differences), RESAMPLES)
    samples = weights @ np.array(differences) / len(differences)
    return (samples[0], *interval(samples[1:]))


AnyResults = TypeVar("AnyResults", bound="ResultsReport")


@dataclass(frozen=True, kw_only=True)
class ResultsReport(Report):
    """A report whose JSON file holds the results of each set, and their means.

    Attributes:
        commands: See `Report`.
        weights: Names of the files.
        threshold: From which on boxes are shown; ``None``: each card's.
        counts: Clicks a class.
        sets: The results.
    """

    commands: Sequence[str]
    weights: Sequence[str]
    threshold: float | None
    counts: Sequence[int]
    sets: Mapping[str, Any]

    dpi = 110

    @classmethod
    def from_json(cls: type[AnyResults], content: dict[str, Any]) -> AnyResults:
        """See `Report`."""
        del content["means"]
        return cls(**content)

    def to_json(self) -> dict[str, Any]:
        """See `Report`."""
        return asdict(self) | {"means": self.means()}

    @abstractmethod
    def means(self) -> dict[str, Any]:
        """Means over the sets."""


class OpenReport(ResultsReport):
    """What `training.evaluate` measured of the open model; the results are by method and set."""

    title = "The open model, set by set"
    about = (
        "AP at IoU 0.5 of the objects that nobody clicked, after so many random clicks a class; "
        f"and recall of {MOST_PROPOSALS} boxes without clicks, all in percent. The dotted lines "
        "are of a person who clicks the largest error first."
    )

    def means(self) -> dict[str, dict[str, Any]]:
        """See `means`, by method."""
        return {method: means(rows, self.counts) for method, rows in self.sets.items()}

    def _shown(self) -> Sequence[int]:
        """The clicks a class of the tables: all that were measured, where none is of the usual."""
        return [number for number in self.counts if number in TABLE_COUNTS] or self.counts

    def page_tables(self) -> list[Table]:
        """The sets and their means, and how far the other methods are from the first one."""
        shown = self._shown()
        first = next(iter(self.sets.values()))
        averages = self.means()

        def row(name: str, kind: str, of_methods: Sequence[dict[str, Any]]) -> Sequence[Any]:
            recall = (of_methods[0].get("0") or {}).get("recall")
            precisions = [
                one["random"][str(number)]["unclicked"]["AP"] if one else None
                for one in of_methods
                for number in shown
            ]
            return (name, kind, recall, *precisions)

        rows = [
            row(name, one["kind"], [results.get(name, {}) for results in self.sets.values()])
            for group in by_group(first).values()
            for name, one in group.items()
        ]
        rows += [
            row(f"**{group}**", "mean", [one.get(group, {}) for one in averages.values()])
            for group in by_group(first)
        ]
        heads = [f"{method}, {number}" for method in self.sets for number in shown]
        tables = [Table("set", ["kind", f"recall, {MOST_PROPOSALS} boxes", *heads], rows)]
        if len(self.sets) > 1:
            tables.append(self._differences())
        average = next(iter(averages.values()))
        repeated = [
            (f"{group}: {repeats}", one["right"], one["all"]["AP"], one["unclicked"]["AP"])
            for group in by_group(first)
            for repeats, one in average[group].get(REPEATED, {}).items()
        ]
        if repeated:
            title = f"{MAIN_COUNT} clicks a class; those with a wrong box are repeated so often"
            columns = ["right boxes under clicks", "AP, all objects", "AP, unclicked"]
            tables.append(Table(title, columns, repeated))
        return tables

    def _differences(self) -> Table:
        (title, first), *others = self.sets.items()
        rows = []
        for method, results in others:
            for group, of_group in by_group(results).items():
                cells = []
                for count in self._shown():
                    found = paired_differences(first, of_group, count)
                    cells.append(f"{difference_cell(difference_over_sets(found))}, {len(found)}")
                rows.append((f"{method}: {group}", *cells))
        return Table(
            f"difference from {title}, 95 % interval over the sets, and their number",
            [f"after {count}" for count in self._shown()],
            rows,
        )

    def figure(self) -> Figure:
        """Draw AP of unclicked objects over the clicks a class, of each group apart."""
        averages = self.means()
        groups = list(
            by_group({name: one for of in self.sets.values() for name, one in of.items()})
        )
        figure = Figure(figsize=(4.5 * len(groups), 3.4))
        grid = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
        for axes, group in zip(grid, groups, strict=True):
            for number, (method, average) in enumerate(averages.items()):
                if group not in average:
                    continue
                for way, style in zip(WAYS, ("-", ":"), strict=True):
                    points = average[group][way]
                    heights = [points[str(count)]["unclicked"]["AP"] for count in self.counts]
                    label = f"{method}, {way}" if way == "person" else method
                    draw_line(axes, self.counts, heights, style, color=f"C{number}", label=label)
            axes.set_title(f"sets: {group}")
            axes.set_xlabel("clicks a class")
            axes.set_xticks(self.counts)
            axes.set_ylim(0, 100)
            axes.grid(alpha=0.3)
        grid[0].set_ylabel("AP 0.5, unclicked objects")
        grid[0].legend(fontsize=7)
        figure.tight_layout()
        return figure
