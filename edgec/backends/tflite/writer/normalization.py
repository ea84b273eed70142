"""Writing what relates each element to the others along an axis."""

from __future__ import annotations

from edgec.backends.tflite.schema import options
from edgec.backends.tflite.writer.graph_writer import Site, write_kind
from edgec.ir.kinds import LogSoftmax, Softmax


@write_kind.register
def _(kind: Softmax, site: Site) -> None:
    site.emit("SOFTMAX", options("SoftmaxOptions", beta=1.0))


@write_kind.register
def _(kind: LogSoftmax, site: Site) -> None:
    site.emit("LOG_SOFTMAX", options("LogSoftmaxOptions"))
