"""The quantize stage: its files, its verdict, and the same bytes every time."""

import json
import pickle
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgec import worker
from edgec.contract import Contract, TensorSpec
from edgec.errors import InternalError, UsageError
from edgec.events import Note, Progress, ignore
from edgec.quantization.held_out import HeldOut
from edgec.quantization.pass_names import PASS_NAMES
from edgec.quantization.recipe import Recipe
from edgec.quantization.search import Workshop
from edgec.quantization.statistics import save
from edgec.reference import Reference
from edgec.samples import Sample
from edgec.stage import StageContext
from edgec.stages import quantize
from edgec.stages.quantize import QuantizeParams
from tests.quantization.tiny import network, node, random_feeds, statistics_of

F = np.float32


class Feeds:
    """Samples in memory."""

    digest = "0" * 64

    def __init__(self, feeds):
        self.feeds = list(feeds)

    def __len__(self):
        return len(self.feeds)

    def read(self, indices=None):
        for i in range(len(self.feeds)) if indices is None else indices:
            yield Sample(f"sample {i}", (self.feeds[i],))


def cnn():
    rng = np.random.default_rng(1)
    return network(
        [
            node("Conv", ["image", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["r"], "relu"),
            node("GlobalAveragePool", ["r"], ["p"], "pool"),
            node("Flatten", ["p"], ["f"], "flatten"),
            node("Gemm", ["f", "v", "d"], ["scores"], "head"),
        ],
        {"image": [1, 3, 12, 12]},
        ["scores"],
        {
            "w": rng.normal(size=(16, 3, 3, 3)).astype(F),
            "b": rng.normal(size=16).astype(F),
            "v": rng.normal(size=(16, 5)).astype(F),
            "d": rng.normal(size=5).astype(F),
        },
    )


def varied(count=40):
    """Images that differ in brightness and colour, so that pooled features differ."""
    rng = np.random.default_rng(2)
    return [
        {"image": (rng.normal(size=(1, 3, 12, 12)) * rng.uniform(0.2, 2) + rng.normal(size=(1, 3, 1, 1))).astype(F)}
        for _ in range(count)
    ]


@pytest.fixture
def folders(tmp_path):
    """simplified/ and calibrated/ of the CNN, and its samples."""
    return prepared(tmp_path, cnn(), varied())


def prepared(tmp_path, model, feeds):
    simplified, calibrated = tmp_path / "simplified", tmp_path / "calibrated"
    simplified.mkdir()
    calibrated.mkdir()
    onnx.save(model, simplified / "model.onnx")

    def specs(infos):
        return tuple(
            TensorSpec(i.name, "float32", tuple(d.dim_value for d in i.type.tensor_type.shape.dim)) for i in infos
        )

    contract = Contract(specs(model.graph.input), specs(model.graph.output))
    (simplified / "contract.json").write_text(json.dumps(contract.to_json()))
    save(calibrated / "statistics.npz", statistics_of(model, feeds))
    return simplified, calibrated, Feeds(feeds)


def run(folders, out, **params):
    simplified, calibrated, samples = folders
    out.mkdir()
    events = []
    quantize.run(
        simplified=simplified,
        calibrated=calibrated,
        samples=samples,
        params=QuantizeParams(**params),
        context=StageContext("quantize", out, events.append),
    )
    return json.loads((out / "quantize.json").read_text()), events


def test_a_model_that_is_easy_to_quantize(folders, tmp_path):
    report, events = run(folders, tmp_path / "out")
    assert report["passed"] and report["failures"] == []
    assert report["precision"] == "int8" and report["int8_mac_fraction"] == 1.0
    assert report["nodes"] == {"int8": 5, "float": 0} and report["float_nodes"] == []
    assert report["profile"] == "strict" and report["method"] in ("minmax", "mse", "percentile")
    assert report["held_out"] == 20
    assert report["outputs"][0]["name"] == "scores" and report["outputs"][0]["sqnr_db"] > 25
    assert {"profile", "method", "bias_correction", "sqnr_db", "loss", "passed"} <= report["candidates"][0].keys()
    assert {"node", "op", "sqnr_db", "cause"} <= report["worst_layers"][0].keys()
    assert [layer["precision"] for layer in report["layers"]] == ["int8"] * len(report["layers"])
    worst = min((layer for layer in report["layers"] if layer["isolated_db"]), key=lambda layer: layer["isolated_db"])
    assert worst["node"] == report["worst_layers"][0]["node"]
    assert report["ranges"][0]["why"] == f"read by {worst['node']}"
    progress = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert all(event.done <= event.total for event in progress)


def test_the_table_of_scales_is_what_the_graph_says(folders, tmp_path):
    run(folders, tmp_path / "out")
    table = json.loads((tmp_path / "out" / "qparams.json").read_text())
    model = onnx.load(tmp_path / "out" / "qdq.onnx")
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    quantizers = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert len(quantizers) == len(table["tensors"]) == 5
    for n in quantizers:
        entry = table["tensors"][n.name.removesuffix("_QuantizeLinear")]
        assert entry == {
            "scale": float(constants[n.input[1]]),
            "zero_point": int(constants[n.input[2]]),
            "dtype": "int8",
        }
    assert table["weights"]["w"]["axis"] == 0 and len(table["weights"]["w"]["scales"]) == 16
    assert table["weights"]["w"]["scales"] == [float(scale) for scale in constants["w_scale"]]


def test_two_processes_write_the_same_bytes(folders, tmp_path):
    simplified, calibrated, samples = folders
    written = []
    for name in ("one", "two"):
        out = tmp_path / name
        out.mkdir()
        context = StageContext("quantize", out, print)
        arguments = {"simplified": simplified, "calibrated": calibrated, "samples": samples, "params": QuantizeParams()}
        worker.call(quantize.run, {**arguments, "context": context})
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert set(written[0]) == {"qdq.onnx", "qparams.json", "quantize.json"}
    assert written[0] == written[1]


def test_a_gate_that_fails_is_a_verdict_and_not_an_error(folders, tmp_path):
    report, _ = run(folders, tmp_path / "out", gate=(("sqnr", 100.0),))
    assert not report["passed"]
    assert "SQNR" in report["failures"][0]
    assert report["worst_layers"] and all(layer["cause"] for layer in report["worst_layers"])
    assert {candidate["profile"] for candidate in report["candidates"]} == {"strict", "islands"}


def test_the_report_tells_the_recipe_and_what_every_pass_won(folders, tmp_path):
    report, _ = run(folders, tmp_path / "out")
    assert Recipe.from_json(report["recipe"]).to_json() == report["recipe"]
    assert [step["pass"] for step in report["recovery"]] == list(PASS_NAMES)
    assert {step["status"] for step in report["recovery"]} <= {
        "accepted", "rejected", "forced", "forbidden", "not needed", "not available"
    }  # fmt: skip
    assert report["untried"] == []


def test_progress_names_the_pass_and_the_best_so_far(folders, tmp_path):
    _, events = run(folders, tmp_path / "out")
    details = [event.detail for event in events if isinstance(event, Progress)]
    assert any(re.fullmatch(r"gptq, best \d+\.\d dB", text) for text in details)


def test_a_gate_that_no_precision_meets_is_refused_with_the_price_of_accuracy(folders, tmp_path):
    report, _ = run(folders, tmp_path / "out", gate=(("sqnr", 100.0),))
    assert not report["passed"]
    shares = [point["int8_mac_fraction"] for point in report["curve"]]
    losses = [point["loss"] for point in report["curve"]]
    assert shares[0] == 1.0 and min(shares) < 0.9
    assert shares == sorted(shares, reverse=True) and losses == sorted(losses, reverse=True)


def test_a_float_model_in_disguise_is_refused(folders, tmp_path):
    report, _ = run(folders, tmp_path / "out", keep_float=("conv",), min_int8_macs=0.9)
    assert not report["passed"]
    (failure,) = report["failures"]
    assert "at least 90 %" in failure and "Conv nodes that stay in float because kept in float on request" in failure


def test_seconds_limit_the_search_and_the_report_says_what_is_left(folders, tmp_path):
    report, events = run(folders, tmp_path / "out", search_seconds=1e-9)
    assert len(report["candidates"]) == 1
    assert report["untried"][-1] == "which layers cost most: not all were looked at"
    assert len(report["worst_layers"]) == 1
    assert any("left untried" in event.text for event in events if isinstance(event, Note))


def test_a_search_that_was_killed_goes_on_where_it_was(folders, tmp_path, monkeypatch):
    """The gate can't be met, so there are many trials; the process is killed after a few of them."""
    journal, judged = tmp_path / "journal", []
    real = HeldOut.judged
    monkeypatch.setattr(HeldOut, "judged", lambda *arguments: (judged.append(1), real(*arguments))[1])

    def quantized(name, journal):
        (tmp_path / name).mkdir()
        judged.clear()
        quantize.run(**job(folders, tmp_path / name, journal))
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}, len(judged)

    undisturbed, all_trials = quantized("undisturbed", None)
    call = pickle.dumps(job(folders, tmp_path / "killed", journal))
    script = "import pickle, sys; from edgec.stages import quantize; quantize.run(**pickle.load(sys.stdin.buffer))"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, cwd=Path(__file__).parents[2])
    process.stdin.write(call)
    process.stdin.close()
    while process.poll() is None and len(list(journal.glob("*.json"))) < 4:
        time.sleep(0.001)
    process.kill()
    process.wait()
    kept = len(list(journal.glob("*.json")))
    assert 4 <= kept < all_trials
    resumed, trials_left = quantized("resumed", journal)
    assert trials_left == all_trials - kept
    assert resumed == undisturbed


