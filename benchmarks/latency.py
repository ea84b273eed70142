"""Latency of edgec's artifact beside ONNX Runtime and OpenVINO, interleaved in one process.

    python benchmarks/latency.py [--runs 60] [--threads 1]

Builds efficientnet_lite0 (real weights, calibrated on photos) and runs, in turn, one inference of each:

    edgec                  the .edgec artifact, through its own runtime
    ONNX Runtime FP32      the original model, default options
    ONNX Runtime INT8      the original, simplified, through onnxruntime.quantization (static QDQ, per channel)
    OpenVINO FP32          the original, INFERENCE_PRECISION_HINT=f32

Machines are noisy, so only the ratio of the medians of interleaved runs says something. They take turns of a few runs
each, as a device runs one model again and again; the first of a turn, which finds the caches full of another model's
weights, does not count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from model_zoo import efficientnet_lite0

import edgec
from edgec.runtime import load

Run = Callable[[np.ndarray], object]
TURN = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=160)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    case = efficientnet_lite0.case()
    with tempfile.TemporaryDirectory() as folder:
        result = edgec.build(case.model, calibration=case.calibration, preprocess=case.recipe, output=folder)
        (built,) = result.builds
        assert built.artifact is not None
        contenders = {
            "edgec": artifact(built.artifact.path, options.threads),
            "ONNX Runtime FP32": onnx_runtime(case.model, options.threads),
            "ONNX Runtime INT8": onnx_runtime(quantized(case, Path(folder)), options.threads),
            "OpenVINO FP32": openvino(case.model, options.threads),
        }
        times = interleave(contenders, options.runs)
    show(times, options.threads, built)


def artifact(path: Path, threads: int) -> Run:
    model = load(path, threads=threads)
    return lambda image: model.run({"image": image})


def onnx_runtime(model: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})


def openvino(model: Path, threads: int) -> Run:
    import openvino as ov

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(str(model), "CPU", options)
    return lambda image: compiled([image])


def quantized(case: object, folder: Path) -> Path:
    """The peer's own INT8 of the same model, on the same pictures."""
    import logging

    import onnx
    import onnxsim
    from onnxruntime import quantization

    from edgec.calibration_data.sources import open_source
    from edgec.contract import Contract, TensorSpec
    from edgec.recipes import load_recipe

    logging.getLogger().setLevel(logging.ERROR)
    simplified, _ = onnxsim.simplify(onnx.load(case.model))  # type: ignore[attr-defined]
    onnx.save(simplified, folder / "simplified.onnx")
    contract = Contract((TensorSpec("image", "float32", (1, 3, 224, 224)),), ())
    source = open_source(case.calibration, contract, load_recipe(case.recipe), {}, None)  # type: ignore[attr-defined]

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.samples = source.read()

        def get_next(self) -> dict[str, np.ndarray] | None:
            sample = next(self.samples, None)
            return None if sample is None else dict(sample.steps[0])

    target = folder / "peer_int8.onnx"
    quantization.quantize_static(folder / "simplified.onnx", target, Reader(), per_channel=True)
    return target


def interleave(contenders: dict[str, Run], runs: int) -> dict[str, list[float]]:
    """Milliseconds of each, in turns of a few runs; the first run of a turn finds cold caches and does not count."""
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(1 + runs // TURN):
        for name, run in contenders.items():
            run(image)
            for _ in range(TURN):
                began = time.perf_counter()
                run(image)
                if turn:  # the first turn warms up
                    times[name].append((time.perf_counter() - began) * 1e3)
    return times


def show(times: dict[str, list[float]], threads: int, built: object) -> None:
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"efficientnet_lite0, {threads} thread(s), {len(times['edgec'])} interleaved runs")
    print(f"{'':<20} {'p50 ms':>8} {'p25':>7} {'p75':>7}   edgec is")
    for name, values in times.items():
        low, _, high = statistics.quantiles(values, n=4)
        ratio = medians[name] / medians["edgec"]
        print(f"{name:<20} {medians[name]:8.2f} {low:7.2f} {high:7.2f}   {ratio:.2f}x as fast")
    print(f"INT8 share of multiply-accumulates: {built.int8_mac_fraction:.1%}")  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
