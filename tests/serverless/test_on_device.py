"""The real worker on the device of ``--device``: its answers, lack of memory, a broken context.

Each runs in a process of its own, all at once: CUDA takes its time to start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serverless.settings import OPEN_WEIGHTS, STARTER_WEIGHTS

ROOT = Path(__file__).resolve().parents[2]

BEGIN = """
import json, os
import torch
from serverless.deployment import FUNCTION
from serverless.nuclio_worker import NuclioWorker
from serverless.settings import ServingSettings
from tests.serverless.fakes import Log, base64_picture

def ask(width, height, clicks=2):
    payload = {
        "image": base64_picture(width, height),
        "pos_points": [[10 + 3 * n, 12 + 2 * n] for n in range(clicks)],
        "neg_points": [[-1, 1]] + [[n % 3, 1] for n in range(clicks)],
    }
    return json.loads(worker.post(json.dumps(payload).encode()).body)

worker = NuclioWorker.load(FUNCTION, Log())
worker.start(ServingSettings.from_environment(os.environ))
Model = type(worker.context.user_data.predictor.model)
detect = Model.detect
before = ask(60, 40)
"""

SCARCE = """
def hungry(self, *arguments):
    torch.empty(1 << 46, dtype=torch.uint8, device=self.device)

Model.detect = hungry
lacking = [ask(61, 40)]
Model.detect = detect
if torch.cuda.is_initialized():
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (30 << 20)) / total)
    lacking.append(ask(1280, 1280))
    torch.cuda.set_per_process_memory_fraction(1.0)
entries = len(worker.context.user_data.cache)
print(json.dumps([before, lacking, entries, ask(60, 40)]))
"""

BROKEN = """
def fails(self, *arguments):
    few = torch.zeros(4, device=self.device)
    return few[torch.tensor([1 << 20], device=self.device)].sum().item()

Model.detect = fails
failed = ask(61, 40)
Model.detect = detect
print(json.dumps([before, failed, ask(60, 40)]))
"""


@pytest.fixture(scope="module", params=[OPEN_WEIGHTS, STARTER_WEIGHTS], ids=["open", "closed"])
def ended(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, device: str
) -> dict[str, subprocess.CompletedProcess[str]]:
    """How the processes ended that ran the scripts above."""
    running = {}
    weights = {"C3DET_WEIGHTS": str(request.param)}
    for name, script in (("scarce", SCARCE), ("broken", BROKEN)):
        # Each has its own lock of the GPU.
        place = {"C3DET_DEVICE": device, "TMPDIR": str(tmp_path_factory.mktemp(name)), **weights}
        running[name] = subprocess.Popen(
            [sys.executable, "-c", BEGIN + script],
            cwd=ROOT,
            env={**os.environ, **place},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    found = {}
    for name, process in running.items():
        try:
            out, err = process.communicate(timeout=150)
        finally:
            process.kill()
        found[name] = subprocess.CompletedProcess([name], process.returncode, out, err)
    return found


def test_lack_of_memory_is_told_and_the_next_request_is_answered(
    ended: dict[str, subprocess.CompletedProcess[str]], device: str
) -> None:
    scarce = ended["scarce"]
    assert scarce.returncode == 0, scarce.stderr[-3000:]
    before, lacking, entries, after = json.loads(scarce.stdout.splitlines()[-1])
    assert before["error"] is None
    assert len(lacking) == (1 if device == "cpu" else 2)
    for answer in lacking:
        assert answer["error"]["code"] == "out_of_memory"
    assert entries == 0
    assert after["error"] is None
    assert after["boxes"] == before["boxes"]


def test_an_error_in_a_kernel_ends_the_process_where_it_breaks_the_device(
    ended: dict[str, subprocess.CompletedProcess[str]], device: str
) -> None:
    broken = ended["broken"]
    if device != "cpu":
        assert broken.returncode == 1, broken.stderr[-3000:]
        assert broken.stdout == ""
        return
    # On a CPU an index out of range is an error like any other.
    assert broken.returncode == 0, broken.stderr[-3000:]
    before, failed, after = json.loads(broken.stdout.splitlines()[-1])
    assert failed["error"]["code"] == "internal"
    assert after["boxes"] == before["boxes"]
