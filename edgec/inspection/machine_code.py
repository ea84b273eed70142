"""What a model takes as machine code, through the TVM backend: memory of a run, constants, code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from edgec.spec import Interface
from edgec.targets import Target


def applies(target: Target) -> bool:
    """Whether there are kernels for the target's processor."""
    from edgec.backends.tvm.isa import name_for

    return "tvm" in target.backends and name_for(target) is not None


def answer(model: Path, target: Target, interface: Interface, came_quantized: bool) -> dict[str, Any]:
    """Sizes in bytes, of an INT8 build with strict placement.

    model: an ONNX file in its normal form. A float model is taken in its INT8 structure, with scales of no meaning: the
    arena does not depend on them; constants and code may, by a little, where layers share what depends on scales.

    instruction_set; arena, constants, code; steps, kernels: how many are run, and how many different ones there are;
    int8_mac_fraction; float_operations: operations that no integer kernel computes, and why; fallback: nodes without a
    kernel of their own; calibrated: whether the model's own scales were taken.

    Raises UnsupportedOp naming what can't be computed.
    """
    from elftools.elf.constants import SH_FLAGS
    from elftools.elf.elffile import ELFFile

    from edgec.backends.integer_facts import Declared, integer_facts
    from edgec.backends.tvm.backend import BACKEND
    from edgec.backends.tvm.facts import without_kernel
    from edgec.backends.tvm.generating import object_file
    from edgec.backends.tvm.isa import name_for, named
    from edgec.backends.tvm.lowering import program_of
    from edgec.backends.tvm.lowering.graph import lowered
    from edgec.onnx_graph.graph import load_model
    from edgec.quantization.given import taken
    from edgec.quantization.structure import strict_structure

    source = load_model(model)
    quantized = taken(source).model if came_quantized else strict_structure(source, BACKEND.per_tensor_weights).model
    found = lowered(quantized)
    name = name_for(target)
    assert name is not None
    isa = named(name)
    program = program_of(found.graph, isa)
    kernels = {symbol: kernel for kernel, symbol in program.symbols().items()}
    sections = ELFFile(io.BytesIO(object_file(kernels, isa, target))).iter_sections()
    counted = integer_facts(found.graph, found.in_float, Declared.by(quantized))
    return {
        "instruction_set": name,
        "arena": program.plan().size,
        "constants": len(program.constants),
        "code": sum(each["sh_size"] for each in sections if each["sh_flags"] & SH_FLAGS.SHF_EXECINSTR),
        "steps": len(program.steps),
        "kernels": len(kernels),
        "int8_mac_fraction": counted["int8_mac_fraction_executed"],
        "float_operations": counted["float_operations"],
        "fallback": without_kernel(program),
        "calibrated": came_quantized,
    }
