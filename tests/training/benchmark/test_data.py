"""The benchmark of reading and tiling."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.benchmark import data
from training.benchmark.process import alone


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_made_data_is_sound(tmp_path: Path, suffix: str) -> None:
    data.make_data(tmp_path, 1100, 20, suffix)
    assert data.read_and_validate(tmp_path) == "20 objects, 0 defects"
    # 1100 pixels are cut at 0 and at 76.
    assert data.tile(tmp_path).startswith("4 tiles, ")
    assert data.decode_whole(tmp_path) == "3 MiB of pixels"


def test_measure_counts_the_memory_of_the_step_alone(tmp_path: Path) -> None:
    data.make_data(tmp_path, 2100, 1, "png")
    clock, processor, memory, text = alone(data.measure, data.decode_whole, tmp_path)
    assert clock > 0
    assert processor > 0
    assert text == "13 MiB of pixels"
    if not Path("/proc/self/status").is_file():
        pytest.skip("no /proc, which tells the peak of memory")
    assert 13 < memory < 200
