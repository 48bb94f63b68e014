"""The interface of models, and that neither model needs the packages of the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from c3det.clicks import Click
from c3det.exemplars import Exemplar
from c3det.model import clicks_that_count
from c3det.predictor import load
from tests.c3det.open.small import saved

ROOT = Path(__file__).resolve().parents[2]

OPEN_ALONE = """
import sys
from pathlib import Path

import numpy as np

import c3det.answering, c3det.exemplars, c3det.picture, c3det.predictor, c3det.tiles, c3det.weights
import c3det.boxes, c3det.open.compare, c3det.open.detector, c3det.open.model
from c3det.clicks import Click

predictor = c3det.predictor.load(sys.argv[1])
predictor.open(np.zeros((64, 64, 3), np.uint8)).detect([Click(3, 4, 0)])
print(sorted({name.split(".")[0] for name in sys.modules} & {"mmcv", "mmdet", "mmengine"}))
"""


def test_the_open_model_needs_no_mmdet(tmp_path: Path) -> None:
    """In a process of its own: this one may have imported it before."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN_ALONE, str(saved(tmp_path))],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


CLOSED_ALONE = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {"mmcv", "mmdet", "mmengine"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from c3det.predictor import load
from c3det.weights import WeightsError

try:
    load(sys.argv[1])
except WeightsError as error:
    print(error)
"""


def test_the_closed_model_names_the_extra_that_is_missing() -> None:
    weights = ROOT / "serverless" / "weights" / "starter.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_ALONE, str(weights)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    (message,) = done.stdout.splitlines()
    assert message.startswith(f"the weights {weights} are of the closed model, which needs mm")
    assert "install the project with its extra closed" in message


def test_closed_model_refuses_an_open_one(tmp_path: Path) -> None:
    from c3det.closed.model import closed_model

    predictor = load(saved(tmp_path))
    with pytest.raises(TypeError, match="untrained is not a closed model"):
        closed_model(predictor.model, predictor.card)


def test_clicks_that_count() -> None:
    yes, no = Click(1, 2, 0), Click(3, 4, 0, positive=False)
    alone = Click(5, 6, 1, positive=False)
    assert clicks_that_count([yes, no, alone]) == [yes, no]
    assert clicks_that_count([yes, no, alone], negative=False) == [yes]
    assert clicks_that_count([alone]) == []
    # A label may have its positive ones among others.
    assert clicks_that_count([no, alone], beside=[yes]) == [no]
    exemplar = Exemplar(1, True, b"", 3, 4)
    assert clicks_that_count([yes, alone], beside=[exemplar]) == [yes, alone]
    assert clicks_that_count([exemplar], beside=[alone]) == [exemplar]
