"""TFLite's own INT8 kernels beside the same operation in float between integers, one operation at a time.

    python benchmarks/tflite_kernels.py [--runs 300]

Both files are made of one quantized ONNX model with one operation in it, run in ai-edge-litert on one thread, in turns.
The first column is why `edgec/backends/tflite/fast_kernels.py` lists what it lists.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from edgec.backends.tflite.fast_kernels import FastKernels
from edgec.backends.tflite.kernels import TFLiteKernels
from edgec.backends.tflite.lowering import lower
from edgec.backends.tflite.writer import write_graph
from edgec.ir.passes.integers import IntegerKernels

PROBABILITY = (1 / 256, -128)
CASES: dict[str, tuple[str, list[list[int]], dict[str, Any], tuple[float, int] | None]] = {
    "Relu": ("Relu", [[1, 32, 32, 32]], {}, None),
    "HardSwish": ("HardSwish", [[1, 32, 32, 32]], {}, None),
    "Abs": ("Abs", [[1, 32, 32, 32]], {}, None),
    "Exp": ("Exp", [[1, 32, 32, 32]], {}, None),
    "Gelu": ("Gelu", [[1, 32, 32, 32]], {}, None),
    "PRelu": ("PRelu", [[1, 32, 32, 32]], {}, None),
    "AveragePool 3x3": ("AveragePool", [[1, 32, 32, 32]], {"kernel_shape": [3, 3]}, None),
    "Softmax": ("Softmax", [[12, 128, 128]], {}, PROBABILITY),
    "MatMul of two activations": ("MatMul", [[12, 128, 32], [12, 32, 128]], {}, None),
}
"""Operation, shapes of its operands, attributes, and the grid of the result where a kernel prescribes one."""


def model(
    op: str, shapes: list[list[int]], attributes: dict[str, Any], grid: tuple[float, int] | None
) -> onnx.ModelProto:
    """Quantized operands, one operation, its result quantized; opset 20, which has Gelu."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def through_int8(source: str, target: str, scale: float, zero_point: int) -> str:
        grid = [constant(f"{source}.s", np.float32(scale)), constant(f"{source}.z", np.int8(zero_point))]
        nodes.append(helper.make_node("QuantizeLinear", [source, *grid], [f"{source}.q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{source}.q", *grid], [target]))
        return target

    operands = [through_int8(f"x{i}", f"x{i}.dq", 4 / 127, 3) for i in range(len(shapes))]
    if op == "PRelu":
        constant("slope.q", np.full((32, 1, 1), 64, np.int8))
        grid_of_slope = [constant("slope.s", np.float32(1 / 256)), constant("slope.z", np.int8(0))]
        nodes.append(helper.make_node("DequantizeLinear", ["slope.q", *grid_of_slope], ["slope"]))
        operands.append("slope")
    nodes.append(helper.make_node(op, operands, ["raw"], **attributes))
    tied = (4 / 127, 3) if op == "AveragePool" else (8 / 255, -20)
    through_int8("raw", "y", *(grid or tied))
    inputs = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)]
    graph = helper.make_graph(
        nodes, "one", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], constants
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made)


def invoking(made: onnx.ModelProto, kernels: IntegerKernels) -> Callable[[], None]:
    """The file in an interpreter: integers in, integers out."""
    content = bytes(write_graph(lower(made, "int8", kernels).graph, "").content)
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for item in interpreter.get_input_details():
        interpreter.set_tensor(item["index"], rng.integers(-128, 128, item["shape"]).astype(item["dtype"]))
    return interpreter.invoke  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    runs = parser.parse_args().runs
    print("| operation | INT8 kernel, us | float between integers, us | |\n|---|---|---|---|")
    for name, case in CASES.items():
        made = model(*case)
        ways = [invoking(made, TFLiteKernels()), invoking(made, FastKernels())]
        times: list[list[float]] = [[], []]
        for run in range(runs):
            for way, spent in zip(ways, times, strict=True):
                began = time.perf_counter()
                way()
                if run >= 10:
                    spent.append(1e6 * (time.perf_counter() - began))
        slow, fast = map(statistics.median, times)
        print(f"| {name} | {slow:.0f} | {fast:.0f} | {slow / fast:.1f}x |", flush=True)


if __name__ == "__main__":
    main()
