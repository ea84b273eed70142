"""The node tests of the ONNX backend suite: those of claimed operators pass, or are refused for a stated reason."""

from __future__ import annotations

import os
import re

import pytest

from edgec.backends import load_backend
from tests.ir.conformance import report
from tests.ir.conformance.cases import all_cases, claimed_operators
from tests.ir.conformance.outcome import run
from tests.ir.conformance.refusals import reasons, refusal
from tests.ir.conformance.routes import ROUTES, route_called

CLAIMED = [case for case in all_cases() if case.claimed]


@pytest.fixture(params=ROUTES, scope="module")
def route(request):
    """A backend that is not installed is passed over, but not in continuous integration."""
    if request.param != "reference":
        available = load_backend(request.param).availability()
        if not available.installed:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{available.reason} {available.install}")
    return route_called(request.param)


@pytest.mark.parametrize("case", CLAIMED, ids=lambda case: case.name)
def test_a_claimed_node_test_passes_or_is_refused_for_its_reason(case, route):
    run(case, route, refusal(case, route.name))


def test_the_suite_is_there():
    """A package without the node tests would let everything pass."""
    assert len(CLAIMED) > 1000


@pytest.mark.parametrize("route", ROUTES)
def test_every_reason_for_a_refusal_is_in_use(route):
    """A reason that no case has any more is to be taken out of the table."""
    unused = [pattern for pattern, _ in reasons(route) if not any(re.search(pattern, case.name) for case in CLAIMED)]
    assert unused == []


def test_nothing_is_claimed_that_onnx_does_not_know():
    import onnx.defs

    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    assert claimed_operators() <= known


def test_the_report_counts_every_case(capsys):
    assert report.main(["reference"]) == 0
    text = capsys.readouterr().out
    counted = [int(number) for number in re.findall(r"\d+", text.split("\n")[0])]
    assert sum(counted) == len(all_cases())
    assert set(re.findall(r"^\| (\w+) \| \d", text, re.MULTILINE)) == claimed_operators()


def test_a_report_of_an_unknown_route_says_which_there_are(capsys):
    assert report.main(["nowhere"]) == 2
    assert "reference, tflite" in capsys.readouterr().err
