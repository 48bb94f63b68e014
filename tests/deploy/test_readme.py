"""What deploy/README.md says of files, settings and limits, against these."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
README = (DEPLOY / "README.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """The table with a heading's first cell: the other cells of each row, by the first."""
    table = README.partition(f"| {heading} |")[2].partition("\n\n")[0]
    cells = [line.strip("|").split(" | ") for line in table.splitlines()[2:]]
    return {first.strip(" `"): [cell.strip() for cell in rest] for first, *rest in cells}


def spec(path: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))["spec"]


def test_every_setting_is_listed() -> None:
    settings = (ROOT / "serverless" / "settings.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"(C3DET_\w+)"', settings))
    assert names
    assert names <= set(rows("variable"))


def test_the_files_are_there_and_named() -> None:
    listed = [name for key in rows("file") for name in re.split(r"[`, ]+", key)]
    assert [name for name in listed if not (DEPLOY / name).exists()] == []
    visible = {path.name for path in DEPLOY.iterdir() if not path.name.startswith(("__", "."))}
    assert visible - {"README.md"} <= {name.strip("/") for name in listed}


@pytest.mark.parametrize(
    ("path", "place"), [("function.yaml", 0), ("deploy/function-gpu.yaml", -1)]
)
def test_the_limits_are_those_of_the_function_files(path: str, place: int) -> None:
    function, limits = spec(path), rows("limit")
    (trigger,) = function["triggers"].values()

    def listed(limit: str) -> str:
        return re.findall(r"\d+ \w+", limits[limit][0])[place]

    assert listed("body of a request") == (
        f"{trigger['attributes']['maxRequestBodySize'] / 1024**2:.0f} MiB"
    )
    wait_s = trigger["workerAvailabilityTimeoutMilliseconds"] / 1000
    assert listed("wait for the worker") == f"{wait_s:.0f} s"
    assert listed("eventTimeout") == function["eventTimeout"].replace("s", " s")
    assert listed("start") == f"{function['readinessTimeoutSeconds']} s"


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [link for link in links if not (DEPLOY / link).exists()] == []


def test_options_named_are_those_of_the_script() -> None:
    script = (DEPLOY / "deploy.sh").read_text(encoding="utf-8")
    calls = re.findall(r"^deploy/deploy\.sh(.*)$", README, flags=re.MULTILINE)
    options = {option for call in calls for option in re.findall(r"--\w+", call.partition("#")[0])}
    assert {"--gpu", "--detector", "--weights", "--class", "--name"} <= options
    assert [option for option in options if option not in script] == []
