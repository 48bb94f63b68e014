"""The options that evaluations share, and what they load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path

from c3det.commands import at_least
from c3det.predictor import Predictor, load
from training.clicks.sampling import STRATEGIES, ClickStrategy
from training.data.annotated import first_repeated
from training.evaluation.protocol import CLICKS, Budget, ClickPlan, EvaluationSet, load_test_set
from training.options import option, usable_device


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What is measured, of either model; each field is an option of the command line."""

    weights: tuple[str, ...] = option(
        MISSING,
        ".safetensors files, by default named as the file; of the open model one, or one a fold",
        metavar="[NAME=]PATH",
    )
    out: Path = option(MISSING, "JSON file of the report; its page and figure lie beside")
    sets: tuple[str, ...] | None = option(
        None,
        "trees, composite, a real set, or a folder that training.data.convert made; for the open "
        "model also sets of training.open.test_sets, and kept-aside (default: trees; of the open "
        "model all of training.open.test_sets but those kept aside)",
        metavar="SET",
    )
    seeds: int | None = option(
        None, "number of click seeds (default: 5, of the open model 2)", metavar="N"
    )
    clicks: tuple[int, ...] | None = option(
        None,
        f"numbers of clicks (default: {' '.join(map(str, CLICKS))}; of the open model clicks a "
        "class, 1 2 3 5 10)",
        metavar="N",
    )
    pictures: int | None = option(None, "only the first ones of each set", parse=at_least(1))
    device: str = option("cpu", "cpu, cuda, cuda:1", parse=usable_device)
    threshold: float | None = option(None, "the served one; by default the cards'")

    def __post_init__(self) -> None:
        if self.out.suffix != ".json":
            raise ValueError(f"--out must end in .json, not {self.out}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold must be between 0 and 1, it is {self.threshold}")

    def plan(
        self,
        seeds: int = 5,
        clicks: Sequence[int] = CLICKS,
        strategy: ClickStrategy = STRATEGIES["uniform"],
        budget: Budget = "patch",
    ) -> ClickPlan:
        """How clicks are given, with the seeds and numbers of clicks where none are chosen.

        Raises:
            ValueError: There is no seed, or a number of clicks is negative.
        """
        chosen = seeds if self.seeds is None else self.seeds
        counts = tuple(sorted(set(clicks if self.clicks is None else self.clicks)))
        return ClickPlan(strategy, tuple(range(chosen)), counts, budget)

    def load_predictors(self) -> dict[str, Predictor]:
        """Load the weights.

        Raises:
            ValueError: Two have one name.
            c3det.weights.WeightsError: Weights cannot be used.
        """
        named = named_weights(self.weights)
        return {name: load(path, self.device) for name, path in named.items()}

    def load_test_sets(self) -> list[EvaluationSet]:
        """Load the sets of the closed model.

        Raises:
            OSError: A file cannot be read.
            ValueError: There is no such set, or two have one name.
        """
        specs = self.sets or ("trees",)
        test_sets = [load_test_set(spec, self.pictures) for spec in specs]
        if repeated := first_repeated(test_set.name for test_set in test_sets):
            raise ValueError(f"two sets have the name {repeated}")
        return test_sets


@dataclass(frozen=True, kw_only=True)
class ClosedSettings:
    """What is measured of the closed model alone."""

    budget: Budget = option(
        "patch",
        "what gets so many clicks: each patch, or each picture, spread over its patches",
    )
    bootstrap: int = option(1000, "resamples of the pictures", parse=at_least(1))


def named_weights(arguments: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=PATH`` or ``PATH``, whose name is the file's without its suffix.

    Raises:
        ValueError: Two have one name, or a name would not do as the name of a folder.
    """
    weights: dict[str, Path] = {}
    for argument in arguments:
        name, separator, path = argument.partition("=")
        # A folder may be called year=2024.
        if not separator or Path(argument).is_file():
            name, path = Path(argument).stem, argument
        if not name or "/" in name:
            raise ValueError(f"{argument!r}: {name!r} is not a name for weights")
        if name in weights:
            raise ValueError(f"two weights have the name {name}: tell them apart as NAME=PATH")
        weights[name] = Path(path)
    return weights
