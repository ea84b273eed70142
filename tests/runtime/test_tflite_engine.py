"""TensorFlow Lite's engine: between the contract of the artifact and what the file takes and gives."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from edgec.backends.tflite.writer import write_graph
from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Quantization, TensorType
from edgec.runtime.engine_packages import packages_for
from edgec.runtime.engines import open_engine
from edgec.runtime.errors import BundleError, EngineMissing, InputError
from edgec.runtime.model import check_engine


def border(name, dtype="float32", permutation=None, scale=None, zero_point=None, index_name=None, contract=None):
    return {
        "name": name,
        "index_name": index_name or name,
        "permutation": permutation,
        "dtype": dtype,
        "scale": scale,
        "zero_point": zero_point,
        "contract": contract,
    }


def engine(of, inputs, outputs, kind=kinds.Reshape, threads=1):
    """A file that gives what it is fed, behind a border."""
    builder = GraphBuilder()
    builder.input("x", of)
    builder.add(kind(of.shape), ["x"], "y", types=[of])
    content = bytes(write_graph(builder.finish(["y"]), "test").content)
    return open_engine("tflite", {"model.tflite": content}, {"inputs": inputs, "outputs": outputs}, threads)


def test_dimensions_are_permuted_on_the_way_in_and_back_on_the_way_out():
    order = [0, 2, 3, 1]
    made = engine(TensorType((1, 4, 5, 3), "float32"), [border("x", permutation=order)], [border("y")])
    image = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    np.testing.assert_array_equal(made.run({"x": image})["y"], image.transpose(order))
    back = engine(TensorType((1, 4, 5, 3), "float32"), [border("x")], [border("y", permutation=order)])
    np.testing.assert_array_equal(back.run({"x": image.transpose(order)})["y"], image)


@pytest.mark.parametrize("contract", ["float16", "float64"])
def test_floats_of_another_width_are_float32_in_the_file(contract):
    made = engine(TensorType((3,), "float32"), [border("x", contract=contract)], [border("y", contract=contract)])
    fed = np.array([0.1, -2.5, 6e4], contract)
    found = made.run({"x": fed})["y"]
    assert found.dtype == contract
    np.testing.assert_array_equal(found, fed.astype(np.float32).astype(contract))


@pytest.mark.parametrize(("given", "taken"), [("float64", "float32"), ("float32", "float16")])
@pytest.mark.filterwarnings("error")
def test_floats_beyond_the_range_are_infinite(given, taken):
    widths = [name if name != "float32" else None for name in (given, taken)]
    made = engine(TensorType((1,), "float32"), [border("x", contract=widths[0])], [border("y", contract=widths[1])])
    assert made.run({"x": np.full(1, 2 * float(np.finfo(taken).max), given)})["y"] == np.inf


def test_integers_stand_for_floats_of_any_width():
    integers = border("x", "int8", scale=0.1, zero_point=3, contract="float16")
    of = TensorType((2,), "int8", Quantization.per_tensor(0.1, 3))
    made = engine(of, [integers], [{**integers, "name": "y", "index_name": "y"}])
    found = made.run({"x": np.array([0.52, -99], np.float16)})["y"]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, [0.5, -13.1], rtol=1e-3)


def test_real_numbers_become_the_integers_that_stand_for_them_and_back():
    grid = Quantization.per_tensor(0.1, 3)
    of = TensorType((5,), "int8", grid)
    integers = border("x", "int8", scale=grid.scale[0], zero_point=3)
    made = engine(of, [integers], [border("y", "int8")])
    fed = np.array([0.0, 0.149, 0.151, -99.0, 99.0], np.float32)
    assert made.run({"x": fed})["y"].tolist() == [3, 4, 5, -128, 127]
    real = engine(of, [integers], [{**integers, "name": "y", "index_name": "y"}]).run({"x": fed})["y"]
    assert real.dtype == np.float32
    np.testing.assert_allclose(real, [0.0, 0.1, 0.2, -13.1, 12.4], rtol=1e-6)


def test_integers_that_do_not_fit_are_refused():
    made = engine(TensorType((2,), "int32"), [border("x", "int32")], [border("y", "int32")])
    assert made.run({"x": np.array([1, -2])})["y"].tolist() == [1, -2]
    with pytest.raises(InputError, match="fit into int32") as caught:
        made.run({"x": np.array([1, 2**40])})
    assert "2147483647" in caught.value.fix


def test_scalars_are_fed_and_read():
    made = engine(TensorType((), "float32"), [border("x")], [border("y")])
    assert made.run({"x": np.array(2.5, np.float32)})["y"].shape == ()


def test_a_payload_that_does_not_fit_its_description_is_refused():
    with pytest.raises(BundleError, match="fit its description") as caught:
        engine(TensorType((2,), "float32"), [border("x")], [border("y", index_name="z")])
    assert "'z'" in caught.value.why
    assert "'y'" in caught.value.why


def test_options_of_a_newer_edgec_are_refused():
    with pytest.raises(EngineMissing, match="turbo"):
        open_engine("tflite", {"model.tflite": b""}, {"inputs": [], "outputs": [], "turbo": True})


def test_options_that_are_missing_are_refused():
    with pytest.raises(BundleError, match="incomplete"):
        open_engine("tflite", {"model.tflite": b""}, {})


def test_what_the_interpreter_can_not_load_is_refused_in_its_own_words():
    with pytest.raises(EngineMissing, match="can't load the model") as caught:
        open_engine("tflite", {"model.tflite": b"no flatbuffer at all, but some bytes"}, {"inputs": [], "outputs": []})
    assert caught.value.why


class Stub:
    """An interpreter of tflite-runtime, as far as the engine asks."""

    def __init__(self, model_content, num_threads, experimental_delegates):
        self.threads = num_threads

    def allocate_tensors(self):
        pass

    def get_input_details(self):
        return []

    get_output_details = get_input_details


def _without_litert(monkeypatch, interpreter=None):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    if interpreter is not None:
        module = types.ModuleType("tflite_runtime.interpreter")
        module.Interpreter = interpreter
        monkeypatch.setitem(sys.modules, "tflite_runtime", types.ModuleType("tflite_runtime"))
        monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", module)


def test_tflite_runtime_does_as_well(monkeypatch):
    _without_litert(monkeypatch, Stub)
    made = open_engine("tflite", {"model.tflite": b""}, {"inputs": [], "outputs": []})
    assert made.version == "unknown"  # the stand-in has no distribution
    needed = {"name": "tflite", "distribution": "ai-edge-litert", "minimum_version": "2.1"}
    assert packages_for(needed) == {"ai-edge-litert": "2.1", "tflite-runtime": "2.14"}


def test_without_any_interpreter_both_are_named(monkeypatch):
    _without_litert(monkeypatch)
    with pytest.raises(EngineMissing) as caught:
        open_engine("tflite", {"model.tflite": b""}, {"inputs": [], "outputs": []})
    assert "ai-edge-litert" in caught.value.fix
    assert "tflite-runtime" in caught.value.fix


def test_a_tflite_runtime_that_is_there_and_does_not_work_is_told_from_one_that_is_missing(monkeypatch):
    def broken(**given):
        raise SystemError("CreateWrapperFromFile returned a result with an exception set")

    _without_litert(monkeypatch, broken)
    with pytest.raises(EngineMissing) as caught:
        open_engine("tflite", {"model.tflite": b""}, {"inputs": [], "outputs": []})
    assert "numpy<2" in caught.value.why


@pytest.mark.parametrize(
    ("numpy", "runtime", "works"),
    [
        ("2.3.1", "2.14.0", False),
        ("2.3.1", "2.5.0.post1", False),
        ("1.26.4", "2.14.0", True),
        ("2.3.1", "2.17.1", True),  # no release, but a build of someone's own
        ("2.3.1", None, True),
    ],
)
def test_a_tflite_runtime_that_was_compiled_for_another_numpy_is_never_imported(monkeypatch, numpy, runtime, works):
    import importlib.metadata

    def version(name):
        if name == "tflite-runtime" and runtime is not None:
            return runtime
        raise importlib.metadata.PackageNotFoundError(name)

    _without_litert(monkeypatch, Stub)
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(np, "__version__", numpy)
    if works:
        made = open_engine("tflite", {"model.tflite": b""}, {"inputs": [], "outputs": []})
        assert made.version == (runtime or "unknown")
        return
    with pytest.raises(EngineMissing) as caught:
        open_engine("tflite", {"model.tflite": b""}, {"inputs": [], "outputs": []})
    assert f"tflite-runtime {runtime} was compiled for numpy 1, and numpy 2.3.1 is installed" in caught.value.why
    assert "numpy<2" in caught.value.fix


def test_the_check_of_an_artifact_takes_the_alternative(monkeypatch):
    import importlib.metadata

    known = {"tflite-runtime": "2.14.0"}

    def version(name):
        if name not in known:
            raise importlib.metadata.PackageNotFoundError(name)
        return known[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    needed = {"name": "tflite", "distribution": "ai-edge-litert", "minimum_version": "2.3.0"}
    assert check_engine(needed) == []
    known["tflite-runtime"] = "2.5.0"
    (warning,) = check_engine(needed)
    assert "tflite-runtime 2.5.0 is older than 2.14" in warning
    known.clear()
    with pytest.raises(EngineMissing, match="not installed") as caught:
        check_engine(needed)
    assert "tflite-runtime 2.14" in caught.value.why
