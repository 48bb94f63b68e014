"""The interface of models, which the closed and the open model implement.

A model encodes pixels into a tile, reads the *template* of each click in a tile, and detects the
objects in a tile, given the templates of all clicks of the picture. `c3det.picture` decides when
it does what, and what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c3det.clicks import Click, Size
from c3det.detections import Detections
from c3det.exemplars import Exemplar

Template = tuple[Tensor, ...]
"""What a model compares with every tile for one click. It does not depend on the click's place."""


Outline = NDArray[np.float64]
"""Corners ``(n, 2)`` of a polygon, (x, y) in pixels."""


class Tile(Protocol):
    """What a model keeps of one tile."""

    @property
    def image_size(self) -> Size:
        """``(height, width)`` in pixels."""

    @property
    def packed(self) -> bool:
        """Whether it has to be unpacked before it is used."""

    def pack(self) -> None:
        """Convert it to half precision, and drop what can be computed again from that."""

    def unpack(self) -> None:
        """Convert it back to the precision of the computation."""

    @property
    def nbytes(self) -> int:
        """Memory of the tensors that are not shared with other tiles."""


class Features(Protocol):
    """All of a whole picture that does not depend on clicks. Not to be written to."""

    @property
    def image_size(self) -> Size:
        """``(height, width)`` in pixels."""


Given = TypeVar("Given", Click, Exemplar)


def clicks_that_count(
    clicks: Iterable[Given], *, negative: bool = True, beside: Iterable[Click | Exemplar] = ()
) -> list[Given]:
    """The clicks, or exemplars, on which a model's detections depend.

    Args:
        clicks: Any.
        negative: Whether negative ones count where their label has positive ones, too.
        beside: Others that may be the positive ones of a label.
    """
    clicks = list(clicks)
    known = {one.label for one in (*clicks, *beside) if one.positive}
    return [one for one in clicks if one.positive or (negative and one.label in known)]


TileT = TypeVar("TileT", bound=Tile)


class Model(Protocol[TileT]):
    """A model that detects objects in tiles and in whole pictures.

    Attributes:
        device: Where it computes.
        counts_negative: Whether negative clicks of a label that has positive ones change what the
            model finds. Negative clicks of other labels never do.
    """

    device: torch.device
    counts_negative: bool

    def encode(self, image: NDArray[np.uint8]) -> TileT:
        """Compute a tile from its pixels, uint8 ``(H, W, 3)``, RGB."""

    def templates(self, tile: TileT, clicks: Sequence[Click]) -> Sequence[Template]:
        """The template of each click. It depends only on its place and its choice.

        Args:
            tile: Which holds the clicks.
            clicks: In pixels of the tile; their labels and signs do not matter.
        """

    def detect(
        self, tile: TileT, templates: Sequence[Template], clicks: Sequence[Click]
    ) -> Detections:
        """Find all objects in a tile.

        Args:
            tile: May be changed, but later results stay the same. If this fails half-way, the tile
                must not be used again.
            templates: Of all clicks of the picture, as `templates` returned them for any tile.
            clicks: The same clicks in pixels of this tile, inside of it or not. No label has
                negative ones alone.

        Returns:
            Boxes in pixels of the tile, in any order. Without clicks, a model without classes
            gives them the label -1.
        """

    def outlines(
        self, tile: TileT, boxes: NDArray[np.float32], wanted: Sequence[int]
    ) -> Sequence[Outline | None]:
        """Outlines of objects, ``None`` where the model knows nothing better than the box.

        Args:
            tile: Which holds the wanted objects; packed or not.
            boxes: Of all objects ``(n, 4)``, in pixels of the tile, inside of it or not.
            wanted: Rows of ``boxes``.
        """

    def shared_by(self, tiles: Sequence[TileT]) -> Sequence[Tensor]:
        """What the tiles of a picture share, and what the model keeps for tiles of their size."""

    def encode_whole(self, image: NDArray[np.uint8]) -> Any:
        """The `Features` of a picture, for `detect_whole`."""

    def detect_whole(self, features: Any, clicks: Sequence[Click]) -> Detections:
        """Find all objects in a whole picture, without keeping anything for the next call."""


@runtime_checkable
class ExemplarModel(Model[TileT], Protocol[TileT]):
    """A model that takes exemplars of other pictures.

    Attributes:
        numbers: Length V of an exemplar's vector.
    """

    numbers: int

    def templates_of_boxes(self, tile: TileT, boxes: NDArray[np.float32]) -> Sequence[Template]:
        """Templates of boxes, each an exemplar as it is, for `described`.

        Args:
            tile: Which holds their middles.
            boxes: float32 ``(n, 4)`` xyxy in pixels of the tile.
        """

    def described(self, template: Template) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The vector of a template, float32 ``(V,)``, and its box ``(4,)`` about its click."""

    def templates_of(self, exemplars: Sequence[Exemplar]) -> Sequence[Template]:
        """The templates of exemplars of other pictures."""

    def detect(
        self,
        tile: TileT,
        templates: Sequence[Template],
        clicks: Sequence[Click],
        exemplars: Sequence[tuple[Exemplar, Template]] = (),
    ) -> Detections:
        """See `Model.detect`.

        Args:
            tile: See there.
            templates: See there.
            clicks: See there.
            exemplars: Exemplars of other pictures, with what `templates_of` returned. No label has
                negative clicks and exemplars alone.
        """

    def detect_whole(
        self, features: Any, clicks: Sequence[Click], exemplars: Sequence[Exemplar] = ()
    ) -> Detections:
        """See `Model.detect_whole`."""
