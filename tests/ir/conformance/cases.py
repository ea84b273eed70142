"""The node tests of the ONNX backend suite, which the onnx package carries: a model, feeds and results each.

They feed shapes, axes and the like as inputs. What reads them at a position of CONSTANT_OPERANDS gets them as
constants, as exporters write them; open dimensions are fixed to those of the feeds, as `--shape` does.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase

from edgec.ir.importer import handlers, model  # noqa: F401  (model registers all handlers when it first walks)
from edgec.ir.importer.model import examine

CONSTANT_OPERANDS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2, 3, 4),
    "BlackmanWindow": (0,),
    "CausalConvWithState": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "CenterCropPad": (1,),
    "Clip": (1, 2),
    "Compress": (1,),
    "ConstantOfShape": (0,),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "GRU": (1, 2, 3, 4),
    "GroupNormalization": (1, 2),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 4, 7),
    "RNN": (1, 2, 3, 4),
    "NonZero": (0,),
    "OneHot": (1,),
    "Pad": (1, 2, 3),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}

AS_ONNX_RUNTIME = frozenset(
    {"test_resize_downsample_scales_cubic_align_corners", "test_resize_downsample_scales_linear_align_corners"}
)
"""Cases whose results are taken from ONNX Runtime, which every build is compared with: where size * scale is no
integer, it aligns the corners of the image that there is, and the suite those of one with a fraction of a pixel."""


@dataclass(frozen=True, eq=False)
class Case:
    """One node test.

    model: with the operands of CONSTANT_OPERANDS as initializers, and static inputs.
    runs: (feeds by input name, results by output name); None where they are no tensors.
    """

    name: str
    model: onnx.ModelProto
    runs: tuple[tuple[dict[str, Any], dict[str, Any]], ...]
    rtol: float
    atol: float

    @property
    def operators(self) -> set[str]:
        """The operators of its nodes, those of other domains with the domain."""
        nodes = self.model.graph.node
        return {n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}" for n in nodes}

    @property
    def claimed(self) -> bool:
        """Whether there is a rule for each of its operators."""
        return self.operators <= claimed_operators()

    @property
    def dtypes(self) -> set[str]:
        """The element types of its inputs and outputs; "" for what is no tensor."""
        found = set()
        for info in (*self.model.graph.input, *self.model.graph.output):
            tensor = info.type.HasField("tensor_type")
            kind = info.type.tensor_type.elem_type
            found.add(onnx.TensorProto.DataType.Name(kind).lower() if tensor else "")
        return found


@functools.cache
def claimed_operators() -> frozenset[str]:
    """Operators that the importer has a rule for."""
    examine(onnx.helper.make_model(onnx.helper.make_graph([], "none", [], [])))
    return frozenset(handlers.HANDLERS)


@functools.cache
def all_cases() -> tuple[Case, ...]:
    """Every node test, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.random.seed(0)
        found = {case.name: case for case in _loaded()}
    bound = {name: _constant_inputs(case.model) for name, case in found.items()}
    made = []
    for name, case in sorted(found.items()):
        plain = name.split("_expanded")[0]
        made.append(_case(case, bound[name] | bound.get(plain, set())))
    return tuple(made)


def _loaded() -> list[TestCase]:
    from onnx.backend.test.loader import load_model_tests

    return load_model_tests(kind="node")


def _constant_inputs(proto: onnx.ModelProto) -> set[str]:
    """Inputs that are read where a constant is expected."""
    read = {
        node.input[position]
        for node in proto.graph.node
        for position in CONSTANT_OPERANDS.get(node.op_type, ())
        if position < len(node.input)
    }
    return read & {info.name for info in proto.graph.input}


def _case(case: TestCase, constant: set[str]) -> Case:
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    inputs = list(proto.graph.input)
    runs = []
    for index, (given, expected) in enumerate(case.data_sets or ()):
        feeds = {info.name: _array(data) for info, data in zip(inputs, given, strict=False)}
        results = {info.name: _array(data) for info, data in zip(proto.graph.output, expected, strict=False)}
        if index == 0:
            _settle(proto, feeds, constant)
        feeds = {name: data for name, data in feeds.items() if name not in constant}
        if case.name in AS_ONNX_RUNTIME:
            session = onnxruntime.InferenceSession(proto.SerializeToString())
            results = dict(zip(results, session.run(list(results), feeds), strict=True))
        runs.append((feeds, results))
    return Case(case.name, proto, tuple(runs), case.rtol, case.atol)


def _array(data: object) -> object:
    """The tests of Cast hold their tensors as ONNX does."""
    return numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else data


def _settle(proto: onnx.ModelProto, feeds: dict[str, object], constant: set[str]) -> None:
    """Write constant inputs and static shapes into the model."""
    for info in list(proto.graph.input):
        data = feeds.get(info.name)
        if not info.type.HasField("tensor_type") or not isinstance(data, np.ndarray | np.generic):
            continue
        data = np.asarray(data)
        if info.name in constant:
            proto.graph.initializer.append(numpy_helper.from_array(data, info.name))
            proto.graph.input.remove(info)
            continue
        shape = info.type.tensor_type.shape
        for dimension, size in zip(shape.dim, data.shape, strict=True):
            dimension.dim_value = size
