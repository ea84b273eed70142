"""How samples are split, and how a recurrent model is run over one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgec.contract import Contract, TensorSpec
from edgec.samples import Sample, feeds_of_steps, held_out, samples_for


@given(st.integers(4, 5000), st.integers(1, 64))
def test_every_sample_is_used_once(count, limit):
    calibration, held = held_out(count, limit)
    assert sorted([*calibration, *held]) == list(range(count))
    assert count // 4 <= len(held_out(count, count)[1]) <= max(1, count // 2)
    assert len(held) <= limit


def test_a_quarter_is_held_out_of_128_to_1024_samples():
    assert [len(held_out(count)[1]) for count in (128, 400, 1024, 5000)] == [32, 100, 256, 256]


def test_of_few_samples_up_to_half_are_held_out():
    assert [len(held_out(count)[1]) for count in (4, 16, 64, 100)] == [2, 8, 32, 32]


@given(st.integers(3, 256))
def test_as_many_samples_are_asked_for_as_it_takes(judges):
    assert len(held_out(samples_for(judges))[1]) == judges > len(held_out(samples_for(judges) - 1)[1])


@given(st.integers(1, 3))
def test_with_nothing_to_spare_both_see_all(count):
    assert held_out(count) == (list(range(count)), list(range(count)))


def test_the_split_is_the_same_every_time():
    assert held_out(100) == held_out(100)


@given(st.integers(100, 1000), st.integers(2, 4))
def test_data_that_alternates_between_classes_is_held_out_from_all(count, classes):
    assert {index % classes for index in held_out(count)[1]} == set(range(classes))


def test_the_state_of_a_step_is_what_the_step_before_gave():
    contract = Contract(
        (TensorSpec("x", "float32", (1,)), TensorSpec("state", "float32", (1,))),
        (TensorSpec("sum", "float32", (1,)),),
    )

    def run(feeds):
        return {"sum": feeds["x"] + feeds["state"]}

    sample = Sample("ones", tuple({"x": np.ones(1, np.float32)} for _ in range(4)))
    steps = list(feeds_of_steps(sample, contract, {"sum": "state"}, run))
    assert [float(feeds["state"][0]) for feeds, _ in steps] == [0, 1, 2, 3]
    assert [float(outputs["sum"][0]) for _, outputs in steps] == [1, 2, 3, 4]
