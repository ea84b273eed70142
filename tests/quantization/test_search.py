"""The search: where it begins, what it keeps, when it stops, and what it does as the user says."""

from dataclasses import replace

import numpy as np
import pytest

from edgec.errors import UsageError
from edgec.parity.thresholds import Gate
from edgec.quantization.climb import FEWEST_TRIALS, WORK, Budget, better, comfortable
from edgec.quantization.pass_names import PASS_NAMES
from edgec.quantization.recipe import Recipe
from edgec.quantization.search import Rules, search
from edgec.quantization.workshop import ON_REQUEST, TOO_COSTLY
from tests.quantization.shop import GAINS, NORM, PLAIN, F, mlp, outlier_net, weights, workshop
from tests.quantization.tiny import network, node, random_feeds

IMPOSSIBLE = Gate(channel_sqnr_p05=99)


def steps(outcome):
    return {step.name: step for step in outcome.steps}


def test_the_first_profile_that_passes_is_taken():
    outcome = search(workshop(mlp(PLAIN)), ("strict", "islands"))
    assert outcome.best.recipe.profile == "strict"
    assert outcome.best.verdict.passed


def test_where_strict_fails_islands_are_tried():
    shop = workshop(mlp(NORM, GAINS), Gate(channel_sqnr_p05=22, cosine_p01=0.995))
    best = search(shop, ("strict", "islands"), Rules(forbid=frozenset({"float-layers"}))).best
    strict = [trial for trial in shop.trials if trial.recipe.profile == "strict"]
    assert not any(comfortable(trial, shop.gate) for trial in strict)
    assert best.recipe.profile == "islands" and best.verdict.passed


def test_the_search_begins_with_what_is_safest():
    shop = workshop(mlp(PLAIN))
    search(shop, ("strict",))
    start = shop.trials[0].recipe
    assert start == Recipe("strict", method="minmax", clip=True, bias_correction=True, rounding="nearest")


def test_every_range_method_is_tried_and_nothing_twice():
    shop = workshop(mlp(PLAIN))
    search(shop, ("strict",))
    assert {trial.recipe.method for trial in shop.trials} == {"minmax", "mse", "percentile"}
    assert len({trial.recipe for trial in shop.trials}) == len(shop.trials)


def test_every_pass_says_what_became_of_it_in_the_order_of_the_search():
    outcome = search(workshop(mlp(PLAIN)), ("strict",))
    assert tuple(step.name for step in outcome.steps) == PASS_NAMES
    for step in outcome.steps:
        document = step.to_json()
        assert set(document) == {
            "pass", "status", "loss_before", "loss_after", "sqnr_before_db", "sqnr_after_db", "reason"
        }  # fmt: skip
        if step.status in ("rejected", "not needed", "not available"):
            assert step.reason
        if step.status == "accepted":
            assert step.after.loss <= step.before.loss or "chance" in step.reason


def test_what_is_kept_lowers_the_loss_step_by_step():
    outcome = search(workshop(outlier_net(), IMPOSSIBLE), ("islands",))
    kept = [step for step in outcome.steps if step.status == "accepted" and step.name not in ("float-layers",)]
    assert kept
    assert outcome.best.loss <= min(step.after.loss for step in kept)


def test_squares_go_to_float_where_their_root_is_in_float_anyway():
    shop = workshop(mlp(NORM, GAINS))
    outcome = search(shop, ("strict",))
    step = steps(outcome)["normalizations-in-float"]
    assert step.status == "accepted" and step.after.loss < step.before.loss
    assert "square" in outcome.best.recipe.keep_float
    assert shop.place(step.after.recipe).float_nodes["square"] == TOO_COSTLY


def test_requests_to_keep_nodes_in_float_hold_for_every_trial():
    shop = workshop(mlp(PLAIN), keep_float=("first",))
    best = search(shop, ("strict", "islands")).best
    assert all("first" in trial.recipe.keep_float for trial in shop.trials)
    assert shop.place(best.recipe).float_nodes["first"] == ON_REQUEST


