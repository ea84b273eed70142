"""Constants are folded into layers, and only where nobody sees the difference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.onnx_graph.canonicalization.same import F, same
from tests.quantization.tiny import network, node

RNG = np.random.default_rng(11)
X = {"x": [1, 4, 6, 6]}
CONV = {"w": RNG.normal(size=(5, 4, 3, 3)).astype(F), "b": RNG.normal(size=5).astype(F)}
TRANSPOSED = {"w": RNG.normal(size=(4, 5, 3, 3)).astype(F)}
GEMM = {"w": RNG.normal(size=(8, 5)).astype(F), "b": F(0.5)}
MATMUL = {"w": RNG.normal(size=(8, 5)).astype(F), "b": RNG.normal(size=5).astype(F)}
ROW = RNG.normal(size=(1, 5)).astype(F)
CHANNEL = RNG.normal(size=(5, 1, 1)).astype(F)


@pytest.mark.parametrize(
    ("op", "inputs", "shape", "constants", "after", "constant"),
    [
        ("Conv", ["x", "w", "b"], X["x"], CONV, "Add", CHANNEL),
        ("Conv", ["x", "w"], X["x"], CONV, "Add", F(0.7)),
        ("Conv", ["x", "w", "b"], X["x"], CONV, "Mul", CHANNEL),
        ("Conv", ["x", "w"], X["x"], CONV, "Mul", F(0.7)),
        ("ConvTranspose", ["x", "w"], X["x"], TRANSPOSED, "Add", CHANNEL),
        ("ConvTranspose", ["x", "w"], X["x"], TRANSPOSED, "Mul", CHANNEL),
        ("Gemm", ["x", "w", "b"], [3, 8], GEMM, "Add", ROW),
        ("Gemm", ["x", "w", "b"], [3, 8], GEMM, "Mul", ROW),
        ("MatMul", ["x", "w"], [2, 3, 8], GEMM, "Mul", ROW),
    ],
)
def test_constants_fold_into_the_layer_before(op, inputs, shape, constants, after, constant):
    nodes = [node(op, inputs, ["c"], "layer"), node(after, ["k", "c"], ["y"])]
    same(network(nodes, {"x": shape}, ["y"], {**constants, "k": constant}), op)


@pytest.mark.parametrize("after", ["Add", "Mul", "Sub", "Div"])
def test_the_bias_behind_a_matmul_takes_constants_too(after):
    nodes = [node("MatMul", ["x", "w"], ["c"]), node("Add", ["c", "b"], ["d"]), node(after, ["d", "k"], ["y"])]
    same(network(nodes, {"x": [2, 3, 8]}, ["y"], {**MATMUL, "k": ROW}), "MatMul", "Add")


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups(groups):
    convolution = {"w": RNG.normal(size=(8, 4 // groups, 3, 3)).astype(F)}
    transposed = {"w": RNG.normal(size=(4, 8 // groups, 3, 3)).astype(F)}
    for op, weights in (("Conv", convolution), ("ConvTranspose", transposed)):
        nodes = [node(op, ["x", "w"], ["c"], group=groups), node("Mul", ["c", "k"], ["y"])]
        same(network(nodes, X, ["y"], {**weights, "k": RNG.normal(size=(8, 1, 1)).astype(F)}), op)
    nodes = [node("Mul", ["x", "k"], ["s"]), node("Conv", ["s", "w"], ["y"], group=groups, pads=[1] * 4)]
    same(network(nodes, X, ["y"], {**convolution, "k": np.linspace(1, 3, 4).reshape(4, 1, 1).astype(F)}), "Conv")


@pytest.mark.parametrize(
    ("after", "constant"),
    [
        ("Add", RNG.normal(size=(1, 1, 4, 4))),
        ("Mul", RNG.normal(size=(4, 1))),
        ("Add", RNG.normal(size=(2, 5, 1, 1))),
    ],
)
def test_constants_that_vary_along_other_axes_do_not_fold(after, constant):
    nodes = [node("Conv", ["x", "w", "b"], ["c"]), node(after, ["c", "k"], ["y"])]
    same(network(nodes, X, ["y"], {**CONV, "k": constant.astype(F)}), "Conv", after)


@pytest.mark.parametrize("outputs", [("y", "c"), ("y", "z")])
def test_a_layer_that_someone_else_reads_stays(outputs):
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Mul", ["c", "k"], ["y"])]
    nodes += [node("Abs", ["c"], ["z"])] if "z" in outputs else []
    found = same(network(nodes, X, outputs, {**CONV, "k": CHANNEL}))
    assert not found.done


def test_chains_fold_to_the_end_and_keep_the_names_of_tensors():
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], "conv"),
        node("Mul", ["c", "two"], ["m"]),
        node("Add", ["m", "two"], ["a"]),
        node("Div", ["a", "four"], ["d"]),
        node("Relu", ["d"], ["y"]),
    ]
    found = same(network(nodes, X, ["y"], {**CONV, "two": F(2), "four": F(4)}), "Conv", "Relu")
    assert found.model.graph.node[0].output[0] == "d"
    assert set(found.became.values()) == {"conv"}


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu"])
def test_positive_factors_pass_a_relu_and_others_do_not(activation):
    nodes = [node("Conv", ["x", "w", "b"], ["c"]), node(activation, ["c"], ["r"]), node("Mul", ["r", "k"], ["y"])]
    same(network(nodes, X, ["y"], {**CONV, "k": np.abs(CHANNEL)}), "Conv", activation)
    same(network(nodes, X, ["y"], {**CONV, "k": CHANNEL}), "Conv", activation, "Mul")
    nodes[-1] = node("Add", ["r", "k"], ["y"])
    same(network(nodes, X, ["y"], {**CONV, "k": CHANNEL}), "Conv", activation, "Add")


def test_a_bias_behind_a_squeeze():
    nodes = [
        node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 1]),
        node("Squeeze", ["c", "last"], ["s"]),
        node("Add", ["s", "k"], ["y"]),
    ]
    constants = {"w": RNG.normal(size=(5, 4, 3, 1)).astype(F), "last": np.array([3]), "k": CHANNEL[:, 0]}
    same(network(nodes, {"x": [1, 4, 6, 1]}, ["y"], constants), "Conv", "Squeeze")


# --- attention ---


def attention(scaled, *, fused):
    """softmax(Q K^T) from x [1, 5, 8] with 2 heads of 4; `scaled`: where the scale stands."""
    weights = {"shape": np.array([1, 5, 2, 4]), "scale": F(0.5)}
    if fused:
        weights |= {"w": RNG.normal(size=(8, 16)).astype(F), "b": RNG.normal(size=16).astype(F)}
        weights |= {"split": np.array([8, 8])}
        nodes = [
            node("MatMul", ["x", "w"], ["m"]),
            node("Add", ["m", "b"], ["a"]),
            node("Split", ["a", "split"], ["q0", "k0"], axis=2),
        ]
    else:
        weights |= {f"w{n}": RNG.normal(size=(8, 8)).astype(F) for n in "qk"}
        weights |= {f"b{n}": RNG.normal(size=8).astype(F) for n in "qk"}
        nodes = [node("MatMul", ["x", f"w{n}"], [f"m{n}"]) for n in "qk"]
        nodes += [node("Add", [f"m{n}", f"b{n}"], [f"{n}0"]) for n in "qk"]
    nodes += [node("Reshape", [f"{n}0", "shape"], [f"{n}1"]) for n in "qk"]
    nodes += [
        node("Transpose", ["q1"], ["q"], perm=[0, 2, 1, 3]),
        node("Transpose", ["k1"], ["k"], perm=[0, 2, 3, 1]),
    ]
    names = {"q": "q", "k": "k", "s": "s"}
    if scaled != "s":
        nodes.append(node("Mul", [scaled, "scale"], [f"{scaled}s"]))
        names[scaled] += "s"
    nodes.append(node("MatMul", [names["q"], names["k"]], ["s"]))
    if scaled == "s":
        nodes.append(node("Mul", ["scale", "s"], ["ss"]))
        names["s"] = "ss"
    return network([*nodes, node("Softmax", [names["s"]], ["y"])], {"x": [1, 5, 8]}, ["y"], weights)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("scaled", ["q", "k", "s"])
def test_the_scale_of_an_attention_goes_into_a_projection(scaled, fused):
    found = same(attention(scaled, fused=fused))
    assert "Mul" not in [item.op_type for item in found.model.graph.node]


def test_a_scale_of_channels_that_someone_else_reads_stays():
    nodes = [
        node("MatMul", ["x", "w"], ["m"]),
        node("Slice", ["m", "from0", "to4", "axis"], ["a"]),
        node("Slice", ["m", "from3", "to8", "axis"], ["b"]),
        node("Mul", ["a", "k"], ["y"]),
    ]
    constants = {"w": RNG.normal(size=(8, 8)).astype(F), "k": F(3), "axis": np.array([2])}
    constants |= {"from0": np.array([0]), "to4": np.array([4]), "from3": np.array([3]), "to8": np.array([8])}
    model = network(
        [*nodes, node("Relu", ["b"], ["z"]), node("Abs", ["y"], ["yy"])], {"x": [1, 3, 8]}, ["yy", "z"], constants
    )
    assert "Mul" in [item.op_type for item in same(model).model.graph.node]
    constants["from3"] = np.array([4])
    model = network(
        [*nodes, node("Relu", ["b"], ["z"]), node("Abs", ["y"], ["yy"])], {"x": [1, 3, 8]}, ["yy", "z"], constants
    )
    assert "Mul" not in [item.op_type for item in same(model).model.graph.node]


# --- into the layers behind ---


def behind(*nodes, outputs=("y",), shape=X["x"], **constants):
    """An activation that takes no constants, and what comes after it."""
    weights = {"w": RNG.normal(size=(5, 4, 3, 3)).astype(F), "b": RNG.normal(size=5).astype(F)}
    return network([node("HardSwish", ["x"], ["h"]), *nodes], {"x": shape}, outputs, {**weights, **constants})


SCALE, SHIFT = [node("Mul", ["h", "s"], ["m"])], [node("Add", ["m", "t"], ["a"])]


def test_factor_and_shift_go_into_a_layer_that_puts_no_zeros_around():
    model = behind(*SCALE, *SHIFT, node("Conv", ["a", "w", "b"], ["y"]), s=F(0.3), t=F(-0.7))
    same(model, "HardSwish", "Conv")


def test_before_a_padded_layer_only_the_factor_goes():
    model = behind(*SCALE, *SHIFT, node("Conv", ["a", "w", "b"], ["y"], pads=[1] * 4), s=F(0.3), t=F(-0.7))
    same(model, "HardSwish", "Add", "Conv")


def test_all_readers_must_be_layers():
    convs = [node("Conv", ["m", "w", "b"], ["y"]), node("Conv", ["m", "w"], ["z"], pads=[1] * 4)]
    same(behind(*SCALE, *convs, outputs=("y", "z"), s=F(0.3)), "HardSwish", "Conv", "Conv")
    same(
        behind(*SCALE, convs[0], node("Abs", ["m"], ["z"]), outputs=("y", "z"), s=F(0.3)),
        "HardSwish",
        "Mul",
        "Conv",
        "Abs",
    )
    same(behind(*SCALE, convs[0], outputs=("y", "m"), s=F(0.3)), "HardSwish", "Mul", "Conv")


def test_uneven_factors_stay_outside_of_weights():
    even, uneven = np.array([1, -2, 3, 4]), np.array([1, 1, 1, 100])
    for value, ops in ((even, ["HardSwish", "Conv"]), (uneven, ["HardSwish", "Mul", "Conv"])):
        same(behind(*SCALE, node("Conv", ["m", "w"], ["y"]), s=value.reshape(4, 1, 1).astype(F)), *ops)


@pytest.mark.parametrize("op", ["Gemm", "MatMul", "MatMul+Add"])
def test_layers_of_matrices_take_them_too(op):
    constants = {"w": RNG.normal(size=(6, 3)).astype(F), "b": RNG.normal(size=3).astype(F), "s": F(2), "t": F(0.4)}
    layer = {
        "Gemm": [node("Gemm", ["a", "w", "b"], ["y"])],
        "MatMul": [node("MatMul", ["a", "w"], ["y"])],
        "MatMul+Add": [node("MatMul", ["a", "w"], ["p"]), node("Add", ["p", "b"], ["y"])],
    }[op]
    model = behind(*SCALE, *SHIFT, *layer, shape=[4, 6], **constants)
    ops = {"Gemm": ["Gemm"], "MatMul": ["Mul", "Add", "MatMul"], "MatMul+Add": ["MatMul", "Add"]}[op]
    same(model, "HardSwish", *ops)


def test_constants_after_constants_are_one():
    nodes = [node("Mul", ["h", "s"], ["m"]), node("Mul", ["m", "t"], ["n"]), node("Abs", ["n"], ["y"])]
    same(behind(*nodes, s=F(3), t=F(0.2)), "HardSwish", "Mul", "Abs")
    nodes = [node("Add", ["h", "s"], ["m"]), node("Sub", ["m", "t"], ["n"]), node("Abs", ["n"], ["y"])]
    same(behind(*nodes, s=F(3), t=F(0.2)), "HardSwish", "Add", "Abs")
    nodes = [*SCALE, *SHIFT, node("Mul", ["a", "u"], ["n"]), node("Abs", ["n"], ["y"])]
    same(behind(*nodes, s=F(3), t=F(0.2), u=F(-2)), "HardSwish", "Mul", "Add", "Abs")


def test_a_merged_constant_is_not_larger_than_both():
    nodes = [node("Mul", ["h", "s"], ["m"]), node("Mul", ["m", "t"], ["n"]), node("Abs", ["n"], ["y"])]
    wide, high = RNG.normal(size=(1, 6)).astype(F), RNG.normal(size=(6, 1)).astype(F)
    same(behind(*nodes, s=wide, t=high), "HardSwish", "Mul", "Mul", "Abs")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 2**16))
def test_any_convolution(groups, inside, outside, padded, seed):
    rng = np.random.default_rng(seed)
    channels, kernels = groups * inside, groups * outside
    constants = {
        "w": rng.normal(size=(kernels, inside, 3, 2)).astype(F),
        "s": rng.uniform(1, 4, size=(channels, 1, 1)).astype(F),
        "t": rng.normal(size=(channels, 1, 1)).astype(F),
        "u": rng.normal(size=(kernels, 1, 1)).astype(F),
        "v": rng.normal(size=(1, kernels, 1, 1)).astype(F),
    }
    nodes = [
        node("Abs", ["x"], ["h"]),
        node("Mul", ["h", "s"], ["m"]),
        node("Add", ["m", "t"], ["a"]),
        node("Conv", ["a", "w"], ["c"], group=groups, pads=[1, 0, 1, 1] if padded else [0] * 4),
        node("Mul", ["u", "c"], ["n"]),
        node("Add", ["n", "v"], ["y"]),
    ]
    before = ["Abs"]
    if padded:  # a factor alone goes, and for several channels it does not come before the shift
        before += ["Add"] if channels == 1 else ["Mul", "Add"]
    same(
        network(nodes, {"x": [2, channels, 4, 5]}, ["y"], constants),
        *before,
        "Conv",
    )
