"""What a comparison trains: the rows of each study, and the commands that make them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal

from c3det.closed.presets import Stages
from c3det.commands import at_least, positive
from c3det.weights import read_card
from training.data.sets import split_spec
from training.evaluation.protocol import CLICKS
from training.options import option

StudyName = Literal["variants", "ablations", "data"]

BASE = "C3Det"
"""The row from which the differences of the others are computed."""

VARIANTS: dict[str, dict[str, Any]] = {
    BASE: dict(fusion="c3det"),
    "C3Det without UEL": dict(fusion="c3det", uel=False),
    "C3 only": dict(fusion="c3det", late=False),
    "late fusion + UEL": dict(fusion="late", uel=True),
    "late fusion": dict(fusion="late", uel=False),
    "early fusion": dict(fusion="early", uel=False),
    "plain": dict(fusion="plain"),
}
"""Arguments of `c3det.closed.architecture.architecture`. "C3 only" has the UEL, as in the paper's
ablation."""

ABLATIONS: dict[str, dict[str, Any]] = {
    BASE: VARIANTS[BASE],
    **{f"sigma of late fusion {sigma} px": dict(sigma=sigma) for sigma in (1.0, 2.0, 8.0)},
    **{
        f"sampling gaussian-nearest, sigma {sigma} px": dict(
            correlation=dict(sampling="gaussian-nearest", sigma=sigma)
        )
        for sigma in (1.0, 3.0, 6.0)
    },
    **{
        f"scale {scale}, gain {gain}": dict(correlation=dict(scale=scale, gain=gain))
        for scale, gain in (
            ("none", 1.0),
            ("channels", 1.0),
            ("cosine", 1.0),
            ("cosine", 3.0),
            ("cosine", 30.0),
        )
    },
    "without projection": dict(correlation=dict(projection=False)),
    "gradient through the correlation": dict(correlation=dict(stop_gradient=False)),
    "UEL's class the clicked one": dict(uel=dict(target="clicked")),
    "without UEL": dict(uel=False),
    **{f"UEL's weight {weight}": dict(uel=dict(weight=weight)) for weight in (0.03, 0.3, 1.0)},
}
"""What differs from the starter's C3Det, whose settings are the row of that name."""


@dataclass(frozen=True)
class Row:
    """What is trained, once a seed.

    Attributes:
        name: Of the row.
        stages: One-stage or two-stage.
        architecture: Arguments of `c3det.closed.architecture.architecture`, but for the stages.
        training: Further arguments of `training.train`.
        start: Whether it goes on from the shared plain detector of its stages and seed.
    """

    name: str
    stages: Stages
    architecture: Mapping[str, Any]
    training: tuple[str, ...] = ()
    start: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether its detector takes no clicks."""
        return self.architecture.get("fusion") == "plain"

    def key(self, seed: int) -> str:
        """Name of the row's files."""
        name = re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")
        return f"{name}-{self.stages}-seed{seed}"

    def architecture_arguments(self) -> list[str]:
        """The architecture as arguments of `training.train`."""
        arguments = ["--stages", self.stages]
        for name, value in self.architecture.items():
            if name == "late":
                arguments.append("--late" if value else "--no-late")
            elif isinstance(value, bool | Mapping):
                arguments += [f"--{name}", json.dumps(value)]
            else:
                arguments += [f"--{name}", str(value)]
        return arguments


