"""What every backend promises. A new backend is done when this file passes for it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import get_args

import numpy as np
import onnx
import pytest

from edgec.backends.base import LowerJob
from edgec.backends.support import require_precision
from edgec.errors import UsageError
from edgec.quantization.profiles import Profile
from edgec.reference import Reference
from edgec.targets import load_target
from tests.contract import models

ALL = [(make, "float") for make in models.FLOAT] + [(make, "int8") for make in models.INT8]


def _id(value):
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("make", "precision"), ALL, ids=_id)
def test_inputs_and_outputs_keep_names_dtypes_and_shapes(lowered, make, precision):
    model = make()
    feeds = models.feeds_for(model)
    expected = Reference(model.SerializeToString(), "none").run(feeds)
    _, _, engine = lowered(model, precision)
    outputs = engine.run(feeds)
    assert list(outputs) == list(expected)
    for name, array in expected.items():
        assert (outputs[name].dtype, outputs[name].shape) == (array.dtype, array.shape), name


def test_outputs_that_are_one_tensor_keep_their_own_names(lowered):
    net = models.Net()
    net.add("Relu", ["x"], "inner")
    net.add("Identity", ["inner"], "b")
    net.add("Identity", ["inner"], "a")
    net.add("Neg", ["inner"], "c")
    _, _, engine = lowered(net.model({"x": (1, [2])}, {name: (1, [2]) for name in ("c", "b", "inner", "a")}), "float")
    outputs = engine.run({"x": np.array([-1, 2], np.float32)})
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "c": [0, -2],
        "b": [0, 2],
        "inner": [0, 2],
        "a": [0, 2],
    }


def test_inputs_that_may_not_be_written_to_are_read_all_the_same(lowered):
    """Several, and large: were one copied and let go of before the engine has read it, its memory would be reused."""
    shape = [1, 500_000]
    net = models.Net()
    net.add("Add", ["a", "b"], "ab")
    net.add("Add", ["ab", "c"], "y")
    _, _, engine = lowered(net.model(dict.fromkeys("abc", (1, shape)), {"y": (1, shape)}), "float")
    feeds = {name: np.full(shape, 10.0**power, np.float32) for power, name in enumerate("abc")}
    for array in feeds.values():
        array.setflags(write=False)
    np.testing.assert_array_equal(engine.run(feeds)["y"], 111)


@pytest.mark.parametrize("make", models.FLOAT, ids=_id)
def test_a_float_payload_computes_what_the_model_computes(lowered, make):
    """Float32 sums of products in another order: the last bits may differ, bfloat16 (2e-3) would not pass."""
    model = make()
    _, _, engine = lowered(model, "float")
    reference = Reference(model.SerializeToString(), "none")
    for seed in range(3):
        feeds = models.feeds_for(model, seed)
        outputs = engine.run(feeds)
        for name, expected in reference.run(feeds).items():
            np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("make", [*models.INT8, models.gemm_int8_to_float], ids=_id)
def test_an_int8_payload_computes_what_the_quantized_reference_computes(lowered, make):
    """Kernels round intermediate values differently, each by at most a step; an output adds up a few of those.

    The bound is a tenth of the output's standard deviation: a wrong zero point, axis or scale misses it by far.
    """
    model = make()
    _, _, engine = lowered(model, "int8")
    reference = Reference(model.SerializeToString(), "none")
    pairs = [
        (expected, outputs[name])
        for feeds in (models.feeds_for(model, seed) for seed in range(20))
        for outputs in [engine.run(feeds)]
        for name, expected in reference.run(feeds).items()
    ]
    expected, actual = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    assert np.abs(actual - expected).mean() < 0.1 * expected.std()


@pytest.mark.parametrize("make", models.INT8, ids=_id)
def test_an_int8_payload_is_computed_in_int8(lowered, make):
    model = make()
    payload, _, _ = lowered(model, "int8")
    multiplying = sum(node.op_type in ("Conv", "Gemm") for node in model.graph.node)
    assert payload.facts["int8_primitives"] == multiplying
    assert payload.facts["float_primitives"] == 0


def test_a_product_whose_result_is_float_is_computed_in_int8_or_named_as_lost(lowered):
    payload, _, _ = lowered(models.gemm_int8_to_float(), "int8")
    facts = payload.facts
    assert facts["int8_primitives"] + len(facts["lost_int8"]) == 2
    assert facts["lost_int8"] in ([], ["gemm.logits"])
    assert facts["int8_mac_fraction_executed"] == pytest.approx(0.8 if facts["lost_int8"] else 1.0)


def test_branches_are_computed_or_refused_by_name(backend, lowered, tmp_path):
    model = models.branches()
    (tmp_path / "branches.onnx").write_bytes(model.SerializeToString())
    (verdict,) = backend.supports(tmp_path / "branches.onnx", load_target("host"))
    if not verdict.supported:
        assert (verdict.node, verdict.op) == ("choose", "If")
        assert verdict.reason
        assert verdict.remedy
        return
    _, _, engine = lowered(model, "float")
    for condition, expected in ((True, [1, -2]), (False, [0, 2])):
        feeds = {"c": np.array(condition), "x": np.array([-1, 2], np.float32)}
        assert engine.run(feeds)["y"].tolist() == expected


def _or_refuses(backend, precision):
    """A backend makes a precision, or says plainly that it does not, before any work."""
    if precision in backend.precisions:
        return
    with pytest.raises(UsageError, match=f"makes no {precision} artifacts") as caught:
        require_precision(backend.name, precision)
    assert "--precision" in caught.value.fix
    pytest.skip(f"{backend.name} refuses {precision}, plainly")


@pytest.mark.parametrize("precision", models.SMALLER_WEIGHTS)
def test_smaller_weights_are_computed_in_float_and_nothing_but_float(backend, lowered, precision):
    """1e-4 of the output's range: 80 dB. Activations rounded to INT8 on the way would leave 40 dB."""
    _or_refuses(backend, precision)
    model = models.smaller_weights(precision)
    payload, _, engine = lowered(model, precision)
    reference = Reference(model.SerializeToString(), "none")
    for seed in range(3):
        feeds = models.feeds_for(model, seed)
        outputs = engine.run(feeds)
        for name, expected in reference.run(feeds).items():
            np.testing.assert_allclose(outputs[name], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert payload.facts["int8_primitives"] == 0


@pytest.mark.parametrize("precision", models.SMALLER_WEIGHTS)
def test_smaller_weights_stay_small_in_the_payload(backend, lowered, precision):
    """All files together; what surrounds the weights is at most 64 KiB for this model."""
    _or_refuses(backend, precision)
    model = models.smaller_weights(precision)
    payload, files, _ = lowered(model, precision)
    assert sum(map(len, files.values())) < models.stored_bytes(model) + (64 << 10)
    assert payload.facts["weight_bytes"] < 1.1 * models.stored_bytes(model) + 4096


@pytest.mark.parametrize("precision", models.SMALLER_WEIGHTS)
def test_weights_that_two_layers_want_in_different_arrangements_stay_small(backend, lowered, precision):
    _or_refuses(backend, precision)
    model = models.weights_of_two_layers(precision)
    payload, _, _ = lowered(model, precision)
    assert payload.facts["weight_bytes"] < 2.1 * models.stored_bytes(model) + 4096


def test_every_backend_says_what_it_can_make(backend):
    assert "int8" in backend.precisions
    assert set(backend.precisions) <= {"int8", "mixed", "int8-weights", "fp16", "float"}
    assert 8 in backend.activation_bits


@pytest.mark.parametrize("make", models.INT8, ids=_id)
def test_the_share_of_int8_is_counted_in_multiply_accumulates(lowered, make):
    payload, _, _ = lowered(make(), "int8")
    assert payload.facts["int8_mac_fraction_executed"] == payload.facts["int8_mac_fraction_declared"] == 1.0
    assert payload.facts["lost_int8"] == []


def test_a_float_payload_is_computed_in_float(lowered):
    payload, _, _ = lowered(models.conv_float(), "float")
    assert payload.facts["int8_primitives"] == 0
    assert payload.facts["float_primitives"] == 3
    assert payload.facts["float_layers"] == ["conv.c1", "conv.c2", "gemm.scores"]


def test_a_payload_that_claims_int8_and_computes_in_float_is_refused(backend, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(models.conv_float(), path)
    (tmp_path / "out").mkdir()
    with pytest.raises(Exception, match="INT8") as caught:
        backend.lower(LowerJob(path, load_target("host"), "int8", tmp_path / "out"))
    assert caught.value.exit_code == 70


_DIGESTS = """
import hashlib, json, sys, tempfile
from pathlib import Path
from edgec.backends import load_backend
from edgec.backends.base import LowerJob
from edgec.targets import load_target
digests = []
for repeat in range(2):
    with tempfile.TemporaryDirectory() as folder:
        payload = load_backend(sys.argv[1]).lower(
            LowerJob(Path(sys.argv[2]), load_target("host"), sys.argv[3], Path(folder)))
        digests.append({name: hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest() for name in payload.files})
print(json.dumps(digests))
"""


@pytest.mark.parametrize(("make", "precision"), [(models.conv_int8, "int8"), (models.recurrent, "float")], ids=_id)
def test_equal_jobs_give_equal_bytes(backend, make, precision, tmp_path):
    """In fresh processes with other hash seeds, folders and model paths, and twice in each."""
    if precision not in backend.precisions:
        pytest.skip(f"{backend.name} makes no {precision} payloads")
    found = []
    compilers_cache = {name: value for name, value in os.environ.items() if name.startswith("ZIG_")}
    for seed in ("0", "4711"):
        folder = tmp_path / f"folder {seed}"
        folder.mkdir()
        path = folder / f"model{seed}.onnx"
        path.write_bytes(make().SerializeToString(deterministic=True))
        done = subprocess.run(
            [sys.executable, "-c", _DIGESTS, backend.name, str(path), precision],
            env={
                "PYTHONHASHSEED": seed,
                "HOME": str(folder),
                "PYTHONPATH": ":".join(filter(None, sys.path)),
                **compilers_cache,
            },
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found += json.loads(done.stdout)
    assert len({json.dumps(digests, sort_keys=True) for digests in found}) == 1, found


def test_a_payload_does_not_tell_where_it_was_made(lowered, tmp_path):
    model = models.conv_float()
    model.metadata_props.add(key="exported_from", value=str(tmp_path))
    model.doc_string = str(tmp_path)
    _, files, _ = lowered(model, "float")
    for name, content in files.items():
        assert str(tmp_path).encode() not in content, name


def test_every_node_of_a_fine_model_is_supported(backend, tmp_path):
    """A backend of integers alone may refuse what has no integer form."""
    for make, precision in ALL:
        model = make()
        onnx.save(model, tmp_path / "model.onnx")
        verdicts = backend.supports(tmp_path / "model.onnx", load_target("host"))
        assert [verdict.op for verdict in verdicts] == [node.op_type for node in model.graph.node]
        if precision in backend.precisions:
            assert all(verdict.supported for verdict in verdicts), make.__name__


def test_an_unknown_operator_is_named_with_a_reason_and_a_remedy(backend, tmp_path):
    (tmp_path / "model.onnx").write_bytes(models.with_unknown_operator().SerializeToString())
    fine, unknown = backend.supports(tmp_path / "model.onnx", load_target("host"))
    assert fine.supported
    assert (unknown.node, unknown.op, unknown.supported) == ("unknown", "com.example.Bogus", False)
    assert unknown.reason
    assert unknown.remedy


def test_results_are_the_callers_own(lowered):
    """A second run must not change the arrays that the first one returned."""
    model = models.conv_float()
    _, _, engine = lowered(model, "float")
    first = engine.run(models.feeds_for(model, 0))["scores"]
    kept = first.copy()
    engine.run(models.feeds_for(model, 1))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("layout", ["read-only", "strided", "Fortran order"])
def test_an_array_is_taken_however_it_lies_in_memory(lowered, layout):
    model = models.conv_float()
    image = models.feeds_for(model)["image"]
    given = {
        "read-only": np.frombuffer(image.tobytes(), image.dtype).reshape(image.shape),
        "strided": np.repeat(image, 2, axis=3)[..., ::2],
        "Fortran order": np.asfortranarray(image),
    }[layout]
    _, _, engine = lowered(model, "float")
    np.testing.assert_array_equal(engine.run({"image": given})["scores"], engine.run({"image": image})["scores"])


def test_the_engine_does_not_change_what_it_is_given(lowered):
    model = models.conv_float()
    feeds = models.feeds_for(model)
    before = hashlib.sha256(feeds["image"].tobytes()).digest()
    _, _, engine = lowered(model, "float")
    engine.run(feeds)
    assert hashlib.sha256(feeds["image"].tobytes()).digest() == before


def test_asking_for_a_backend_imports_nothing_heavy(backend):
    code = (
        "import sys; from edgec.backends import load_backend; load_backend(sys.argv[1]).availability();"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'openvino', 'ai_edge_litert', 'flatbuffers'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, backend.name], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_says_which_profiles_suit_it_the_best_first(backend):
    assert backend.profiles
    assert len(set(backend.profiles)) == len(backend.profiles)
    assert set(backend.profiles) <= set(get_args(Profile))
    assert 8 in backend.activation_bits
