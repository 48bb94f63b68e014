"""The default threshold, which falls with the number of slots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from c3det.clicks import Click
from c3det.exemplars import THUMBNAIL, Exemplars
from c3det.queries import default_threshold
from tests.c3det.open.small import CARD

OPEN = replace(CARD, score_threshold=0.35)
NAMES = tuple("abcdefghijkl")


def clicks(*labels: int, positive: bool = True) -> list[Click]:
    return [Click(3, 3, label, positive) for label in labels]


def exemplars(*labels: int, positive: bool = True) -> Exemplars:
    count = len(labels)
    return replace(
        Exemplars.none("ab" * 32, 2, NAMES),
        labels=np.array(labels, np.int64),
        positive=np.full(count, positive),
        vectors=np.zeros((count, 2), np.float16),
        sizes=np.ones((count, 2), np.float32),
        thumbnails=np.zeros((count, THUMBNAIL, THUMBNAIL, 3), np.uint8),
        sources=("",) * count,
    )


@pytest.mark.parametrize(
    ("labels", "wanted"), [(0, 0.35), (1, 0.35), (3, 0.35), (5, 0.28), (6, 1.4 / 6), (12, 0.2)]
)
def test_it_falls_with_the_number_of_labels(labels: int, wanted: float) -> None:
    asked = clicks(*range(labels), *range(labels))
    assert default_threshold(OPEN, asked) == pytest.approx(wanted)
    assert default_threshold(OPEN, [], exemplars(*range(labels))) == pytest.approx(wanted)
    # Each label counts once, wherever it is from; a lower threshold of the card stays.
    half, rest = clicks(*range(labels // 2)), exemplars(*range(labels))
    assert default_threshold(OPEN, half, rest) == pytest.approx(wanted)
    assert default_threshold(CARD, asked) == pytest.approx(min(0.1, wanted))


def test_negative_ones_and_known_classes_do_not_lower_it() -> None:
    negative = clicks(*range(12), positive=False)
    assert default_threshold(OPEN, negative, exemplars(*range(12), positive=False)) == 0.35
    closed = replace(OPEN, classes=NAMES)
    assert default_threshold(closed, clicks(*range(12))) == 0.35
