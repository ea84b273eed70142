"""Which layers suffer from INT8, which sets of them are worth a trial in float, and what ails them in words."""

import numpy as np
import pytest

from edgec.quantization.climb import Budget
from edgec.quantization.diagnosis import cause_of
from edgec.quantization.fallback import first_convolutions, squeezed, tail
from edgec.quantization.recipe import Recipe
from edgec.quantization.sensitivity import isolated_errors
from edgec.quantization.tensor_errors import ranked_groups
from tests.quantization.shop import GAINS, NORM, F, X, mlp, outlier_net, weights, workshop
from tests.quantization.tiny import network, node


def test_the_layer_that_suffers_is_found_and_its_cause_named():
    shop = workshop(outlier_net())
    ranking = isolated_errors(shop, Recipe("strict"))
    assert [item.kernel.name for item in ranking[:2]] in (["widen", "narrow"], ["narrow", "widen"])
    assert ranking[0].sqnr_db < ranking[-1].sqnr_db - 10
    assert "channel 3 of 'wide'" in cause_of(shop, ranking[0].kernel).sentence


def test_a_budget_of_seconds_that_is_over_leaves_the_first_layer_alone():
    late = Budget(work=0.0, seconds=0.0)
    shop, recipe = workshop(outlier_net()), Recipe("strict")
    assert len(isolated_errors(shop, recipe)) > 1
    (only,) = isolated_errors(workshop(outlier_net()), recipe, budget=late)
    assert only.kernel.name == next(iter(shop.place(recipe).kernels))
    assert len(ranked_groups(shop, recipe, late)) == 1


def test_without_seconds_a_budget_cuts_no_look_at_layers_short():
    shop, recipe = workshop(outlier_net()), Recipe("strict")
    assert isolated_errors(shop, recipe, budget=Budget(work=0.0)) == isolated_errors(shop, recipe)


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
    assert expected in cause_of(shop, kernel).sentence


def test_nearly_dead_channels_are_named():
    w = weights(16, 8)
    w[:, 2] *= F(1e-7)
    shop = workshop(network([node("MatMul", ["x", "w"], ["y"], "n")], X, ["y"], {"w": w}))
    assert "1 of 8 output channels" in cause_of(shop, shop.place(Recipe("strict")).kernels["n"]).sentence
