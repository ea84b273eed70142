"""A layer that an engine computes in float has the right numbers: only what the backend tells shows it."""

from __future__ import annotations

import pytest

from edgec.parity.executed_share import executed_int8_share, judge_executed_share
from edgec.parity.thresholds import Gate


def facts(declared, executed):
    return {"int8_mac_fraction_declared": declared, "int8_mac_fraction_executed": executed}


def test_the_share_is_of_what_was_declared_not_of_the_model():
    assert executed_int8_share(facts(0.8, 0.6)) == pytest.approx(0.75)
    assert executed_int8_share(facts(0.5, 0.5)) == 1


@pytest.mark.parametrize("told", [{}, facts(0.0, 0.0)], ids=["not told", "nothing declared"])
def test_where_nothing_is_known_nothing_is_judged(told):
    assert executed_int8_share(told) is None
    assert judge_executed_share(None, Gate()).passed


def test_a_float_model_in_disguise_is_refused_and_a_limit_of_the_users_own_decides():
    assert judge_executed_share(0.95, Gate()).passed
    verdict = judge_executed_share(0.4, Gate())
    assert not verdict.passed and "only 40 %" in verdict.failures[0]
    assert judge_executed_share(0.4, Gate.from_overrides([("executed_int8", 0.3)])).passed
