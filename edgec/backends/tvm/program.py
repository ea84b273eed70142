"""A model as steps: which kernel is called with what, in which order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgec.backends.tvm.kernels.base import Kernel
from edgec.backends.tvm.planning import Lifetime, Plan, plan
from edgec.backends.tvm.storage import Storage
from edgec.errors import UnsupportedOp

_REACH = 2**31 - 1
"""Elements of a value, and bytes of constants: code reaches those by 32 bits too."""


@dataclass(frozen=True)
class Place:
    """Memory that a step reads or writes. memory: the arena, or an array of the caller's, or the constants.

    value: the name of what lies in the arena. index: of the caller's array. offset: in bytes, from the first one of
    the value or of the constants. size: bytes of constants.
    """

    memory: Literal["arena", "input", "output", "constants"]
    value: str = ""
    index: int = 0
    offset: int = 0
    size: int = 0


@dataclass(frozen=True)
class Ahead:
    """What a step fetches for a later one: `lines` cache lines of its constants in each unit of work."""

    place: Place
    lines: int


@dataclass(frozen=True)
class Step:
    """One call. operands: in the order of the kernel's parameters; the last `written` of them are its results.

    origin: names of ONNX nodes. result: the (first) value that it makes. ahead: for kernels that fetch ahead.
    """

    kernel: Kernel
    operands: tuple[Place, ...]
    result: str
    origin: tuple[str, ...] = ()
    ahead: Ahead | None = None
    written: int = 1


@dataclass(frozen=True)
class Border:
    """One of the caller's arrays, contiguous and in the model's order of dimensions."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Program:
    """A model, ready to become machine code.

    storages: of the values in the arena. constants: the bytes of all blocks.
    """

    inputs: tuple[Border, ...]
    outputs: tuple[Border, ...]
    steps: tuple[Step, ...]
    storages: Mapping[str, Storage]
    constants: bytes

    def symbols(self) -> dict[Kernel, str]:
        """A symbol for each different kernel, in the order of their first steps."""
        found: dict[Kernel, str] = {}
        for step in self.steps:
            found.setdefault(step.kernel, f"edgec_{step.kernel.family}_{len(found)}")
        return found

    def lifetimes(self) -> dict[str, Lifetime]:
        """When each value in the arena is needed."""
        return lifetimes(self.steps, self.storages)

    def plan(self) -> Plan:
        return plan(self.lifetimes())


def require_offsets(program: Program) -> None:
    """Raises UnsupportedOp for what is larger than offsets reach: kernels count elements in int32."""
    elements = {name: storage.size // storage.itemsize for name, storage in program.storages.items()}
    elements |= {border.name: math.prod(border.shape) for border in (*program.inputs, *program.outputs)}
    elements["The block of constants, in bytes,"] = len(program.constants)
    name, most = max(elements.items(), key=lambda item: item[1])
    if most > _REACH:
        raise UnsupportedOp(
            "The model is too large for the kernels of tvm",
            f"{name} has {most:,} elements, and they count up to {_REACH:,}.",
            "Fix smaller dimensions with --shape, or choose another --backend.",
        )


def lifetimes(steps: Sequence[Step], storages: Mapping[str, Storage]) -> dict[str, Lifetime]:
    """From the first step that touches a value (its border may be filled before its image) to the last one."""
    seen: dict[str, list[int]] = {}
    for number, step in enumerate(steps):
        for place in step.operands:
            if place.memory == "arena":
                seen.setdefault(place.value, []).append(number)
    return {name: Lifetime(storages[name].size, min(at), max(at)) for name, at in seen.items()}
