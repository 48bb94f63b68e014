"""One picture and all that is known of it, from click to click.

A picture is computed in tiles, each when it is first needed; one that fits a tile is a single one.
The context is the whole picture: the template of a click is compared with every tile, and late
fusion sees a click in every tile that it reaches.

Policy: first the tiles under clicks are read for what the clicks look for, then all are searched,
the nearest to the clicks first. A call that ends before that goes on where it stood when the same
clicks come again. A tile's answers to the last few questions are kept, and the one without clicks
for good. Exemplars of other pictures are a part of the question, and lie nowhere. All that is held
may take ``max_bytes``; beyond it features are kept in half precision, and if that is not enough,
dropped, and encoded again when they are needed. Those encoded last go first, since what is near to
the clicks is encoded before the rest, and tiles under clicks last of all.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from c3det import answering
from c3det.clicks import Click, LabelledBox, Size, check_labels
from c3det.detections import Detections
from c3det.devices import wait_for
from c3det.exemplars import (
    MOST_ASKED,
    SIDES,
    THUMBNAIL,
    Example,
    Exemplars,
    ExemplarsError,
    thumbnail,
)
from c3det.memory import held_bytes
from c3det.model import ExemplarModel, Model, Outline, Template, Tile, clicks_that_count
from c3det.tiles import Seams, distances, plan_tiles
from c3det.weights import Card


@dataclass(frozen=True, slots=True)
class Question:
    """What the answer of a tile depends on.

    Attributes:
        clicks: Those that count, each once, in one order.
        examples: Likewise, exemplars of other pictures.
    """

    clicks: tuple[Click, ...] = ()
    examples: tuple[Example, ...] = ()

    @property
    def nbytes(self) -> int:
        """Memory of the numbers of the exemplars."""
        return sum(len(example.numbers) for example in self.examples)


Place = tuple[float, ...]
"""``(x, y)`` of a click in the picture, or ``(x1, y1, x2, y2)`` of a box: all that its template
depends on."""

NO_CLICKS = 0
"""Number of the question without clicks."""

ANSWERS_KEPT = 4
"""To so many questions, the last ones, the answers of a tile are kept, beside that to none."""

TEMPLATES_KEPT = 4096
"""Of so many clicks, those asked with last."""

EXAMPLES_KEPT = 2 * MOST_ASKED
"""The same of exemplars of other pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What is found after some clicks.

    Attributes:
        detections: In pixels of the picture.
        coverage: Share of the picture's area, 0 to 1, that was searched with these clicks. The
            rest shows what earlier clicks found there.
        progress: Share of the work for these clicks that is done: tiles read under clicks, and
            tiles searched. It grows with every call until it is 1, when the coverage is 1.
        under_clicks: Whether the tiles under all of the positive clicks were searched with them.
        seconds: What ``"encode"`` and ``"detect"`` took.
    """

    detections: Detections
    coverage: float
    progress: float
    under_clicks: bool
    seconds: dict[str, float]


def check_question(
    clicks: Sequence[Click], score_threshold: float, num_classes: int, image_size: Size
) -> None:
    """Raise ``ValueError`` where a click is outside the picture, or a label or threshold wrong.

    Args:
        clicks: Of the question.
        score_threshold: Likewise.
        num_classes: Of the weights; 0: any label will do.
        image_size: ``(height, width)`` of the picture.
    """
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold must be between 0 and 1, it is {score_threshold}")
    height, width = image_size
    if num_classes:
        check_labels(clicks, num_classes)
    for index, click in enumerate(clicks):
        if not (0 <= click.x <= width and 0 <= click.y <= height):
            raise ValueError(
                f"click {index} is at ({click.x}, {click.y}), outside the picture of "
                f"{width} x {height} pixels"
            )


def exemplar_model(model: Model[Any], card: Card, exemplars: Exemplars) -> ExemplarModel[Any]:
    """The model, as one that takes exemplars, once these have proved to be of it.

    Args:
        model: Of the weights.
        card: Likewise.
        exemplars: That it is asked with.

    Raises:
        ExemplarsError: It takes none, or they are of other weights, or too many.
    """
    taking = takes_exemplars(model, card)
    if exemplars.weights != card.tensors:
        raise ExemplarsError(
            f"the exemplars are of the weights {exemplars.weights[:12]} (sha256), and {card.name} "
            f"has {card.tensors[:12]}: take them again with {card.name}"
        )
    if exemplars.vectors.shape[1] != taking.numbers:
        raise ExemplarsError(
            f"an exemplar has {exemplars.vectors.shape[1]} numbers, and {card.name} takes "
            f"{taking.numbers}: take them again with {card.name}"
        )
    if len(exemplars) > MOST_ASKED:
        raise ExemplarsError(
            f"a question may have at most {MOST_ASKED} exemplars, not {len(exemplars)}: thin them"
        )
    return taking


def takes_exemplars(model: Model[Any], card: Card) -> ExemplarModel[Any]:
    """The model, as one that takes exemplars.

    Raises:
        ExemplarsError: It takes none.
    """
    if not isinstance(model, ExemplarModel):
        raise ExemplarsError(
            f"{card.name} is a closed model, which knows its classes and takes no exemplars: "
            "ask it without, or choose weights of the open model"
        )
    return model


class Picture:
    """A picture that is asked about again and again. Safe from several threads, one at a time.

    Args:
        model: Computes the tiles.
        card: Of its weights.
        image: uint8 ``(H, W, 3)``, RGB. Not to be written to any more.
        side: Of a tile in pixels.
        overlap: Of neighbouring tiles in pixels.
        max_bytes: Memory for all that is known of the picture, itself included. While a tile is
            worked on, that tile may come on top.

    Raises:
        c3det.tiles.TileLimitError: The picture takes too many tiles.
    """

    def __init__(
        self,
        model: Model[Any],
        card: Card,
        image: NDArray[np.uint8],
        *,
        side: int,
        overlap: int,
        max_bytes: int,
    ) -> None:
        self._model = model
        self._card = card
        self._image = image
        self._max_bytes = max_bytes
        self.image_size: Size = (image.shape[0], image.shape[1])
        self._areas = plan_tiles(self.image_size, side, overlap)
        self._seams = Seams(self._areas, self.image_size, compete=not card.classes)
        self._tiles: dict[int, Tile] = {}
        self._templates: dict[Place, Template] = {}
        self._examples: dict[Example, Template] = {}
        self._questions: dict[Question, int] = {}
        self._last_number = NO_CLICKS
        # By the number of the question: to look for a thousand clicks in every tile takes long.
        self._answers: list[dict[int, Detections]] = [{} for _ in self._areas]
        self._pace = _Pace()
        self._finish_seconds = 0.0
        self._lock = threading.Lock()
        self.nbytes = image.nbytes

    def trim(self, max_bytes: int) -> None:
        """Pack and drop features, as far as there are any, until no more memory is held."""
        with self._lock:
            self._shrink(max_bytes)

    @torch.inference_mode()
    def detect(
        self,
        clicks: Sequence[Click],
        score_threshold: float | None = None,
        *,
        exemplars: Exemplars | None = None,
        deadline: float | None = None,
    ) -> Answer:
        """Find all objects of all classes, given some clicks.

        A model without classes finds objects of the classes that have positive clicks or exemplars;
        without any, objects of no class (label -1).

        Args:
            clicks: Any number, in pixels of the picture, in any order.
            score_threshold: Lowest score of a box that answers no click; ``None``: the card's.
            exemplars: Of other pictures, at most `c3det.exemplars.MOST_ASKED`, whose label numbers
                are those of the clicks (see `Exemplars.numbered`). Beside positive clicks of their
                label they count less than these.
            deadline: Value of `time.monotonic` by which to answer: no tile is begun that is likely
                to take longer. One always is, so that the next call, with the same clicks, comes
                further. ``None``: never.

        Raises:
            ValueError: A click lies outside the picture or has an unknown label, or the threshold
                is not between 0 and 1.
            ExemplarsError: The exemplars are of other weights, or too many, or the model takes
                none.
        """
        threshold = self._card.score_threshold if score_threshold is None else score_threshold
        check_question(clicks, threshold, len(self._card.classes), self.image_size)
        question = self._question(clicks, exemplars)
        with self._lock:
            work = _Work(deadline, self._finish_seconds, self._model.device)
            with self._whole():
                answer = self._search(question, work)
            started = time.perf_counter()
            found = answering.answer_clicks(
                self._seams.merge(self._latest()),
                clicks,
                score_threshold=threshold,
                typical_sizes=self._card.typical_sizes,
                image_size=self.image_size,
            )
            if exemplars:  # of no class are those that tiles not searched yet show
                found = found.take(found.labels >= 0)
            self._finish_seconds = time.perf_counter() - started
            work.seconds["detect"] += self._finish_seconds
            self._shrink(self._max_bytes)
        return replace(answer, detections=found)

    def _question(self, clicks: Sequence[Click], exemplars: Exemplars | None) -> Question:
        examples: list[Example] = []
        if exemplars is not None:
            exemplar_model(self._model, self._card, exemplars)
            examples = exemplars.examples()
        negative = self._model.counts_negative
        return Question(
            tuple(
                sorted(
                    set(clicks_that_count(clicks, negative=negative, beside=examples)),
                    key=lambda click: (click.label, click.y, click.x, click.positive),
                )
            ),
            tuple(
                sorted(
                    set(clicks_that_count(examples, negative=negative, beside=clicks)),
                    key=lambda one: (one.label, one.positive, one.numbers, one.width, one.height),
                )
            ),
        )

    @torch.inference_mode()
    def exemplars(
        self,
        clicks: Sequence[Click],
        names: Sequence[str],
        *,
        boxes: Sequence[LabelledBox] = (),
        source: str = "",
        deadline: float | None = None,
    ) -> Exemplars | None:
        """What the model takes under clicks, or in boxes, to find the like in other pictures.

        The tiles under them are encoded where they are not held.

        Args:
            clicks: In pixels of the picture; each is of the box that the model takes to be meant.
            names: Of the labels, in the order of their numbers.
            boxes: In pixels of the picture. Each is described as it is, and gives its own size.
            source: Text that tells people what picture this is.
            deadline: See `detect`.

        Returns:
            An exemplar for each click, and then for each box, whose labels are indices of
            ``names``. ``None``: there was not time for all; the next call comes further.

        Raises:
            ExemplarsError: The model takes no exemplars, or these would not be valid ones.
            ValueError: A click, or the middle of a box, lies outside the picture, or has a label
                without a name.
        """
        model = takes_exemplars(self._model, self._card)
        at = [*clicks, *(Click(*box.middle, box.label, box.positive) for box in boxes)]
        check_question(at, 0.0, len(names), self.image_size)
        check_labels(at, len(names))
        places = [*(_place(click) for click in clicks), *(_corners(box) for box in boxes)]
        with self._lock:
            work = _Work(deadline, 0.0, self._model.device)
            with self._whole():
                owners = self._owners(places)
                unread = self._find_templates(dict(zip(places, owners, strict=True)), work)
            self._shrink(self._max_bytes, set(owners))
            if unread:
                return None
            described = [model.described(self._templates[place]) for place in places]
        height, width = self.image_size
        vectors, sizes, shown = [], [], []
        for place, (vector, about) in zip(places, described, strict=True):
            box = about + np.array(_middle(place) * 2, np.float32)
            inside = np.clip(box, 0, (width, height, width, height))
            vectors.append(vector)
            sizes.append(about[2:] - about[:2])
            shown.append(thumbnail(self._image, inside.tolist()))
        return replace(
            Exemplars.none(self._card.tensors, model.numbers, names),
            labels=np.array([one.label for one in at], np.int64),
            positive=np.array([one.positive for one in at], np.bool_),
            vectors=np.array(vectors, np.float16).reshape(-1, model.numbers),
            sizes=np.array(sizes, np.float32).reshape(-1, 2).clip(*SIDES),
            thumbnails=np.array(shown, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL, 3),
            sources=(source,) * len(at),
        )

    def read_share(self, clicks: Sequence[Click], boxes: Sequence[LabelledBox] = ()) -> float:
        """Of the tiles under clicks and boxes, which share `exemplars` has read, from 0 to 1.

        It grows with every call of `exemplars`.
        """
        places = [*(_place(click) for click in clicks), *(_corners(box) for box in boxes)]
        with self._lock:
            unread = {
                owner
                for place, owner in zip(places, self._owners(places), strict=True)
                if place not in self._templates
            }
            return 1 - len(unread) / max(len(set(self._owners(places))), 1)

    @torch.inference_mode()
    def detect_at(
        self, points: Sequence[tuple[float, float]], *, deadline: float | None = None
    ) -> Answer:
        """Find, without clicks, what is in the tiles that hold some points, and in no others.

        What this computes, `detect` need not compute again.

        Args:
            points: (x, y) in the picture, at least one. The tile of the last one comes first.
            deadline: See `detect`.

        Returns:
            Boxes of any score of these tiles. ``under_clicks``: whether the deadline left time for
            all of them.
        """
        owners = self._owners(points)
        with self._lock:
            work = _Work(deadline, self._finish_seconds, self._model.device)
            with self._whole():
                found: list[Detections | None] = [None] * len(self._areas)
                needed = list(dict.fromkeys(reversed(owners)))
                for index in needed:
                    if NO_CLICKS not in self._answers[index]:
                        if not work.may_begin(self._pace.of("search", index in self._tiles)):
                            break
                        self._ask(index, Question(), NO_CLICKS, work, set(owners))
                    found[index] = self._answers[index][NO_CLICKS]
            merged = self._seams.merge(found)
            self._shrink(self._max_bytes, set(owners))
        done = sum(found[index] is not None for index in needed)
        coverage = self._share(index for index in needed if found[index] is not None)
        return Answer(merged, coverage, done / len(needed), done == len(needed), work.seconds)

    @torch.inference_mode()
    def outlines(self, detections: Detections, wanted: Sequence[int]) -> list[Outline | None]:
        """Outlines of objects, in pixels of the picture.

        Args:
            detections: As `detect` returned them.
            wanted: Rows of them.

        Returns:
            Of each, ``None`` where the model knows nothing better than the box, and where the
            object's tile is not held at the moment: nothing is computed again for an outline.
        """
        boxes = detections.boxes
        found: dict[int, Outline | None] = {}
        with self._lock:
            owners = np.array(
                self._owners([((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in boxes])
            )
            for index, tile in self._tiles.items():
                rows = [row for row in wanted if owners[row] == index]
                offset = np.array(self._areas[index].box[:2])
                shifted = boxes - np.tile(offset, 2).astype(np.float32)
                told = self._model.outlines(tile, shifted, rows) if rows else []
                for row, outline in zip(rows, told, strict=True):
                    found[row] = None if outline is None else outline + offset
        return [found.get(row) for row in wanted]

    def _search(self, question: Question, work: _Work) -> Answer:
        """Read templates and search tiles as long as there is time; the boxes are not merged."""
        # In an order that labels do not change: with other names, the work is the very same.
        places = sorted({_place(click) for click in question.clicks}, key=lambda place: place[::-1])
        owners = dict(zip(places, self._owners(places), strict=True))
        under_clicks = set(owners.values())
        unread = self._find_templates(owners, work)
        self._look_up(question.examples)
        order, number = self._nearest_first(places), self._number(question)
        if not unread:
            for index in order:
                answers = self._answers[index]
                if number in answers:
                    answers[number] = answers.pop(number)  # the latest again
                elif work.may_begin(self._pace.of("search", index in self._tiles)):
                    self._ask(index, question, number, work, under_clicks)
        searched = {index for index in order if number in self._answers[index]}
        done = len(under_clicks) - unread + len(searched)
        return Answer(
            Detections.none(),
            self._share(searched),
            done / (len(under_clicks) + len(order)),
            under_clicks <= searched,
            work.seconds,
        )

    def _number(self, question: Question) -> int:
        """The number under which the answers to a question are kept."""
        if question == Question():
            return NO_CLICKS
        number = self._questions.pop(question, None)
        if number is None:
            self._last_number = number = self._last_number + 1
        self._questions[question] = number
        for old in list(self._questions)[:-ANSWERS_KEPT]:
            del self._questions[old]
        return number

    def _latest(self) -> list[Detections | None]:
        """What was found last in each tile."""
        return [next(reversed(answers.values()), None) for answers in self._answers]

    def _share(self, indices: Iterable[int]) -> float:
        """Of the picture's area that some tiles have."""
        height, width = self.image_size
        return sum(self._areas[index].core_area for index in indices) / (height * width)

    def _owners(self, places: Sequence[Place]) -> list[int]:
        """The tile that each place belongs to, a box by its middle."""
        at = np.array([_middle(place) for place in places], np.float64).reshape(-1, 2)
        return [int(index) for index in distances(self._areas, at).argmin(1)]

    def _nearest_first(self, places: Sequence[Place]) -> list[int]:
        """All tiles, the nearest to a click first."""
        at = np.array([_middle(place) for place in places], np.float64).reshape(-1, 2)
        nearest = distances(self._areas, at).min(0, initial=np.inf)
        return [int(index) for index in np.argsort(nearest, kind="stable")]

    def _find_templates(self, owners: Mapping[Place, int], work: _Work) -> int:
        """Read the templates of new clicks, a tile at a time; the number of tiles left to read."""
        for place in owners:
            if place in self._templates:
                self._templates[place] = self._templates.pop(place)
        new: dict[int, list[Place]] = {}
        for index in self._nearest_first(tuple(owners)):
            if places := [place for place in owners if owners[place] == index]:
                new[index] = [place for place in places if place not in self._templates]
        todo = [index for index, places in new.items() if places]
        for number, index in enumerate(todo):
            if not work.may_begin(self._pace.of("read", index in self._tiles)):
                return len(todo) - number
            with self._pace.noted("read", index in self._tiles):
                tile = self._tile(index, work, set(owners.values()))
                with work.timed("detect"):
                    self._templates |= self._read(index, tile, new[index])
        for place in list(self._templates)[: -max(TEMPLATES_KEPT, len(owners))]:
            del self._templates[place]
        return 0

    def _read(self, index: int, tile: Tile, places: Sequence[Place]) -> dict[Place, Template]:
        """The templates of places in a tile."""
        points: list[Place] = [place for place in places if len(place) == 2]
        boxes: list[Place] = [place for place in places if len(place) == 4]
        clicks = [Click(*_middle(place), 0) for place in points]
        inside = self._inside(index, clicks)
        found = dict(zip(points, self._model.templates(tile, inside), strict=True))
        if boxes:
            model = takes_exemplars(self._model, self._card)
            offset = np.array(self._areas[index].box[:2] * 2, np.float32)
            corners = np.array(boxes, np.float32) - offset
            found |= zip(boxes, model.templates_of_boxes(tile, corners), strict=True)
        return found

    def _look_up(self, examples: Sequence[Example]) -> None:
        """Keep what is looked for because of exemplars, for as long as they are asked with."""
        for example in examples:
            template = self._examples.pop(example, None)
            if template is None:
                template = takes_exemplars(self._model, self._card).template_of(example)
            self._examples[example] = template
        for example in list(self._examples)[:-EXAMPLES_KEPT]:
            del self._examples[example]

    def _ask(
        self, index: int, question: Question, number: int, work: _Work, under_clicks: set[int]
    ) -> None:
        """Search a tile."""
        with self._pace.noted("search", index in self._tiles):
            tile = self._tile(index, work, under_clicks)
            with work.timed("detect"):
                self._search_tile(index, tile, question, number)
                self._shrink(self._max_bytes, under_clicks, index)

    def _search_tile(self, index: int, tile: Tile, question: Question, number: int) -> None:
        templates = [self._templates[_place(click)] for click in question.clicks]
        clicks = self._inside(index, question.clicks)
        if question.examples:
            foreign = [(example, self._examples[example]) for example in question.examples]
            model = takes_exemplars(self._model, self._card)
            found = model.detect(tile, templates, clicks, foreign)
        else:
            found = self._model.detect(tile, templates, clicks)
        found = found.take(np.argsort(-found.scores, kind="stable"))
        offset = np.array(self._areas[index].box[:2] * 2, np.float32)
        answers = self._answers[index]
        answers[number] = replace(found, boxes=found.boxes + offset)
        for old in [other for other in answers if other != NO_CLICKS][:-ANSWERS_KEPT]:
            del answers[old]

    def _inside(self, index: int, clicks: Sequence[Click]) -> list[Click]:
        """Clicks in pixels of a tile."""
        left, top = self._areas[index].box[:2]
        return [replace(click, x=click.x - left, y=click.y - top) for click in clicks]

    def _tile(self, index: int, work: _Work, under_clicks: set[int]) -> Tile:
        """A tile, encoded now unless it is held."""
        with work.timed("encode"):
            if index not in self._tiles:
                x1, y1, x2, y2 = self._areas[index].box
                self._tiles[index] = self._model.encode(self._image[y1:y2, x1:x2])
                self._shrink(self._max_bytes, under_clicks, index)
            tile = self._tiles[index]
            if tile.packed:
                tile.unpack()
        return tile

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Where the block fails, whatever was half-way through is not to be trusted."""
        try:
            yield
        except BaseException:
            self._tiles.clear()
            self._shrink(self._max_bytes)
            raise

    def _held(self) -> int:
        """Memory of all that is known of the picture, what its tiles share counted once."""
        tiles = self._tiles.values()
        borrowed = [tensor for tile in tiles for tensor in tile.borrowed()]
        for tile in list(tiles)[:1]:
            borrowed += self._model.kept_for(tile)
        answers = {id(found): found for kept in self._answers for found in kept.values()}
        return (
            self._image.nbytes
            + sum(tile.nbytes for tile in tiles)
            + held_bytes(borrowed)
            + held_bytes(
                level
                for levels in (*self._templates.values(), *self._examples.values())
                for level in levels
            )
            + sum(question.nbytes for question in self._questions)
            + sum(len(example.numbers) for example in self._examples)
            + sum(found.nbytes for found in answers.values())
            + self._seams.nbytes
        )

    def _shrink(
        self, max_bytes: int, under_clicks: Collection[int] = (), current: int | None = None
    ) -> None:
        """Pack tiles, and drop those that are too many even so, to hold at most ``max_bytes``.

        Args:
            max_bytes: To be held.
            under_clicks: Tiles that go last.
            current: The tile that is worked on, which stays as it is.
        """
        newest_first = [index for index in reversed(self._tiles) if index != current]
        # sorted() keeps the order within both groups.
        order = sorted(newest_first, key=lambda index: index in under_clicks)
        self.nbytes = self._held()
        while order and self.nbytes - self._saved_by_packing(order) > max_bytes:
            del self._tiles[order.pop(0)]
            self.nbytes = self._held()
        for index in order:
            tile = self._tiles[index]
            if self.nbytes > max_bytes and not tile.packed:
                self.nbytes -= tile.nbytes
                tile.pack()
                self.nbytes += tile.nbytes
        for index in order:  # where some of it cannot be kept in half precision
            if self.nbytes > max_bytes:
                del self._tiles[index]
                self.nbytes = self._held()

    def _saved_by_packing(self, indices: Sequence[int]) -> int:
        """Memory that tiles would give back in half precision."""
        tiles = (self._tiles[index] for index in indices)
        return sum(tile.nbytes // 2 for tile in tiles if not tile.packed)


def _place(click: Click) -> Place:
    return click.x, click.y


def _corners(box: LabelledBox) -> Place:
    return box.x1, box.y1, box.x2, box.y2


def _middle(place: Place) -> tuple[float, float]:
    """Of a box; a click is its own."""
    return (place[0] + place[-2]) / 2, (place[1] + place[-1]) / 2


class _Pace:
    """How long the pieces of work took: reading and searching tiles, encoded before or not."""

    def __init__(self) -> None:
        self._took: dict[tuple[str, bool], deque[float]] = {}

    def of(self, kind: str, held: bool) -> float:
        """Seconds that a piece is likely to take: the median of the last three; 0 if unknown.

        Args:
            kind: ``"read"`` or ``"search"``.
            held: Whether the tile is encoded.
        """
        alike = [took for (_, other), took in self._took.items() if other == held]
        own = self._took.get((kind, held))
        return max((median(took) for took in ([own] if own else alike)), default=0.0)

    @contextmanager
    def noted(self, kind: str, held: bool) -> Iterator[None]:
        """Note how long the block takes."""
        started = time.perf_counter()
        yield
        took = self._took.setdefault((kind, held), deque(maxlen=3))
        took.append(time.perf_counter() - started)


class _Work:
    """What one call may still begin, and what took how long.

    Args:
        deadline: By `time.monotonic`, ``None``: none.
        finish_seconds: What is likely to be needed after the last piece of work.
        device: Of the work.
    """

    def __init__(self, deadline: float | None, finish_seconds: float, device: torch.device) -> None:
        self._device = device
        self.seconds = {"encode": 0.0, "detect": 0.0}
        self._deadline = deadline
        self._finish_seconds = finish_seconds
        self._begun = False

    def may_begin(self, seconds: float) -> bool:
        """Whether there is time for a piece of work that takes so long; for one there always is."""
        late = (
            self._deadline is not None
            and time.monotonic() + seconds + self._finish_seconds >= self._deadline
        )
        if late and self._begun:
            return False
        self._begun = True
        return True

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add to a stage how long the block took, on a GPU until it is done there."""
        wait_for(self._device)
        started = time.perf_counter()
        try:
            yield
            wait_for(self._device)
        finally:
            self.seconds[stage] += time.perf_counter() - started
