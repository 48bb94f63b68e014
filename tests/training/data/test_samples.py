from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import samples
from training.data.sources import SOURCES, SourceError


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the makers by ones that need no archive; return the names they were called for."""
    calls: list[str] = []

    def make(name: str, value: int) -> np.ndarray:
        calls.append(name)
        return np.full((2, 3, 3), value, np.uint8)

    makers = {"a.png": lambda: make("a.png", 10), "b.png": lambda: make("b.png", 20)}
    monkeypatch.setattr(samples, "SAMPLES", makers)
    return calls


def test_only_missing_pictures_are_made(tmp_path: Path, made: list[str]) -> None:
    folder = tmp_path / "new" / "samples"
    assert samples.make_samples(folder) == [folder / "a.png", folder / "b.png"]
    (folder / "a.png").unlink()
    assert samples.make_samples(folder) == [folder / "a.png"]
    assert samples.make_samples(folder) == []
    assert made == ["a.png", "b.png", "a.png"]
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png"]
    with Image.open(folder / "b.png") as image:
        assert np.array_equal(np.asarray(image), np.full((2, 3, 3), 20))


def test_they_are_made_without_the_packages_of_training() -> None:
    """The environment of the demo has none of these."""
    absent = ["cv2", "matplotlib", "mmcv", "mmdet", "mmengine", "scipy", "shapely", "skimage"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); import training.data.samples"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_photograph_is_reduced_by_areas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sahi-0.12.8" / "demo" / "demo_data"
    folder.mkdir(parents=True)
    pixels = np.full((4, 6, 3), 10, np.uint8)
    pixels[:2, 1] = 30
    Image.fromarray(pixels).save(folder / "obb_test_image.png")
    monkeypatch.setattr(samples, "fetch", lambda name: tmp_path / name.removeprefix("sahi"))
    made = samples.SAMPLES["02-marina.png"]()
    assert made[..., 0].tolist() == [[20, 10, 10], [10, 10, 10]]


@pytest.mark.parametrize("name", ["00-galaxies.png", "00-pelicans.png"])
def test_first_come_photographs_as_they_are(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(5, 7, 3), dtype=np.uint8)

    def fetched(source: str) -> Path:
        for file in map(tmp_path.joinpath, SOURCES[source].files):
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix.lower() == ".jpg":
                Image.fromarray(pixels).save(file, format="PNG")
        return tmp_path

    monkeypatch.setattr(samples, "fetch", fetched)
    assert sorted(samples.SAMPLES).index(name) < 2
    assert np.array_equal(samples.SAMPLES[name](), pixels)


def test_missing_archive_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> np.ndarray:
        raise SourceError("pip could not download it")

    monkeypatch.setattr(samples, "SAMPLES", {"a.png": fail})
    with pytest.raises(SystemExit, match="lack sample pictures: pip could not download it"):
        samples.main([str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_default_folder_is_where_the_runtime_looks(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C3DET_CACHE", str(tmp_path))
    samples.main([])
    # serverless.local.samples_directory() has a test of its own for the same folder.
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["a.png", "b.png"]
