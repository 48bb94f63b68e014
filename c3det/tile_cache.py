"""Encoded tiles of one picture, within a limit of memory.

Policy: beyond the limit tiles are kept in half precision (packed). If that is not enough, they are
dropped, and encoded again when they are needed. The tiles that were encoded last go first, because
tiles near clicks are encoded before the rest; tiles under clicks go last of all.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from c3det.memory import held_bytes
from c3det.model import Model, Tile


class TileCache(dict[int, Tile]):
    """Tiles by their index in the picture, packed or not.

    Args:
        model: That encodes them.
    """

    def __init__(self, model: Model[Any]) -> None:
        super().__init__()
        self._model = model

    @property
    def nbytes(self) -> int:
        """Memory of all tiles; what they share counts once."""
        tiles = list(self.values())
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
        newest_first = [index for index in reversed(self) if index != current]
        # sorted() keeps the order within both groups.
        order = sorted(newest_first, key=lambda index: index in under_clicks)
        held = self.nbytes
        while order and held > max_bytes:
            unpacked = [self[index] for index in order if not self[index].packed]
            if held - sum(tile.nbytes // 2 for tile in unpacked) <= max_bytes:
                break
            del self[order.pop(0)]
            held = self.nbytes
        for index in order:
            tile = self[index]
            if held > max_bytes and not tile.packed:
                held -= tile.nbytes
                tile.pack()
                held += tile.nbytes
        for index in order:  # some values may not fit half precision
            if held > max_bytes:
                del self[index]
                held = self.nbytes
