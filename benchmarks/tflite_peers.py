"""The converters that `tflite.py` compares, each as a function that writes one .tflite file.

Run as `tflite_peers.py NAME FOLDER SECONDS` in a process of its own, by an interpreter that has the converter; only
edgec's own functions import edgec. FOLDER holds model.onnx (float, simplified, all shapes known), feeds/ with one .npz
file a sample, build.json for edgec, and what edgec made before: qdq.onnx, and float.tflite for the quantizer that takes
one. The last line that is printed is JSON: what was done, and what the conversion itself took.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

MEMORY = 24 * 2**30
"""Bytes of address space that a converter may have; TensorFlow reserves much more than it uses."""

Facts = dict[str, Any]


def feeds(folder: Path) -> list[dict[str, np.ndarray]]:
    """The calibration samples, in order."""
    found = []
    for path in sorted((folder / "feeds").glob("*.npz")):
        with np.load(path) as stored:
            found.append(dict(stored))
    return found


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array


@contextmanager
def measured() -> Iterator[Facts]:
    """Seconds of what runs inside, the peak of the process's memory, and by how much it has risen meanwhile."""
    facts: Facts = {}
    before, started = _peak_mib(), time.perf_counter()
    yield facts
    facts.update(seconds=time.perf_counter() - started, peak_mib=_peak_mib(), raised_mib=_peak_mib() - before)


