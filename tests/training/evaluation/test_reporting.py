"""Reports: their JSON, page and figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.evaluation.reporting import Curve, Panel, StudyReport, Table, to_curve

REPORT = StudyReport(
    "Boats",
    "AP at IoU 0.5, percent.",
    ["python -m training.evaluate --weights a"],
    {"cores": 2},
    {"a": "00"},
    [0, 5],
    [
        Panel(
            "harbour: all",
            [
                Curve("a", [12.34, 50.0], 31.2, [12.0, 49.0], [13.0, 51.0]),
                Curve(
                    "a, passthrough",
                    [12.34, None],
                    None,
                    [12.0, None],
                    [13.0, None],
                    [[-0.04, -1.0, 2.25], [None, None, None]],
                ),
            ],
        ),
        Panel("harbour: unclicked", [Curve("a", [None, None], None, [None] * 2, [None] * 2)]),
    ],
    [Table("seconds", ["a click", "clicks"], [["a", 0.285, 3], ["b", None, 10]])],
)


def test_page() -> None:
    assert REPORT.page("boats.png").splitlines() == [
        "# Boats",
        "",
        "AP at IoU 0.5, percent.",
        "",
        "```sh",
        "python -m training.evaluate --weights a",
        "```",
        "",
        "![AP by number of clicks](boats.png)",
        "",
        "| harbour: all | 0 | 5 | area |",
        "| --- | ---: | ---: | ---: |",
        "| a | 12.3 | 50.0 | 31.2 |",
        "| a, passthrough | 12.3 | - | - |",
        "",
        "| harbour: all: difference from a, 95 % interval | 0 | 5 |",
        "| --- | ---: | ---: |",
        "| a, passthrough | -0.0 (-1.0 to +2.2) | - |",
        "",
        "| harbour: unclicked | 0 | 5 | area |",
        "| --- | ---: | ---: | ---: |",
        "| a | - | - | - |",
        "",
        "| seconds | a click | clicks |",
        "| --- | ---: | ---: |",
        "| a | 0.28 | 3 |",
        "| b | - | 10 |",
    ]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results" / "boats.json"
    REPORT.write(path)
    assert StudyReport.read(path).page("boats.png") == REPORT.page("boats.png")
    assert (tmp_path / "results" / "boats.md").read_text() == REPORT.page("boats.png")
    assert (tmp_path / "results" / "boats.png").read_bytes().startswith(b"\x89PNG")
    assert '"ap50":[12.34,50.0],' in path.read_text()


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"panels": 3, "tables": []}'])
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "boats.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"boats.json is not the JSON of a report"):
        StudyReport.read(path)


def test_a_curve_has_the_range_of_its_seeds() -> None:
    points = {
        "0": {"mean": 1.2564, "seeds": [1.0, 1.5116, None]},
        "5": {"mean": None, "seeds": [None, None, None]},
    }
    found = to_curve("a", {"clicks": points, "area": {"mean": 2.0}})
    assert found == Curve("a", [1.256, None], 2.0, [1.0, None], [1.512, None])


def test_the_figure_has_a_panel_for_each() -> None:
    panels = [axes for axes in REPORT.figure().axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["harbour: all", "harbour: unclicked"]
    lines = panels[0].get_lines()
    assert [line.get_linestyle() for line in lines] == ["-", "--"]
    assert [line.get_xdata().tolist() for line in lines] == [[0, 5], [0]]
