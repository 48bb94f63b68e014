"""Whether there is time for another piece of work."""

from __future__ import annotations

import pytest
import torch

from c3det import timing
from c3det.timing import Pace, TimeBudget


class Clock:
    """A clock that only the test moves on."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_pace_is_the_median_of_the_last_three(clock: Clock) -> None:
    pace = Pace()
    assert pace.expected("search", encoded=True) == 0
    for seconds in (9.0, 1.0, 2.0, 3.0):
        with pace.timed("search", encoded=True):
            clock.now += seconds
    assert pace.expected("search", encoded=True) == 2
    assert pace.expected("read", encoded=True) == 2, "of the other kind, until it is timed"
    assert pace.expected("search", encoded=False) == 0
    with pace.timed("read", encoded=True):
        clock.now += 0.5
    assert pace.expected("read", encoded=True) == 0.5


def test_a_budget_allows_the_first_piece_and_then_what_fits(clock: Clock) -> None:
    cpu = torch.device("cpu")
    late = TimeBudget(clock.now - 1, 0.0, cpu)
    assert [late.allows(0), late.allows(0)] == [True, False]
    budget = TimeBudget(clock.now + 10, 2.0, cpu)
    assert budget.allows(7)
    clock.now += 1
    assert not budget.allows(7), "1 + 7 + 2 is not below 10"
    assert budget.allows(6.5)
    assert TimeBudget(None, 2.0, cpu).allows(1e9)


def test_a_budget_adds_up_seconds_also_of_what_fails(clock: Clock) -> None:
    budget = TimeBudget(None, 0.0, torch.device("cpu"))

    def fail() -> None:
        with budget.timed("encode"):
            clock.now += 3
            raise MemoryError

    for _ in range(2):
        with pytest.raises(MemoryError):
            fail()
    assert budget.seconds == {"encode": 6, "detect": 0}
