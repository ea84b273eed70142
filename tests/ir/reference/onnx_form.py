"""One operation as ONNX Runtime computes it: the oracle of the reference executor.

An operation on quantized tensors becomes DequantizeLinear -> float operator -> QuantizeLinear, which ONNX Runtime runs
node by node, without any optimization.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from edgec.ir import kinds
from edgec.ir.graph import Graph, TensorType
from edgec.ir.kinds import Kind


@dataclass
class Model:
    """An ONNX model in the writing."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, op: str, inputs: Sequence[str], **attributes) -> str:
        result = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [result], **attributes))
        return result

    def constant(self, value, dtype="float32") -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def grid(self, of: TensorType) -> list[str]:
        quantization = of.quantization
        assert quantization is not None
        one = quantization.axis is None
        scale, zero_point = (items[0] if one else items for items in (quantization.scale, quantization.zero_point))
        return [self.constant(scale), self.constant(zero_point, of.dtype)]

    def real(self, name: str, of: TensorType) -> str:
        if of.quantization is None:
            return name
        axis = {} if of.quantization.axis is None else {"axis": of.quantization.axis}
        return self.add("DequantizeLinear", [name, *self.grid(of)], **axis)

    def channels_first(self, x: str) -> str:
        return self.add("Transpose", [x], perm=[0, 3, 1, 2])

    def channels_last(self, x: str) -> str:
        return self.add("Transpose", [x], perm=[0, 2, 3, 1])

    def activated(self, x: str, activation: str) -> str:
        if activation == "none":
            return x
        return self.add("Relu", [x]) if activation == "relu" else self.clipped(x, 0, 6)

    def clipped(self, x: str, low: float, high: float) -> str:
        return self.add("Clip", [x, self.constant(low), self.constant(high)])


