"""Recurrent layers, unrolled, compute what ONNX Runtime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from edgec.errors import UnsupportedOp
from edgec.ir.kinds import Dequantize
from edgec.ir.reference.executor import execute
from tests.ir.importer.comparison import assert_same_as_onnxruntime, imported, labels, model_of, node, random

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, INPUT, HIDDEN = 4, 2, 3, 5


def _layer(
    op: str,
    *,
    direction: str = "forward",
    bias: bool = True,
    state: str = "",
    peepholes: bool = False,
    steps: int = STEPS,
    lengths: list[int] | None = None,
    outputs: int | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one layer. state: "input", "constant", "zero" or "" for none."""
    directions = 2 if direction == "bidirectional" else 1
    rows = GATES[op] * HIDDEN
    batch_first = bool(attributes.get("layout", 0))
    constants = {"w": random(directions, rows, INPUT), "r": random(directions, rows, HIDDEN)}
    inputs: dict[str, tuple[int, ...]] = {"x": (BATCH, steps, INPUT) if batch_first else (steps, BATCH, INPUT)}
    operands = ["x", "w", "r", "", "", "", "", ""]
    if bias:
        constants["b"] = random(directions, 2 * rows)
        operands[3] = "b"
    if lengths is not None:
        constants["lengths"] = np.array(lengths, np.int32)
        operands[4] = "lengths"
    shape = (BATCH, directions, HIDDEN) if batch_first else (directions, BATCH, HIDDEN)
    for position, name in ((5, "h0"), (6, "c0")):
        if state and (name == "h0" or op == "LSTM"):
            operands[position] = name
            if state == "input":
                inputs[name] = shape
            else:
                constants[name] = random(*shape) * np.float32(state == "constant")
    if peepholes:
        constants["p"] = random(directions, 3 * HIDDEN)
        operands[7] = "p"
    while not operands[-1]:
        operands.pop()
    names = ["y", "yh", "yc"][: outputs or (3 if op == "LSTM" else 2)]
    item = node(op, operands, names, hidden_size=HIDDEN, direction=direction, **attributes)
    return model_of(item, inputs, constants, names)


TOLERANCE = 5e-6


@pytest.mark.parametrize("state", ["", "input", "constant", "zero"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_layer(op: str, direction: str, bias: bool, state: str) -> None:
    assert_same_as_onnxruntime(_layer(op, direction=direction, bias=bias, state=state), tolerance=TOLERANCE)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("op", GATES)
def test_short_sequences(op: str, steps: int) -> None:
    assert_same_as_onnxruntime(_layer(op, steps=steps, state="input"), tolerance=TOLERANCE)
    assert_same_as_onnxruntime(_layer(op, steps=steps), tolerance=TOLERANCE)


@pytest.mark.parametrize("state", ["", "input"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_peepholes(direction: str, state: str) -> None:
    assert_same_as_onnxruntime(_layer("LSTM", direction=direction, state=state, peepholes=True), tolerance=TOLERANCE)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("state", ["", "input"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_linear_before_reset(direction: str, state: str, bias: bool) -> None:
    model = _layer("GRU", direction=direction, state=state, bias=bias, linear_before_reset=1)
    assert_same_as_onnxruntime(model, tolerance=TOLERANCE)


@pytest.mark.parametrize("state", ["", "input"])
@pytest.mark.parametrize("op", GATES)
def test_clip(op: str, state: str) -> None:
    assert_same_as_onnxruntime(_layer(op, state=state, clip=0.7), tolerance=TOLERANCE)


@pytest.mark.parametrize("state", ["", "input"])
def test_input_and_forget_gate_in_one(state: str) -> None:
    assert_same_as_onnxruntime(_layer("LSTM", state=state, input_forget=1), tolerance=TOLERANCE)


@pytest.mark.parametrize(
    ("op", "activations"),
    [("LSTM", ["Tanh", "Relu", "Sigmoid"]), ("GRU", ["Tanh", "Relu"]), ("RNN", ["Relu"]), ("RNN", ["Sigmoid"])],
)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_other_activations(op: str, activations: list[str], direction: str) -> None:
    both = activations * (2 if direction == "bidirectional" else 1)
    assert_same_as_onnxruntime(_layer(op, direction=direction, activations=both, state="input"), tolerance=TOLERANCE)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("outputs", [1, 2])
def test_results_that_nobody_asks_for_are_left_out(op: str, outputs: int) -> None:
    assert_same_as_onnxruntime(_layer(op, outputs=outputs), tolerance=TOLERANCE)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("state", ["", "input"])
def test_batch_first(op: str, direction: str, state: str) -> None:
    """ONNX Runtime has no layout 1: the same layer with the batch second is what it must equal."""
    last = _layer(op, direction=direction, state=state)
    first = _layer(op, direction=direction, state=state, layout=1)
    axes = {"x": (1, 0, 2), "h0": (1, 0, 2), "c0": (1, 0, 2)}
    results = {"y": (2, 0, 1, 3), "yh": (1, 0, 2), "yc": (1, 0, 2)}
    shapes = {item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in last.graph.input}
    inputs = {name: random(*shape) for name, shape in shapes.items()}
    expected = execute(imported(last), inputs)
    found = execute(imported(first), {name: data.transpose(axes[name]) for name, data in inputs.items()})
    for name, data in expected.items():
        np.testing.assert_allclose(found[name], data.transpose(results[name]), atol=1e-6)


def test_the_sequence_is_multiplied_before_the_first_step() -> None:
    graph = imported(_layer("LSTM"))
    assert labels(graph).count("FullyConnected") == 1 + (STEPS - 1)


def test_full_lengths_are_known_and_others_are_refused() -> None:
    assert_same_as_onnxruntime(_layer("GRU", lengths=[STEPS] * BATCH), tolerance=TOLERANCE)
    with pytest.raises(UnsupportedOp, match="different lengths"):
        imported(_layer("GRU", lengths=[STEPS, STEPS - 1]))


def test_long_sequences_are_refused() -> None:
    with pytest.raises(UnsupportedOp, match="513 steps"):
        imported(_layer("RNN", steps=513))


def test_unknown_activations_are_refused() -> None:
    with pytest.raises(UnsupportedOp, match="'Softsign' is none of"):
        imported(_layer("RNN", activations=["Softsign"]))


def test_int8_weights_stay_int8() -> None:
    model = _layer("LSTM", direction="bidirectional", state="input")
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = []
    for name in ("w", "r"):
        scale = np.float32(np.abs(held[name]).max() / 127)
        replaced = {f"{name}8": np.rint(held[name] / scale).astype(np.int8), f"{name}_scale": np.asarray(scale)}
        made.append(node("DequantizeLinear", list(replaced), [name]))
        model.graph.initializer.remove(next(item for item in model.graph.initializer if item.name == name))
        model.graph.initializer.extend(onnx.numpy_helper.from_array(data, key) for key, data in replaced.items())
    for item in reversed(made):
        item.name = item.output[0]
        model.graph.node.insert(0, item)
    graph = assert_same_as_onnxruntime(model, tolerance=TOLERANCE)
    stored = [operation.inputs[0] for operation in graph.operations if isinstance(operation.kind, Dequantize)]
    assert sorted(graph.type(name).shape for name in stored) == sorted([(20, 3), (20, 5)] * 2)
    assert all(graph.type(name).dtype == "int8" for name in stored)
