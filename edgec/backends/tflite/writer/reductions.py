"""Writing what takes many elements along axes and gives fewer."""

from __future__ import annotations

from edgec.backends.tflite.schema import TENSOR_TYPES, options
from edgec.backends.tflite.writer.graph_writer import Site, write_kind
from edgec.ir.kinds import ArgReduce, CumSum, Reduce, TopK

REDUCE = {
    "mean": "MEAN",
    "sum": "SUM",
    "max": "REDUCE_MAX",
    "min": "REDUCE_MIN",
    "product": "REDUCE_PROD",
    "any": "REDUCE_ANY",
    "all": "REDUCE_ALL",
}


@write_kind.register
def _(kind: Reduce, site: Site) -> None:
    axes = site.integers("axes", kind.axes)
    site.emit(REDUCE[kind.function], options("ReducerOptions", keepDims=kind.keepdims), inputs=[*site.inputs, axes])


@write_kind.register
def _(kind: ArgReduce, site: Site) -> None:
    name = {"max": "ArgMax", "min": "ArgMin"}[kind.function]
    table = options(f"{name}Options", outputType=TENSOR_TYPES[kind.dtype])
    site.emit(f"ARG_{kind.function.upper()}", table, inputs=[*site.inputs, site.number("axis", kind.axis)])


@write_kind.register
def _(kind: TopK, site: Site) -> None:
    site.emit("TOPK_V2", options("TopKV2Options"), inputs=[*site.inputs, site.number("k", kind.k)])


@write_kind.register
def _(kind: CumSum, site: Site) -> None:
    table = options("CumsumOptions", exclusive=kind.exclusive, reverse=kind.reverse)
    site.emit("CUMSUM", table, inputs=[*site.inputs, site.number("axis", kind.axis)])
