"""What the card of open weights says about how the network is built; plain numbers, no code."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Literal

from c3det.fields import check_whole_number, read_dataclass

CHANNELS = (16, 512)
EMBEDDING = (8, 1024)
"""The least and the largest of what a card may ask for."""


@dataclass(frozen=True)
class OpenArchitecture:
    """An open detector, see `c3det.open.detector.OpenDetector`.

    Attributes:
        channels: Of the neck.
        embedding: Numbers that describe a box.
        model: Tells the card from a closed model's.

    Raises:
        ValueError: A field has a value that it cannot have; the message names it.
    """

    channels: int = 96
    embedding: int = 128
    model: Literal["open"] = "open"

    def __post_init__(self) -> None:
        if self.model != "open":
            raise ValueError(f"model must be 'open', not {reprlib.repr(self.model)}")
        check_whole_number("channels", self.channels, *CHANNELS)
        check_whole_number("embedding", self.embedding, *EMBEDDING)

    @classmethod
    def read(cls, content: object) -> OpenArchitecture:
        """Make one from what a card has written: the fields of another.

        Raises:
            ValueError: It is anything else; the message names the field.
        """
        return read_dataclass("architecture", cls, content)
