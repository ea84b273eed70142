"""From a model to a shared library: what runs in a worker, because LLVM ends the process when it refuses something."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgec.backends.base import Precision
from edgec.backends.tvm.isa import named
from edgec.backends.tvm.linking import combine, link
from edgec.backends.tvm.program import Program
from edgec.backends.tvm.tuning.database import TileSize
from edgec.targets import Target


def build(
    model: Path,
    precision: Precision,
    isa: str,
    target: Target,
    out: Path,
    c_object: Path | None = None,
    tiles: Mapping[str, TileSize] | None = None,
) -> dict[str, Any]:
    """Write the shared library of an ONNX model at `out`; what a report says of it.

    c_object: where the same goes as an object file; None where it is not wanted. tiles: as `program_of` takes them.

    Raises UnsupportedOp naming what there is no kernel for, and InternalError when a quantized model would be computed
    in float throughout.
    """
    from edgec.backends.claims import require_claimed
    from edgec.backends.integer_facts import Declared
    from edgec.backends.tvm.facts import facts
    from edgec.backends.tvm.lowering import program_of
    from edgec.backends.tvm.lowering.graph import lowered
    from edgec.onnx_graph.graph import load_model

    onnx_model = load_model(model)
    declared, found = Declared.by(onnx_model), lowered(onnx_model)
    del onnx_model  # its weights are in the graph now
    program = program_of(found.graph, named(isa), tiles)
    build_program(program, isa, target, out, c_object=c_object)
    observed = facts(found, program, out, declared)
    require_claimed("TVM", precision, observed, declared.stored, declared.stored)
    return observed


def build_program(program: Program, isa: str, target: Target, out: Path, *, c_object: Path | None = None) -> None:
    """Write the shared library of a program at `out`, and the object file at `c_object` where that is wanted."""
    from edgec.backends.tvm.generating import object_file

    kernels = object_file({symbol: kernel for kernel, symbol in program.symbols().items()}, named(isa), target)
    link(program, kernels, target, out)
    if c_object is not None:
        combine(program, kernels, target, c_object)