def job(folders, out, journal):
    simplified, calibrated, samples = folders
    return {
        "simplified": simplified,
        "calibrated": calibrated,
        "samples": samples,
        "params": QuantizeParams(gate=(("sqnr", 100.0),)),
        "context": StageContext("quantize", out, ignore, journal),
    }


def test_keep_float(folders, tmp_path):
    report, _ = run(folders, tmp_path / "out", keep_float=("head",))
    assert report["precision"] == "mixed" and 0 < report["int8_mac_fraction"] < 1
    assert {"name": "head", "op": "Gemm", "reason": "kept in float on request"} in report["float_nodes"]


def test_keep_float_of_a_node_that_does_not_exist(folders, tmp_path):
    with pytest.raises(UsageError, match="haed") as caught:
        run(folders, tmp_path / "out", keep_float=("haed",))
    assert "'head'" in str(caught.value)


def test_reduced_range(folders, tmp_path):
    run(folders, tmp_path / "out", reduced_range=True)
    model = onnx.load(tmp_path / "out" / "qdq.onnx")
    (w,) = [numpy_helper.to_array(i) for i in model.graph.initializer if i.name == "w_quantized"]
    assert np.abs(w.astype(int)).max() == 63


def test_islands(folders, tmp_path):
    report, _ = run(folders, tmp_path / "out", profiles=("islands",))
    assert report["profile"] == "islands"
    assert {item["name"] for item in report["float_nodes"]} == {"pool"}


