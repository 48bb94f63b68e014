"""Files of weights that appear whole, and what may be chosen of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from c3det.weights import card_path
from training.weights_files import ExportSettings, read_tensors, without_folders, written_whole


def write(path: Path, text: str) -> None:
    path.write_text(text)
    card_path(path).write_text(f"card of {text}")


def test_both_files_take_their_names_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "new" / "w.safetensors"
    with written_whole(out) as made:
        write(made, "first")
        assert not out.exists()
    assert (out.read_text(), card_path(out).read_text()) == ("first", "card of first")
    with pytest.raises(ValueError, match="spoilt"), written_whole(out) as made:  # noqa: PT012
        write(made, "second")
        raise ValueError("spoilt")
    assert (out.read_text(), card_path(out).read_text()) == ("first", "card of first")
    assert len([*out.parent.iterdir()]) == 2


def test_settings_are_checked() -> None:
    assert ExportSettings(out=Path("a/boats.safetensors")).name == "boats"
    with pytest.raises(ValueError, match=r"--out must end in .safetensors, not w\.pth"):
        ExportSettings(out=Path("w.pth"))
    with pytest.raises(ValueError, match="threshold must be between 0 and 1, it is 2"):
        ExportSettings(out=Path("w.safetensors"), threshold=2)


def test_a_card_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    record = {
        "start": str(tmp_path / "w.safetensors"),
        "sets": ("trees=0.25", str(tmp_path / "mine")),
        "step settings": {"hard": 0.5, "pictures": 12, "own": False, "note": None},
        "licence": "MIT; a/b",
    }
    assert without_folders(record) == {
        "start": "w.safetensors",
        "sets": ["trees=0.25", "mine"],
        "step settings": {"hard": 0.5, "pictures": 12, "own": False, "note": None},
        "licence": "MIT; a/b",
    }


def test_a_file_without_tensors_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(2)}, path)
    assert read_tensors(path)["a"].tolist() == [1, 1]
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"w\.safetensors is not a safetensors file \("):
        read_tensors(path)
    with pytest.raises(OSError, match=r"missing\.safetensors"):
        read_tensors(tmp_path / "missing.safetensors")
