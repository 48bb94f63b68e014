"""Reports: what an evaluation or a study found, as one compact JSON, one page and one figure.

`Report.write` makes ``<name>.json``, ``<name>.md`` and ``<name>.png``; page and figure come from
the JSON alone (``python -m training.report`` makes them again). AP is at IoU 0.5 and, like
precision, recall and F1, in percent.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

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
    """Numbers of a page; a row is a name, and a number or a text for each column."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def lines(self) -> list[str]:
        """The table in Markdown, with an empty line before it."""
        return [
            "",
            f"| {self.title} | {' | '.join(self.columns)} |",
            "| --- |" + " ---: |" * len(self.columns),
            *(f"| {name} | {' | '.join(map(_cell, values))} |" for name, *values in self.rows),
        ]


AnyReport = TypeVar("AnyReport", bound="Report")


class Report(ABC):
    """What was measured. Subclasses are dataclasses, whose fields are the keys of the JSON file.

    Attributes:
        title: Of the page.
        about: How it was measured, a sentence or two.
        commands: That measure it again.
        dpi: Of the figure's file.
    """

    title: str
    about: str
    commands: Sequence[str]
    dpi = 80

    @classmethod
    @abstractmethod
    def from_json(cls: type[AnyReport], content: dict[str, Any]) -> AnyReport:
        """The report of what `to_json` returned."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What the JSON file holds."""

    @abstractmethod
    def page_tables(self) -> list[Table]:
        """The tables of the page."""

    @abstractmethod
    def figure(self) -> Figure:
        """Draw the figure."""

    @classmethod
    def read(cls: type[AnyReport], path: Path) -> AnyReport:
        """Read the JSON file of a report.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not one; the message names it.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not the JSON of a report: {error!r}") from error

    def write(self, path: Path) -> None:
        """Write the JSON file of this path, and page and figure beside it.

        Raises:
            OSError: A file cannot be written.
        """
        write_json(self.to_json(), path)
        page, figure = path.with_suffix(".md"), path.with_suffix(".png")
        with naming(page):
            page.write_text(self.page(figure.name), encoding="utf-8")
        with naming(figure):
            self.figure().savefig(figure, dpi=self.dpi, metadata={"Software": None})

    def page(self, figure: str) -> str:
        """Lay everything out as Markdown; ``figure`` is the name of that file."""
        lines = [f"# {self.title}", "", self.about, "", "```sh", *self.commands, "```", ""]
        lines += [f"![AP by number of clicks]({figure})"]
        for table in self.page_tables():
            lines += table.lines()
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class StudyReport(Report):
    """Curves of AP by number of clicks, and tables.

    Attributes:
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
    def from_json(cls, content: dict[str, Any]) -> StudyReport:
        """See `Report`."""
        panels = [
            Panel(one["title"], [Curve(**curve) for curve in one["curves"]])
            for one in content.pop("panels")
        ]
        tables = [Table(**one) for one in content.pop("tables")]
        return cls(panels=panels, tables=tables, **content)

    def to_json(self) -> dict[str, Any]:
        """See `Report`."""
        return asdict(self)

    def page_tables(self) -> list[Table]:
        """One or two of each panel, then the others."""
        return [*(table for panel in self.panels for table in self._tables_of(panel)), *self.tables]

    def _tables_of(self, panel: Panel) -> list[Table]:
        counts = list(map(str, self.clicks))
        rows = [(one.name, *map(_percent, (*one.ap50, one.area))) for one in panel.curves]
        tables = [Table(panel.title, [*counts, "area"], rows)]
        differences = [
            (one.name, *map(difference_cell, one.difference))
            for one in panel.curves
            if one.difference is not None
        ]
        if differences:
            title = f"{panel.title}: difference from {panel.curves[0].name}, 95 % interval"
            tables.append(Table(title, counts, differences))
        return tables

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
        style = "--" if "passthrough" in curve.name else "-"
        draw_line(axes, self.clicks, curve.ap50, style, color=colour, label=curve.name)
        ranges = zip(self.clicks, curve.ap50, curve.low, curve.high, strict=True)
        if known := [(x, low, high) for x, mean, low, high in ranges if mean is not None]:
            axes.fill_between(*zip(*known, strict=True), alpha=0.15, color=colour, linewidth=0)


def draw_line(axes: Any, x: Sequence[Any], heights: Numbers, style: str, **look: Any) -> None:
    """Draw a line with a mark at each height that is known; ``look`` goes to matplotlib."""
    known = [point for point in zip(x, heights, strict=True) if point[1] is not None]
    if known:
        axes.plot(*zip(*known, strict=True), style, marker=".", **look)


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


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2f}"
    return "-" if value is None else str(value)


def difference_cell(point: Numbers) -> str:
    """A difference and the ends of its interval, for a page."""
    mean, low, high = point
    if mean is None:
        return "-"
    return f"{mean:+.1f}" + ("" if low is None else f" ({low:+.1f} to {high:+.1f})")


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write compact JSON, in a folder that need not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    with naming(path):
        path.write_text(text + "\n", encoding="utf-8")
