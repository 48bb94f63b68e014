"""What a picture asks of a model: the one interface between them.

A model knows how to turn pixels into a tile, what a click means there (its *template*), and what is
in a tile, given the templates of all clicks of the picture. When what is asked, what is kept and
for how long is the picture's affair (`c3det.picture`).
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
from c3det.exemplars import Example

Template = tuple[Tensor, ...]
"""What a model looks for because of one click: tensors of its own, wherever the click lies."""


Outline = NDArray[np.float64]
"""Corners ``(n, 2)`` of a polygon, (x, y) in pixels."""


class Tile(Protocol):
    """All that a model knows of one tile. For one thread at a time."""

    @property
    def image_size(self) -> Size:
        """``(height, width)`` in pixels."""

    @property
    def packed(self) -> bool:
        """Whether it has to be unpacked before it is used."""

    def pack(self) -> None:
        """Keep it in half precision, and nothing that can be computed again from that."""

    def unpack(self) -> None:
        """Bring it back to the precision that is computed with."""

    @property
    def nbytes(self) -> int:
        """Memory of the tensors that are this tile's own."""

    def borrowed(self) -> Sequence[Tensor]:
        """The tensors that are not: other tiles may have them too."""


class Features(Protocol):
    """All of a whole picture that does not depend on clicks. Not to be written to."""

    @property
    def image_size(self) -> Size:
        """``(height, width)`` in pixels."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""


Given = TypeVar("Given", Click, Example)


def clicks_that_count(
    clicks: Iterable[Given], *, negative: bool = True, beside: Iterable[Click | Example] = ()
) -> list[Given]:
    """The clicks, or exemplars, on which a model's answer depends.

    Args:
        clicks: Any.
        negative: Whether negative ones count where their label has positive ones, too.
        beside: Others, which may be the positive ones of a label.
    """
    clicks = list(clicks)
    known = {one.label for one in (*clicks, *beside) if one.positive}
    return [one for one in clicks if one.positive or (negative and one.label in known)]


TileT = TypeVar("TileT", bound=Tile)


class Model(Protocol[TileT]):
    """A model behind pictures. Serves several threads, each with its own tiles.

    Attributes:
        device: Where it computes.
        counts_negative: Whether negative clicks change what is found of a label that has positive
            ones too. All others change nothing, and nothing is asked because of them.
    """

    device: torch.device
    counts_negative: bool

    def encode(self, image: NDArray[np.uint8]) -> TileT:
        """Compute a tile from its pixels, uint8 ``(H, W, 3)``, RGB."""

    def templates(self, tile: TileT, clicks: Sequence[Click]) -> Sequence[Template]:
        """The template of each click. It depends on where the click lies, and on nothing else.

        Args:
            tile: Which holds the clicks.
            clicks: In pixels of the tile; their labels and signs do not matter.
        """

    def detect(
        self, tile: TileT, templates: Sequence[Template], clicks: Sequence[Click]
    ) -> Detections:
        """Find all objects in a tile.

        Args:
            tile: May be changed, but not what is found in it afterwards. Where this fails
                half-way, it is of no more use.
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

    def kept_for(self, tile: TileT) -> Sequence[Tensor]:
        """What the model keeps for tiles like this one, beside what they borrow."""

    def encode_whole(self, image: NDArray[np.uint8]) -> Any:
        """The `Features` of a picture, for `detect_whole`."""

    def detect_whole(self, features: Any, clicks: Sequence[Click]) -> Detections:
        """Find all objects in a whole picture, with nothing kept from one call to the next."""


@runtime_checkable
class ExemplarModel(Model[TileT], Protocol[TileT]):
    """A model that can be told what was clicked in other pictures.

    Attributes:
        numbers: How many describe an exemplar.
    """

    numbers: int

    def templates_of_boxes(self, tile: TileT, boxes: NDArray[np.float32]) -> Sequence[Template]:
        """What `described` takes, of each box, which is an exemplar as it is.

        Args:
            tile: Which holds their middles.
            boxes: float32 ``(n, 4)`` xyxy in pixels of the tile.
        """

    def described(self, template: Template) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A template in numbers: float32 ``(numbers,)``, and ``(4,)``, its box about its click."""

    def template_of(self, example: Example) -> Template:
        """What is looked for because of an exemplar of another picture."""

    def detect(
        self,
        tile: TileT,
        templates: Sequence[Template],
        clicks: Sequence[Click],
        examples: Sequence[tuple[Example, Template]] = (),
    ) -> Detections:
        """See `Model.detect`.

        Args:
            tile: See there.
            templates: See there.
            clicks: See there.
            examples: Exemplars of other pictures, with what `template_of` returned. No label has
                negative clicks and exemplars alone.
        """

    def detect_whole(
        self, features: Any, clicks: Sequence[Click], examples: Sequence[Example] = ()
    ) -> Detections:
        """See `Model.detect_whole`."""
