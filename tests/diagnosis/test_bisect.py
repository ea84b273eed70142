"""Shrinking a run of layers: what is left still fails, and can do without neither of its ends."""

from hypothesis import given
from hypothesis import strategies as st

from edgec.diagnosis.bisect import smallest_run


def test_nothing_fails():
    assert smallest_run(range(9), lambda _: False) == []
    assert smallest_run([], lambda _: True) == []


@given(st.integers(1, 60), st.data())
def test_one_culprit_is_found(count, data):
    culprit = data.draw(st.integers(0, count - 1))
    calls = []
    found = smallest_run(range(count), lambda run: calls.append(run) or culprit in run)
    assert found == [culprit]
    assert len(calls) <= 2 * count.bit_length() + 4


@given(st.integers(2, 60), st.data())
def test_two_that_fail_only_together_are_kept_with_what_lies_between(count, data):
    first = data.draw(st.integers(0, count - 2))
    last = data.draw(st.integers(first + 1, count - 1))
    assert smallest_run(range(count), lambda run: first in run and last in run) == list(range(first, last + 1))


@given(st.integers(1, 40), st.randoms())
def test_whatever_fails_the_run_fails_and_its_ends_are_needed(count, random):
    weights = [random.random() for _ in range(count)]
    fails = lambda run: sum(weights[i] for i in run) >= 0.5 * sum(weights)  # noqa: E731
    run = smallest_run(range(count), fails)
    assert fails(run)
    assert run == list(range(run[0], run[-1] + 1))
    assert len(run) == 1 or not (fails(run[1:]) or fails(run[:-1]))