def test_equal_searches_take_the_same_path():
    paths = []
    for _ in range(2):
        shop = workshop(outlier_net(), IMPOSSIBLE, feeds=random_feeds(outlier_net(), 24))
        search(shop, ("strict", "islands"))
        paths.append([(trial.recipe, trial.loss) for trial in shop.trials])
    assert paths[0] == paths[1]


# --- when it stops ---


def test_an_easy_model_takes_a_handful_of_trials():
    shop = workshop(mlp(PLAIN))
    outcome = search(shop, ("strict", "islands"))
    assert len(shop.trials) <= 12
    assert steps(outcome)["float-layers"].status == "not needed"
    assert steps(outcome)["tensor-ranges"].status == "not needed"


def test_nothing_passes_an_impossible_gate_and_the_failure_says_so():
    outcome = search(workshop(mlp(PLAIN), IMPOSSIBLE), ("strict", "islands"))
    assert not outcome.best.verdict.passed
    assert outcome.best.verdict.failures


def test_samples_on_which_the_original_does_nothing_are_not_searched_on():
    silent = [{"x": np.zeros((1, 8, 16), F)}] * 24
    shop = workshop(mlp(PLAIN), feeds=silent)
    outcome = search(shop, ("strict", "islands"))
    assert len(shop.trials) == 1
    assert not outcome.best.verdict.passed


def test_the_budget_counts_multiplications_and_says_what_it_left_untried(monkeypatch):
    monkeypatch.setattr("edgec.quantization.climb.WORK", 1.0)
    monkeypatch.setattr("edgec.quantization.climb.FEWEST_TRIALS", 2)
    shop = workshop(outlier_net(), IMPOSSIBLE)
    outcome = search(shop, ("strict", "islands"))
    assert len(shop.trials) == 2
    assert "profile islands" in outcome.untried
    assert any(text.startswith("range-method: 1 of") for text in outcome.untried)


def test_a_large_model_gets_a_few_trials_all_the_same():
    shop = workshop(mlp(PLAIN))
    assert Budget.of(shop).work == WORK
    shop.__dict__["macs"] = 10**13
    assert Budget.of(shop).work == pytest.approx(FEWEST_TRIALS * shop.work_of_trial)


def test_seconds_stand_in_for_the_budget():
    budget = Budget(work=1, seconds=1e9)
    assert not budget.exhausted(spent=1e30)
    assert Budget(work=1e30, seconds=0.0).exhausted(spent=0)


def test_when_the_seconds_are_over_the_last_steps_are_not_judged_again():
    shop = workshop(mlp(PLAIN))
    shop.fresh = shop.held_out
    outcome = search(shop, ["islands"], Rules(seconds=1e-9))
    assert not outcome.fresh and "the last steps on samples that the search had not seen" in outcome.untried


# --- float layers ---


def pooled_outlier():
    """A large convolution, and behind it two tiny ones with an outlier channel between them."""
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
    feeds = [{"x": feed["x"] + offset} for feed, offset in zip(random_feeds(model, 64), offsets, strict=True)]
    return model, feeds


NOTHING_ELSE = frozenset({"rescale", "tensor-ranges", "gptq"})


def test_float_layers_are_the_last_resort():
    model, feeds = pooled_outlier()
    shop = workshop(model, feeds=feeds)
    outcome = search(shop, ("strict",), Rules(forbid=NOTHING_ELSE, against_int16="none"))
    assert not any(trial.verdict.passed for trial in shop.trials if not trial.recipe.keep_float)
    assert outcome.best.verdict.passed
    assert outcome.best.recipe.keep_float <= {"widen", "narrow", "pool"}
    assert steps(outcome)["float-layers"].status == "accepted"


@pytest.mark.parametrize("rules", [Rules(max_float_macs=0.1), Rules(max_float_macs=1.0, min_int8_macs=0.9)])
def test_float_layers_end_at_the_budget(rules):
    model, feeds = pooled_outlier()
    shop = workshop(model, Gate(channel_sqnr_p05=90), feeds=feeds)
    search(shop, ("strict",), replace(rules, forbid=NOTHING_ELSE))
    assert "big" not in {name for trial in shop.trials for name in trial.recipe.keep_float}
    assert min(trial.int8_macs for trial in shop.trials) >= 0.9


