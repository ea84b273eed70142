"""What moves elements, whatever they are."""

from __future__ import annotations

from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_moved
from edgec.backends.tvm.storage import image_shape
from edgec.ir import kinds
from edgec.ir.graph import Operation


@write_moved.register
def _(kind: kinds.Reshape, writer: ProgramWriter, operation: Operation) -> None:
    """Nothing moves where the images are the same."""
    source, name = operation.inputs[0], operation.outputs[0]
    if image_shape(writer.type(source)) == image_shape(writer.type(name)):
        writer.storage(source)
        writer.alias(operation)
        return
    raise NotImplementedError("a reshape that moves elements has no rule yet")
