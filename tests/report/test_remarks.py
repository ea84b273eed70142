"""Warnings: each once, and those of too few samples as one that says how many would do."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from edgec.parity.decisions import upper_bound
from edgec.parity.gates import judge
from edgec.parity.metrics import compare
from edgec.parity.thresholds import Gate
from edgec.report.remarks import decisions_wanted, warnings
from edgec.samples import held_out
from tests.report.examples import good


def classifier(count):
    rng = np.random.default_rng(3)
    return [{name: rng.normal(0, 4, (1, 10)) for name in ("first_logits", "second_logits")} for _ in range(count)]


def judged(count):
    """A report on an exact candidate that was judged on `count` samples, with what the gate really says of it."""
    comparisons = compare(classifier(count), classifier(count))
    verdict = judge(comparisons)
    section = {"outputs": [item.to_json() for item in comparisons]}
    inputs = good()
    parity = {**inputs.parity, "total": section, "quantization": section, "warnings": list(verdict.warnings)}
    quantize = {**inputs.quantize, "warnings": list(verdict.warnings)}
    notes = [{"stage": "validate", "level": "warning", "text": text} for text in verdict.warnings]
    return replace(inputs, parity=parity, quantize=quantize, inputs=None, build={**inputs.build, "notes": notes})


def test_too_few_samples_are_one_warning_that_names_the_outputs_and_what_would_do():
    inputs = judged(3)
    assert len(inputs.parity["warnings"]) >= 4
    (text,) = warnings(inputs)
    assert "'first_logits', 'second_logits'" in text
    assert "About 48 samples should be enough: 24 of them are held out" in text


def test_as_many_samples_as_it_asks_for_are_enough():
    """It can't know how many decisions of new samples will be confident, so it may have to ask for a few more once."""
    count = 3
    for _ in range(2):
        if not (asked := warnings(judged(count))):
            break
        wanted = re.search(r"About (\d+) samples", asked[0])
        assert wanted
        judges = len(held_out(int(wanted[1]))[1])
        assert count < judges
        count = judges
    assert not warnings(judged(count))


def test_other_warnings_stay():
    inputs = judged(3)
    inputs.parity["warnings"].append("output 'x': something else")
    assert "output 'x': something else" in warnings(inputs)
    assert len(warnings(inputs)) == 2


def test_a_warning_of_an_output_that_no_sample_would_help_stays_as_it_is():
    inputs = judged(3)
    text = "output 'unknown': its channels could not be judged one by one: too few samples"
    inputs.parity["warnings"].append(text)
    assert text in warnings(inputs)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.03])
def test_the_decisions_that_are_wanted_are_the_fewest_that_the_gate_takes(rate):
    limit = 2 * Gate().confident_flips
    count = decisions_wanted(rate)
    assert upper_bound(rate * count, count) <= limit < upper_bound(rate * (count - 1), count - 1)
