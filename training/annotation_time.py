"""Estimate seconds an image, by hand and assisted: ``python -m training.annotation_time``.

The model of the paper's user study (arXiv 2203.15266): a person's time is the number of
interactions times the seconds of one. By hand 58.3 interactions took 327.7 s an image, with C3Det
17.9 took 114.7 s, which the paper gives as 2.85 times faster. The seconds of an assisted
interaction contain the latency of the study's own server, which was not published:
``--study-latency`` says what to take it for, by default nothing. The latency measured in
``--evaluation``, a file that `training.evaluate` wrote, takes its place.

With an evaluation, each of its models and sets is estimated for its own pictures too. By hand every
object is one interaction. Assisted, it is ``n`` clicks, and then one interaction by hand for each
object that is still missed and each box that is wrong at the served threshold, with the ``n`` of
the measured ones that takes the least time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from c3det.commands import command
from training.evaluation.reporting import write_json


@dataclass(frozen=True)
class Study:
    """The constants of the user study.

    Attributes:
        manual_interactions: Of an image, by hand.
        manual_seconds: Of an image, by hand.
        assisted_interactions: Of an image, assisted.
        assisted_seconds: Of an image, assisted.
        latency: Seconds that an assisted interaction of the study waited for the model.

    Raises:
        ValueError: A constant is out of range.
    """

    manual_interactions: float = 58.3
    manual_seconds: float = 327.7
    assisted_interactions: float = 17.9
    assisted_seconds: float = 114.7
    latency: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (value > 0 or (name == "latency" and value == 0)):
                raise ValueError(f"{name.replace('_', ' ')} must be positive, it is {value}")
        if self.latency > self.assisted_seconds / self.assisted_interactions:
            raise ValueError(
                f"a latency of {self.latency} s is longer than an assisted interaction of "
                f"{self.assisted_seconds / self.assisted_interactions:.2f} s"
            )

    @property
    def manual_interaction(self) -> float:
        """Seconds of one interaction by hand."""
        return self.manual_seconds / self.manual_interactions

    def assisted_interaction(self, latency: float) -> float:
        """Seconds of one assisted interaction that waits ``latency`` seconds for the model."""
        return self.assisted_seconds / self.assisted_interactions - self.latency + latency


@dataclass(frozen=True)
class Estimate:
    """Seconds an image.

    Attributes:
        title: What is estimated.
        manual: By hand.
        assisted: With the model.
        about: How the numbers came about.
    """

    title: str
    manual: float
    assisted: float
    about: str

    @property
    def ratio(self) -> float:
        """How many times less the assisted annotation takes."""
        return self.manual / self.assisted


def of_study(study: Study, latency: float, opening: float = 0.0, title: str = "study") -> Estimate:
    """Estimate for the interactions of the study.

    Args:
        study: Its constants.
        latency: Seconds from a click to its answer.
        opening: Seconds that the model needs once an image, before the first answer.
        title: Of the estimate.
    """
    each = study.assisted_interaction(latency)
    return Estimate(
        title,
        study.manual_interactions * study.manual_interaction,
        study.assisted_interactions * each + opening,
        f"{study.manual_interactions:.1f} interactions of {study.manual_interaction:.2f} s against "
        f"{study.assisted_interactions:.1f} of {each:.2f} s",
    )


@dataclass(frozen=True)
class Measurement:
    """What an evaluation measured of one model on one set.

    Attributes:
        name: Of model and set.
        objects: Of a picture.
        corrections: By number of clicks, the missed objects and wrong boxes of a picture.
        latency: Seconds from a click to its answer.
        opening: Seconds that the model needs once a picture.
    """

    name: str
    objects: float
    corrections: Mapping[int, float]
    latency: float
    opening: float


def read_evaluation(path: Path) -> list[Measurement]:
    """Read what `training.evaluate` wrote.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no such file, or nothing was clicked in it; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [
            Measurement(
                name=f"{model} on {test_set}",
                objects=about["objects"] / about["pictures"],
                corrections={
                    int(number): float(row["missed"]) + float(row["wrong"])
                    for number, row in measured["at_threshold"][test_set]["served"][
                        "clicks"
                    ].items()
                },
                latency=float(measured["seconds_per_click"][test_set]),
                opening=float(measured["seconds_per_encode"][test_set]),
            )
            for model, measured in content["models"].items()
            for test_set, about in content["sets"].items()
            if test_set in measured["sets"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"{path} is no evaluation of training.evaluate with clicks: {error!r}"
        ) from error


def of_set(study: Study, measured: Measurement) -> Estimate:
    """Estimate for the pictures of an evaluation, after the best number of clicks."""
    each = study.assisted_interaction(measured.latency)
    seconds = {
        number: number * each + by_hand * study.manual_interaction
        for number, by_hand in measured.corrections.items()
    }
    best = min(seconds, key=lambda number: seconds[number])
    return Estimate(
        measured.name,
        measured.objects * study.manual_interaction,
        seconds[best] + measured.opening,
        f"{measured.objects:.1f} objects by hand against {best} clicks and "
        f"{measured.corrections[best]:.1f} corrections",
    )


def estimates(study: Study, measurements: Iterable[Measurement] = ()) -> list[Estimate]:
    """Estimate for the study as published, and for each measurement."""
    found = [of_study(study, study.latency, title="study as published")]
    for one in measurements:
        title = f"study, latency of {one.name}"
        found += [of_study(study, one.latency, one.opening, title), of_set(study, one)]
    return found


@command("python -m training.annotation_time")
def main() -> None:
    """Read the command line, estimate and print."""
    parser = argparse.ArgumentParser(
        prog="python -m training.annotation_time",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--evaluation", type=Path, help="JSON file of training.evaluate")
    parser.add_argument("--manual-interactions", type=float, default=Study.manual_interactions)
    parser.add_argument("--manual-seconds", type=float, default=Study.manual_seconds)
    parser.add_argument("--assisted-interactions", type=float, default=Study.assisted_interactions)
    parser.add_argument("--assisted-seconds", type=float, default=Study.assisted_seconds)
    parser.add_argument("--study-latency", type=float, default=Study.latency)
    parser.add_argument("--out", type=Path, help="JSON file to write as well")
    arguments = parser.parse_args()
    try:
        study = Study(
            arguments.manual_interactions,
            arguments.manual_seconds,
            arguments.assisted_interactions,
            arguments.assisted_seconds,
            arguments.study_latency,
        )
        measured = read_evaluation(arguments.evaluation) if arguments.evaluation else []
        found = estimates(study, measured)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    width = max(len(one.title) for one in found)
    print(f"{'seconds an image':<{width}}{'by hand':>9}{'assisted':>10}{'ratio':>7}")
    for one in found:
        seconds = f"{one.manual:9.1f}{one.assisted:10.1f}{one.ratio:7.2f}"
        print(f"{one.title:<{width}}{seconds}  {one.about}")
    if arguments.out:
        rows = [{**asdict(one), "ratio": one.ratio} for one in found]
        report = {"study": asdict(study), "estimates": rows}
        write_json(report, arguments.out)


if __name__ == "__main__":
    main()
