"""The search: what it tries, what it keeps, and what it says when nothing helps."""

from dataclasses import replace

import numpy as np
import pytest

from edgec.contract import Contract, TensorSpec
from edgec.onnx_graph.graph import Graph
from edgec.parity.metrics import compare
from edgec.parity.thresholds import Gate
from edgec.quantization.diagnosis import likely_cause
from edgec.quantization.fallback import BUDGET, first_convolutions, float_layers, squeezed, tail
from edgec.quantization.held_out import HeldOut, read_held_out
from edgec.quantization.search import (
    ON_REQUEST,
    TOO_COSTLY,
    WORTHWHILE,
    Recipe,
    Workshop,
    normalizations_in_float,
    search,
    worst_sqnr_db,
)
from edgec.quantization.sensitivity import isolated_errors
from edgec.samples import Sample, held_out
from tests.quantization.tiny import network, node, random_feeds, statistics_of

F = np.float32
RNG = np.random.default_rng(21)
X = {"x": [1, 8, 16]}


def weights(*shape):
    return (RNG.normal(size=shape) / np.sqrt(shape[0])).astype(F)


def workshop(model, gate=None, count=24, keep_float=(), feeds=None):
    feeds = feeds or random_feeds(model, count)
    graph = Graph(model)
    contract = Contract(
        tuple(TensorSpec(name, "float32", graph.shape(name)) for name in graph.inputs),
        tuple(TensorSpec(name, "float32", graph.shape(name)) for name in graph.outputs),
    )
    judged_by = HeldOut(
        [Sample(str(i), (f,)) for i, f in enumerate(feeds[:8])], model.SerializeToString(), contract, {}
    )
    return Workshop.open(model, statistics_of(model, feeds), judged_by, gate or Gate(), keep_float=keep_float)


def mlp(middle, constants=None):
    """MatMul, whatever `middle` does to h, MatMul."""
    nodes = [node("MatMul", ["x", "v"], ["h"], "first"), *middle, node("MatMul", ["m", "w"], ["y"], "last")]
    return network(nodes, X, ["y"], {"v": weights(16, 16), "w": weights(16, 8), **(constants or {})})


PLAIN = [node("Relu", ["h"], ["m"])]
NORM = [  # a LayerNorm in pieces, whose input varies over three decades
    node("Mul", ["h", "gains"], ["g"], "gain"),
    node("Mul", ["g", "g"], ["square"], "square"),
    node("ReduceMean", ["square"], ["variance"], "variance", axes=[-1]),
    node("Sqrt", ["variance"], ["deviation"], "sqrt"),
    node("Div", ["g", "deviation"], ["m"], "norm"),
]
GAINS = {"gains": np.logspace(-1.5, 1.5, 8).reshape(1, 8, 1).astype(F)}


def test_the_first_profile_that_passes_is_taken():
    best = search(workshop(mlp(PLAIN)), ("strict", "islands"))
    assert best.recipe.profile == "strict"
    assert best.verdict.passed


def test_the_best_recipe_of_a_profile_is_taken():
    shop = workshop(mlp(PLAIN))
    best = search(shop, ("strict",))
    assert best.loss * WORTHWHILE <= min(trial.loss for trial in shop.trials)
    assert {trial.recipe.method for trial in shop.trials} == {"minmax", "mse", "percentile"}
    assert len({trial.recipe for trial in shop.trials}) == len(shop.trials), "nothing is tried twice"


def test_where_strict_fails_islands_are_tried():
    shop = workshop(mlp(NORM, GAINS), Gate(channel_sqnr_p05=22, cosine_p01=0.995))
    best = search(shop, ("strict", "islands"))
    strict = [trial for trial in shop.trials if trial.recipe.profile == "strict"]
    assert not any(trial.verdict.passed for trial in strict)
    assert best.recipe.profile == "islands" and best.verdict.passed


def test_squares_go_to_float_where_their_root_is_in_float_anyway():
    shop = workshop(mlp(NORM, GAINS))
    first = shop.attempt(Recipe("strict"))
    proposal, whole = normalizations_in_float(shop, first)
    assert proposal.keep_float == {"square"}
    assert whole.keep_float == {"square", "variance"}, "what is not in float yet"
    assert shop.attempt(proposal).loss < first.loss
    placement = shop.place(proposal)
    assert placement.float_nodes["square"] == TOO_COSTLY
    assert "variance" in placement.float_nodes, "between two float nodes"


