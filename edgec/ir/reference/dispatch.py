"""Which function computes which kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ir.kinds import Kind


@dataclass(frozen=True, eq=False)
class Tensor:
    """An operand: its elements, of the type's shape and dtype."""

    data: np.ndarray
    type: TensorType


@singledispatch
def compute(kind: Kind, operands: Sequence[Tensor], results: Sequence[TensorType]) -> list[np.ndarray]:
    """The results of an operation, in order, of the shapes and dtypes of `results`."""
    raise NotImplementedError(f"there is no rule for {type(kind).__name__}")
