"""Measurements of several subjects: their form, their turns, and what becomes of those that fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgec.benchmark.comparison import Protocol, check_ratio, compare
from edgec.benchmark.subjects import Artifact, OnnxModel, steps_of_trace
from edgec.errors import InternalError, LimitNotMet, ModelRefused, ToolMissing, UsageError, WorkerCrashed
from edgec.events import Note, StageFinished
from tests.benchmark_command.made_up import MadeUp

FIGURES = {
    *("path", "name", "target", "backend", "precision", "engine", "engine_version", "threads", "batch", "load_ms"),
    *("first_ms", "latency_ms", "per_second", "cpu_ms", "peak_bytes", "runs", "histogram", "noisy", "ratio"),
    *("profile", "profile_note"),
}


@pytest.fixture(scope="module")
def original(cnn):
    """The model that the artifact was built from."""
    return cnn.path.parents[1] / "source" / "model.onnx"


@pytest.fixture(scope="module")
def beside(cnn, original):
    """An artifact beside its original, with profiles."""
    artifact = Artifact(cnn.path)
    return compare(
        [artifact, OnnxModel(original, artifact)], Protocol(seconds=0.1, threads=1, profile=True), reference=1
    )


def test_each_subject_has_all_figures(beside):
    for document in beside.documents:
        assert set(document) >= FIGURES
        latency = document["latency_ms"]
        assert 0 < latency["least"] <= latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
        assert document["runs"] == sum(document["histogram"]["counts"])
        assert document["turns"] >= 6
        assert document["peak_bytes"] > document["start_bytes"] > 1 << 20
        assert document["load_ms"] > 0 < document["first_ms"]
        assert document["cpu_ms"] > 0
        assert document["threads"] == 1
    assert json.loads(json.dumps(beside.documents, allow_nan=False))


def test_the_ratio_is_to_the_baseline_and_has_an_interval(beside):
    ours, baseline = beside.documents
    assert (ours["baseline"], baseline["baseline"]) == (False, True)
    assert baseline["ratio"] is None
    ratio = ours["ratio"]
    assert ratio["to"] == baseline["path"]
    assert ratio["low"] <= ratio["of_medians"] <= ratio["high"]
    assert ratio["cpu"]["low"] <= ratio["cpu"]["of_medians"] <= ratio["cpu"]["high"]
    assert ratio["of_medians"] == pytest.approx(ours["latency_ms"]["p50"] / baseline["latency_ms"]["p50"], rel=0.02)


def test_profiles_tell_the_time_of_each_step(beside):
    for document in beside.documents:
        assert len(document["profile"]) > 2
        assert sum(step["share"] for step in document["profile"]) == pytest.approx(1, abs=0.01)
    operators = {step["operator"] for step in beside.documents[1]["profile"]}
    assert operators & {"Conv", "FusedConv"}


def test_every_subject_gets_as_many_turns():
    found = compare([MadeUp("a"), MadeUp("b", 2.0), MadeUp("c")], Protocol(seconds=0.1))
    a, b, c = found.documents
    assert a["turns"] == b["turns"] == c["turns"]
    assert a["ratio"] is None
    assert b["ratio"]["to"] == "a"
    assert b["ratio"]["of_medians"] > 1 > b["latency_ms"]["least"] / 4
    assert [name for name, _ in found.turns] == ["a", "b", "c"]


def test_a_query_of_a_batch_is_so_many_inferences():
    (document,) = compare([MadeUp("a")], Protocol(seconds=0.05, batch=5)).documents
    assert document["latency_ms"]["least"] >= 5
    assert document["batch"] == 5
    assert document["per_second"] == pytest.approx(5e3 / document["latency_ms"]["mean"], rel=0.1)


def test_a_subject_that_dies_leaves_its_figures_and_the_others_go_on():
    found = compare([MadeUp("lives"), MadeUp("dies", runs=80, then="die")], Protocol(seconds=0.5))
    lives, dies = found.documents
    assert lives["turns"] > dies["turns"] > 0
    (failure,) = found.failures
    assert isinstance(failure, WorkerCrashed)
    assert "dies died (SIGKILL)" in failure.what
    assert dies["error"]["kind"] == "WorkerCrashed"


def test_a_subject_that_dies_while_it_loads_ends_it():
    with pytest.raises(WorkerCrashed, match="SIGKILL"):
        compare([MadeUp("a"), MadeUp("b", runs=0, then="die")], Protocol(seconds=0.1))


def test_what_a_subject_raises_is_told():
    with pytest.raises(InternalError, match="made up"):
        compare([MadeUp("a", runs=0, then="raise")], Protocol(seconds=0.1))


def test_nothing_is_started_where_one_can_not_be_measured():
    heard = []
    with pytest.raises(ToolMissing):
        compare([MadeUp("a"), MadeUp("b", then="refuse")], Protocol(), listener=heard.append)
    assert heard == []


def test_a_single_stream_has_its_least_queries_and_time_and_no_ratio():
    heard = []
    found = compare([MadeUp("a"), MadeUp("b")], Protocol("mlperf", 0.1, 150), listener=heard.append)
    for document in found.documents:
        stream = document["mlperf"]
        assert stream["valid"]
        assert stream["queries"] >= 150
        assert stream["seconds"] >= 0.1
        assert stream["p90_ms"] >= 1
        assert document["ratio"] is None
    assert [event.stage for event in heard if isinstance(event, StageFinished)][2:] == ["stream a", "stream b"]


def test_mlperf_asks_for_1024_queries_and_60_seconds():
    protocol = Protocol.mlperf()
    assert (protocol.kind, protocol.queries, protocol.seconds) == ("mlperf", 1024, 60)


def test_a_soak_watches_each_subject():
    found = compare([MadeUp("a"), MadeUp("b")], Protocol("soak", 1.0))
    for document in found.documents:
        soak = document["soak"]
        assert len(soak["windows"]) >= 6, "a window a turn, and six turns however slow the machine is"
        assert all(window["resident_bytes"] > 0 for window in soak["windows"])
        assert soak["latency"]["verdict"] in ("steady", "slower", "faster", "too short")
        assert soak["memory"]["verdict"] in ("steady", "leak", "too short")
        assert document["latency_ms"]["p50"] >= 1


def test_a_subject_that_leaks_is_told_from_one_that_does_not():
    """By memory alone: how many windows there are, and so what can be said of a trend, depends on the machine."""
    found = compare([MadeUp("tight"), MadeUp("leaks", leaks=500_000)], Protocol("soak", 0.5))
    sizes = [[window["resident_bytes"] for window in document["soak"]["windows"]] for document in found.documents]
    tight, leaks = (series[-1] - series[0] for series in sizes)
    assert tight < 5_000_000 < leaks, "at least five turns of three queries"


def test_a_recurrent_artifact_is_fed_its_golden_sequence(lstm):
    (document,) = compare([Artifact(lstm.path)], Protocol(seconds=0.05)).documents
    assert document["runs"] >= 12


def test_files_are_fed_to_artifact_and_baseline(cnn, original, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3, 16, 16), np.float32))
    artifact = Artifact(cnn.path, (str(tmp_path / "x.npy"),))
    found = compare([artifact, OnnxModel(original, artifact)], Protocol(seconds=0.05), 1)
    assert len(found.documents) == 2


def test_a_file_that_does_not_fit_is_refused(cnn, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 3, 9, 9), np.float32))
    with pytest.raises(UsageError, match="9"):
        compare([Artifact(cnn.path, (str(tmp_path / "x.npy"),))], Protocol(seconds=0.05))


def test_a_baseline_with_other_inputs_is_refused(cnn, lstm):
    other = lstm.path.parents[1] / "source" / "model.onnx"
    artifact = Artifact(cnn.path)
    with pytest.raises(UsageError, match="has other inputs than") as told:
        compare([artifact, OnnxModel(other, artifact)], Protocol(seconds=0.05), 1)
    assert "the artifact takes image: float32 1x3x16x16" in told.value.why


def test_a_baseline_that_is_no_model_is_refused(cnn, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    artifact = Artifact(cnn.path)
    with pytest.raises(ModelRefused, match="is not an ONNX model"):
        compare([artifact, OnnxModel(tmp_path / "x.onnx", artifact)], Protocol(seconds=0.05), 1)


def test_a_baseline_of_other_bytes_than_the_artifact_was_built_from_is_told_of(cnn, original):
    heard = []
    artifact = Artifact(cnn.path)
    compare([artifact, OnnxModel(original, artifact)], Protocol(seconds=0.01), 1, heard.append)
    (note,) = [event for event in heard if isinstance(event, Note)]
    assert "was not built from this model" in note.text


def test_a_baseline_that_names_files_elsewhere_is_refused_before_native_code_reads_it(cnn, original, tmp_path):
    import onnx

    model = onnx.load(original)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelRefused, match="passwd"):
        OnnxModel(tmp_path / "x.onnx", Artifact(cnn.path)).check()


def test_a_baseline_with_open_dimensions_is_fed_what_the_artifact_is(cnn, original, tmp_path):
    import onnx

    model = onnx.load(original)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, tmp_path / "open.onnx")
    artifact = Artifact(cnn.path)
    assert (
        len(compare([artifact, OnnxModel(tmp_path / "open.onnx", artifact)], Protocol(seconds=0.05), 1).documents) == 2
    )


def ratio(low, high, of_medians=None, busy=False):
    """A document with a ratio."""
    middle = of_medians or (low + high) / 2
    return {"path": "a", "ratio": {"to": "b", "of_medians": middle, "low": low, "high": high, "busy": busy}}


def test_a_ratio_that_is_shown_to_be_small_enough_passes_the_gate():
    check_ratio([ratio(0.8, 0.95), ratio(0.5, 0.7, busy=True), {"path": "b", "ratio": None}], 1.0)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (ratio(1.1, 1.2), "shown to be more"),
        (ratio(0.9, 1.2), "not shown to be at most that"),
        (ratio(None, None, 0.5), "too few turns"),
        (ratio(0.8, 0.9, busy=True), "on a busy machine, at most 0.750 would show it"),
    ],
)
def test_what_is_not_shown_does_not_pass_the_gate(document, why):
    with pytest.raises(LimitNotMet) as told:
        check_ratio([document], 1.0)
    assert told.value.exit_code == 7
    assert why in told.value.why


def test_the_steps_of_a_trace_leave_out_the_first_run():
    def event(name, dur, op):
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": dur, "args": {"op_name": op}}

    trace = [{"cat": "Session", "name": "model_run", "dur": 5}]
    for dur in (900, 30, 30, 30):
        trace += [event("conv", dur, "Conv"), event("body", 10, "Add"), event("body", 10, "Add")]
    conv, body = steps_of_trace(trace, 3)
    assert (conv.name, conv.operator, conv.milliseconds) == ("conv", "Conv", pytest.approx(0.03))
    assert body.milliseconds == pytest.approx(0.02), "a node that runs twice in each run takes twice its time"
