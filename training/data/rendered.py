"""The rendered set: eight kinds of objects drawn on real aerial pictures, with look-alikes.

The classes are those of Tiny-DOTA. Everything is drawn from above with the sun of the background,
in the looks that the picture has for its classes (see ``training.data.rendering.style``): what is a
vehicle in one picture can be a roof box in another one, and only a click shows which. Drawn objects
that belong to no class have no box. Training, validation and test share no location.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data import trees
from training.data.annotated import Annotated, clip_boxes, rotate_quarters
from training.data.backgrounds import covered, scaled_window
from training.data.readers.dota import TINY_CLASSES as CLASSES
from training.data.rendering.canvas import Canvas
from training.data.rendering.layout import fill
from training.data.rendering.scene import Scene
from training.data.rendering.shapes import Points, rectangle
from training.data.rendering.style import SMALL_VEHICLE, TREE, draw_style
from training.data.sources import fetch

Split = Literal["train", "val", "test"]
Range = tuple[float, float]

MIN_VISIBLE = 0.7
"""Part of an object's horizontal box that must be in the picture, else it is to be ignored."""
TEST_PICTURES = 40
TEST_SIZE = 512


@dataclass(frozen=True)
class Location:
    """One real picture to draw on.

    Attributes:
        file: Its name in deepforest's data, without the suffix.
        sun: Direction towards the sun in it, in radians from x towards y; read off its shadows.
        scales: It is used at these; a picture too small for a window is used at a larger one. At
            scale 1 a pixel is 10 cm.
        share: How often it is drawn, relative to the other locations of its split.
        crowns: Whether all its tree crowns have boxes.
    """

    file: str
    sun: float
    scales: Range
    share: float = 1.0
    crowns: bool = True


LOCATIONS: dict[Split, tuple[Location, ...]] = {
    "train": (
        Location(trees.TRAIN_PICTURE, math.radians(160), (0.4, 0.75), share=0.7),
        Location("SOAP_031", math.radians(12), (0.6, 1.0), share=0.15, crowns=False),
        Location("SOAP_061", math.radians(34), (0.6, 1.0), share=0.15, crowns=False),
    ),
    "val": (Location(trees.VALIDATION_PICTURE, math.radians(150), (0.8, 1.2)),),
    "test": (Location(trees.TEST_PICTURE, math.radians(50), (0.42, 0.75)),),
}
"""Yellowstone and Soaproot Saddle to train on, Ordway-Swisher to validate on, and a part of
Yellowstone 13 km away to test on."""


