"""One picture and all that is known of it, from click to click.

A picture is computed in tiles, each when it is first needed; a small picture is one tile. Clicks
act on the whole picture: the template of a click is compared with every tile, and late fusion sees
a click in every tile that it reaches.

Policy: first the tiles under clicks are read for the templates of the clicks. Then all tiles are
searched, the nearest to the clicks first. If a call runs out of time, the next call with the same
clicks goes on from there. The detections of the last few queries are kept, and those of the query
without clicks for good. Exemplars of other pictures are a part of the query, and have no place in
the picture. ``max_bytes`` limits all that is held, see `c3det.tiles.TileCache`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
    THUMBNAIL,
    Exemplar,
    Exemplars,
    thumbnail,
)
from c3det.limits import MAX_PER_QUERY, SIDES
from c3det.memory import held_bytes
from c3det.model import Model, Outline, Template, Tile
from c3det.queries import NO_CLICKS, Query, check_clicks, exemplar_model
from c3det.tiles import TileCache, distances, merge_tiles, plan_tiles
from c3det.timing import Pace, TimeBudget
from c3det.weights import Card

Location = tuple[float, ...]
"""``(x, y, choice)`` of a click or ``(x1, y1, x2, y2)`` of a box, in pixels of the picture. A
template depends on nothing else."""

QUERIES_KEPT = 4
"""The detections of so many last queries are kept, beside those without clicks."""

TEMPLATES_KEPT = 4096 + 2 * MAX_PER_QUERY
"""Templates of the clicks and exemplars of the last queries."""


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
        self._tiles = TileCache(model)
        self._templates: dict[Location | Exemplar, Template] = {}
        # Of each query, the latest last, the detections in each tile searched.
        self._found: dict[Query, dict[int, Detections]] = {NO_CLICKS: {}}
        # Of each tile the detections with the last query for which it was searched.
        self._latest: list[Detections | None] = [None] * len(self._areas)
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
            score_threshold: Lowest score of a box that answers no click; ``None``: the card's.
            exemplars: Of other pictures, at most `c3det.limits.MAX_PER_QUERY`, whose label
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
            score_threshold = self._card.score_threshold
        check_clicks(clicks, score_threshold, len(self._card.classes), self.image_size)
        if exemplars is not None:
            exemplar_model(self._model, self._card, exemplars)
        query = Query.of(clicks, exemplars or (), counts_negative=self._model.counts_negative)
        # The order does not depend on labels, so that with other names the work is the same.
        points = sorted(set(map(_location, query.clicks)), key=lambda one: (one[1], one[0], one[2]))
        owners: dict[Location, int] = dict(
            zip(points, self._owners(map(_middle, points)), strict=True)
        )
        under_clicks = set(owners.values())
        budget = TimeBudget(deadline, self._merge_seconds, self._model.device)
        with self._tiles_dropped_on_error():
            unread = self._read_templates(owners, budget)
            if not unread:
                self._search(query, owners, budget)
        searched = list(self._found.get(query, ()))
        started = time.perf_counter()
        detections = answer_clicks(
            self._merged(self._latest),
            clicks,
            score_threshold=score_threshold,
            typical_sizes=self._card.typical_sizes,
            image_size=self.image_size,
        )
        if exemplars:  # tiles that are not searched yet may show objects of no class
            detections = detections.take(detections.labels >= 0)
        self._merge_seconds = time.perf_counter() - started
        budget.seconds["detect"] += self._merge_seconds
        self.trim(self._max_bytes)
        return SearchResult(
            detections,
            self._area_share(searched),
            (len(under_clicks) - unread + len(searched)) / (len(under_clicks) + len(self._areas)),
            under_clicks.issubset(searched),
            budget.seconds,
        )

    def _read_templates(self, owners: Mapping[Location, int], budget: TimeBudget) -> int:
        """Read the templates that are not kept, a tile at a time.

        ``owners`` has the tile of each location. Returns how many tiles are left to read.
        """
        unread: dict[int, list[Location]] = {}
        for location, owner in owners.items():
            if location in self._templates:
                self._templates[location] = self._templates.pop(location)  # the latest again
            else:
                unread.setdefault(owner, []).append(location)
        order = [index for index in self._nearest_first(owners) if index in unread]
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
    ) -> dict[Location | Exemplar, Template]:
        """The templates of locations in a tile."""
        points = [location for location in locations if len(location) == 3]
        boxes = [location for location in locations if len(location) == 4]
        made = [Click(x, y, 0, choice=int(choice)) for x, y, choice in points]
        clicks = self._in_tile(index, made)
        templates: dict[Location | Exemplar, Template] = dict(
            zip(points, self._model.templates(tile, clicks), strict=True)
        )
        if boxes:
            model = exemplar_model(self._model, self._card)
            corners = np.array(boxes, np.float32) - self._offset(index)
            templates |= zip(boxes, model.templates_of_boxes(tile, corners), strict=True)
        return templates

    def _search(self, query: Query, owners: Mapping[Location, int], budget: TimeBudget) -> None:
        """Search tiles, the nearest to the clicks first, as long as there is time.

        ``owners`` has the tile of each click; the templates of the query are read.
        """
        if new := [one for one in query.exemplars if one not in self._templates]:
            model = exemplar_model(self._model, self._card)
            self._templates |= zip(new, model.templates_of(new), strict=True)
        for exemplar in query.exemplars:
            self._templates[exemplar] = self._templates.pop(exemplar)  # the latest again
        found = self._found[query] = self._found.pop(query, {})  # the latest again
        _drop_oldest(self._found, QUERIES_KEPT, but=NO_CLICKS)
        under_clicks = set(owners.values())
        for index in self._nearest_first(owners):
            if index in found:
                self._latest[index] = found[index]
            elif budget.allows(self._pace.expected("search", index in self._tiles)):
                self._search_tile(index, query, budget, under_clicks)

    def _search_tile(
        self, index: int, query: Query, budget: TimeBudget, under_clicks: Collection[int]
    ) -> None:
        """Search a tile and keep what is found."""
        with self._pace.timed("search", index in self._tiles):
            tile = self._tile(index, budget, under_clicks)
            with budget.timed("detect"):
                templates = [self._templates[_location(click)] for click in query.clicks]
                clicks = self._in_tile(index, query.clicks)
                if query.exemplars:
                    exemplars = [(one, self._templates[one]) for one in query.exemplars]
                    model = exemplar_model(self._model, self._card)
                    found = model.detect(tile, templates, clicks, exemplars)
                else:
                    found = self._model.detect(tile, templates, clicks)
                found = found.by_score()
                found = replace(found, boxes=found.boxes + self._offset(index))
                self._latest[index] = self._found[query][index] = found
                self._shrink(self._max_bytes, under_clicks, index)

    def _merged(self, found: Sequence[Detections | None]) -> Detections:
        """The detections of all tiles, one box for an object."""
        compete = not self._card.classes
        return merge_tiles(found, self._areas, self.image_size, compete=compete)

    def _tile(self, index: int, budget: TimeBudget, under_clicks: Collection[int]) -> Tile:
        """A tile in full precision, encoded now if it is not held."""
        with budget.timed("encode"):
            if index not in self._tiles:
                x1, y1, x2, y2 = self._areas[index].box
                self._tiles[index] = self._model.encode(self._image[y1:y2, x1:x2])
                self._shrink(self._max_bytes, under_clicks, index)
            tile = self._tiles[index]
            if tile.packed:
                tile.unpack()
            return tile

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
        found = self._found[NO_CLICKS]
        with self._tiles_dropped_on_error():
            for index in owners:
                if index not in found:
                    if not budget.allows(self._pace.expected("search", index in self._tiles)):
                        break
                    self._search_tile(index, NO_CLICKS, budget, owners)
        merged = self._merged(
            [found.get(index) if index in owners else None for index in range(len(self._areas))]
        )
        self._shrink(self._max_bytes, owners)
        searched = [index for index in owners if index in found]
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
        check_clicks(at, 0.0, 0, self.image_size)
        check_labels(at, len(names))
        locations = _locations(clicks, boxes)
        owners = self._owners(map(_middle, locations))
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
        owners = dict(zip(locations, self._owners(map(_middle, locations)), strict=True))
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
        owners = self._owners(map(_middle, boxes.tolist()))
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

    def _owners(self, points: Iterable[tuple[float, float]]) -> list[int]:
        """The tile to which each point belongs."""
        return distances(self._areas, points).argmin(1).tolist()

    def _nearest_first(self, locations: Iterable[Location]) -> list[int]:
        """All tiles, the nearest to a location first."""
        nearest = distances(self._areas, map(_middle, locations)).min(0, initial=np.inf)
        return np.argsort(nearest, kind="stable").tolist()

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
        exemplars = {one for one in self._templates if isinstance(one, Exemplar)}
        exemplars.update(one for query in self._found for one in query.exemplars)
        found = [one for kept in self._found.values() for one in kept.values()]
        distinct = {id(one): one for one in (*found, *self._latest) if one is not None}
        beside_tiles = (
            self._image.nbytes
            + held_bytes(tensor for template in self._templates.values() for tensor in template)
            + sum(len(exemplar.numbers) for exemplar in exemplars)
            + sum(one.nbytes for one in distinct.values())
        )
        self._tiles.shrink(max_bytes - beside_tiles, set(under_clicks), current)
        self.nbytes = beside_tiles + self._tiles.nbytes


def _drop_oldest(cache: dict[Any, Any], kept: int, but: object = None) -> None:
    for key in [key for key in cache if key != but][:-kept]:
        del cache[key]


def _locations(clicks: Sequence[Click], boxes: Sequence[LabelledBox]) -> list[Location]:
    return [
        *map(_location, clicks),
        *((box.x1, box.y1, box.x2, box.y2) for box in boxes),
    ]


def _location(click: Click) -> Location:
    return click.x, click.y, click.choice


def _middle(location: Location) -> tuple[float, float]:
    """Where a click lies, or the middle of a box."""
    if len(location) == 3:
        return location[:2]
    x1, y1, x2, y2 = location
    return (x1 + x2) / 2, (y1 + y2) / 2
