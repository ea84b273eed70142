import numpy as np
import pytest
from onnx import TensorProto, helper

from edgec.errors import UnsupportedOp
from edgec.ir.importer import import_model
from tests.ir.importer.comparison import agree, labels, model_of, node

RNG = np.random.default_rng(1)
X = RNG.normal(scale=3, size=(2, 3, 4, 5)).astype(np.float32)
POSITIVE = np.abs(X) + 0.1
INTEGERS = RNG.integers(-20, 20, (3, 4))


UNARY = [
    "Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "HardSwish", "IsNaN", "LeakyRelu", "Mish", "Neg", "Relu",
    "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tan", "Tanh", "ThresholdedRelu", "Celu",
    "HardSigmoid", "Gelu", "Shrink", "IsInf",
]  # fmt: skip


@pytest.mark.parametrize("op", UNARY)
def test_a_function_of_one_number(op):
    agree(node(op, ["x"]), {"x": X})


@pytest.mark.parametrize("op", ["Log", "Sqrt", "Reciprocal"])
def test_a_function_of_one_positive_number(op):
    agree(node(op, ["x"]), {"x": POSITIVE})


ATTRIBUTES = [
    ("Elu", {"alpha": 0.3}),
    ("Selu", {"alpha": 1.2, "gamma": 0.7}),
    ("Celu", {"alpha": 2.5}),
    ("Celu", {"alpha": 0.4}),
    ("LeakyRelu", {"alpha": 0.2}),
    ("LeakyRelu", {"alpha": -0.5}),
    ("ThresholdedRelu", {"alpha": 2.0}),
    ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    ("Gelu", {"approximate": "tanh"}),
    ("Shrink", {"bias": 0.5, "lambd": 1.5}),
    ("IsInf", {"detect_negative": 0}),
    ("IsInf", {"detect_positive": 0}),
]


@pytest.mark.parametrize(("op", "attributes"), ATTRIBUTES)
def test_a_function_with_other_attributes(op, attributes):
    agree(node(op, ["x"], **attributes), {"x": X})


def test_infinities_and_what_is_no_number_are_found():
    x = np.array([np.inf, -np.inf, np.nan, 0, 3e38], np.float32)
    for attributes in ({}, {"detect_negative": 0}, {"detect_positive": 0}):
        agree(node("IsInf", ["x"], **attributes), {"x": x})
    agree(node("IsNaN", ["x"]), {"x": x})


def test_the_usual_slopes_are_one_operation():
    assert labels(agree(node("HardSigmoid", ["x"], alpha=1 / 6, beta=0.5), {"x": X})) == ["HardSigmoid"]
    assert labels(agree(node("Elu", ["x"]), {"x": X})) == ["elu"]
    assert labels(agree(node("Celu", ["x"]), {"x": X})) == ["elu"]


def test_celu_with_a_negative_alpha_is_refused():
    with pytest.raises(UnsupportedOp, match="alpha is -1"):
        import_model(model_of(node("Celu", ["x"], alpha=-1.0), {"x": X}))


ARITHMETIC = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"]


@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 1, 1), (5,), (), (1, 1, 2, 1, 4, 1)])
def test_arithmetic_broadcasts_as_in_onnx(op, shape):
    agree(node(op, ["a", "b"]), {"a": X if len(shape) < 6 else X[:, :1], "b": POSITIVE.flat[0] + np.ones(shape, "f4")})


