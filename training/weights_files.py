"""What the commands that write weights share: their options, and files that appear whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file
from torch import Tensor

from c3det.weights import card_path, safetensors_os_errors
from training.options import option


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What is written; each field is an option of the command line."""

    out: Path = option(MISSING, "the .safetensors file to write; its card lies beside")
    name: str | None = option(None, "of the weights; by default the file's")
    threshold: float | None = option(
        None, "score from which on boxes are shown; by default the one of the best F1"
    )
    limits: tuple[str, ...] = option(
        (), "what the weights cannot do, for the card", name="limit", metavar="SENTENCE"
    )

    def __post_init__(self) -> None:
        if self.out.suffix != ".safetensors":
            raise ValueError(f"--out must end in .safetensors, not {self.out}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold must be between 0 and 1, it is {self.threshold}")
        if self.name is None:
            object.__setattr__(self, "name", self.out.stem)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file that has no card.

    Raises:
        OSError: It cannot be read.
        ValueError: It is none.
    """
    try:
        with safetensors_os_errors(path):
            return load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file ({error}): copy it again, or name another one"
        ) from error


def without_folders(record: Any) -> Any:
    """The record of a training for a card: of absolute paths only the last part is left.

    A card goes where the weights go, and says nothing of the machine that they were trained on.
    """
    if isinstance(record, dict):
        return {key: without_folders(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [without_folders(value) for value in record]
    if isinstance(record, str) and Path(record).is_absolute():
        return Path(record).name
    return record


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A path to write weights and card to; at the end they take the place of ``out`` and its card.

    After an error, what lay there before is still there.

    Raises:
        OSError: A file cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as folder:
        made = Path(folder) / out.name
        yield made
        # The card goes last: without it the function says what is missing.
        card_path(out).unlink(missing_ok=True)
        made.replace(out)
        card_path(made).replace(card_path(out))
