"""What all tests share: the device, a limit on threads, no downloads, and no silent skips on CI."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Generator
from importlib.abc import MetaPathFinder

import hypothesis
import pytest

# How long an example takes says nothing on a shared machine.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")

pytest_plugins = ("tests.layers",)

OF_THE_CLOSED_MODEL = ("mmcv", "mmdet", "mmengine")


class _SkipClosed(MetaPathFinder):
    """Skips the test or the module that needs the closed model, where it is not installed."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.partition(".")[0] in OF_THE_CLOSED_MODEL:
            pytest.skip(f"{name} is missing: install the extra closed", allow_module_level=True)


_HAS_CLOSED = all(importlib.util.find_spec(name) for name in OF_THE_CLOSED_MODEL)
if not _HAS_CLOSED:
    sys.meta_path.append(_SkipClosed())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that are given the closed model's weights, which their processes would load."""
    if _HAS_CLOSED:
        return
    for item in items:
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(getattr(value, "name", "") == "starter.safetensors" for value in given):
            item.add_marker(pytest.mark.skip(reason="mmdet is missing: install the extra closed"))


# Read by OpenMP when torch or numpy is first imported, here and in processes that tests start.
# More threads than the small arrays of the tests need only cost time.
os.environ.setdefault("OMP_NUM_THREADS", "2")

# Settings of whoever runs the tests change none of them.
_OF_TESTS = {"C3DET_CACHE", "C3DET_FUZZ_REQUESTS", "C3DET_TEST_CVAT_SDK"}
for _name in {name for name in os.environ if name.startswith("C3DET_")} - _OF_TESTS:
    del os.environ[_name]

# No test downloads: `make downloads` fetches what they need before they start.
os.environ["PIP_NO_INDEX"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device", default="cpu", help="where models run that the tests load: cpu, cuda, cuda:1"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    device = session.config.getoption("--device")
    if device == "cpu":
        return
    import torch

    if not (device.startswith("cuda") and torch.cuda.is_available()):
        raise pytest.UsageError(f"--device {device}: torch {torch.__version__} finds no such GPU")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Where the models under test run."""
    return str(request.config.getoption("--device"))


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cvat-sdk ask a server again without the pauses in between."""
    monkeypatch.setattr("urllib3.util.Retry.sleep", lambda *_: None)


def _on_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure: where everything can be installed, everything must run."""
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{reason} (CI is set, and there a skipped test is a failure)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _on_ci():
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if _on_ci():
        _fail_if_skipped(report)
    return report
