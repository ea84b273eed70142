"""docs/tflite-support.md, generated: `python -m edgec.backends.tflite.support_table > docs/tflite-support.md`.

What the page says of an operation is what happens to an example of it: it is made legal and written, and the operators
in the file are listed; both choices of kernels are asked about it on int8 and int16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgec.backends.tflite.fast_kernels import FastKernels
from edgec.backends.tflite.kernels import LOG_SOFTMAX, SIGMOID, TANH, TFLiteKernels
from edgec.backends.tflite.legal import legalize, objections
from edgec.backends.tflite.lowering import without_lacking
from edgec.backends.tflite.versions import NEWEST
from edgec.backends.tflite.writer import write_graph
from edgec.errors import UnsupportedOp
from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Quantization, TensorType
from edgec.ir.importer import examine
from edgec.ir.importer.handlers import HANDLERS
from edgec.ir.kinds import BINARY_FUNCTIONS, UNARY_FUNCTIONS, Kind
from edgec.ir.passes.integers import IntegerKernels
from edgec.quantization.rules import RULES

DTYPES = ("float32", "int32", "int64", "int16", "int8", "uint8", "bool")
WIDTHS = ("int8", "int16")

_ONLY_INTEGERS = "with --io int8"

_GRID = {"int8": Quantization.per_tensor(0.05, -128), "int16": Quantization.per_tensor(0.001, 0)}
_ROWS = np.array([[0], [1]], np.int32)


@dataclass(frozen=True)
class Example:
    """An operation. shapes: of what it reads. constants: of those that are not data (indices, truth values)."""

    kind: Kind
    shapes: tuple[tuple[int, ...], ...]
    constants: dict[int, np.ndarray] = field(default_factory=dict)
    weights: bool = False
    results: int = 1

    @property
    def label(self) -> str:
        names = (kinds.Unary, kinds.Binary, kinds.Reduce, kinds.ArgReduce)
        return self.kind.label if isinstance(self.kind, names) else type(self.kind).__name__


_IMAGE = (1, 4, 4, 4)
_OTHERS = (
    Example(kinds.Conv2D(), (_IMAGE, (4, 3, 3, 4)), weights=True),
    Example(kinds.TransposeConv2D(), (_IMAGE, (4, 3, 3, 4)), weights=True),
    Example(kinds.FullyConnected(), ((2, 4), (3, 4)), weights=True),
    Example(kinds.BatchMatMul(), ((2, 3, 4), (2, 4, 5)), weights=True),
    Example(kinds.BatchMatMul(), ((2, 3, 4), (2, 4, 5))),
    Example(kinds.MaxPool2D((2, 2), (2, 2)), (_IMAGE,)),
    Example(kinds.AveragePool2D((2, 2), (2, 2)), (_IMAGE,)),
    Example(kinds.ResizeNearest((8, 8)), (_IMAGE,)),
    Example(kinds.ResizeBilinear((8, 8)), (_IMAGE,)),
    Example(kinds.HardSigmoid(0.2, 0.5), ((2, 3),)),
    Example(kinds.LeakyRelu(0.1), ((2, 3),)),
    Example(kinds.PRelu(), ((2, 3), (3,)), weights=True),
    Example(kinds.Clip(0.0, 6.0), ((2, 3),)),
    Example(kinds.Clip(-1.0, 2.0), ((2, 3),)),
    Example(kinds.Select(), ((2, 3), (2, 3), (2, 3)), {0: np.ones((2, 3), bool)}),
    Example(kinds.Reshape((3, 2)), ((2, 3),)),
    Example(kinds.Transpose((1, 0)), ((2, 3),)),
    Example(kinds.Concat(0), ((2, 3), (2, 3))),
    Example(kinds.Split(0, (1, 1)), ((2, 3),), results=2),
    Example(kinds.Slice((0, 1), (2, 3), (1, 1)), ((2, 3),)),
    Example(kinds.Slice((0, 0), (2, 3), (1, 2)), ((2, 3),)),
    Example(kinds.Pad((1, 0), (0, 1)), ((2, 3),)),
    Example(kinds.Pad((1, 0), (0, 1), "reflect"), ((2, 3),)),
    Example(kinds.Pad((1, 0), (0, 1), "edge"), ((2, 3),)),
    Example(kinds.Gather(0), ((2, 3), (2,)), {1: np.array([1, 0], np.int32)}),
    Example(kinds.GatherND(), ((2, 3), (2, 1)), {1: _ROWS}),
    Example(kinds.ScatterND(), ((2, 3), (2, 1), (2, 3)), {1: _ROWS}),
    Example(kinds.Tile((2, 1)), ((2, 3),)),
    Example(kinds.BroadcastTo((2, 2, 3)), ((2, 3),)),
    Example(kinds.OneHot(3, 1), ((2,), (), ()), {0: np.array([0, 1], np.int32)}),
    Example(kinds.Reverse((0,)), ((2, 3),)),
    Example(kinds.DepthToSpace(2), (_IMAGE,)),
    Example(kinds.SpaceToDepth(2), (_IMAGE,)),
    Example(kinds.Softmax(), ((2, 3),)),
    Example(kinds.LogSoftmax(), ((2, 3),)),
    Example(kinds.LayerNorm(1, 1e-5), ((2, 3), (3,))),
    Example(kinds.TopK(2), ((2, 3),), results=2),
    Example(kinds.CumSum(1), ((2, 3),)),
)


def examples() -> Iterator[Example]:
    """One for each kind, several where it is written in several ways; one for each function."""
    yield from _OTHERS
    for unary in sorted(UNARY_FUNCTIONS):
        yield Example(kinds.Unary(unary), ((2, 3),))  # type: ignore[arg-type]
    for binary in sorted(BINARY_FUNCTIONS):
        yield Example(kinds.Binary(binary), ((2, 3), (2, 3)))  # type: ignore[arg-type]
    for reduction in ("mean", "sum", "max", "min", "product", "any", "all"):
        yield Example(kinds.Reduce(reduction, (1,), False), ((2, 3),))
    for position in ("max", "min"):
        yield Example(kinds.ArgReduce(position, 1), ((2, 3),))


def page() -> str:
    """The whole page."""
    return "\n".join([*_heading(), *_operations(), *_operators(), ""])


def _heading() -> list[str]:
    return [
        "# What the TensorFlow Lite backend takes",
        "",
        "This page is generated by `python -m edgec.backends.tflite.support_table`; a test holds it to the code.",
        "",
        f"Every file loads in the runtime {NEWEST[0]}.{NEWEST[1]} (the last tflite-runtime) and in ai-edge-litert. "
        "`edgec build` names what it does not take before any other work, and what it computes in float32 although it "
        "is quantized, with the reason.",
        "",
    ]


def _operations() -> list[str]:
    lines = [
        "## Operations of the graph",
        "",
        "*plain*: element types without a quantization; those in brackets are cast there and back. *int8*, *int16*: "
        "whether the operation computes in integers where its operands and its result are quantized to that width, "
        f"weights being int8. *{_ONLY_INTEGERS}*: TensorFlow Lite has a kernel, but on a processor float32 is faster, "
        "so that it is used only in files that take and give integers, and for accelerators. Everything else is "
        "computed in float32, between DEQUANTIZE and QUANTIZE.",
        "",
        "| operation | TensorFlow Lite operators | plain | int8 | int16 |",
        "|---|---|---|---|---|",
    ]
    for example in examples():
        operators = _written(example)
        widths = [_in_integers(example, width) for width in WIDTHS]
        label = example.label + _variant(example)
        lines.append(f"| {label} | {operators} | {_plain(example)} | {' | '.join(widths)} |")
    return [*lines, ""]


def _variant(example: Example) -> str:
    kind = example.kind
    if isinstance(kind, kinds.BatchMatMul):
        return " (by weights)" if example.weights else " (of activations)"
    if isinstance(kind, kinds.Pad):
        return f" ({kind.mode})"
    if isinstance(kind, kinds.Slice):
        return " (strided)" if any(stride != 1 for stride in kind.stride) else ""
    if isinstance(kind, kinds.Clip):
        return f" ({kind.low:g} to {kind.high:g})"
    return ""


def _written(example: Example) -> str:
    """The operators that an example becomes, in float (or in the first dtype that it takes)."""
    for dtype in DTYPES:
        if (graph := _graph(example, dtype)) is not None and not objections(without_lacking(graph)):
            return ", ".join(write_graph(legalize(without_lacking(graph)), "").operators)
    return "refused"


def _plain(example: Example) -> str:
    found = []
    for dtype in DTYPES:
        graph = _graph(example, dtype)
        if graph is None:
            continue
        try:
            legal = legalize(without_lacking(graph))
        except UnsupportedOp:
            continue
        cast = any(isinstance(item.kind, kinds.Cast) for item in legal.operations)
        found.append(f"({dtype})" if cast else dtype)
    return ", ".join(found)


def _graph(example: Example, dtype: str) -> Graph | None:
    """The example on plain tensors; None where it makes no sense on this dtype."""
    if not _sensible(example.kind, dtype):
        return None
    types = [TensorType(shape, dtype) for shape in example.shapes]
    return _build(example, types, None)


def _sensible(kind: Kind, dtype: str) -> bool:
    """Whether ONNX has the operation on a dtype at all."""
    if isinstance(kind, kinds.Binary) and kind.function.startswith("logical"):
        return dtype == "bool"
    if isinstance(kind, kinds.Binary) and kind.function.startswith(("bitwise", "shift")):
        return dtype not in ("float32", "bool")
    if isinstance(kind, kinds.Binary):
        return dtype != "bool" or kind.function in ("equal", "not_equal")
    if isinstance(kind, kinds.Unary) and kind.function == "logical_not":
        return dtype == "bool"
    if isinstance(kind, kinds.Unary) and kind.function in ("abs", "neg", "sign"):
        return dtype not in ("bool", "uint8")
    if isinstance(kind, kinds.Unary) and kind.function in ("relu", "relu6", "square"):
        return dtype in ("float32",)
    if isinstance(kind, kinds.Reduce) and kind.function in ("any", "all"):
        return dtype == "bool"
    if isinstance(kind, (*_MOVES, kinds.Select)):
        return True
    if isinstance(kind, _NUMBERS):
        return dtype != "bool"
    return dtype == "float32"


_MOVES = (
    kinds.Reshape, kinds.Transpose, kinds.Concat, kinds.Split, kinds.Slice, kinds.Pad, kinds.Gather, kinds.GatherND,
    kinds.ScatterND, kinds.Tile, kinds.BroadcastTo, kinds.OneHot, kinds.Reverse, kinds.DepthToSpace, kinds.SpaceToDepth,
)  # fmt: skip
_NUMBERS = (kinds.Reduce, kinds.ArgReduce, kinds.TopK, kinds.CumSum, kinds.Clip, kinds.BatchMatMul)


def _in_integers(example: Example, width: str) -> str:
    """When an integer kernel takes the example, with the result on the grid that suits it best."""
    types = []
    for position, shape in enumerate(example.shapes):
        if example.weights and position:
            types.append(TensorType(shape, "int8", Quantization.per_tensor(0.01, 0)))
        else:
            types.append(TensorType(shape, width, _GRID[width]))
    graphs = [_build(example, types, grid[width]) for grid in (_GRID, SIGMOID, TANH, LOG_SOFTMAX) if width in grid]
    if any(_taken(graph, FastKernels()) for graph in graphs):
        return "yes"
    return _ONLY_INTEGERS if any(_taken(graph, TFLiteKernels()) for graph in graphs) else ""


def _taken(graph: Graph, kernels: IntegerKernels) -> bool:
    (operation,) = graph.operations
    inputs = tuple(graph.types_of(operation.inputs))
    return kernels.objection(graph, operation, inputs, graph.type(operation.outputs[0])) is None


def _build(example: Example, types: Sequence[TensorType], grid: Quantization | None) -> Graph:
    builder = GraphBuilder()
    names = []
    for position, of in enumerate(types):
        if position in example.constants:
            names.append(builder.constant(f"c{position}", example.constants[position]))
        elif example.weights and position:
            names.append(builder.constant(f"c{position}", np.ones(of.shape, of.dtype), of.quantization))
        else:
            names.append(builder.input(f"x{position}", of))
    outputs = [f"y{i}" for i in range(example.results)]
    if example.results == 1 and not isinstance(example.kind, kinds.ArgReduce):
        builder.add(example.kind, names, outputs, quantization=grid)
    else:
        builder.add(example.kind, names, outputs, types=_several(example, builder, names, grid))
    return builder.finish(outputs)


def _several(
    example: Example, builder: GraphBuilder, names: Sequence[str], grid: Quantization | None
) -> list[TensorType]:
    from edgec.ir.inference import result_types

    made = result_types(example.kind, [builder.type(name) for name in names])
    first = builder.type(names[0]).dtype
    return [TensorType(of.shape, of.dtype, grid if of.dtype == first else None) for of in made]


def _operators() -> list[str]:
    import onnx

    examine(onnx.helper.make_model(onnx.helper.make_graph([], "none", [], [])))  # registers all handlers
    quantized = sorted(name for name in RULES if name in HANDLERS)
    others = sorted(set(HANDLERS) - set(RULES))
    return [
        "## ONNX operators",
        "",
        "In a model that is built with `--precision int8`, the profile `strict` quantizes the results of:",
        "",
        f"{', '.join(quantized)}.",
        "",
        "Taken too, but not quantized for their own sake. What these become computes in integers all the same where "
        "everything that it reads and what comes after it are quantized and the table has a kernel for it; otherwise "
        "in float32, or on plain integers where the model has those:",
        "",
        f"{', '.join(others)}.",
    ]


if __name__ == "__main__":
    print(page(), end="")
