"""Recorded work, with a stand-in for CUDA's graphs: what is recorded, replayed, and given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from c3det import graphs
from c3det.graphs import Recorded


class Work:
    """Doubles its inputs in fixed memory, as a graph would."""

    def __init__(self) -> None:
        self.calls = 0
        self.again: list[Callable[[], Any]] = []

    def __call__(self, key: str, *inputs: Tensor) -> list[Tensor]:
        self.calls += 1
        outputs = [one * 2 for one in inputs]
        self.again.append(
            lambda: [out.copy_(one * 2) for out, one in zip(outputs, inputs, strict=True)]
        )
        return outputs


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch, work: Work) -> Iterator[type]:
    """The class that stands for `torch.cuda.CUDAGraph`; a test may spoil it."""

    class Graph:
        def capture_begin(self, pool: str, capture_error_mode: str) -> None:
            assert pool == "pool"

        def capture_end(self) -> None:
            self.replay = work.again[-1]

    monkeypatch.setattr(graphs, "_is_on_gpu", lambda tensor: True)
    for name, value in (
        ("CUDAGraph", Graph),
        ("Stream", object),
        ("stream", nullcontext),
        ("graph_pool_handle", lambda: "pool"),
        ("device", lambda device: nullcontext()),
        ("synchronize", lambda: None),
        ("empty_cache", lambda: None),
    ):
        monkeypatch.setattr(f"torch.cuda.{name}", value)
    return Graph


def test_on_a_cpu_it_is_a_call(work: Work) -> None:
    recorded = Recorded(work)
    for number in range(3):
        (got,) = recorded("a", torch.tensor([float(number)]))
        assert got.tolist() == [2 * number]
    assert work.calls == 3


@pytest.mark.usefixtures("graph")
def test_each_key_and_shape_is_recorded_at_the_second_call(work: Work) -> None:
    recorded = Recorded(work)
    for number in range(4):
        for key, count in (("a", 1), ("a", 2), ("b", 1)):
            one, other = recorded(key, torch.full((count,), float(number)), torch.ones(1))
            assert one.tolist() == [2 * number] * count
            assert other.tolist() == [2]
        assert len(recorded._graphs) == (0 if number == 0 else 3)
    assert work.calls == 3 * 3  # twice as it is, once recorded


def record(recorded: Recorded, key: str, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Call it as often as it takes to record it; the last answer."""
    recorded(key, *inputs)
    return recorded(key, *inputs)


@pytest.mark.usefixtures("graph")
def test_functions_share_the_memory_of_inputs_that_are_alike(work: Work) -> None:
    held = graphs.HeldInputs()
    first, second = Recorded(work, held), Recorded(work, held)
    record(first, "a", torch.ones(1), torch.ones(5))
    record(second, "b", torch.ones(2), torch.ones(3), torch.ones(5))
    (one,), (other,) = first._graphs.values(), second._graphs.values()
    assert one is not None
    assert other is not None
    assert one.inputs[-1] is other.inputs[-1]
    assert len({id(tensor) for tensor in (*one.inputs, *other.inputs)}) == 4
    for number in (3.0, 4.0):
        assert first("a", torch.ones(1), torch.full((5,), number))[1].tolist() == [2 * number] * 5
        assert second("b", torch.ones(2), torch.ones(3), torch.ones(5))[2].tolist() == [2] * 5


@pytest.mark.usefixtures("graph")
def test_only_some_graphs_are_kept(work: Work) -> None:
    recorded = Recorded(work)
    for count in range(1, graphs.KEPT + 3):
        record(recorded, "a", torch.zeros(count))
        recorded("a", torch.zeros(1))
    assert len(recorded._graphs) == graphs.KEPT
    assert ("a", (1,)) in recorded._graphs


def fail(self: Any) -> None:
    raise RuntimeError("operation failed due to a previous error during capture")


def test_work_that_cannot_be_recorded_is_called(graph: type, work: Work) -> None:
    graph.capture_end = fail  # type: ignore[attr-defined]
    recorded = Recorded(work)
    with pytest.warns(UserWarning, match="no CUDA graph can be recorded"):
        (got,) = record(recorded, "a", torch.ones(1))
    assert got.tolist() == [2]
    (got,) = recorded("a", torch.full((1,), 4.0))
    assert got.tolist() == [8]


def test_a_replay_of_other_numbers_is_given_up(graph: type, work: Work) -> None:
    """As that of a function that reads what is no longer there."""
    graph.capture_end = lambda self: setattr(  # type: ignore[attr-defined]
        self, "replay", lambda: [one.fill_(7) for one in recorded_outputs]
    )
    recorded_outputs: list[Tensor] = []

    def noted(key: str, *inputs: Tensor) -> list[Tensor]:
        recorded_outputs[:] = work(key, *inputs)
        return recorded_outputs

    recorded = Recorded(noted)
    with pytest.warns(UserWarning, match="what is replayed is not what is computed"):
        (got,) = record(recorded, "a", torch.ones(3))
    assert got.tolist() == [2, 2, 2]


def test_a_graph_that_computes_nothing_is_given_up(graph: type, work: Work) -> None:
    """As one that was captured on another device than the work ran on."""
    graph.capture_end = lambda self: setattr(  # type: ignore[attr-defined]
        self, "replay", lambda: None
    )
    recorded = Recorded(work)
    with pytest.warns(UserWarning, match="what is replayed is not what is computed"):
        (got,) = record(recorded, "a", torch.ones(3))
    assert got.tolist() == [2, 2, 2]


@pytest.mark.parametrize("lacking", [1, 2])
def test_where_memory_lacks_for_a_recording_the_work_is_called(
    graph: type, work: Work, lacking: int
) -> None:
    """Whatever CUDA says of a recording that ended early; what was recorded makes room."""

    def hungry(key: str, *inputs: Tensor) -> list[Tensor]:
        outputs = work(key, *inputs)
        if key == "large" and work.calls == 4 + lacking:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return outputs

    recorded = Recorded(hungry)
    record(recorded, "small", torch.ones(1))
    if lacking == 2:
        graph.capture_end = fail  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match="no CUDA graph can be recorded"):
        (got,) = record(recorded, "large", torch.full((1,), 4.0))
    assert got.tolist() == [8]
    assert [key for key, *_ in recorded._graphs] == ["large"]


def test_a_lack_of_memory_of_the_work_itself_is_raised(graph: type) -> None:
    def hungry(key: str, one: Tensor) -> list[Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Recorded(hungry)("a", torch.ones(1))
