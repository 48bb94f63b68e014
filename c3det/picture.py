"""One picture and all that is known of it, from click to click.

A picture is computed in tiles, each when it is first needed; one that fits a tile is a single one.
The context is the whole picture: the template of a click is compared with every tile, and late
fusion sees a click in every tile that it reaches.

Policy: a tile's answer is kept until other clicks are asked about, and the one without clicks for
good. Features of tiles may take ``max_bytes``; beyond it they are kept in half precision, and if
that is not enough, dropped, and encoded again when they are needed. Those encoded last go first,
since what is near to the clicks is encoded before the rest, and tiles under clicks last of all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c3det import answering
from c3det.answering import Detections
from c3det.clicks import Click, check_labels
from c3det.devices import wait_for
from c3det.heatmaps import Size
from c3det.incremental import IncrementalDetector, Tile
from c3det.tiles import merge, plan_tiles
from c3det.weights import Card

Question = tuple[tuple[Click, ...], tuple[Click, ...]]
"""What an answer of a tile depends on: the positive clicks, and those of them with a template."""

NO_CLICKS: Question = ((), ())


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What is found after some clicks.

    Attributes:
        detections: In pixels of the picture.
        coverage: Share of the picture's area, 0 to 1, that was searched with these clicks. The
            rest shows what earlier clicks found there.
        seconds: What ``"encode"`` and ``"detect"`` took.
    """

    detections: Detections
    coverage: float
    seconds: dict[str, float]


def check_question(
    clicks: Sequence[Click], score_threshold: float, num_classes: int, image_size: Size
) -> None:
    """Raise ``ValueError`` where a click is outside the picture, or a label or threshold wrong."""
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold must be between 0 and 1, it is {score_threshold}")
    height, width = image_size
    check_labels(clicks, num_classes)
    for index, click in enumerate(clicks):
        if not (0 <= click.x <= width and 0 <= click.y <= height):
            raise ValueError(
                f"click {index} is at ({click.x}, {click.y}), outside the picture of "
                f"{width} x {height} pixels"
            )


class Picture:
    """A picture that is asked about again and again. Safe from several threads, one at a time.

    Args:
        detector: Computes the tiles.
        card: Of its weights.
        encode: Computes a tile from its pixels.
        image: uint8 ``(H, W, 3)``, RGB. Not to be written to any more.
        side: Of a tile in pixels.
        overlap: Of neighbouring tiles in pixels.
        max_bytes: Memory for the features of tiles, the tile that is worked on excepted.
    """

    def __init__(
        self,
        detector: IncrementalDetector,
        card: Card,
        encode: Callable[[NDArray[np.uint8]], Tile],
        image: NDArray[np.uint8],
        *,
        side: int,
        overlap: int,
        max_bytes: int,
    ) -> None:
        self._detector = detector
        self._card = card
        self._encode = encode
        self._image = image
        self._max_bytes = max_bytes
        self.image_size: Size = (image.shape[0], image.shape[1])
        self._areas = plan_tiles(self.image_size, side, overlap)
        self._tiles: dict[int, Tile] = {}
        self._templates: dict[Click, tuple[Tensor, ...]] = {}
        self._answers: list[dict[Question, Detections]] = [{} for _ in self._areas]
        self._lock = threading.Lock()
        self.nbytes = image.nbytes

    def trim(self, max_bytes: int) -> None:
        """Pack and drop features, as far as there are any, until no more memory is held."""
        with self._lock:
            self._shrink(max_bytes - self._image.nbytes, under_clicks=set(), current=None)

    @torch.inference_mode()
    def detect(
        self,
        clicks: Sequence[Click],
        score_threshold: float | None = None,
        *,
        deadline: float | None = None,
    ) -> Answer:
        """Find all objects of all classes, given some clicks.

        Args:
            clicks: Any number, in pixels of the picture, in any order.
            score_threshold: Lowest score of a box that answers no click; ``None``: the card's.
            deadline: Value of `time.monotonic` after which no further tile is begun; one always
                is. The next call, with the same clicks, goes on from there. ``None``: never.

        Raises:
            ValueError: A click lies outside the picture or has an unknown label, or the threshold
                is not between 0 and 1.
        """
        threshold = self._card.score_threshold if score_threshold is None else score_threshold
        check_question(clicks, threshold, len(self._card.classes), self.image_size)
        with self._lock:
            search = _Search(self, clicks, deadline)
            try:
                candidates, coverage = search.run()
            except BaseException:
                # Whatever was half-way through is not to be trusted.
                self._tiles.clear()
                raise
            finally:
                self._count()
        found = answering.answer_clicks(
            candidates,
            clicks,
            score_threshold=threshold,
            typical_sizes=self._card.typical_sizes,
            image_size=self.image_size,
        )
        return Answer(found, coverage, search.seconds)

    def _count(self) -> None:
        held = sum(tile.nbytes for tile in self._tiles.values())
        self.nbytes = self._image.nbytes + held

    def _shrink(self, max_bytes: int, under_clicks: set[int], current: int | None) -> None:
        """Pack tiles, and then drop them, until they take no more than ``max_bytes``."""
        newest_first = [index for index in reversed(self._tiles) if index != current]
        # sorted() keeps the order within both groups.
        order = sorted(newest_first, key=lambda index: index in under_clicks)
        held = sum(tile.nbytes for tile in self._tiles.values())
        for index in order:
            tile = self._tiles[index]
            if held > max_bytes and not tile.packed:
                held -= tile.nbytes
                tile.pack()
                held += tile.nbytes
        for index in order:
            if held > max_bytes:
                held -= self._tiles.pop(index).nbytes
        self._count()