def test_too_few_samples_to_hold_some_back_are_worth_a_warning(tmp_path):
    report, events = run(prepared(tmp_path, cnn(), varied(3)), tmp_path / "out")
    assert any("calibrated with" in text for text in report["warnings"])
    assert any(isinstance(event, Note) and event.level == "warning" for event in events)


def test_nothing_to_quantize(tmp_path):
    model = network([node("Erf", ["x"], ["y"], "erf")], {"x": [1, 64]}, ["y"])
    report, _ = run(prepared(tmp_path, model, random_feeds(model, 8)), tmp_path / "out")
    assert report["precision"] == "float" and report["int8_mac_fraction"] == 0
    assert [item["name"] for item in report["float_nodes"]] == ["erf"]


# --- models that arrive quantized ---


def quantization_aware(folders, tmp_path):
    """The CNN as a training framework would have exported it."""
    run(folders, tmp_path / "first")
    return onnx.load(tmp_path / "first" / "qdq.onnx")


def test_a_quantized_model_passes_through_without_calibration(folders, tmp_path):
    model = quantization_aware(folders, tmp_path)
    (tmp_path / "given").mkdir()
    onnx.save(model, tmp_path / "given" / "model.onnx")
    contract = (folders[0] / "contract.json").read_text()
    (tmp_path / "given" / "contract.json").write_text(contract)
    report, events = run((tmp_path / "given", None, folders[2]), tmp_path / "out")
    assert report["passed"] and report["profile"] == "given" and report["precision"] == "int8"
    assert report["int8_mac_fraction"] == 1.0
    assert any("quantized already" in event.text for event in events if isinstance(event, Note))
    feed = folders[2].feeds[0]
    before = Reference(model.SerializeToString(), "none").run(feed)["scores"]
    after = Reference(tmp_path / "out" / "qdq.onnx", "none").run(feed)["scores"]
    assert np.array_equal(before, after)
    table = json.loads((tmp_path / "out" / "qparams.json").read_text())
    assert (
        table["tensors"]["image"] == json.loads((tmp_path / "first" / "qparams.json").read_text())["tensors"]["image"]
    )
    assert len(table["weights"]["w_quantized"]["scales"]) == 16


