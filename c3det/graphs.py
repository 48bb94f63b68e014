"""CUDA graphs: a function of fixed shapes is recorded once and then replayed.

A click runs about a hundred small kernels. To launch them one by one takes the CPU longer than they
take the GPU. A graph is one launch. It reads and writes the same memory each time.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

Work = Callable[..., Sequence[Tensor]]

KEPT = 16
"""Graphs of one function, each for other shapes; the least recently used one is dropped."""

MOST_APART = 0.01
"""Share of the numbers of a result in which the first replay may differ from the work itself: the
order of boxes of one score is not fixed on a GPU."""

_RECORD = True
"""Tests turn it off to compare both ways."""


@dataclass(frozen=True, slots=True, eq=False)
class _Graph:
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    outputs: tuple[Tensor, ...]


HeldInputs = WeakValueDictionary[Hashable, Tensor]
"""The memory from which graphs read, by what tells one input from another: its place, counted from
the last input, and its shape and type."""


class Recorded:
    """A function of tensors that neither synchronises with the CPU nor copies from it.

    What is called once, such as for a size of picture that does not come again, is not worth a
    recording, which takes several times as long. So the second call with a key and shapes is
    recorded. On a CPU, and if recording fails, the function is called as it is.

    Args:
        work: Called as ``work(key, *inputs)``, returns tensors. All that it depends on beside the
            inputs' values is ``key`` and the inputs' shapes.
        held: Functions that are given the same share the memory of inputs that are alike. They are
            never called side by side.
    """

    def __init__(self, work: Work, held: HeldInputs | None = None) -> None:
        self._work = work
        self._held = HeldInputs() if held is None else held
        self._called: OrderedDict[Hashable, None] = OrderedDict()
        self._graphs: OrderedDict[Hashable, _Graph | None] = OrderedDict()
        self._pool: Any = None
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, key: Hashable, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What ``work`` returns; on a GPU good until the next call."""
        if not (_RECORD and _is_on_gpu(inputs[0])):
            return tuple(self._work(key, *inputs))
        shaped = (key, *(tuple(one.shape) for one in inputs))
        with torch.cuda.device(inputs[0].device):
            if shaped not in self._graphs:
                if shaped not in self._called:
                    self._called[shaped] = None
                    if len(self._called) > KEPT:
                        self._called.popitem(last=False)
                    return tuple(self._work(key, *inputs))
                self._graphs[shaped] = self._record(key, inputs)
                if len(self._graphs) > KEPT:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(shaped)
            known = self._graphs[shaped]
            if known is None:
                return tuple(self._work(key, *inputs))
            torch._foreach_copy_(known.inputs, inputs)
            known.graph.replay()
            return known.outputs

    def _record(self, key: Hashable, inputs: Sequence[Tensor]) -> _Graph | None:
        try:
            held = self._copied(inputs)
            wanted = [one.clone() for one in self._work(key, *held)]
            recorded = self._captured(key, held)
            # What the capture left there must not pass for what the replay computes.
            torch._foreach_zero_(recorded.outputs)
            torch._foreach_copy_(held, list(inputs))
            recorded.graph.replay()
            torch.cuda.synchronize()
            if not all(map(_alike, wanted, recorded.outputs)):
                raise RuntimeError("what is replayed is not what is computed")
            return recorded
        except RuntimeError as error:
            if any(isinstance(one, torch.OutOfMemoryError) for one in (error, error.__context__)):
                self._graphs.clear()  # the work itself needs less than its recording
                self._pool = self._stream = None  # CUDA gives the pool up with its last graph
            warnings.warn(
                f"no CUDA graph can be recorded, a click is slower: {error}", stacklevel=3
            )
            return None

    def _copied(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        copies = []
        for place, one in enumerate(inputs, -len(inputs)):
            name = (place, tuple(one.shape), one.stride(), one.dtype)
            copy = self._held.get(name)
            if copy is None:
                copy = self._held[name] = torch.empty_like(one)
            copies.append(copy.copy_(one))
        return copies

    def _captured(self, key: Hashable, held: list[Tensor]) -> _Graph:
        if self._stream is None:
            # Graphs that are never replayed side by side may work in the same memory.
            self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # a graph has memory of its own
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream):
            # Other threads may go on with what a recording must not do.
            graph.capture_begin(self._pool, capture_error_mode="thread_local")
            try:
                outputs = tuple(self._work(key, *held))
            finally:
                graph.capture_end()
        return _Graph(graph, held, outputs)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two results are the same but for rounding, in all but few of their numbers."""
    close = torch.isclose(one.float(), other.float(), 1e-2, 1e-2, equal_nan=True)
    return bool((~close).sum() <= MOST_APART * close.numel())


def _is_on_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda
