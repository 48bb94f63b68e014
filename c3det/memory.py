"""Memory of the process: how it is allocated, and how much of it tensors hold.

glibc maps each large block anew and gives it back when it is freed. Feature maps of pictures are
such blocks, and a click allocates dozens of them: the system hands out zeroed pages one by one,
under a lock that all threads share. Kept in the heap, the pages are touched once.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of ``mallopt``, see malloc.h."""

_KEPT_BYTES = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let freed blocks stay with the process, up to 2 GiB; return whether the C library is glibc.

    With others nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    # Some releases of glibc take at most 32 MiB for the first. One arena: those of other threads
    # than the first cannot hold a large block.
    return all(
        [
            mallopt(_MMAP_THRESHOLD, _KEPT_BYTES) or mallopt(_MMAP_THRESHOLD, 32 << 20),
            mallopt(_TRIM_THRESHOLD, _KEPT_BYTES),
            mallopt(_ARENA_MAX, 1),
        ]
    )


def halved(tensor: Tensor) -> Tensor:
    """A tensor in half precision, or the tensor itself if that cannot hold its numbers."""
    half = tensor.half()
    return half if bool(half.isfinite().all()) else tensor


def held_bytes(tensors: Iterable[Tensor]) -> int:
    """Memory of the storages of tensors, each storage once."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