def test_nothing_passes_an_impossible_gate_and_the_failure_says_so():
    best = search(workshop(mlp(PLAIN), Gate(channel_sqnr_p05=99)), ("strict", "islands"), (float_layers,))
    assert not best.verdict.passed
    assert best.verdict.failures


def test_requests_to_keep_nodes_in_float_hold_for_every_trial():
    shop = workshop(mlp(PLAIN), keep_float=("first",))
    best = search(shop, ("strict", "islands"))
    assert all("first" in trial.recipe.keep_float for trial in shop.trials)
    assert shop.place(best.recipe).float_nodes["first"] == ON_REQUEST


# --- which layers ---


def outlier_net():
    """Two layers of equal size; the second one's input has one channel 500 times wider than the others."""
    gains = np.ones(16, F)
    gains[3] = 500
    damp = np.eye(16, dtype=F)
    damp[3, 3] = 1 / 500
    return network(
        [
            node("MatMul", ["x", "v"], ["h"], "good"),
            node("Relu", ["h"], ["r"]),
            node("MatMul", ["r", "g"], ["wide"], "widen"),
            node("MatMul", ["wide", "d"], ["n"], "narrow"),
            node("Add", ["n", "r"], ["y"], "sum"),
        ],
        X,
        ["y"],
        {"v": weights(16, 16), "g": np.diag(gains), "d": damp},
    )


def test_the_layer_that_suffers_is_found_and_its_cause_named():
    shop = workshop(outlier_net())
    ranking = isolated_errors(shop, Recipe("strict"))
    assert [item.kernel.name for item in ranking[:2]] in (["widen", "narrow"], ["narrow", "widen"])
    assert ranking[0].sqnr_db < ranking[-1].sqnr_db - 10
    assert "channel 3 of 'wide'" in likely_cause(shop, ranking[0].kernel)


