"""Reports: what an evaluation or a study found, as one compact JSON, one page and one figure.

`StudyReport.write` makes ``<name>.json``, ``<name>.md`` and ``<name>.png``; page and figure come
from the JSON alone (``python -m training.report`` makes them again). AP is at IoU 0.5 and, like
precision, recall and F1, in percent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from c3det.commands import naming

Numbers = Sequence[float | None]
"""``None`` where nothing could be measured."""


@dataclass(frozen=True)
class Curve:
    """AP by number of clicks.

    Attributes:
        name: Of what was measured.
        ap50: Mean over the seeds, one for each number of clicks.
        area: Mean height of the curve.
        low: Lowest of the seeds, one for each number of clicks.
        high: Highest of the seeds.
        difference: From the panel's first curve, where one was computed: for each number of clicks
            the mean and the ends of its 95 % interval.
    """

    name: str
    ap50: Numbers
    area: float | None
    low: Numbers
    high: Numbers
    difference: Sequence[Numbers] | None = None


@dataclass(frozen=True)
class Panel:
    """Curves that are compared: a part of the figure, and a table or two of the page."""

    title: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Table:
    """Further numbers, of the page alone; a row is a name and one number a column."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class StudyReport:
    """What an evaluation or a study found.

    Attributes:
        title: Of the page.
        about: How it was measured, a sentence or two.
        commands: That make it again.
        machine: What times were measured on.
        weights: Identities (see `c3det.weights.Card.identity`) of what was measured, by name.
        clicks: The numbers of clicks of all curves.
        panels: In rows of `panels_per_row`.
        tables: Behind the panels.
    """

    title: str
    about: str
    commands: Sequence[str]
    machine: Mapping[str, Any]
    weights: Mapping[str, str]
    clicks: Sequence[int]
    panels: Sequence[Panel]
    tables: Sequence[Table] = ()
    panels_per_row: int = 3

    @classmethod
    def read(cls, path: Path) -> StudyReport:
        """Read the JSON of a report.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not one; the message names it.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            panels = [
                Panel(one["title"], [Curve(**curve) for curve in one["curves"]])
                for one in content.pop("panels")
            ]
            tables = [Table(**one) for one in content.pop("tables")]
            return cls(panels=panels, tables=tables, **content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not the JSON of a report: {error!r}") from error

    def write(self, path: Path) -> None:
        """Write the JSON file of this path, and page and figure beside it.

        Raises:
            OSError: A file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(asdict(self), path)
        page, figure = path.with_suffix(".md"), path.with_suffix(".png")
        with naming(page):
            page.write_text(self.page(figure.name), encoding="utf-8")
        with naming(figure):
            self.figure().savefig(figure, dpi=80)

    def page(self, figure: str) -> str:
        """Lay everything out as Markdown.

        Args:
            figure: Name of the figure's file.
        """
        lines = [f"# {self.title}", "", self.about, "", "```sh", *self.commands, "```", ""]
        lines += [f"![AP by number of clicks]({figure})"]
        for panel in self.panels:
            lines += self._tables_of(panel)
        for table in self.tables:
            lines += _table(table.title, table.columns, table.rows)
        return "\n".join(lines) + "\n"

    def _tables_of(self, panel: Panel) -> list[str]:
        counts = list(map(str, self.clicks))
        rows = [(one.name, *map(_percent, (*one.ap50, one.area))) for one in panel.curves]
        lines = _table(panel.title, [*counts, "area"], rows)
        differences = [
            (one.name, *map(_difference, one.difference))
            for one in panel.curves
            if one.difference is not None
        ]
        if differences:
            title = f"{panel.title}: difference from {panel.curves[0].name}, 95 % interval"
            lines += _table(title, counts, differences)
        return lines

    def figure(self) -> Figure:
        """Draw every panel: the mean and the range over the seeds."""
        across = self.panels_per_row
        down = -(-len(self.panels) // across)
        figure = Figure(figsize=(4.5 * across, 4 * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharey="row").flatten()
        for axes in grid[len(self.panels) :]:
            axes.remove()
        for axes, panel in zip(grid, self.panels, strict=False):
            for number, curve in enumerate(panel.curves):
                self._draw(axes, curve, f"C{number % 10}")
            axes.set_title(panel.title, fontsize="small")
            axes.set_xlabel("clicks")
            axes.set_xticks(self.clicks)
            axes.set_ylabel("AP at IoU 0.5, %")
            axes.grid(alpha=0.3)
            if axes.lines:
                axes.legend(fontsize="x-small")
        return figure

    def _draw(self, axes: Any, curve: Curve, colour: str) -> None:
        points = [
            point
            for point in zip(self.clicks, curve.ap50, curve.low, curve.high, strict=True)
            if point[1] is not None
        ]
        if not points:
            return
        clicks, means, low, high = zip(*points, strict=True)
        style = "--" if "passthrough" in curve.name else "-"
        axes.plot(clicks, means, style, marker=".", color=colour, label=curve.name)
        axes.fill_between(clicks, low, high, alpha=0.15, color=colour, linewidth=0)


def to_curve(name: str, measured: Mapping[str, Any], difference: Any = None) -> Curve:
    """The curve of what `training.evaluation.evaluator.describe` has of one metric."""
    points = measured["clicks"].values()
    seeds = [[value for value in one["seeds"] if value is not None] for one in points]
    return Curve(
        name,
        [rounded(one["mean"]) for one in points],
        rounded(measured["area"]["mean"]),
        [rounded(min(values, default=None)) for values in seeds],
        [rounded(max(values, default=None)) for values in seeds],
        difference,
    )


def rounded(value: float | None) -> float | None:
    """To three decimals; -0.0 becomes 0.0."""
    return None if value is None else round(value, 3) + 0.0


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [
        "",
        f"| {title} | {' | '.join(columns)} |",
        "| --- |" + " ---: |" * len(columns),
        *(f"| {name} | {' | '.join(map(_cell, values))} |" for name, *values in rows),
    ]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2f}"
    return "-" if value is None else str(value)


def _difference(point: Numbers) -> str:
    mean, low, high = point
    return "-" if mean is None else f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write JSON with each list of numbers on one line, in a folder that need not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    text = re.sub(r"\[([^][{}\"]*)\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    with naming(path):
        path.write_text(text + "\n", encoding="utf-8")
