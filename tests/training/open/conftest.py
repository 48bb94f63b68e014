"""A prepared folder, tiny: four icons, four letters, two emoji, a ground and a real set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from c3det.open.mobilenet import MobileNetV2
from training.open.kinds import CELL
from training.open.make_pool import sheet

BOXES = [[10, 10, 22, 20, 3], [40, 12, 52, 22, 3], [70, 60, 80, 76, 7], [20, 70, 34, 80, 7]]
"""Of the real picture of 96 x 96: two classes."""


def masks() -> list[Image.Image]:
    cells = []
    for number in range(4):
        cell = Image.new("L", (CELL, CELL))
        draw = ImageDraw.Draw(cell)
        draw.rectangle((4, 4, 43, 10 + 8 * number), fill=255)
        draw.ellipse((20, 20, 40, 43), fill=255)
        cells.append(cell)
    return cells


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    sheet(masks(), "L").save(folder / "icons.png")
    sheet(masks(), "L").save(folder / "letters.png")
    emoji = []
    for mask in masks()[:2]:
        for colour in ("red", "green", "blue"):
            cell = Image.new("RGBA", (CELL, CELL))
            cell.paste(Image.new("RGB", (CELL, CELL), colour), mask=mask)
            emoji.append(cell)
    sheet(emoji, "RGBA").save(folder / "emoji.webp", lossless=True)
    (folder / "grounds").mkdir()
    noise = np.random.default_rng(0).integers(90, 130, (150, 200, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "grounds" / "00.jpg")
    real = folder / "real" / "toy"
    real.mkdir(parents=True)
    image = Image.fromarray(noise[:96, :96].copy())
    for x1, y1, x2, y2, label in BOXES:
        ImageDraw.Draw(image).rectangle((x1, y1, x2 - 1, y2 - 1), fill=(30 * label, 0, 0))
    image.save(real / "000.jpg")
    (real / "boxes.json").write_text(
        json.dumps([{"name": "000.jpg", "boxes": BOXES, "ignored": []}])
    )
    torch.manual_seed(0)
    state = MobileNetV2().state_dict()
    save_file(
        {k: v.half() for k, v in state.items() if "num_batches" not in k},
        folder / "mobilenet.safetensors",
    )
    counts = {"icons": 4, "letters": 4, "emoji": 6}
    sets = {"toy": {"fold": 1, "kind": "bars"}}
    (folder / "manifest.json").write_text(json.dumps({"counts": counts, "real": sets}))
    return folder