def _load(location: Location) -> Annotated:
    """Load a location with its crowns, as far as they have boxes."""
    if location.crowns:
        return trees.load(location.file)
    with Image.open(fetch("deepforest") / "deepforest" / "data" / f"{location.file}.png") as file:
        image = np.asarray(file.convert("RGB"))
    return Annotated(location.file, image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Renderer:
    """Makes rendered pictures from the locations of one split.

    Ranges are drawn from uniformly, once a picture.

    Attributes:
        locations: Where the pictures are taken.
        pictures: Of each location, at full resolution, with its crowns.
        with_trees: Whether crowns of the background and drawn trees get boxes.
        classes: Fewest and most classes of a picture, both included.
        density: Labelled objects per 1000 square pixels; where they are large, fewer fit.
    """

    locations: tuple[Location, ...]
    pictures: tuple[Annotated, ...]
    with_trees: bool = False
    classes: tuple[int, int] = (2, 6)
    density: Range = (0.1, 0.32)

    def render(self, name: str, size: int, rng: np.random.Generator) -> Annotated:
        """Make one picture.

        Args:
            name: Of the result.
            size: Height and width in pixels.
            rng: Source of randomness; the same state gives the same picture.

        Returns:
            The picture with horizontal boxes, cut at its edge, and oriented corners, uncut. An
            object of which too little is in the picture is to be ignored.
        """
        shares = np.array([location.share for location in self.locations])
        at = int(rng.choice(len(self.locations), p=shares / shares.sum()))
        ground, sun = self._ground(at, size, rng)
        style = draw_style(sun, rng)
        canvas = Canvas(_season(ground.image, rng), rng)
        scene = Scene(canvas, style, self._wanted(rng), rng)
        fill(scene, max(2, round(rng.uniform(*self.density) * size * size / 1000)))
        image = canvas.render(scene.placed, style, rng)
        return self._annotated(name, image, scene, ground)

    def _ground(self, at: int, size: int, rng: np.random.Generator) -> tuple[Annotated, float]:
        """Cut a window out of a location and rotate it, and the direction of the sun with it."""
        picture, location = self.pictures[at], self.locations[at]
        smallest = size / min(picture.width, picture.height)
        scale = max(smallest, rng.uniform(*location.scales))
        window = scaled_window(picture, size, scale, rng)
        quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        sun = (math.pi - location.sun if mirrored else location.sun) + quarters * math.pi / 2
        return rotate_quarters(window, quarters, mirrored), sun + rng.normal(0, 0.1)

    def _wanted(self, rng: np.random.Generator) -> frozenset[int]:
        """Draw the classes of a picture; cars are more frequent, as they are everywhere."""
        weights = np.ones(len(CLASSES))
        weights[SMALL_VEHICLE] = 2.0
        number = int(rng.integers(*self.classes, endpoint=True))
        chosen = rng.choice(len(CLASSES), number, replace=False, p=weights / weights.sum())
        return frozenset(chosen.tolist())

    def _annotated(
        self, name: str, image: NDArray[np.uint8], scene: Scene, ground: Annotated
    ) -> Annotated:
        """Collect the boxes of a picture."""
        size = len(image)
        boxes: list[Sequence[float]] = []
        corners: list[Points] = []
        labels: list[int] = []
        for item in scene.placed:
            if item.label is not None and (self.with_trees or item.label != TREE):
                boxes.append(item.box)
                corners.append(item.corners)
                labels.append(item.label)
        if self.with_trees:
            hidden = scene.ground.taken(size)
            for box in ground.boxes[covered(ground.boxes, hidden) <= 0.5].tolist():
                boxes.append(box)
                corners.append(rectangle(*box))
                labels.append(TREE)
        return _cut(name, image, boxes, corners, labels)


def _cut(
    name: str,
    image: NDArray[np.uint8],
    boxes: Sequence[Sequence[float]],
    corners: Sequence[Points],
    labels: Sequence[int],
) -> Annotated:
    """Make a picture of objects that may lie beyond its edge: boxes are cut, corners are not."""
    size = len(image)
    whole = np.array(boxes, np.float32).reshape(-1, 4)
    cut, inside = clip_boxes(whole, 0, 0, size, size, 0.0)
    visible = (cut[:, 2:] - cut[:, :2]).prod(axis=1)
    visible /= (whole[inside, 2:] - whole[inside, :2]).prod(axis=1)
    return Annotated(
        name=name,
        image=image,
        boxes=cut,
        labels=np.array(labels, np.int64)[inside],
        ignored=visible < MIN_VISIBLE,
        corners=np.array(corners, np.float32).reshape(-1, 4, 2)[inside],
    )


def _season(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change the colours of the ground: lusher or drier, and in its brightness."""
    dry = rng.uniform(0, 1) ** 2
    grey = rng.uniform(0, 0.5)
    # Rows: what red, green and blue of the result take from red, green and blue.
    towards_dry = np.array([[0.55, 0.62, 0.0], [0.35, 0.62, 0.0], [0.2, 0.3, 0.4]])
    towards_grey = np.full((3, 3), 1 / 3)
    matrix = np.eye(3) * (1 - dry) + towards_dry * dry
    matrix = (matrix * (1 - grey) + towards_grey @ matrix * grey) * rng.uniform(0.75, 1.08)
    changed = image.astype(np.float32) @ matrix.T.astype(np.float32)
    return np.clip(changed, 0, 255).astype(np.uint8)


def renderer(split: Split, with_trees: bool = False) -> Renderer:
    """Return the renderer of a split; with trees only of locations whose crowns all have boxes."""
    locations = tuple(one for one in LOCATIONS[split] if one.crowns or not with_trees)
    return Renderer(locations, tuple(map(_load, locations)), with_trees)


def pictures(
    split: Split, count: int, size: int, seed: int = 0, with_trees: bool = False
) -> list[Annotated]:
    """Render pictures of a split; every one depends on its number, its size and the seed alone."""
    source = renderer(split, with_trees)
    return [
        source.render(f"rendered-{split}-{seed}-{i}", size, np.random.default_rng([seed, i]))
        for i in range(count)
    ]