def test_float_layers_are_the_last_resort_and_end_at_the_budget():
    model = network(
        [
            node("Conv", ["x", "v"], ["h"], "big", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            node("GlobalAveragePool", ["h"], ["p"], "pool"),
            node("Conv", ["p", "g"], ["wide"], "widen"),
            node("Conv", ["wide", "d"], ["y"], "narrow"),
        ],
        {"x": [1, 8, 16, 16]},
        ["y"],
        {
            "v": weights(8, 8, 3, 3),
            "g": np.diag([1, 1, 1, 2000, 1, 1, 1, 1]).astype(F).reshape(8, 8, 1, 1),
            "d": np.diag([1, 1, 1, 1 / 2000, 1, 1, 1, 1]).astype(F).reshape(8, 8, 1, 1),
        },
    )
    offsets = np.random.default_rng(0).normal(size=(64, 1, 8, 1, 1)).astype(F)
    shop = workshop(
        model, feeds=[{"x": feed["x"] + offset} for feed, offset in zip(random_feeds(model, 64), offsets, strict=True)]
    )
    best = search(shop, ("strict",), (float_layers,))
    assert not any(trial.verdict.passed for trial in shop.trials if not trial.recipe.keep_float)
    assert best.verdict.passed
    assert best.recipe.keep_float <= {"widen", "narrow", "pool"}
    assert "big" not in {name for trial in shop.trials for name in trial.recipe.keep_float}, f"beyond {BUDGET:.0%}"


def test_named_sets():
    model = network(
        [
            *(node("Conv", [f"t{i}", "w"], [f"t{i + 1}"], f"conv{i}") for i in range(5)),
            node("GlobalAveragePool", ["t5"], ["p"], "pool"),
            node("Conv", ["p", "w"], ["s"], "squeeze"),
            node("Sigmoid", ["s"], ["g"], "gate"),
            node("Mul", ["g", "t5"], ["y"], "scale"),
        ],
        {"t0": [1, 4, 5, 5]},
        ["y"],
        {"w": weights(4, 4, 1, 1)},
    )
    shop, recipe = workshop(model), Recipe("strict")
    assert squeezed(shop, recipe) == {"squeeze"}
    assert first_convolutions(shop, recipe) == {"conv0", "conv1", "conv2"}
    assert tail(shop, recipe) == {"scale", "gate"}


CAUSES = {
    "square": (mlp(NORM, GAINS), "square", "LayerNorm"),
    "mask": (
        mlp([node("Add", ["h", "mask"], ["a"], "mask"), node("Softmax", ["a"], ["m"])],
            {"mask": np.triu(np.full((1, 8, 16), -1e4, F), 1)}),
        "mask",
        "mask constant (-1e+04)",
    ),
    "concat": (
        mlp([
            node("Mul", ["h", "big"], ["b"], "big"),
            node("Concat", ["b", "h"], ["c"], "joined", axis=1),
            node("ReduceMean", ["c"], ["m"], axes=[1]),
        ], {"big": np.full((1, 8, 1), 100, F)}),
        "big",
        "'joined'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSES)
def test_causes_in_words(name):
    model, layer, expected = CAUSES[name]
    shop = workshop(model)
    kernel = shop.place(Recipe("strict")).kernels[layer]
    assert expected in likely_cause(shop, kernel)


def test_nearly_dead_channels_are_named():
    w = weights(16, 8)
    w[:, 2] *= F(1e-7)
    shop = workshop(network([node("MatMul", ["x", "w"], ["y"], "n")], X, ["y"], {"w": w}))
    assert "1 of 8 output channels" in likely_cause(shop, shop.place(Recipe("strict")).kernels["n"])


# --- what it is judged by ---


class Counted:
    """A source of numbered samples that remembers which were decoded."""

    def __init__(self, count):
        self.count, self.decoded = count, []

    def __len__(self):
        return self.count

    def read(self, indices=None):
        for i in range(self.count) if indices is None else indices:
            self.decoded.append(i)
            yield Sample(str(i), ({"x": np.zeros(1, F)},))


def test_large_models_are_tried_on_fewer_samples():
    few, many = Counted(200), Counted(200)
    small, large = read_held_out(many, macs=10**6), read_held_out(few, macs=10**11)
    assert (len(small), len(large)) == (32, 4)
    assert len(few.decoded) <= 5, "samples that are not used are not decoded"
    assert set(many.decoded) <= set(held_out(200)[1]), "calibration saw the others"


def test_the_search_sees_a_part_of_what_the_artifact_is_judged_by():
    first, again = Counted(2000), Counted(2000)
    read_held_out(first, macs=1), read_held_out(again, macs=1)
    judges = held_out(2000)[1]
    assert len(judges) == 256 and len(set(first.decoded)) == 32
    assert set(first.decoded) < set(judges)
    assert first.decoded == again.decoded
    assert max(first.decoded[:8]) > 1000 > min(first.decoded[:8]), "from all over, also where few are taken"


def test_integers_have_no_sqnr():
    labels, near, far = np.array([[1, 2, 3, 40]]), np.array([[1, 2, 3, 41]]), np.array([[1, 2, 3, 900]])
    scores, noisy = RNG.normal(size=(1, 8)), RNG.normal(size=8) * 1e-3
    for wrong in (near, far):
        both = compare([{"label": labels, "y": scores}] * 2, [{"label": wrong, "y": scores + noisy}] * 2)
        assert worst_sqnr_db(both) == both[1].sqnr_db > 40
        (alone,) = compare([{"label": labels}], [{"label": wrong}])
        assert worst_sqnr_db([alone]) == pytest.approx(6.02, abs=0.01), "one of four, however far off"


def test_a_recurrent_candidate_carries_its_own_state():
    model = network(
        [node("Add", ["x", "before"], ["sum"]), node("MatMul", ["sum", "w"], ["after"])],
        {"x": [1, 4], "before": [1, 4]},
        ["after", "sum"],
        {"w": np.eye(4, dtype=F) / 2},
    )
    specs = tuple(TensorSpec(n, "float32", (1, 4)) for n in ("x", "before"))
    outputs = tuple(TensorSpec(n, "float32", (1, 4)) for n in ("after", "sum"))
    sample = Sample("s", tuple({"x": RNG.normal(size=(1, 4)).astype(F)} for _ in range(5)))
    judged_by = HeldOut([sample], model.SerializeToString(), Contract(specs, outputs), {"after": "before"})

    def half_as_strong(feeds):
        total = feeds["x"] + feeds["before"]
        return {"sum": total, "after": total / 4}

    same = {item.name: item for item in judged_by.compare(model)}
    other = {item.name: item for item in judged_by.compare_outputs(half_as_strong)}
    assert same["sum"].max_abs == 0
    assert other["sum"].max_abs > 0, "its first step is right, and its state goes its own way from there"
    assert judged_by.steps_per_sample == 5


def test_recipes_differ_by_what_they_say():
    recipe = Recipe("strict")
    assert replace(recipe, method="mse") != recipe == Recipe("strict", "minmax")
