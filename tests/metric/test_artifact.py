"""The user's metric of what was made, where the artifact ran on all samples, on some, or on none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgec.contract import Contract, TensorSpec
from edgec.metric.artifact import Executed, measured
from edgec.metric.measure import Measure
from edgec.metric.request import MetricRequest
from edgec.samples import Row, Sample

COUNT = 40
METRIC = """
def right(outputs, labels):
    return sum(float(entry["y"][0]) > 0 for entry in outputs) / len(outputs)

def both(outputs, labels):
    found = {float(entry["y"][0]) > 0 for entry in outputs}
    if len(found) < 2:
        raise ValueError("one class only")
    return 1.0
"""


@dataclass(frozen=True)
class Positive:
    """Forty samples, all of them above zero but the last `wrong`."""

    wrong: int = 0
    digest: str = "positive"
    notes: tuple = ()
    all_rows: int = COUNT

    def __len__(self):
        return COUNT

    def rows_of(self, index):
        return (Row(str(index), index),)

    def read(self, indices=None):
        for index in range(COUNT) if indices is None else indices:
            value = -1.0 if index >= COUNT - self.wrong else 1.0 + index
            yield Sample(str(index), ({"x": np.array([value], np.float32)},))


@pytest.fixture
def measure(tmp_path):
    """A measure of the identity: its output is its input."""

    def make(max_drop=None, function="right", wrong=0):
        file = tmp_path / "own.py"
        file.write_text(METRIC)
        spec = TensorSpec("x", "float32", (1,))
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        request = MetricRequest.of(f"{file}:{function}", evaluation=Positive(wrong), max_drop=max_drop)
        contract = Contract((spec,), (replace(spec, name="y"),))
        return Measure(request, None, contract, {}, model.SerializeToString())

    return make


def wrong_at(*values):
    """A model that gives -1 for inputs of these values."""
    return lambda feeds: {"y": np.where(np.isin(feeds["x"], values), -1.0, feeds["x"])}


def executed(measure, run, count):
    positions = list(range(count))
    return Executed(positions, lambda: measure.some(positions).outputs(run))


def test_an_artifact_that_ran_on_all_samples_is_compared_with_the_original(measure):
    made = measure(max_drop=0.05)
    found = measured(made, wrong_at(1), executed(made, wrong_at(1, 2), COUNT))
    document = found.document
    assert (document["original"], document["reference"], document["artifact"]) == (1.0, 0.975, 0.95)
    assert document["drop"] == pytest.approx(0.05)
    assert document["executed"] is None
    assert found.complaints == ()
    assert measured(made, None, executed(made, wrong_at(1, 2, 3), COUNT)).complaints


def test_what_was_not_executed_is_judged_by_its_reference(measure):
    made = measure(max_drop=0.02)
    found = measured(made, wrong_at(1), None)
    assert (found.document["artifact"], found.document["executed"]) == (None, None)
    assert "falls from 1 to 0.975" in found.complaints[0]


def test_on_some_samples_the_loss_against_the_reference_is_added_to_the_references_own(measure):
    made = measure()
    found = measured(made, wrong_at(1, 40), executed(made, wrong_at(1, 2), 10))
    assert found.document["reference"] == 0.95
    assert found.document["artifact"] is None
    assert found.document["executed"] == {"samples": 10, "original": 1.0, "reference": 0.9, "artifact": 0.8}
    assert found.document["drop"] == pytest.approx(0.05 + 0.1)


def test_the_labels_and_names_of_some_samples_are_their_own(measure):
    part = measure().some([3, 5])
    assert part.names == ["3", "5"]
    assert len(part) == 2
    assert part.original == 1.0


def test_what_few_samples_win_by_chance_is_not_counted(measure):
    made = measure(max_drop=0.04)
    found = measured(made, wrong_at(1, 2), executed(made, wrong_at(), 10))
    assert found.document["drop"] == pytest.approx(0.05)
    assert found.complaints


def test_one_accident_on_few_samples_is_let_pass_with_a_warning(measure):
    made = measure(max_drop=0.01)
    found = measured(made, wrong_at(), executed(made, wrong_at(4), 10))
    assert found.complaints == ()
    assert "one sample alone makes the difference" in found.warnings[0]


def test_two_are_not(measure):
    made = measure(max_drop=0.01)
    found = measured(made, wrong_at(), executed(made, wrong_at(4, 5), 10))
    assert "1 for the reference and 0.8 for the artifact on the 10 samples" in found.complaints[0]
    assert found.warnings == ()


def test_a_reference_that_falls_too_far_is_refused_whatever_few_samples_say(measure):
    made = measure(max_drop=0.01)
    found = measured(made, wrong_at(40), executed(made, wrong_at(), 10))
    assert "falls from 1 to 0.975 on 40 samples" in found.complaints[0]


def test_a_float_artifact_is_compared_with_the_original_on_the_same_samples(measure):
    made = measure(max_drop=0.01, wrong=20)
    found = measured(made, None, executed(made, wrong_at(), 10))
    assert found.document["executed"] == {"samples": 10, "original": 1.0, "reference": None, "artifact": 1.0}
    assert found.document["drop"] == 0.0
    assert found.complaints == ()


def test_a_metric_that_few_samples_are_too_few_for_is_a_warning(measure):
    made = measure(max_drop=0.01, function="both", wrong=5)
    found = measured(made, wrong_at(), executed(made, wrong_at(), 10))
    assert found.document["executed"] is None
    assert "can't be taken of the 10 samples" in found.warnings[0]
    assert found.complaints == ()
