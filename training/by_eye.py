"""Try weights on a picture without boxes: ``python -m training.by_eye MARKS --weights W --out F``.

A person has marked the middle of every object of the picture by hand, in a JSON file::

    {"source": "sahi", "picture": "sahi-0.12.8/demo/demo_data/obb_test_image.png",
     "window": [600, 0, 700, 620], "scale": 0.5, "marks": {"ship": [[12, 20], [30.5, 41]]}}

``source`` is a key of `training.data.sources.SOURCES`, left out for a file of one's own, whose path
counts from the marks' folder. ``window`` (x, y, width, height, in pixels of the file) and ``scale``
may be left out; the marks are in pixels of what comes out of them.

Some of the marked objects are clicked, at their marks and in random order. A mark is found if a
shown box of its class contains it; a box stands for the one mark nearest to its middle, and a box
that stands for none is wrong. This counts objects, and says nothing of how well the boxes fit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from c3det.answering import Detections, contains
from c3det.clicks import Click
from c3det.commands import command
from c3det.predictor import Predictor, load
from c3det.weights import WeightsError
from training.data.pictures import read_picture
from training.data.sources import fetch
from training.evaluation.reporting import write_json
from training.validation import draw

COUNTS = (0, 3, 10)


@dataclass(frozen=True, eq=False)
class Marked:
    """A picture with the middles of its objects.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        points: float64 (N, 2), xy in pixels of the image.
        classes: Names, one a point.
    """

    image: NDArray[np.uint8]
    points: NDArray[np.float64]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Tally:
    """What a person would count.

    Attributes:
        found: Marked objects that a shown box stands for.
        missed: The other marked objects.
        wrong: Shown boxes that stand for none.
    """

    found: int
    missed: int
    wrong: int


def read_marks(path: Path) -> Marked:
    """Read a file of marks and its picture.

    Raises:
        OSError: A file cannot be read.
        ValueError: It is not such a file, or a mark lies outside of the picture; the message names
            the file.
        training.data.sources.SourceError: The picture cannot be fetched.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        folder = fetch(content["source"]) if "source" in content else path.parent
        image = read_picture(folder / content["picture"])
        height, width = image.shape[:2]
        x, y, across, down = (int(value) for value in content.get("window", (0, 0, width, height)))
        scale = float(content.get("scale", 1))
        marks = content["marks"]
        points = np.array([point for of_class in marks.values() for point in of_class], np.float64)
        points = points.reshape(-1, 2)
        classes = tuple(name for name, of_class in marks.items() for _ in of_class)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold marks: {error!r}") from error
    if min(x, y) < 0 or min(across, down) < 1 or x + across > width or y + down > height:
        raise ValueError(f"{path}: the window leaves the picture of {width} x {height} pixels")
    if not 0 < scale <= 1:
        raise ValueError(f"{path}: the scale must be above 0 and at most 1, it is {scale}")
    window = Image.fromarray(np.ascontiguousarray(image[y : y + down, x : x + across]))
    size = (max(1, round(across * scale)), max(1, round(down * scale)))
    shown = np.asarray(window.resize(size, Image.Resampling.BOX))
    outside = ((points < 0) | (points > size)).any(axis=1)
    if outside.any():
        x, y = points[outside][0].tolist()
        raise ValueError(f"{path}: the mark {x:g}, {y:g} lies outside of {size[0]} x {size[1]}")
    return Marked(shown, points, classes)


def clicks_on(marked: Marked, classes: Sequence[str], number: int, seed: int) -> list[Click]:
    """Click the first ``number`` marks of a random order, or all where there are fewer.

    Raises:
        ValueError: The weights lack the class of a mark.
    """
    unknown = sorted(set(marked.classes) - set(classes))
    if unknown:
        raise ValueError(f"the weights have no class {unknown[0]!r}, only {', '.join(classes)}")
    order = np.random.default_rng(seed).permutation(len(marked.points))[:number].tolist()
    return [
        Click(x, y, classes.index(marked.classes[index]))
        for index, (x, y) in zip(order, marked.points[order].tolist(), strict=True)
    ]


def tally(marked: Marked, detections: Detections, classes: Sequence[str]) -> Tally:
    """Count which marks the shown boxes stand for, the boxes of high score first."""
    labels = np.array([classes.index(name) for name in marked.classes], np.int64)
    free = np.ones(len(labels), bool)
    wrong = 0
    for index in np.argsort(-detections.scores, kind="stable"):
        box = detections.boxes[index]
        inside = free & (labels == detections.labels[index])
        for number in np.flatnonzero(inside):
            inside[number] = contains(box[None], *marked.points[number].tolist())[0]
        if not inside.any():
            wrong += 1
            continue
        distances = np.hypot(*(marked.points - (box[:2] + box[2:]) / 2).T)
        free[np.where(inside, distances, np.inf).argmin()] = False
    return Tally(int((~free).sum()), int(free.sum()), wrong)


def look(
    predictor: Predictor, marked: Marked, counts: Sequence[int], seed: int, folder: Path, name: str
) -> dict[str, Any]:
    """Ask after each number of clicks, and write what is shown as ``<name>-<clicks>.jpg``.

    Returns:
        By number of clicks the `Tally`, with how many clicks there were.
    """
    features = predictor.encode(marked.image)
    content: dict[str, Any] = {}
    for number in counts:
        clicks = clicks_on(marked, predictor.classes, number, seed)
        shown = predictor.detect(features, clicks)
        counted = tally(marked, shown, predictor.classes)
        content[str(number)] = dict(clicks=len(clicks), **asdict(counted))
        drawn = draw(marked.image, shown, clicks, predictor.classes, from_score=0)
        Image.fromarray(drawn).save(folder / f"{name}-{number}.jpg", quality=70, optimize=True)
    return content


def lines(results: Mapping[str, Any]) -> list[str]:
    """Lay results out as a Markdown table."""
    rows = ["| picture | clicks | found | missed | wrong boxes |", "| --- |" + " ---: |" * 4]
    for name, about in results["pictures"].items():
        rows += [
            f"| {name} ({about['objects']} objects) | {one['clicks']} | {one['found']} | "
            f"{one['missed']} | {one['wrong']} |"
            for one in about["clicks"].values()
        ]
    return rows


@command("python -m training.by_eye")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, ask, and write pictures and ``by_eye.json``."""
    parser = argparse.ArgumentParser(
        prog="python -m training.by_eye",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("marks", type=Path, nargs="+", help="JSON files, one a picture")
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors file")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--clicks", type=int, nargs="+", default=COUNTS, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the clicks")
    given = parser.parse_args(arguments)
    try:
        pictures = {path.stem: read_marks(path) for path in given.marks}
        predictor = load(given.weights)
        given.out.mkdir(parents=True, exist_ok=True)
        results = dict(
            weights=predictor.card.name,
            sha256=predictor.card.identity,
            threshold=predictor.card.score_threshold,
            seed=given.seed,
            pictures={
                name: dict(
                    objects=len(marked.points),
                    clicks=look(predictor, marked, given.clicks, given.seed, given.out, name),
                )
                for name, marked in pictures.items()
            },
        )
    except (ValueError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print("\n".join(lines(results)))
    write_json(results, given.out / "by_eye.json")


if __name__ == "__main__":
    main()