def test_a_float_model_without_calibration_is_a_bug(folders, tmp_path):
    with pytest.raises(InternalError, match="calibration"):
        run((folders[0], None, folders[2]), tmp_path / "out")


def products(second=64):
    """Two matrix products; the second one, of `second` columns, can be kept in float."""
    rng = np.random.default_rng(4)
    return network(
        [node("MatMul", ["x", "v"], ["h"], "first"), node("MatMul", ["h", "w"], ["y"], "second")],
        {"x": [4, 8]},
        ["y"],
        {"v": rng.normal(size=(8, 8)).astype(F), "w": rng.normal(size=(8, second)).astype(F)},
    )


def test_a_model_that_stays_mostly_float_is_called_so(tmp_path):
    model = products()
    report, events = run(prepared(tmp_path, model, random_feeds(model, 16)), tmp_path / "out", keep_float=("second",))
    (said,) = [text for text in report["warnings"] if text.startswith("INT8 was asked for")]
    assert "only 11.1 % of the multiplications run in INT8" in said
    assert "88.9 % are in MatMul nodes that stay in float because kept in float on request" in said
    assert said in [event.text for event in events if isinstance(event, Note) and event.level == "warning"]


def test_a_model_that_is_mostly_int8_gets_no_such_warning(tmp_path):
    model = products(second=4)
    report, _ = run(prepared(tmp_path, model, random_feeds(model, 16)), tmp_path / "out", keep_float=("second",))
    assert report["int8_mac_fraction"] == pytest.approx(2 / 3, abs=0.01)
    assert not [text for text in report["warnings"] if text.startswith("INT8 was asked for")]


def test_a_model_without_products_is_told_that_int8_buys_nothing(tmp_path):
    model = network([node("Exp", ["x"], ["e"]), node("Sqrt", ["e"], ["y"])], {"x": [4, 8]}, ["y"])
    report, _ = run(prepared(tmp_path, model, random_feeds(model, 16)), tmp_path / "out")
    (said,) = [text for text in report["warnings"] if text.startswith("INT8 was asked for")]
    assert "no layers that multiply and accumulate" in said and "Exp, Sqrt" in said


def test_a_bias_that_saturates_is_a_failure(folders, tmp_path, monkeypatch):
    made = Workshop.make

    def saturating(self, recipe):
        placement, scales, emitted = made(self, recipe)
        return placement, scales, replace(emitted, saturated=2)

    monkeypatch.setattr(Workshop, "make", saturating)
    report, _ = run(folders, tmp_path / "out")
    assert not report["passed"]
    assert any("2 biases do not fit into 32 bits" in text for text in report["failures"])
