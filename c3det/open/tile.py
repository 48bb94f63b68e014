"""What the open model keeps of one tile, so that a click computes only what it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice

from torch import Tensor

from c3det.clicks import Size
from c3det.memory import halved, held_bytes
from c3det.open.detector import REGION_STRIDES, STRIDES, Described, OpenFeatures


@dataclass(slots=True, eq=False)
class OpenTile:
    """What the open model keeps of one tile.

    Attributes:
        image_size: ``(height, width)`` in pixels, without padding.
        features: Of the tile, a batch of one.
        proposals: Class-agnostic boxes, k.
        alike: ``(1, k, k)``, the weights of proposals as each other's neighbours, see
            `c3det.open.propagation`.
        extent: ``(width, height, width, height)``, the same on the device.
        picture_term: ``(1, C, h, w)``, what the picture adds to the first convolution of the
            click-conditioned logits, whatever is clicked.
        correlations: With the last templates, ``(levels, h, w)`` at stride 8, by the identity of
            the template, which is held beside it.
        collated: Of each slot, the largest correlations and heatmaps of its clicks,
            ``(levels + 1, h, w)`` at stride 8, by the identities of their templates, which are held
            beside them.
        cells: Rows of ``conditioned``, by the cells of their dense boxes.
        conditioned: Click-conditioned candidates so far; ``None``: none yet.
        packed: Whether the features are in half precision.
    """

    image_size: Size
    extent: Tensor
    features: OpenFeatures
    proposals: Described
    alike: Tensor
    picture_term: Tensor
    correlations: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    collated: dict[tuple[int, ...], tuple[tuple[Tensor, ...], Tensor]] = field(default_factory=dict)
    cells: dict[int, int] = field(default_factory=dict)
    conditioned: Described | None = None
    packed: bool = False

    def pack(self) -> None:
        """See `c3det.model.Tile.pack`; boxes, scores and embeddings stay as they are."""
        self.correlations, self.collated, self.cells, self.conditioned = {}, {}, {}, None
        self._convert(halved)
        self.packed = True

    def unpack(self) -> None:
        """See `c3det.model.Tile.unpack`."""
        self._convert(Tensor.float)
        self.packed = False

    def _convert(self, converted: Callable[[Tensor], Tensor]) -> None:
        features = self.features
        self.features = replace(
            features,
            embeddings=tuple(converted(level) for level in features.embeddings),
            context=converted(features.context),
            regions=tuple(converted(level) for level in features.regions),
            early=(converted(features.early[0]), converted(features.early[1])),
        )
        self.picture_term = converted(self.picture_term)
        self.proposals = replace(self.proposals, layouts=converted(self.proposals.layouts))

    @property
    def tensors(self) -> list[Tensor]:
        """All that does not depend on clicks, in the order of `of`."""
        features = self.features
        return [
            self.extent,
            *features.scores,
            *features.boxes,
            *features.embeddings,
            features.context,
            *features.regions,
            *features.early,
            *_tensors(self.proposals),
            self.alike,
            self.picture_term,
        ]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> OpenTile:
        """A tile of `tensors` to which nothing was clicked; its size is that with padding."""
        some = iter(tensors)
        extent, levels = next(some), len(STRIDES)
        features = OpenFeatures(
            tuple(islice(some, levels)),
            tuple(islice(some, levels)),
            tuple(islice(some, levels)),
            next(some),
            tuple(islice(some, len(REGION_STRIDES))),
            (next(some), next(some)),
        )
        proposals = Described(*islice(some, len(fields(Described))))
        height, width = features.scores[0].shape[-2:]
        image_size = (height * STRIDES[0], width * STRIDES[0])
        return cls(image_size, extent, features, proposals, next(some), next(some))

    @property
    def nbytes(self) -> int:
        """Memory of the tensors of this tile."""
        return held_bytes(
            (
                *self.tensors,
                *(_tensors(self.conditioned) if self.conditioned is not None else ()),
                *(found for _, found in self.correlations.values()),
                *(found for _, found in self.collated.values()),
            )
        )


def _tensors(described: Described) -> list[Tensor]:
    return [getattr(described, entry.name) for entry in fields(described)]
