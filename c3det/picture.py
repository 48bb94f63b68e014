"""One picture and all that is known of it, from click to click.

A picture is computed in tiles, each when it is first needed; a small picture is one tile. Clicks
act on the whole picture: the template of a click is compared with every tile, and late fusion sees
a click in every tile that it reaches.

Policy: first the tiles under clicks are read for the templates of the clicks. Then all tiles are
searched, the nearest to the clicks first. If a call runs out of time, the next call with the same
clicks goes on from there. The detections of the last few queries are kept for each tile, and those
of the query without clicks for good. Exemplars of other pictures are a part of the query, and have
no place in the picture. ``max_bytes`` limits all that is held, see `c3det.tile_cache`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from c3det.answering import answer_clicks
from c3det.clicks import Click, LabelledBox, Size, check_labels
from c3det.detections import Detections
from c3det.exemplars import (
    MAX_PER_QUERY,
    SIDES,
    THUMBNAIL,
    Exemplar,
    Exemplars,
    thumbnail,
)
from c3det.memory import held_bytes
from c3det.model import Model, Outline, Template, Tile
from c3det.queries import Query, check_clicks, default_threshold, exemplar_model
from c3det.tile_cache import TileCache
from c3det.tiles import TileMerger, distances, plan_tiles
from c3det.timing import Pace, TimeBudget
from c3det.weights import Card

Location = tuple[float, ...]
"""``(x, y)`` of a click or ``(x1, y1, x2, y2)`` of a box, in pixels of the picture. A template
depends on nothing else."""

NO_CLICKS = 0
"""Number of the query without clicks and exemplars."""

QUERIES_KEPT = 4
"""Detections of the last few queries are kept for each tile, beside those without clicks."""

TEMPLATES_KEPT = 4096
"""Templates of the clicks of the last queries."""

EXEMPLARS_KEPT = 2 * MAX_PER_QUERY
"""Templates of the exemplars of the last queries."""


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
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


class Picture:
    """A picture that gets many queries. For one thread.

    Args:
        model: Computes the tiles.
        card: Of its weights.
        image: uint8 ``(H, W, 3)``, RGB. Not to be written to any more.
        side: Of a tile in pixels.
        overlap: Of neighbouring tiles in pixels.
        max_bytes: Memory for all that is known of the picture, itself included. While a tile is
            worked on, that tile may come on top.

    Attributes:
        image_size: ``(height, width)`` in pixels.
        nbytes: Memory that is held now.

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
        self._merger = TileMerger(self._areas, self.image_size, compete=not card.classes)
        self._tiles = TileCache(model)
        self._templates: dict[Location, Template] = {}
        self._exemplar_templates: dict[Exemplar, Template] = {}
        # A query has a number, because to look for a thousand clicks in each tile takes long.
        self._numbers: dict[Query, int] = {}
        self._last_number = NO_CLICKS
        self._found: list[dict[int, Detections]] = [{} for _ in self._areas]
        self._pace = Pace()
        self._merge_seconds = 0.0
        self.nbytes = image.nbytes

    def trim(self, max_bytes: int) -> None:
        """Pack and drop features, as far as there are any, until no more memory is held."""
        self._shrink(max_bytes)

    @torch.inference_mode()
    def detect(
        self,
        clicks: Sequence[Click],
        score_threshold: float | None = None,
        *,
        exemplars: Exemplars | None = None,
        deadline: float | None = None,
    ) -> SearchResult:
        """Find all objects of all classes, given some clicks.

        A model without classes finds objects of the classes that have positive clicks or exemplars;
        without any, objects of no class (label -1).

        Args:
            clicks: Any number, in pixels of the picture, in any order.
            score_threshold: Lowest score of a box that answers no click; ``None``: see
                `c3det.queries.default_threshold`.
            exemplars: Of other pictures, at most `c3det.exemplars.MAX_PER_QUERY`, whose label
                numbers are those of the clicks (see `Exemplars.numbered`). Beside positive clicks
                of their label they count less than these.
            deadline: Value of `time.monotonic` by which to return: no tile is started that is
                likely to take longer. One always is, so that the next call, with the same clicks,
                comes further. ``None``: never.

        Raises:
            ValueError: A click lies outside the picture or has an unknown label, or the threshold
                is not between 0 and 1.
            ExemplarsError: The exemplars are of other weights, or too many, or the model takes
                none.
        """
        if score_threshold is None:
            score_threshold = default_threshold(self._card, clicks, exemplars)
        check_clicks(clicks, score_threshold, len(self._card.classes), self.image_size)
        foreign: list[Exemplar] = []
        if exemplars is not None:
            exemplar_model(self._model, self._card, exemplars)
            foreign = list(exemplars)
        query = Query.of(clicks, foreign, counts_negative=self._model.counts_negative)
        budget = TimeBudget(deadline, self._merge_seconds, self._model.device)
        with self._tiles_dropped_on_error():
            answer = self._search(query, budget)
        started = time.perf_counter()
        latest = [next(reversed(found.values()), None) for found in self._found]
        detections = answer_clicks(
            self._merger.merge(latest),
            clicks,
            score_threshold=score_threshold,
            typical_sizes=self._card.typical_sizes,
            image_size=self.image_size,
        )
        if foreign:  # tiles that are not searched yet may show objects of no class
            detections = detections.take(detections.labels >= 0)
        self._merge_seconds = time.perf_counter() - started
        budget.seconds["detect"] += self._merge_seconds
        self._shrink(self._max_bytes)
        return replace(answer, detections=detections)

    def _search(self, query: Query, budget: TimeBudget) -> SearchResult:
        """Read templates and search tiles as long as there is time, without merging the boxes."""
        # The order does not depend on labels, so that with other names the work is the same.
        points = sorted({_point(click) for click in query.clicks}, key=lambda point: point[::-1])
        owners = dict(zip(points, self._owners(points), strict=True))
        under_clicks = set(owners.values())
        unread = self._read_templates(owners, budget)
        self._look_up_templates(query.exemplars)
        order, number = self._nearest_first(points), self._number(query)
        if not unread:
            for index in order:
                found = self._found[index]
                if number in found:
                    found[number] = found.pop(number)  # the latest again
                elif budget.allows(self._pace.expected("search", index in self._tiles)):
                    self._search_tile(index, query, number, budget, under_clicks)
        searched = {index for index in order if number in self._found[index]}
        done = len(under_clicks) - unread + len(searched)
        return SearchResult(
            Detections.none(),
            self._area_share(searched),
            done / (len(under_clicks) + len(order)),
            under_clicks <= searched,
            budget.seconds,
        )

    def _read_templates(self, owners: Mapping[Location, int], budget: TimeBudget) -> int:
        """Read the templates that are not kept, a tile at a time.

        Args:
            owners: The tile of each location.
            budget: Of the call.

        Returns:
            How many tiles are left to read.
        """
        for location in owners:
            if location in self._templates:
                self._templates[location] = self._templates.pop(location)  # the latest again
        unread: dict[int, list[Location]] = {}
        for location, owner in owners.items():
            if location not in self._templates:
                unread.setdefault(owner, []).append(location)
        order = [index for index in self._nearest_first(tuple(owners)) if index in unread]
        under_clicks = set(owners.values())
        for done, index in enumerate(order):
            if not budget.allows(self._pace.expected("read", index in self._tiles)):
                return len(order) - done
            with self._pace.timed("read", index in self._tiles):
                tile = self._tile(index, budget, under_clicks)
                with budget.timed("detect"):
                    self._templates |= self._templates_in(index, tile, unread[index])
        _drop_oldest(self._templates, max(TEMPLATES_KEPT, len(owners)))
        return 0

    def _templates_in(
        self, index: int, tile: Tile, locations: Sequence[Location]
    ) -> dict[Location, Template]:
        """The templates of locations in a tile."""
        points: list[Location] = [one for one in locations if len(one) == 2]
        boxes: list[Location] = [one for one in locations if len(one) == 4]
        clicks = self._in_tile(index, [Click(*_middle(point), 0) for point in points])
        templates: dict[Location, Template] = dict(
            zip(points, self._model.templates(tile, clicks), strict=True)
        )
        if boxes:
            model = exemplar_model(self._model, self._card)
            corners = np.array(boxes, np.float32) - self._offset(index)
            templates |= zip(boxes, model.templates_of_boxes(tile, corners), strict=True)
        return templates

    def _look_up_templates(self, exemplars: Sequence[Exemplar]) -> None:
        """Make the templates of exemplars that are not kept."""
        for exemplar in exemplars:
            template = self._exemplar_templates.pop(exemplar, None)
            if template is None:
                template = exemplar_model(self._model, self._card).template_of(exemplar)
            self._exemplar_templates[exemplar] = template
        _drop_oldest(self._exemplar_templates, EXEMPLARS_KEPT)

    def _number(self, query: Query) -> int:
        """The number under which the detections of a query are kept."""
        if query == Query():
            return NO_CLICKS
        number = self._numbers.pop(query, None)
        if number is None:
            self._last_number = number = self._last_number + 1
        self._numbers[query] = number
        _drop_oldest(self._numbers, QUERIES_KEPT)
        return number

    def _search_tile(
        self, index: int, query: Query, number: int, budget: TimeBudget, under_clicks: set[int]
    ) -> None:
        """Search a tile and keep what is found."""
        with self._pace.timed("search", index in self._tiles):
            tile = self._tile(index, budget, under_clicks)
            with budget.timed("detect"):
                templates = [self._templates[_point(click)] for click in query.clicks]
                clicks = self._in_tile(index, query.clicks)
                if query.exemplars:
                    exemplars = [(one, self._exemplar_templates[one]) for one in query.exemplars]
                    model = exemplar_model(self._model, self._card)
                    found = model.detect(tile, templates, clicks, exemplars)
                else:
                    found = self._model.detect(tile, templates, clicks)
                found = found.by_score()
                kept = self._found[index]
                kept[number] = replace(found, boxes=found.boxes + self._offset(index))
                for old in [other for other in kept if other != NO_CLICKS][:-QUERIES_KEPT]:
                    del kept[old]
                self._shrink(self._max_bytes, under_clicks, index)

    def _tile(self, index: int, budget: TimeBudget, under_clicks: set[int]) -> Tile:
        """A tile, encoded now if it is not held."""
        with budget.timed("encode"):
            if index not in self._tiles:
                x1, y1, x2, y2 = self._areas[index].box
                self._tiles.encode(index, self._image[y1:y2, x1:x2])
                self._shrink(self._max_bytes, under_clicks, index)
            return self._tiles.unpacked(index)

    @torch.inference_mode()
    def detect_at(
        self, points: Sequence[tuple[float, float]], *, deadline: float | None = None
    ) -> SearchResult:
        """Find, without clicks, what is in the tiles that hold some points, and in no others.

        What this computes, `detect` need not compute again.

        Args:
            points: (x, y) in the picture, at least one. The tile of the last one comes first.
            deadline: See `detect`.

        Returns:
            Boxes of any score of these tiles. ``under_clicks``: whether the deadline left time for
            all of them.
        """
        owners = list(dict.fromkeys(reversed(self._owners(points))))
        budget = TimeBudget(deadline, self._merge_seconds, self._model.device)
        found: list[Detections | None] = [None] * len(self._areas)
        with self._tiles_dropped_on_error():
            for index in owners:
                if NO_CLICKS not in self._found[index]:
                    if not budget.allows(self._pace.expected("search", index in self._tiles)):
                        break
                    self._search_tile(index, Query(), NO_CLICKS, budget, set(owners))
                found[index] = self._found[index][NO_CLICKS]
        merged = self._merger.merge(found)
        self._shrink(self._max_bytes, set(owners))
        searched = [index for index in owners if found[index] is not None]
        return SearchResult(
            merged,
            self._area_share(searched),
            len(searched) / len(owners),
            len(searched) == len(owners),
            budget.seconds,
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
        """Exemplars of the objects under clicks and in boxes, to find the like in other pictures.

        The tiles under them are encoded where they are not held.

        Args:
            clicks: In pixels of the picture; each is of the box that the model takes to be meant.
            names: Of the labels, in the order of their numbers.
            boxes: In pixels of the picture. Each is described as it is, and gives its own size.
            source: Text that says which picture this is, for people.
            deadline: See `detect`.

        Returns:
            An exemplar for each click, and then for each box, whose labels are indices of
            ``names``. ``None``: there was not time for all; the next call comes further.

        Raises:
            ExemplarsError: The model takes no exemplars, or these would not be valid ones.
            ValueError: A click, or the middle of a box, lies outside the picture, or has a label
                without a name.
        """
        model = exemplar_model(self._model, self._card)
        at = [*clicks, *(Click(*box.middle, box.label, box.positive) for box in boxes)]
        check_clicks(at, 0.0, len(names), self.image_size)
        check_labels(at, len(names))
        locations = _locations(clicks, boxes)
        owners = self._owners(locations)
        budget = TimeBudget(deadline, 0.0, self._model.device)
        with self._tiles_dropped_on_error():
            unread = self._read_templates(dict(zip(locations, owners, strict=True)), budget)
        self._shrink(self._max_bytes, set(owners))
        if unread:
            return None
        height, width = self.image_size
        vectors, sizes, thumbnails = [], [], []
        for location in locations:
            vector, relative = model.described(self._templates[location])
            box = relative + np.array(_middle(location) * 2, np.float32)
            inside = np.clip(box, 0, (width, height, width, height))
            vectors.append(vector)
            sizes.append(relative[2:] - relative[:2])
            thumbnails.append(thumbnail(self._image, inside.tolist()))
        return replace(
            Exemplars.none(self._card.tensors, model.numbers, names),
            labels=np.array([one.label for one in at], np.int64),
            positive=np.array([one.positive for one in at], np.bool_),
            vectors=np.array(vectors, np.float16).reshape(-1, model.numbers),
            sizes=np.array(sizes, np.float32).reshape(-1, 2).clip(*SIDES),
            thumbnails=np.array(thumbnails, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL, 3),
            sources=(source,) * len(at),
        )

    def exemplars_progress(
        self, clicks: Sequence[Click], boxes: Sequence[LabelledBox] = ()
    ) -> float:
        """Share of the tiles under clicks and boxes that `exemplars` has read, from 0 to 1.

        It grows with every call of `exemplars`.
        """
        locations = _locations(clicks, boxes)
        owners = dict(zip(locations, self._owners(locations), strict=True))
        unread = {owner for place, owner in owners.items() if place not in self._templates}
        return 1 - len(unread) / max(len(set(owners.values())), 1)

    @torch.inference_mode()
    def outlines(self, detections: Detections, wanted: Sequence[int]) -> list[Outline | None]:
        """Outlines of objects, in pixels of the picture.

        Args:
            detections: As `detect` returned them.
            wanted: Rows of them.

        Returns:
            One for each row; ``None`` where the model knows nothing better than the box, and where
            the object's tile is not held now: nothing is computed again for an outline.
        """
        boxes = detections.boxes
        owners = self._owners([tuple(box) for box in boxes.tolist()])
        found: dict[int, Outline | None] = {}
        for index, tile in self._tiles.items():
            if rows := [row for row in wanted if owners[row] == index]:
                offset = self._offset(index)
                outlines = self._model.outlines(tile, boxes - offset, rows)
                for row, outline in zip(rows, outlines, strict=True):
                    found[row] = None if outline is None else outline + offset[:2]
        return [found.get(row) for row in wanted]

    def _area_share(self, indices: Iterable[int]) -> float:
        """The share of the picture's area that some tiles have."""
        height, width = self.image_size
        return sum(self._areas[index].core_area for index in indices) / (height * width)

    def _owners(self, locations: Sequence[Location]) -> list[int]:
        """The tile to which each location belongs, a box by its middle."""
        points = np.array([_middle(one) for one in locations], np.float64).reshape(-1, 2)
        return [int(index) for index in distances(self._areas, points).argmin(1)]

    def _nearest_first(self, locations: Sequence[Location]) -> list[int]:
        """All tiles, the nearest to a location first."""
        points = np.array([_middle(one) for one in locations], np.float64).reshape(-1, 2)
        nearest = distances(self._areas, points).min(0, initial=np.inf)
        return [int(index) for index in np.argsort(nearest, kind="stable")]

    def _offset(self, index: int) -> NDArray[np.float32]:
        """``(x, y, x, y)`` of a tile's top left corner in the picture."""
        return np.array(self._areas[index].box[:2] * 2, np.float32)

    def _in_tile(self, index: int, clicks: Sequence[Click]) -> list[Click]:
        """Clicks in pixels of a tile."""
        left, top = self._areas[index].box[:2]
        return [replace(click, x=click.x - left, y=click.y - top) for click in clicks]

    @contextmanager
    def _tiles_dropped_on_error(self) -> Iterator[None]:
        """Drop all tiles if the block fails: one of them may be half changed."""
        try:
            yield
        except BaseException:
            self._tiles.clear()
            self._shrink(self._max_bytes)
            raise

    def _shrink(
        self, max_bytes: int, under_clicks: Iterable[int] = (), current: int | None = None
    ) -> None:
        """Hold at most ``max_bytes``, as far as packing and dropping tiles can do it."""
        other = self._nbytes_beside_tiles()
        self._tiles.shrink(max_bytes - other, set(under_clicks), current)
        self.nbytes = other + self._tiles.nbytes

    def _nbytes_beside_tiles(self) -> int:
        templates = (*self._templates.values(), *self._exemplar_templates.values())
        return (
            self._image.nbytes
            + held_bytes(tensor for template in templates for tensor in template)
            + sum(query.nbytes for query in self._numbers)
            + sum(len(exemplar.numbers) for exemplar in self._exemplar_templates)
            + sum(found.nbytes for kept in self._found for found in kept.values())
            + self._merger.nbytes
        )


def _drop_oldest(cache: dict[Any, Any], kept: int) -> None:
    for key in list(cache)[:-kept]:
        del cache[key]


def _point(click: Click) -> Location:
    return click.x, click.y


def _locations(clicks: Sequence[Click], boxes: Sequence[LabelledBox]) -> list[Location]:
    return [*map(_point, clicks), *((box.x1, box.y1, box.x2, box.y2) for box in boxes)]


def _middle(location: Location) -> tuple[float, float]:
    return (location[0] + location[-2]) / 2, (location[1] + location[-1]) / 2
