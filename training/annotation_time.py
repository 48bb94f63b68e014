"""Seconds an annotator needs for a picture, by hand and with the model.

The model of the paper's user study (arXiv 2203.15266): a person's time is the number of
interactions times the seconds of one. By hand 58.3 interactions took 327.7 s a picture, with C3Det
17.9 took 114.7 s, which the paper gives as 2.85 times faster. An assisted interaction of the study
contains the latency of its server, which was not published and is taken for nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Study:
    """The numbers of the user study, of a picture."""

    manual_interactions: float = 58.3
    manual_seconds: float = 327.7
    assisted_interactions: float = 17.9
    assisted_seconds: float = 114.7

    @property
    def manual_interaction(self) -> float:
        """Seconds of one interaction by hand."""
        return self.manual_seconds / self.manual_interactions

    def assisted_interaction(self, latency: float) -> float:
        """Seconds of one assisted interaction that waits ``latency`` seconds for the model."""
        return self.assisted_seconds / self.assisted_interactions + latency


@dataclass(frozen=True)
class Estimate:
    """Seconds a picture.

    Attributes:
        manual: By hand.
        assisted: With the model.
        clicks: Number of clicks that takes the least time.
    """

    manual: float
    assisted: float
    clicks: int


def estimate(
    study: Study, objects: float, corrections: Mapping[int, float], latency: float, encoding: float
) -> Estimate:
    """Estimate for the pictures of an evaluation.

    By hand every object is one interaction. Assisted, it is ``n`` clicks, and then one interaction
    by hand for each object that is still missed and each box that is wrong, with the best ``n``.

    Args:
        study: Its constants.
        objects: Of a picture.
        corrections: By number of clicks, the missed objects and wrong boxes of a picture.
        latency: Seconds from a click to its answer.
        encoding: Seconds that the model needs once a picture.
    """
    seconds = {
        clicks: clicks * study.assisted_interaction(latency) + rest * study.manual_interaction
        for clicks, rest in corrections.items()
    }
    best = min(seconds, key=lambda clicks: seconds[clicks])
    return Estimate(objects * study.manual_interaction, seconds[best] + encoding, best)
