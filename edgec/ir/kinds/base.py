"""What all kinds share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Activation = Literal["none", "relu", "relu6"]
"""What an operation applies to its result before it rounds and stores it."""


@dataclass(frozen=True)
class Kind:
    """The parent of all kinds; has no fields."""

    @property
    def label(self) -> str:
        """What it is called in dumps and reports."""
        return type(self).__name__