def oracle(graph: Graph) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """What ONNX Runtime makes of a graph of one operation: from feeds to the outputs, in order."""
    (operation,) = graph.operations
    model = Model()
    for name in operation.inputs:
        if (data := graph.constant(name)) is not None:
            model.constants.append(numpy_helper.from_array(data, name))
    operands = [model.real(name, graph.type(name)) for name in operation.inputs]
    types = list(graph.types_of(operation.inputs))
    made = onnx_form(operation.kind, model, operands, types)
    results = [made] if isinstance(made, str) else made
    for name, result, of in zip(operation.outputs, results, graph.types_of(operation.outputs), strict=True):
        if of.quantization is not None:
            result = model.add("QuantizeLinear", [result, *model.grid(of)])
        elif of.dtype == "int32" or isinstance(operation.kind, kinds.ArgReduce):
            result = model.add("Cast", [result], to=helper.np_dtype_to_tensor_dtype(np.dtype(of.dtype)))
        model.nodes.append(helper.make_node("Identity", [result], [name]))

    def info(name: str) -> onnx.ValueInfoProto:
        of = graph.type(name)
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(of.dtype)), of.shape)

    proto = helper.make_model(
        helper.make_graph(
            model.nodes, "one", [*map(info, graph.inputs)], [*map(info, operation.outputs)], model.constants
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(list(operation.outputs), feeds)


@singledispatch
def onnx_form(kind: Kind, model: Model, x: list[str], types: list[TensorType]) -> str | list[str]:
    """Write an operation on real numbers; returns its results."""
    raise NotImplementedError(kind)


# --- products ---


@onnx_form.register
def _(kind: kinds.Conv2D, model, x, types):
    p = kind.padding
    weights = model.add("Transpose", [x[1]], perm=[0, 3, 1, 2])
    y = model.add(
        "Conv",
        [model.channels_first(x[0]), weights, *x[2:]],
        strides=kind.stride,
        dilations=kind.dilation,
        pads=[p.top, p.left, p.bottom, p.right],
        group=kind.groups,
    )
    return model.activated(model.channels_last(y), kind.activation)


@onnx_form.register
def _(kind: kinds.TransposeConv2D, model, x, types):
    p, g = kind.padding, kind.groups
    o, h, w, c = types[1].shape
    weights = model.add("Reshape", [x[1], model.constant([g, o // g, h, w, c], "int64")])
    weights = model.add("Transpose", [weights], perm=[0, 4, 1, 2, 3])
    weights = model.add("Reshape", [weights, model.constant([g * c, o // g, h, w], "int64")])
    y = model.add(
        "ConvTranspose",
        [model.channels_first(x[0]), weights, *x[2:]],
        strides=kind.stride,
        dilations=kind.dilation,
        pads=[p.top, p.left, p.bottom, p.right],
        output_padding=kind.output_padding,
        group=g,
    )
    return model.activated(model.channels_last(y), kind.activation)


@onnx_form.register
def _(kind: kinds.FullyConnected, model, x, types):
    y = model.add("MatMul", [x[0], model.add("Transpose", [x[1]], perm=[1, 0])])
    y = model.add("Add", [y, x[2]]) if len(x) > 2 else y
    return model.activated(y, kind.activation)


@onnx_form.register
def _(kind: kinds.BatchMatMul, model, x, types):
    def turned(value, rank):
        return model.add("Transpose", [value], perm=[*range(rank - 2), rank - 1, rank - 2])

    a = turned(x[0], types[0].rank) if kind.transpose_a else x[0]
    b = turned(x[1], types[1].rank) if kind.transpose_b else x[1]
    return model.add("MatMul", [a, b])


# --- windows ---


@onnx_form.register(kinds.MaxPool2D)
@onnx_form.register(kinds.AveragePool2D)
def _(kind, model, x, types):
    p = kind.padding
    largest = isinstance(kind, kinds.MaxPool2D)
    y = model.add(
        "MaxPool" if largest else "AveragePool",
        [model.channels_first(x[0])],
        kernel_shape=kind.kernel,
        strides=kind.stride,
        pads=[p.top, p.left, p.bottom, p.right],
        **({"dilations": kind.dilation} if largest else {}),
    )
    return model.channels_last(y)


@onnx_form.register(kinds.ResizeNearest)
@onnx_form.register(kinds.ResizeBilinear)
def _(kind, model, x, types):
    nearest = isinstance(kind, kinds.ResizeNearest)
    where = "align_corners" if kind.align_corners else "half_pixel" if kind.half_pixel_centers else "asymmetric"
    n, _, _, c = types[0].shape
    y = model.add(
        "Resize",
        [model.channels_first(x[0]), "", "", model.constant([n, c, *kind.size], "int64")],
        mode="nearest" if nearest else "linear",
        coordinate_transformation_mode=where,
        nearest_mode="floor" if where == "asymmetric" else "round_prefer_ceil",
    )
    return model.channels_last(y)


# --- elementwise ---

UNARY = {
    "abs": "Abs", "ceil": "Ceil", "cos": "Cos", "elu": "Elu", "erf": "Erf", "exp": "Exp", "floor": "Floor",
    "gelu": "Gelu", "hard_swish": "HardSwish", "log": "Log", "logical_not": "Not", "neg": "Neg",
    "reciprocal": "Reciprocal", "relu": "Relu", "round": "Round", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin",
    "softplus": "Softplus", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "maximum": "Max", "minimum": "Min",
    "equal": "Equal", "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater",
    "greater_equal": "GreaterOrEqual", "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor",
    "bitwise_and": "BitwiseAnd", "bitwise_or": "BitwiseOr", "bitwise_xor": "BitwiseXor",
}  # fmt: skip


@onnx_form.register
def _(kind: kinds.Unary, model, x, types):
    match kind.function:
        case "relu6":
            return model.clipped(x[0], 0, 6)
        case "square":
            return model.add("Mul", [x[0], x[0]])
        case "rsqrt":
            return model.add("Reciprocal", [model.add("Sqrt", x)])
        case "gelu_tanh":
            return model.add("Gelu", x, approximate="tanh")
    return model.add(UNARY[kind.function], x)


@onnx_form.register
def _(kind: kinds.Binary, model, x, types):
    match kind.function:
        case "squared_difference":
            difference = model.add("Sub", x)
            y = model.add("Mul", [difference, difference])
        case "not_equal":
            y = model.add("Not", [model.add("Equal", x)])
        case "floor_div" | "floor_mod" if types[0].dtype == "float32":
            y = model.add("Floor", [model.add("Div", x)])
            if kind.function == "floor_mod":
                y = model.add("Sub", [x[0], model.add("Mul", [y, x[1]])])
        case "floor_mod":
            y = model.add("Mod", x)
        case _:
            y = model.add(BINARY[kind.function], x)
    return model.activated(y, kind.activation)


@onnx_form.register
def _(kind: kinds.HardSigmoid, model, x, types):
    return model.add("HardSigmoid", x, alpha=kind.slope, beta=kind.offset)


@onnx_form.register
def _(kind: kinds.LeakyRelu, model, x, types):
    return model.add("LeakyRelu", x, alpha=kind.alpha)


@onnx_form.register
def _(kind: kinds.PRelu, model, x, types):
    return model.add("PRelu", x)


@onnx_form.register
def _(kind: kinds.Clip, model, x, types):
    return model.clipped(x[0], kind.low, kind.high)


@onnx_form.register
def _(kind: kinds.Select, model, x, types):
    return model.add("Where", x)


@onnx_form.register
def _(kind: kinds.Cast, model, x, types):
    return model.add("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(kind.dtype)))


# --- movement ---


@onnx_form.register
def _(kind: kinds.Reshape, model, x, types):
    return model.add("Reshape", [x[0], model.constant(kind.shape, "int64")])


@onnx_form.register
def _(kind: kinds.Transpose, model, x, types):
    return model.add("Transpose", x, perm=kind.permutation)


@onnx_form.register
def _(kind: kinds.Concat, model, x, types):
    return model.add("Concat", x, axis=kind.axis)


@onnx_form.register
def _(kind: kinds.Split, model, x, types):
    names = [f"split{i}" for i in range(len(kind.sizes))]
    model.nodes.append(helper.make_node("Split", [x[0], model.constant(kind.sizes, "int64")], names, axis=kind.axis))
    return names


@onnx_form.register
def _(kind: kinds.Slice, model, x, types):
    # ONNX counts a negative end from the back; one before the first is any that is far enough.
    ends = [-(2**31) if end < 0 else end for end in kind.end]
    ranges = (kind.begin, ends, range(types[0].rank), kind.stride)
    return model.add("Slice", [x[0], *(model.constant(list(item), "int64") for item in ranges)])


@onnx_form.register
def _(kind: kinds.Pad, model, x, types):
    if kind.mode == "symmetric":
        raise NotImplementedError(kind)
    around = model.constant([*kind.before, *kind.after], "int64")
    return model.add("Pad", [x[0], around, model.constant(kind.value)], mode=kind.mode)


@onnx_form.register
def _(kind: kinds.Gather, model, x, types):
    return model.add("Gather", x, axis=kind.axis)


@onnx_form.register
def _(kind: kinds.GatherND, model, x, types):
    return model.add("GatherND", x)


@onnx_form.register
def _(kind: kinds.ScatterND, model, x, types):
    return model.add("ScatterND", x)


@onnx_form.register
def _(kind: kinds.Tile, model, x, types):
    return model.add("Tile", [x[0], model.constant(kind.repeats, "int64")])


@onnx_form.register
def _(kind: kinds.BroadcastTo, model, x, types):
    return model.add("Expand", [x[0], model.constant(kind.shape, "int64")])


@onnx_form.register
def _(kind: kinds.OneHot, model, x, types):
    def one(value):
        return model.add("Reshape", [value, model.constant([1], "int64")])

    values = model.add("Concat", [one(x[2]), one(x[1])], axis=0)
    return model.add("OneHot", [x[0], model.constant(kind.depth, "int64"), values], axis=kind.axis)


@onnx_form.register
def _(kind: kinds.Reverse, model, x, types):
    count = len(kind.axes)
    ranges = ([-1] * count, [-(2**31)] * count, kind.axes, [-1] * count)
    return model.add("Slice", [x[0], *(model.constant(list(item), "int64") for item in ranges)])


@onnx_form.register
def _(kind: kinds.DepthToSpace, model, x, types):
    y = model.add("DepthToSpace", [model.channels_first(x[0])], blocksize=kind.block, mode="DCR")
    return model.channels_last(y)


@onnx_form.register
def _(kind: kinds.SpaceToDepth, model, x, types):
    return model.channels_last(model.add("SpaceToDepth", [model.channels_first(x[0])], blocksize=kind.block))


# --- normalization and reductions ---


@onnx_form.register(kinds.Softmax)
@onnx_form.register(kinds.LogSoftmax)
def _(kind, model, x, types):
    return model.add(type(kind).__name__, x, axis=-1)


@onnx_form.register
def _(kind: kinds.LayerNorm, model, x, types):
    return model.add("LayerNormalization", x, axis=-kind.dimensions, epsilon=kind.epsilon)


@onnx_form.register
def _(kind: kinds.Reduce, model, x, types):
    if kind.function in ("any", "all"):
        integers = model.add("Cast", x, to=onnx.TensorProto.INT32)
        op = "ReduceMax" if kind.function == "any" else "ReduceMin"
        y = model.add(op, [integers, model.constant(kind.axes, "int64")], keepdims=int(kind.keepdims))
        return model.add("Cast", [y], to=onnx.TensorProto.BOOL)
    op = {"product": "ReduceProd"}.get(kind.function, f"Reduce{kind.function.capitalize()}")
    return model.add(op, [x[0], model.constant(kind.axes, "int64")], keepdims=int(kind.keepdims))


@onnx_form.register
def _(kind: kinds.ArgReduce, model, x, types):
    return model.add("ArgMax" if kind.function == "max" else "ArgMin", x, axis=kind.axis, keepdims=0)


@onnx_form.register
def _(kind: kinds.TopK, model, x, types):
    model.nodes.append(helper.make_node("TopK", [x[0], model.constant([kind.k], "int64")], ["topk", "topk_at"]))
    return ["topk", "topk_at"]


@onnx_form.register
def _(kind: kinds.CumSum, model, x, types):
    axis = model.constant(kind.axis, "int64")
    return model.add("CumSum", [x[0], axis], exclusive=int(kind.exclusive), reverse=int(kind.reverse))


# --- quantization ---


@onnx_form.register(kinds.Quantize)
@onnx_form.register(kinds.Dequantize)
def _(kind, model, x, types):
    return x[0]