@pytest.mark.parametrize("op", ["Max", "Min", "Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_number_of_operands(op, count):
    names = [f"x{index}" for index in range(count)]
    agree(node(op, names), {name: X * (index - 1) for index, name in enumerate(names)})


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers_are_computed_exactly(op, dtype):
    a, b = INTEGERS.astype(dtype), (INTEGERS[::-1] | 1).astype(dtype)
    agree(node(op, ["a", "b"]), {"a": a, "b": b})


@pytest.mark.parametrize("op", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_comparisons(op, dtype):
    agree(node(op, ["a", "b"]), {"a": INTEGERS.astype(dtype), "b": INTEGERS[:1].astype(dtype)})


def test_logic():
    a, b = INTEGERS > 0, INTEGERS % 2 == 0
    for op in ("And", "Or", "Xor"):
        agree(node(op, ["a", "b"]), {"a": a, "b": b})
    agree(node("Not", ["a"]), {"a": a})


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_the_sign_of_a_remainder_of_integers(fmod, dtype):
    a, b = np.array([7, -7, 7, -7, 6, 0], dtype), np.array([3, 3, -3, -3, 3, 5], dtype)
    agree(node("Mod", ["a", "b"], fmod=fmod), {"a": a, "b": b})


def test_the_remainder_of_floats_has_the_sign_of_the_dividend():
    b = np.where(X > 0, np.float32(0.7), np.float32(-1.3))[::-1].copy()
    agree(node("Mod", ["a", "b"], fmod=1), {"a": X, "b": b})


@pytest.mark.parametrize(("base", "exponent"), [("float32", "float32"), ("float32", "int64"), ("int64", "int64")])
def test_power_has_the_dtype_of_its_base(base, exponent):
    a, b = (INTEGERS % 5 + 1).astype(base), (INTEGERS % 3).astype(exponent)
    agree(node("Pow", ["a", "b"]), {"a": a, "b": b})
    agree(node("Pow", ["a", "b"]), {"a": a}, {"b": np.array(3, exponent)})


def test_power_of_integers_to_a_fraction():
    agree(node("Pow", ["a", "b"]), {"a": np.array([1, 4, 9], np.int32), "b": np.array([0.5, 1.5, 2], np.float32)})


def test_powers_that_are_something_else():
    assert labels(agree(node("Pow", ["x", "p"]), {"x": X}, {"p": np.float32(2)})) == ["square"]
    assert labels(agree(node("Pow", ["x", "p"]), {"x": X}, {"p": np.float32(1)})) == ["Reshape"]
    spread = agree(node("Pow", ["x", "p"]), {"x": X[0, 0, 0]}, {"p": np.full((2, 1), 2, np.float32)})
    assert labels(spread) == ["pow"]


CLIPS = [
    ({"low": 0.0, "high": 6.0}, "relu6"),
    ({"low": 0.0}, "relu"),
    ({"low": -1.0, "high": 1.5}, "Clip"),
    ({"high": 1.5}, "Clip"),
    ({"low": float(np.finfo(np.float32).min), "high": 2.0}, "Clip"),
    ({}, "Reshape"),
]


@pytest.mark.parametrize(("limits", "label"), CLIPS)
def test_clip_is_the_most_special_operation_that_it_can_be(limits, label):
    inputs = ["x", *(name if name in limits else "" for name in ("low", "high"))]
    constants = {name: np.float32(value) for name, value in limits.items()}
    assert labels(agree(node("Clip", inputs), {"x": X}, constants)) == [label]


def test_clip_with_computed_limits_and_of_integers():
    agree(node("Clip", ["x", "low", "high"]), {"x": X, "low": np.float32(-1), "high": np.float32(1)})
    big = np.array([-(2**62), -3, 0, 2**62 + 1], np.int64)
    agree(node("Clip", ["x", "", "high"]), {"x": big}, {"high": np.array(2**62 - 1)})
    agree(node("Clip", ["x", "low", "high"]), {"x": INTEGERS}, {"low": np.array(-5), "high": np.array(5)})


@pytest.mark.parametrize("shape", [(3, 1, 1), (1,), (4, 5), (1, 3, 1, 1), (2, 3, 4, 5)])
def test_prelu_slopes_spread_as_in_onnx(shape):
    slope = RNG.normal(size=shape).astype(np.float32)
    agree(node("PRelu", ["x", "slope"]), {"x": X}, {"slope": slope})


def test_prelu_keeps_its_channels_where_layouts_move():
    """The convolutions around it want channels last; its slope is written for channels first."""
    weights = {"w": RNG.normal(size=(4, 3, 1, 1)).astype("f4"), "v": RNG.normal(size=(2, 4, 3, 3)).astype("f4")}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("PRelu", ["c", "slope"], ["p"]),
        helper.make_node("Mul", ["p", "gain"], ["m"]),
        helper.make_node("Conv", ["m", "v"], ["y"]),
    ]
    slope, gain = np.array([0.1, -0.5, 2, 0]), np.array([1, 2, 3, 4])
    constants = {name: data.astype("f4").reshape(4, 1, 1) for name, data in (("slope", slope), ("gain", gain))}
    agree(nodes, {"x": X}, {**weights, **constants}, tolerance=1e-5)


def test_where():
    agree(node("Where", ["c", "a", "b"]), {"c": X > 0, "a": X, "b": np.float32(3)})


CASTS = [("float32", "INT32"), ("float32", "BOOL"), ("int64", "FLOAT"), ("bool", "FLOAT"), ("int32", "INT64"),
         ("uint8", "FLOAT"), ("float32", "INT8"), ("int64", "INT64")]  # fmt: skip


@pytest.mark.parametrize(("dtype", "to"), CASTS)
def test_casts(dtype, to):
    x = np.array([0, 1, 2.7, 100, 3.2]).astype(dtype)
    agree(node("Cast", ["x"], to=getattr(TensorProto, to)), {"x": x})


def test_what_does_nothing():
    assert labels(agree(node("Identity", ["x"]), {"x": X})) == ["Reshape"]
    dropout = helper.make_node("Dropout", ["x", "ratio", "training"], ["y", "mask"])
    agree(dropout, {"x": X}, {"ratio": np.float32(0.5), "training": np.array(False)}, ["y", "mask"])


def test_dropout_in_training_is_refused():
    model = model_of(node("Dropout", ["x", "", "t"]), {"x": X}, {"t": np.array(True)})
    with pytest.raises(UnsupportedOp, match=r"at random.*\n.*model\.eval"):
        import_model(model)


def test_bits():
    a, b = INTEGERS.astype(np.int32), INTEGERS[::-1].astype(np.int32)
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        agree(node(op, ["a", "b"]), {"a": a, "b": b})
    agree(node("BitwiseNot", ["a"]), {"a": a})
    for direction in ("LEFT", "RIGHT"):
        shift = node("BitShift", ["a", "b"], direction=direction)
        agree(shift, {"a": np.array([1, 200, 7], np.uint8), "b": np.array([3, 1, 0], np.uint8)})


def test_swish_with_a_factor():
    agree(
        [helper.make_node("Mul", ["x", "alpha"], ["ax"]), helper.make_node("Sigmoid", ["ax"], ["s"]),
         node("Mul", ["x", "s"])],
        {"x": X}, {"alpha": np.float32(1.7)},
    )  # fmt: skip
