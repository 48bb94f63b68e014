from __future__ import annotations

from pathlib import Path

import pytest

from training.data import bench_data


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_made_data_is_sound(tmp_path: Path, suffix: str) -> None:
    bench_data.make_data(tmp_path, 1100, 20, suffix)
    assert bench_data.read_and_validate(tmp_path) == "20 objects, 0 defects"
    # 1100 pixels are cut at 0 and at 76.
    assert bench_data.tile(tmp_path).startswith("4 tiles, ")
    assert bench_data.decode_whole(tmp_path) == "3 MiB of pixels"


def test_measure_counts_the_memory_of_the_step_alone(tmp_path: Path) -> None:
    bench_data.make_data(tmp_path, 2100, 1, "png")
    clock, processor, memory, text = bench_data.measure(bench_data.decode_whole, tmp_path)
    assert clock > 0
    assert processor > 0
    assert text == "13 MiB of pixels"
    if not Path("/proc/self/status").is_file():
        pytest.skip("no /proc, which tells the peak of memory")
    assert 13 < memory < 200
