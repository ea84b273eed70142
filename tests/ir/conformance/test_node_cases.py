"""The node tests of the ONNX backend suite: those of claimed operators pass, or are refused for a stated reason."""

from __future__ import annotations

import re

import pytest

from tests.ir.conformance.cases import all_cases, claimed_operators
from tests.ir.conformance.outcome import run
from tests.ir.conformance.refusals import reasons, refusal
from tests.ir.conformance.routes import routes

CLAIMED = [case for case in all_cases() if case.claimed]


@pytest.mark.parametrize("route", routes(), ids=lambda route: route.name)
@pytest.mark.parametrize("case", CLAIMED, ids=lambda case: case.name)
def test_a_claimed_node_test_passes_or_is_refused_for_its_reason(case, route):
    run(case, route, refusal(case, route.name))


def test_the_suite_is_there():
    """A package without the node tests would let everything pass."""
    assert len(CLAIMED) > 1000


@pytest.mark.parametrize("route", routes(), ids=lambda route: route.name)
def test_every_reason_for_a_refusal_is_in_use(route):
    """A reason that no case has any more is to be taken out of the table."""
    unused = [
        pattern for pattern, _ in reasons(route.name) if not any(re.search(pattern, case.name) for case in CLAIMED)
    ]
    assert unused == []


def test_nothing_is_claimed_that_onnx_does_not_know():
    import onnx.defs

    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    assert claimed_operators() <= known
