"""Stand-ins for the programs that a comparison runs, and a small experiment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from c3det.closed.architecture import Architecture
from c3det.weights import Card, read_card, save
from training.compare.planning import ComparisonSettings, Experiment, Row
from training.evaluation.evaluator import SUBSETS

ROWS = (
    Row("C3Det", "two-stage", {"fusion": "c3det"}),
    Row("plain", "two-stage", {"fusion": "plain"}),
)


def experiment(out: Path, rows: tuple[Row, ...] = ROWS, **changes: Any) -> Experiment:
    usual: dict[str, Any] = dict(
        out=out,
        sets=("composite=0.6", "trees"),
        test_sets=("composite",),
        seeds=2,
        plain_iterations=9,
        iterations=4,
        click_seeds=2,
        clicks=(0, 5),
    )
    return Experiment(ComparisonSettings(**{**usual, **changes}), rows)


def curve(value: float | None) -> dict[str, Any]:
    point = {"mean": value, "seeds": [value, value], "classes": {"0": value}}
    return {"clicks": {"0": point, "5": point}, "area": point}


class Commands:
    """Notes what it was asked, and leaves the files that the programs leave."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.fails = ""
        self.clicks = "{}"

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        module, arguments = command[2], command[3:]
        self.asked.append(command[2:])
        if self.fails and self.fails in " ".join(arguments):
            _["stdout"].write(b"first\nlast words\n")
            return subprocess.CompletedProcess(command, 1)
        out = Path(arguments[arguments.index("--out") + 1])
        out.parent.mkdir(parents=True, exist_ok=True)
        if module == "training.export":
            save(
                out,
                {},
                Card(
                    "x",
                    ("0",),
                    architecture=Architecture("starter"),
                    training={},
                    score_threshold=0.3,
                    typical_sizes=((1.0, 1.0),),
                    results={},
                    licence={},
                ),
            )
        if module == "training.evaluate":
            name, _, path = arguments[arguments.index("--weights") + 1].partition("=")
            value = 10.0 * ("c3det" in name) + ("seed1" in name)
            subsets = {
                "served": {
                    subset: {"ap50": curve(None if "unseen" in subset else value)}
                    for subset in SUBSETS
                }
            }
            content = {
                "machine": {"cores": 2},
                "sets": {"composite": {"pictures": 3, "objects": 9, "classes": ["0"]}},
                "models": {
                    name: {
                        "sha256": read_card(Path(path)).identity,
                        "sets": {"composite": subsets},
                    }
                },
            }
            Path(arguments[arguments.index("--raw") + 1]).write_text(json.dumps(content))
            # Two numbers of clicks, three samples, as fractions; in the third one clicks help less.
            samples = {
                f"composite/{name}/served/{subset}": np.full((2, 3), value) / 100
                - np.array([0, 0, 0.01]) * ("c3det" in name)
                for subset in SUBSETS
            }
            np.savez(arguments[arguments.index("--samples") + 1], **samples)
            out.with_suffix(".clicks.json").write_text(self.clicks)
        return subprocess.CompletedProcess(command, 0)

    def of(self, module: str) -> list[list[str]]:
        return [one for one in self.asked if one[0] == f"training.{module}"]