class _Search:
    """One call of `Picture.detect`, which holds the picture's lock."""

    def __init__(self, picture: Picture, clicks: Sequence[Click], deadline: float | None) -> None:
        self._picture = picture
        self._clicks = sorted(
            {click for click in clicks if click.positive},
            key=lambda click: (click.label, click.y, click.x),
        )
        self._deadline = deadline
        self.seconds = {"encode": 0.0, "detect": 0.0}
        areas = picture._areas
        self._owners = {
            click: min(range(len(areas)), key=lambda i: areas[i].distance(click.x, click.y))
            for click in self._clicks
        }
        self._order = sorted(range(len(areas)), key=self._distance)

    def _distance(self, index: int) -> float:
        area = self._picture._areas[index]
        return min((area.distance(click.x, click.y) for click in self._clicks), default=0.0)

    def run(self) -> tuple[Detections, float]:
        """Boxes of any score, and the share of the area that they are up to date in."""
        picture = self._picture
        self._find_templates()
        known = [click for click in self._clicks if click in picture._templates]
        question = (tuple(self._clicks), tuple(known))
        todo = [i for i in self._order if question not in picture._answers[i]]
        for number, index in enumerate(todo):
            if number and self._late():
                break
            self._ask(index, question)
        parts, searched = [], 0
        for area, answers in zip(picture._areas, picture._answers, strict=True):
            if question in answers:
                searched += area.core_area
            if answers:
                latest = next(reversed(answers))
                parts.append((area, answers[question if question in answers else latest]))
        height, width = picture.image_size
        found = merge(parts, picture.image_size)
        complete = len(known) == len(self._clicks)
        return found, searched / (height * width) if complete else 0.0

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _find_templates(self) -> None:
        """Read the templates of new clicks, and forget those of clicks that are gone."""
        kept = self._picture._templates
        self._picture._templates = {c: kept[c] for c in self._clicks if c in kept}
        new: dict[int, list[Click]] = {index: [] for index in self._order}
        for click in self._clicks:
            if click not in self._picture._templates:
                new[self._owners[click]].append(click)
        todo = [index for index, clicks in new.items() if clicks]
        for number, index in enumerate(todo):
            if number and self._late():
                break
            tile = self._tile(index)
            with self._timed("detect"):
                found = self._picture._detector.templates(tile, self._inside(index, new[index]))
                for row, click in enumerate(new[index]):
                    levels = tuple(level[row : row + 1] for level in found)
                    self._picture._templates[click] = levels

    def _ask(self, index: int, question: Question) -> None:
        picture, (_, known) = self._picture, question
        tile = self._tile(index)
        with self._timed("detect"):
            levels = [picture._templates[click] for click in known]
            templates = [torch.cat(rows) for rows in zip(*levels, strict=True)]
            picture._detector.place(tile, self._inside(index, self._clicks))
            found = picture._detector.detect(tile, templates, [click.label for click in known])
            offset = np.array(picture._areas[index].box[:2] * 2, np.float32)
            scores = found.scores.float().cpu().numpy()
            order = np.argsort(-scores, kind="stable")
            answers = picture._answers[index]
            kept: dict[Question, Detections] = {}
            if NO_CLICKS in answers:
                kept[NO_CLICKS] = answers[NO_CLICKS]
            kept[question] = Detections(
                found.bboxes.float().cpu().numpy()[order] + offset,
                scores[order],
                found.labels.cpu().numpy()[order],
                np.full(len(found), -1, np.int64),
            )
            picture._answers[index] = kept
        picture._shrink(picture._max_bytes, set(self._owners.values()), index)

    def _inside(self, index: int, clicks: Sequence[Click]) -> list[Click]:
        """Clicks in pixels of a tile."""
        left, top = self._picture._areas[index].box[:2]
        return [replace(click, x=click.x - left, y=click.y - top) for click in clicks]

    def _tile(self, index: int) -> Tile:
        """A tile, encoded now unless it is held."""
        picture = self._picture
        if index not in picture._tiles:
            x1, y1, x2, y2 = picture._areas[index].box
            with self._timed("encode"):
                picture._tiles[index] = picture._encode(picture._image[y1:y2, x1:x2])
            picture._shrink(picture._max_bytes, set(self._owners.values()), index)
        tile = picture._tiles[index]
        if tile.packed:
            tile.unpack()
        return tile

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        device = self._picture._detector.device
        wait_for(device)
        started = time.perf_counter()
        try:
            yield
            wait_for(device)
        finally:
            self.seconds[stage] += time.perf_counter() - started
