"""What no other rule has a kernel for, computed as it is defined (`kernels/plain.py`).

It stands in both tables as the rule of all kinds: those of one kind come before it, and those that refuse an operation
come back to it (`program_writer.write`).
"""

from __future__ import annotations

from edgec.backends.tvm.constants import is_stored_by_grid
from edgec.backends.tvm.kernels.plain import Layout, Plain
from edgec.backends.tvm.kernels.plain_definitions import LINES, is_defined
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, unsupported, write_float, write_moved
from edgec.backends.tvm.lowering.views import View, read, written
from edgec.ir.graph import Operation
from edgec.ir.kinds import Kind


@write_moved.register
@write_float.register
def write_plainly(kind: Kind, writer: ProgramWriter, operation: Operation) -> None:
    """Write one step for an operation. Raises UnsupportedOp where nothing defines it."""
    types = tuple(map(writer.type, operation.inputs))
    if not is_defined(kind, types):
        raise unsupported(operation)
    x = [read(writer, name) for name in operation.inputs]
    y = [written(writer, operation, number) for number in range(len(operation.outputs))]
    operands = tuple(_layout(writer, name, view) for name, view in zip(operation.inputs, x, strict=True))
    results = tuple(_layout(writer, name, view) for name, view in zip(operation.outputs, y, strict=True))
    axis = types[0].rank - 1 if isinstance(kind, LINES) else None
    kernel = Plain(kind, operands, results, axis)
    writer.step(kernel, [view.place for view in (*x, *y)], operation, written=len(y))


def _layout(writer: ProgramWriter, name: str, view: View) -> Layout:
    of = writer.type(name)
    if is_stored_by_grid(of):  # only moved here: as it is stored
        return Layout(view.shape, view.strides, view.dtype)
    return Layout(view.shape, view.strides, of.dtype, of.quantization)
