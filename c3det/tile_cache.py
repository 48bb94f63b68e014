"""Encoded tiles of one picture, within a limit of memory.

Policy: beyond the limit tiles are kept in half precision (packed). If that is not enough, they are
dropped, and encoded again when they are needed. The tiles that were encoded last go first, because
tiles near clicks are encoded before the rest; tiles under clicks go last of all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c3det.memory import held_bytes
from c3det.model import Model, Tile


class TileCache:
    """Tiles by their index in the picture.

    Args:
        model: Encodes them.
    """

    def __init__(self, model: Model[Any]) -> None:
        self._model = model
        self._tiles: dict[int, Tile] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._tiles

    def items(self) -> Iterator[tuple[int, Tile]]:
        """All tiles with their index, packed or not."""
        return iter(self._tiles.items())

    def encode(self, index: int, pixels: NDArray[np.uint8]) -> None:
        """Encode a tile from its pixels, uint8 ``(H, W, 3)``, RGB."""
        self._tiles[index] = self._model.encode(pixels)

    def unpacked(self, index: int) -> Tile:
        """A tile that is there, in full precision."""
        tile = self._tiles[index]
        if tile.packed:
            tile.unpack()
        return tile

    def clear(self) -> None:
        """Drop all tiles."""
        self._tiles.clear()

    @property
    def nbytes(self) -> int:
        """Memory of all tiles; what they share counts once."""
        tiles = list(self._tiles.values())
        shared = [tensor for tile in tiles for tensor in tile.borrowed()]
        if tiles:
            shared += self._model.kept_for(tiles[0])
        return sum(tile.nbytes for tile in tiles) + held_bytes(shared)

    def shrink(
        self, max_bytes: int, under_clicks: Collection[int] = (), current: int | None = None
    ) -> None:
        """Pack tiles, and drop tiles if that is not enough.

        Args:
            max_bytes: Of all tiles together.
            under_clicks: Indices of tiles that go last.
            current: Index of the tile in use, which stays as it is.
        """
        newest_first = [index for index in reversed(self._tiles) if index != current]
        # sorted() keeps the order within both groups.
        order = sorted(newest_first, key=lambda index: index in under_clicks)
        held = self.nbytes
        while order and held - self._saved_by_packing(order) > max_bytes:
            del self._tiles[order.pop(0)]
            held = self.nbytes
        for index in order:
            tile = self._tiles[index]
            if held > max_bytes and not tile.packed:
                held -= tile.nbytes
                tile.pack()
                held += tile.nbytes
        for index in order:  # some values may not fit half precision
            if held > max_bytes:
                del self._tiles[index]
                held = self.nbytes

    def _saved_by_packing(self, indices: Sequence[int]) -> int:
        """Memory that tiles would give back in half precision."""
        tiles = (self._tiles[index] for index in indices)
        return sum(tile.nbytes // 2 for tile in tiles if not tile.packed)
