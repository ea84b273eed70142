"""Pooling, resizing, reductions, softmax."""

from __future__ import annotations

import numpy as np

from edgec.backends.tvm.support.question import Question, objection
from edgec.ir import kinds
from edgec.ir.passes.integer_kinds import same_grid

_MOST = 2**31 // 255
"""Elements whose sum is surely within int32."""

MOST_POSITIONS = 2**22
"""What a key has bits for (`kernels/positions.py`). It is said here, where TVM is not imported."""

_SAME_GRID = "its result is on another grid than what it is chosen from"


@objection.register
def _(kind: kinds.MaxPool2D, asked: Question) -> str | None:
    return None if same_grid(asked.inputs[0], asked.output) else _SAME_GRID


@objection.register
def _(kind: kinds.AveragePool2D, asked: Question) -> str | None:
    return None


@objection.register
def _(kind: kinds.ResizeBilinear, asked: Question) -> str | None:
    return None


@objection.register
def _(kind: kinds.Softmax, asked: Question) -> str | None:
    return None if asked.output.size else "it is empty"


@objection.register
def _(kind: kinds.Reduce, asked: Question) -> str | None:
    x = asked.inputs[0]
    if kind.function in ("max", "min"):
        return None if same_grid(x, asked.output) else _SAME_GRID
    if kind.function not in ("mean", "sum"):
        return f"there is no {kind.label} kernel"
    count = int(np.prod([x.shape[axis] for axis in kind.axes], dtype=np.int64))
    return None if 0 < count <= _MOST else f"it takes {count} elements to one"


@objection.register
def _(kind: kinds.ArgReduce, asked: Question) -> str | None:
    return _against_positions(asked.inputs[0].shape[kind.axis])


@objection.register
def _(kind: kinds.TopK, asked: Question) -> str | None:
    if not same_grid(asked.inputs[0], asked.output):
        return _SAME_GRID
    return "it takes none" if not kind.k else _against_positions(asked.inputs[0].shape[-1])


@objection.register
def _(kind: kinds.CumSum, asked: Question) -> str | None:
    count = asked.inputs[0].shape[kind.axis]
    return None if count <= _MOST else f"it adds up {count} elements"


def _against_positions(count: int) -> str | None:
    return None if 0 < count <= MOST_POSITIONS else f"there is no kernel for positions among {count} elements"
