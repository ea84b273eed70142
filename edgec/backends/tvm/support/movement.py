"""Elements that move: their integers stay as they are."""

from __future__ import annotations

from edgec.backends.tvm.storage import image_shape
from edgec.backends.tvm.support.question import Question, objection
from edgec.ir import kinds
from edgec.ir.passes.integer_kinds import same_grid


@objection.register
def _(kind: kinds.Reshape, asked: Question) -> str | None:
    x, y = asked.inputs[0], asked.output
    return None if image_shape(x) == image_shape(y) and same_grid(x, y) else "it moves elements"