def _peak_mib() -> float:
    """Of this program's resident memory. What `getrusage` tells of a child begins with the size of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def build_edgec(folder: Path, target: Path) -> Facts:
    """A whole build. Leaves qdq.onnx, which `lower_edgec` takes."""
    import edgec
    from edgec.errors import ParityGateError
    from edgec.runtime.bundle import Bundle
    from edgec.store import Store

    options = json.loads((folder / "build.json").read_text())
    with measured() as facts:
        try:
            result = edgec.build(folder / "model.onnx", output=folder / "dist", backend="tflite", **options)
        except ParityGateError as refusal:
            result = refusal.result
    (built,) = result.builds
    entries = Store.default().root / "entries"
    keys = {stage.name: stage.key for stage in built.stages}
    shutil.copyfile(entries / keys["quantize"] / "qdq.onnx", folder / "qdq.onnx")
    if built.artifact is not None:
        files = Bundle.open(built.artifact.path).payload()
        target.write_bytes(next(content for name, content in files.items() if name.endswith(".tflite")))
    else:
        shutil.copyfile(next((entries / keys["lower"] / "payload").glob("*.tflite")), target)
    refused = "" if built.error is None else f", but its own gate refuses it: {built.error.what}"
    return {**facts, "note": f"whole build, {built.precision}{refused}"}


def lower_edgec(
    folder: Path,
    target: Path,
    precision: Literal["float", "int8", "mixed"],
    interface: Literal["float", "int8"] = "float",
) -> Facts:
    """The conversion alone, of the quantized reference or of the float model."""
    from edgec.backends import load_backend
    from edgec.backends.base import LowerJob
    from edgec.targets import load_target

    backend = load_backend("tflite")
    source = folder / ("model.onnx" if precision == "float" else "qdq.onnx")
    precision = _as_quantized(source) if precision == "int8" else precision
    with tempfile.TemporaryDirectory() as out:
        with measured() as facts:
            payload = backend.lower(LowerJob(source, load_target("host"), precision, Path(out), interface))
        shutil.copyfile(Path(out) / payload.files[0], target)
    return {**facts, "note": f"lowering alone, {precision}"}


def _as_quantized(model: Path) -> Literal["int8", "mixed"]:
    """int8, or mixed where a product is left in float."""
    import onnx

    from edgec.onnx_graph.graph import MAC_OPS, Graph

    graph = Graph(onnx.load(str(model)))
    behind = {name for node in graph.nodes if node.op_type == "DequantizeLinear" for name in node.output}
    whole = all(behind >= set(node.input[:2]) for node in graph.nodes if node.op_type in MAC_OPS)
    return "int8" if whole else "mixed"


def run_onnx2tf(folder: Path, target: Path, integers: bool) -> Facts:
    """On a copy of the model, which onnx2tf writes to; its nodes are renamed, because TensorFlow refuses some names.
    The samples go in as they are: mean 0, deviation 1."""
    from importlib.metadata import version

    import onnx
    import onnx2tf

    model = onnx.load(str(folder / "model.onnx"))
    (model_input,) = model.graph.input
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        onnx.save(model, str(work / "model.onnx"))
        # What it else downloads, also for a float conversion, is looked for in the working folder first.
        sample = np.random.default_rng(0).random((20, 128, 128, 3), np.float32)
        np.save(work / "calibration_image_sample_data_20x128x128x3_float32.npy", sample)
        options: dict[str, Any] = {}
        if integers:
            data = np.concatenate([channels_last(item[model_input.name]) for item in feeds(folder)])
            np.save(work / "samples.npy", data)
            channels = data.shape[-1]
            statistics = ([[[[value] * channels]]] for value in (0, 1))
            options["output_integer_quantized_tflite"] = True
            options["custom_input_op_name_np_data_path"] = [[model_input.name, "samples.npy", *statistics]]
        os.chdir(work)
        with measured() as facts:
            onnx2tf.convert(
                input_onnx_file_path="model.onnx",
                output_folder_path="out",
                copy_onnx_input_output_names_to_tflite=True,
                verbosity="error",
                **options,
            )
        kind = "full_integer_quant" if integers else "float32"
        shutil.copyfile(work / "out" / f"model_{kind}.tflite", target)
        os.chdir(folder)
    return {**facts, "note": f"onnx2tf {version('onnx2tf')}, {kind}"}


def run_quantizer(folder: Path, target: Path) -> Facts:
    """Of edgec's float file."""
    from importlib.metadata import version

    from ai_edge_quantizer import quantizer, recipe

    source = str(folder / "float.tflite")
    from ai_edge_litert.interpreter import Interpreter

    (name,) = Interpreter(model_path=source).get_signature_list()["serving_default"]["inputs"]
    shape = Interpreter(model_path=source).get_input_details()[0]["shape"]
    data = [{name: _fitted(next(iter(item.values())), shape)} for item in feeds(folder)]
    with measured() as facts:
        worker = quantizer.Quantizer(source)
        worker.load_quantization_recipe(recipe.static_wi8_ai8())
        made = worker.quantize(worker.calibrate({"serving_default": data}))
    target.write_bytes(bytes(made.quantized_model))
    return {**facts, "note": f"ai-edge-quantizer {version('ai-edge-quantizer')}, static_wi8_ai8"}


def _fitted(array: np.ndarray, shape: Any) -> np.ndarray:
    return array if array.shape == tuple(shape) else channels_last(array)


CONVERTERS: dict[str, Callable[[Path, Path], Facts]] = {
    "edgec build": build_edgec,
    "edgec float": partial(lower_edgec, precision="float"),
    "edgec INT8": partial(lower_edgec, precision="int8"),
    "edgec --io int8": partial(lower_edgec, precision="int8", interface="int8"),
    "onnx2tf 1 float": partial(run_onnx2tf, integers=False),
    "onnx2tf 1 INT8": partial(run_onnx2tf, integers=True),
    "onnx2tf 2 float": partial(run_onnx2tf, integers=False),
    "onnx2tf 2 INT8": partial(run_onnx2tf, integers=True),
    "ai-edge-quantizer INT8": run_quantizer,
}


def main() -> None:
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]).resolve(), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    try:
        facts = CONVERTERS[name](folder, folder / "made.tflite")
    except MemoryError:
        sys.exit(f"needs more than {MEMORY / 2**30:.0f} GiB")
    except Exception as error:
        while error.__cause__ is not None:
            error = error.__cause__  # type: ignore[assignment]
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
