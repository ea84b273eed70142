"""From a model to a shared library: what runs in a worker, because LLVM ends the process when it refuses something."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.backends.tvm.isa import named
from edgec.backends.tvm.linking import link
from edgec.backends.tvm.program import Program
from edgec.targets import Target


@dataclass(frozen=True)
class Built:
    """What a report says of a library.

    steps: how many there are; kernels: how many different ones. arena, constants: bytes.
    """

    steps: int
    kernels: int
    arena: int
    constants: int


def build(model: Path, isa: str, target: Target, out: Path) -> Built:
    """Write the shared library of an ONNX model at `out`."""
    from edgec.backends.tvm.lowering import lower
    from edgec.onnx_graph.graph import load_model

    return build_program(lower(load_model(model), named(isa)), isa, target, out)


def build_program(program: Program, isa: str, target: Target, out: Path) -> Built:
    """Write the shared library of a program at `out`."""
    from edgec.backends.tvm.generating import object_file

    kernels = {symbol: kernel for kernel, symbol in program.symbols().items()}
    link(program, object_file(kernels, named(isa), target), target, out)
    return Built(len(program.steps), len(kernels), program.plan().size, len(program.constants))