# --- what the user says ---


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("useful-range", lambda recipe: recipe.clip),
        ("bias-correction", lambda recipe: recipe.bias_correction),
        ("gptq", lambda recipe: recipe.rounding == "gptq"),
        ("range-method", lambda recipe: recipe.method != "minmax"),
    ],
)
def test_a_pass_that_is_forbidden_is_in_no_trial(name, has):
    shop = workshop(mlp([node("HardSwish", ["h"], ["m"])]))
    outcome = search(shop, ("strict", "islands"), Rules(forbid=frozenset({name})))
    assert not any(has(trial.recipe) for trial in shop.trials)
    assert steps(outcome)[name].status == "forbidden"


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("bias-correction", lambda recipe: recipe.bias_correction),
        ("gptq", lambda recipe: recipe.rounding == "gptq"),
        ("range-method", lambda recipe: recipe.method != "minmax"),
        ("tensor-ranges", lambda recipe: recipe.ranges),
        ("float-layers", lambda recipe: recipe.keep_float),
    ],
)
def test_a_pass_that_is_forced_is_in_the_result_whatever_it_costs(name, has):
    model = mlp(PLAIN, shape=(1, 64, 16))  # enough values for 0.01 % of them to be some
    outcome = search(workshop(model), ("strict",), Rules(force=frozenset({name}), max_float_macs=1.0))
    assert has(outcome.best.recipe)
    assert steps(outcome)[name].status == "forced"


def test_a_forced_pass_that_finds_nothing_to_do_is_refused():
    with pytest.raises(UsageError, match="normalizations-in-float") as refused:
        search(workshop(mlp(PLAIN)), ("strict",), Rules(force=frozenset({"normalizations-in-float"})))
    assert "no part of a normalization" in str(refused.value).lower()


def test_sixteen_bits_need_a_backend_that_has_them():
    shop = workshop(outlier_net(), IMPOSSIBLE)
    rules = Rules(against_int16="the backend has none")
    step = steps(search(shop, ("strict",), rules))["16-bit"]
    assert (step.status, step.reason) == ("not available", "the backend has none")
    with pytest.raises(UsageError, match="16-bit"):
        search(shop, ("strict",), replace(rules, force=frozenset({"16-bit"})))


def test_sixteen_bits_are_given_to_the_tensors_that_need_them():
    shop = workshop(outlier_net(), Gate(channel_sqnr_p05=40))
    outcome = search(shop, ("strict",), Rules(forbid=frozenset({"rescale", "tensor-ranges"})))
    step = steps(outcome)["16-bit"]
    assert step.status == "accepted"
    assert "wide" in step.after.recipe.int16
    model = shop.make(step.after.recipe)[2].model
    assert model.opset_import[0].version == 21


# --- what is better ---


@pytest.fixture
def trial():
    return workshop(mlp(PLAIN)).attempt(Recipe("strict"))


def losing(trial, *samples, loss=None):
    return replace(trial, samples=samples, loss=sum(samples) / len(samples) if loss is None else loss)


def test_small_gains_are_noise(trial):
    best = losing(trial, *[0.1] * 8)
    assert not better(losing(trial, *[0.096] * 8), best)
    assert better(losing(trial, *[0.094] * 8), best)


def test_what_helps_half_of_the_samples_and_harms_the_other_half_fits_the_samples(trial):
    best = losing(trial, *[0.1] * 8)
    assert better(losing(trial, *[0.1, 0.01] * 4), best)
    assert not better(losing(trial, *[0.12, 0.01] * 4), best)


def test_passing_the_gate_counts_more_than_any_loss(trial):
    failed = replace(trial, verdict=replace(trial.verdict, passed=False))
    assert better(losing(trial, *[0.9] * 8), losing(failed, *[0.1] * 8))
    assert not better(losing(failed, *[0.1] * 8), losing(trial, *[0.9] * 8))