def plain(stages: Stages) -> Row:
    """The detector without clicks from which the rows start."""
    return Row("shared start", stages, VARIANTS["plain"], start=False)


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """How is compared; each field is an option of the command line."""

    out: Path = option(MISSING, "folder of everything")
    sets: tuple[str, ...] = option(
        MISSING, "sets to train on, see training.train", name="set", metavar="SET[=PART]"
    )
    test_sets: tuple[str, ...] | None = option(
        None, "sets to measure on; by default those trained on", metavar="SET"
    )
    study: StudyName = option("variants", "which rows there are")
    rows: tuple[str, ...] | None = option(None, "only these rows of the study", metavar="NAME")
    stages: tuple[Stages, ...] = option(("two-stage", "one-stage"), "of the detectors")
    seeds: int = option(1, "of training, for each row", parse=at_least(1))
    plain_iterations: int = option(1400, "steps of the shared first phase; 0: from ImageNet")
    iterations: int = option(450, "steps of each row")
    batch: int = option(8, "pictures of a step")
    size: int = option(256, "side of a crop in pixels")
    learning_rate: float = option(1.5e-3, "of AdamW", parse=positive)
    objects: tuple[int, ...] = option((25, 100, 400), "numbers of objects of the study of data")
    weights: Path | None = option(None, "to fine-tune, in the study of data")
    click_seeds: int = option(3, "of the evaluation", parse=at_least(1))
    clicks: tuple[int, ...] = option(CLICKS, "numbers of clicks that are evaluated", metavar="N")
    pictures: int | None = option(None, "only the first ones of each test set", parse=at_least(1))
    jobs: int = option(1, "processes at a time, one thread each", parse=at_least(1))

    def study_rows(self) -> tuple[Row, ...]:
        """The rows of the study.

        Raises:
            ValueError: There is no such row, or the study of data lacks the weights to fine-tune.
            c3det.weights.WeightsError: They cannot be read.
        """
        rows = self._data_rows() if self.study == "data" else self._architecture_rows()
        names = dict.fromkeys(row.name for row in rows)
        for name in self.rows or ():
            if name not in names:
                raise ValueError(f"there is no row {name!r}, only {', '.join(names)}")
        return tuple(row for row in rows if self.rows is None or row.name in self.rows)

    def _architecture_rows(self) -> list[Row]:
        table = VARIANTS if self.study == "variants" else ABLATIONS
        return [Row(name, each, fields) for each in self.stages for name, fields in table.items()]

    def _data_rows(self) -> list[Row]:
        if self.weights is None:
            raise ValueError("the study of data fine-tunes finished weights: name them (--weights)")
        read_card(self.weights)
        starts = {"fine-tuned": ("--weights", str(self.weights)), "from ImageNet": ()}
        amounts = {f"{number} objects": ("--objects", str(number)) for number in self.objects}
        return [
            Row(f"{amount}, {start}", "two-stage", {}, (*weights, *counted), start=False)
            for amount, counted in {**amounts, "all objects": ()}.items()
            for start, weights in starts.items()
        ]


@dataclass(frozen=True)
class Experiment:
    """The commands of a comparison, and where their files lie.

    Attributes:
        settings: How is compared.
        rows: What is trained.
    """

    settings: ComparisonSettings
    rows: tuple[Row, ...]

    @property
    def seeds(self) -> range:
        """Of training; each row is trained once a seed."""
        return range(self.settings.seeds)

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of clicks, rising."""
        return tuple(sorted(set(self.settings.clicks)))

    @property
    def shared(self) -> tuple[Row, ...]:
        """The plain detectors that rows start from."""
        if self.settings.plain_iterations == 0:
            return ()
        return tuple(map(plain, dict.fromkeys(row.stages for row in self.rows if row.start)))

    def run(self, row: Row, seed: int) -> Path:
        """Folder of a row's training."""
        return self.settings.out / "runs" / row.key(seed)

    def weights(self, row: Row, seed: int) -> Path:
        """File of a row's weights."""
        return self.settings.out / "weights" / f"{row.key(seed)}.safetensors"

    def evaluation(self, row: Row, seed: int, suffix: str = ".json") -> Path:
        """A file of `training.evaluate`: the report, or ``.raw.json``, ``.npz``, ``.clicks.json``.

        The clicks depend on the seeds and the set alone.
        """
        return self.settings.out / "evaluations" / f"{row.key(seed)}{suffix}"

    def train_command(self, row: Row, seed: int) -> list[str]:
        """The command that trains a row."""
        how = self.settings
        iterations = how.plain_iterations if row in self.shared else how.iterations
        command = ["training.train", "--out", str(self.run(row, seed)), "--set", *how.sets]
        if "--weights" not in row.training:
            command += row.architecture_arguments()
        command += ["--batch", str(how.batch), "--size", str(how.size)]
        command += ["--learning-rate", str(how.learning_rate)]
        command += [*row.training, "--iterations", str(iterations), "--seed", str(seed)]
        if row.start and self.shared:
            command += ["--start", str(self.run(plain(row.stages), seed))]
        return [*command, "--threads", "1"]

    def export_command(self, row: Row, seed: int) -> list[str]:
        """The command that makes a row's weights."""
        run, weights = str(self.run(row, seed)), str(self.weights(row, seed))
        return ["training.export", "--run", run, "--out", weights, "--name", row.key(seed)]

    def evaluate_command(self, row: Row, seed: int) -> list[str]:
        """The command that evaluates a row."""
        how = self.settings
        command = ["training.evaluate", "--weights", f"{row.key(seed)}={self.weights(row, seed)}"]
        for name, suffix in (("--out", ".json"), ("--raw", ".raw.json"), ("--samples", ".npz")):
            command += [name, str(self.evaluation(row, seed, suffix))]
        command += ["--sets", *(how.test_sets or [split_spec(spec)[0] for spec in how.sets])]
        command += ["--seeds", str(how.click_seeds), "--clicks", *map(str, self.counts)]
        command += ["--bootstrap", "200", "--no-passthrough", "--card"]
        if how.pictures is not None:
            command += ["--pictures", str(how.pictures)]
        return command
