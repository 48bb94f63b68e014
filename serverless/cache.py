"""The features of the pictures seen last, so that a further click does not encode again.

Policy: entries are found by a digest of the encoded picture. Their sizes add up to at most
``max_bytes``; when they would exceed it, the entry that was used longest ago goes first. The newest
entry always stays, however large, because the next click is most likely on the same picture.
Safe from several threads.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from c3det.predictor import ImageFeatures


def picture_key(picture: bytes) -> bytes:
    """Return the key of an encoded picture: the SHA-256 of its bytes."""
    return hashlib.sha256(picture).digest()


class FeatureCache:
    """Features by picture, least recently used out first.

    Args:
        max_bytes: Memory that the features may take together, one picture excepted.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, ImageFeatures] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> ImageFeatures | None:
        """Return the features under ``key`` and mark them as used, or ``None``."""
        with self._lock:
            features = self._entries.get(key)
            if features is not None:
                self._entries.move_to_end(key)
            return features

    def put(self, key: bytes, features: ImageFeatures) -> None:
        """Keep ``features`` under ``key`` and drop what no longer fits."""
        with self._lock:
            self._entries[key] = features
            self._entries.move_to_end(key)
            while len(self._entries) > 1 and self._nbytes() > self._max_bytes:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()

    def _nbytes(self) -> int:
        return sum(features.nbytes for features in self._entries.values())
