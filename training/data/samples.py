"""Make the sample pictures of the local runtime's page: ``python -m training.data.samples``.

All are real. The first ones show kinds of objects that no weights are trained on, the others kinds
that weights are trained on, in other pictures. The archives are fetched on first use (see
``training.data.sources``, which pins them and names licence and attribution); a picture that exists
is not made again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from c3det.commands import CommandError, cache_directory, command, naming, sentence
from training.data.picture_files import temporary_path
from training.data.sources import fetch


def nuclei() -> NDArray[np.uint8]:
    """A picture of nuclei, uint8 ``(H, W, 3)``, from 16 bits: all but 0.2 % is within its range."""
    with Image.open(fetch("stardist") / "stardist-0.9.2/stardist/data/images/img2d.tif") as image:
        grey = np.asarray(image).astype(np.float64)
    low, high = np.percentile(grey, [1, 99.8])
    return np.dstack([((grey - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)] * 3)


def _photograph(source: str, file: str, scale: float = 1) -> NDArray[np.uint8]:
    with Image.open(fetch(source) / file) as image:
        size = round(image.width * scale), round(image.height * scale)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))


_TREES = "deepforest/data/2019_YELL_2_541000_4977000_image_crop.png"
_PELICANS = "deepforest/data/AWPE Pigeon Lake 2020 DJI_0005.JPG"
_FROM_ABOVE = "sahi-0.12.8/demo/demo_data"

# The page shows them in the order of their names.
SAMPLES: Mapping[str, Callable[[], NDArray[np.uint8]]] = {
    "00-galaxies.png": lambda: _photograph("scikit-image", "skimage/data/hubble_deep_field.jpg"),
    "00-pelicans.png": lambda: _photograph("deepforest", _PELICANS),
    "01-nuclei.png": nuclei,
    "02-marina.png": lambda: _photograph("sahi", f"{_FROM_ABOVE}/obb_test_image.png", 1 / 2),
    "03-cars.png": lambda: _photograph("sahi", f"{_FROM_ABOVE}/small-vehicles1.jpeg"),
    "04-trees.png": lambda: _photograph("deepforest", _TREES, 1 / 2),
}


def make_samples(folder: Path) -> list[Path]:
    """Write the sample pictures that a folder lacks.

    Args:
        folder: Is made if need be.

    Returns:
        The files that were written.

    Raises:
        training.data.sources.SourceError: An archive cannot be fetched.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, make in SAMPLES.items():
        file = folder / name
        if file.exists():
            continue
        temporary = temporary_path(file)
        image = Image.fromarray(make())
        with naming(file):
            image.save(temporary, format="PNG")
            temporary.replace(file)
        written.append(file)
    return written


@command("training.data.samples")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.data.samples",
        description="Make the sample pictures of the local runtime's page.",
    )
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        help="where they go (default: samples in $C3DET_CACHE or ~/.cache/c3det)",
    )
    folder = parser.parse_args(arguments).folder
    lacking = "training.data.samples: the page will lack sample pictures"
    try:
        folder = folder or cache_directory() / "samples"
        written = make_samples(folder)
    except CommandError as error:
        sys.exit(f"{lacking}: {error}")
    except OSError as error:
        sys.exit(f"{lacking}: {sentence(error)}: set C3DET_CACHE to a folder that can be written")
    if written:
        print(f"{len(written)} sample pictures written to {folder}")


if __name__ == "__main__":
    main()
