"""Elements that move: their integers stay as they are, so all of them have to be on one grid."""

from __future__ import annotations

from edgec.backends.tvm.support.question import Question, objection
from edgec.ir import kinds
from edgec.ir.kinds import Kind
from edgec.ir.passes.integer_kinds import same_grid, tied_operands


@objection.register(kinds.Reshape)
@objection.register(kinds.Transpose)
@objection.register(kinds.Concat)
@objection.register(kinds.Split)
@objection.register(kinds.Slice)
@objection.register(kinds.Pad)
@objection.register(kinds.Gather)
@objection.register(kinds.GatherND)
@objection.register(kinds.ScatterND)
@objection.register(kinds.Tile)
@objection.register(kinds.BroadcastTo)
@objection.register(kinds.Reverse)
@objection.register(kinds.DepthToSpace)
@objection.register(kinds.SpaceToDepth)
@objection.register(kinds.ResizeNearest)
@objection.register(kinds.Select)
def _(kind: Kind, asked: Question) -> str | None:
    moved = (asked.inputs[position] for position in tied_operands(asked.operation))
    return None if all(same_grid(of, asked.output) for of in moved) else "its result is on another grid"
