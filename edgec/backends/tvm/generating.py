"""From kernels to an object file: TVM's LLVM, and only as much of TVM as that needs.

TVM's usual pipeline wraps every function into its packed calling convention: arrays of tagged values, arguments that
are checked at every call, errors through TVM's runtime. None of that is run here; of the passes, only those that lower
what the emitter writes. What remains is a plain C function with the symbol that it is given, in an object file that
needs no other symbol.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx

from edgec.backends.tvm.emitter import Emitter
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Kernel
from edgec.targets import Target

_ALIGNED = 4
"""int32 in the 16 bytes that every stack is aligned to."""


def object_file(kernels: Mapping[str, Kernel], isa: InstructionSet, target: Target) -> bytes:
    """Machine code of all kernels, by their symbols. May crash the process: call it in a worker."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.o"
        _built(kernels, isa, target).write_to_file(str(path))
        return path.read_bytes()


def assembly(kernels: Mapping[str, Kernel], isa: InstructionSet, target: Target) -> str:
    """The same for readers, as LLVM writes it."""
    return str(_built(kernels, isa, target).inspect_source("asm"))


def _built(kernels: Mapping[str, Kernel], isa: InstructionSet, target: Target) -> Any:
    """TVM's module of machine code."""
    functions = {}
    for symbol, kernel in kernels.items():
        emitter = Emitter()
        if isa.lanes > _ALIGNED:
            emitter.align_stack(isa.lanes)
        kernel.emit(emitter, isa)
        functions[symbol] = emitter.finish(symbol)
    machine = tvm.target.Target(dict(isa.tvm_target(target)))
    module = tirx.transform.BindTarget(machine.with_host(machine))(tvm.IRModule(functions))
    passes = (tirx.transform.StmtSimplify(), tirx.transform.LowerTVMBuiltin(), tirx.transform.LowerIntrin())
    for step in passes:
        module = step(module)
    return tvm.get_global_func("target.build.llvm")(module, machine)
