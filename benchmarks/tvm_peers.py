"""Models compiled by the TVM backend beside ONNX Runtime, OpenVINO and LiteRT, interleaved in one process.

    python benchmarks/tvm_peers.py [--models NAME,...] [--runs 160] [--folder FOLDER] [--nncf-python PATH] [--cpu-time]

The models are those of `tvm_models.py`, built once (and kept in FOLDER):

    edgec TVM INT8          the compiled library, called through edgec's own engine
    edgec TVM INT8 x2       the same with two threads
    edgec TVM FP32          the float model, compiled
    ONNX Runtime FP32       the float model
    ONNX Runtime QDQ        edgec's quantized reference
    OpenVINO QDQ            the same file
    OpenVINO NNCF           what NNCF makes of the float model, with --nncf-python (`quantizer_peers.py`)
    LiteRT FP32, INT8       edgec's .tflite files of both

All but the second have one thread. Machines are noisy, so only the ratio of medians of interleaved runs says something.
Engines take turns of some runs each, as a device runs one model again and again; the first of a turn, which finds the
caches full of another model's weights, does not count. --cpu-time counts the process's CPU time in place of the clock
on the wall: others on the machine disturb it less, and threads do not shorten it.

A last line says how long one compilation of each model took, and the memory that its process had at most.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import tflite
from model_zoo.packages import Unavailable
from tvm_models import MODELS, prepared

from edgec.runtime.engines.tvm import load
from edgec.targets import Target, load_target

TURN = 8
OURS = "edgec TVM INT8"
TWO_THREADS = f"{OURS} x2"
FLOAT = "edgec TVM FP32"
_LIMIT = 600  # CPU seconds of a conversion

Feeds = Mapping[str, np.ndarray]
Run = Callable[[], object]


@dataclass
class Engine:
    """One way to run a model. failure: why there is none. times: milliseconds."""

    name: str
    run: Run | None = None
    failure: str = ""
    times: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.times)


@dataclass(frozen=True)
class Cost:
    """Of one compilation, in a process of its own: CPU seconds, and the most memory."""

    seconds: float
    mib: float


def compiled(model: Path, precision: str, target: Target, out: Path) -> Cost:
    """Write the library of a model at `out`. Raises RuntimeError with what the compiler says."""
    command = [sys.executable, __file__, "--compile", str(model), precision, target.name, str(out)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(said[-1][:160] if said else f"exit code {done.returncode}")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, float(done.stdout.splitlines()[-1]))


def compile_here(model: Path, precision: Literal["int8", "float"], target: Target, out: Path) -> None:
    """The work of `compiled`. The last line that is printed is the most memory, in MiB."""
    from edgec.backends.tvm.building import build
    from edgec.backends.tvm.isa import name_for

    isa = name_for(target)
    assert isa is not None, f"no kernels for {target.name}"
    build(model, precision, isa, target, out)
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024)


def library(path: Path, feeds: Feeds, threads: int) -> Run:
    engine = load({path.name: path.read_bytes()}, {}, threads)
    return lambda: engine.run(feeds)


def onnx_runtime(model: Path, feeds: Feeds) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(feeds))


def openvino(model: Path, feeds: Feeds) -> Run:
    import openvino as ov

    options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = ov.Core().compile_model(str(model), "CPU", options).create_infer_request()
    return lambda: request.infer(dict(feeds), share_inputs=True, share_outputs=True)


def litert(folder: Path, converter: str, feeds: Feeds) -> Run:
    """What edgec's TFLite backend makes of the model; inputs in the file's own order of dimensions."""
    from ai_edge_litert.interpreter import Interpreter

    row = tflite.convert(converter, sys.executable, folder, _LIMIT)
    if row.failure:
        raise RuntimeError(row.failure)
    interpreter = Interpreter(model_path=str(folder / f"{converter}.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    (given,), made = interpreter.get_input_details(), interpreter.get_output_details()
    (value,) = feeds.values()
    if value.shape != tuple(given["shape"]):
        value = np.ascontiguousarray(value.transpose(0, 2, 3, 1))

    def run() -> object:
        interpreter.set_tensor(given["index"], value)
        interpreter.invoke()
        return [interpreter.get_tensor(item["index"]) for item in made]

    return run


def nncf(python: str, folder: Path, feeds: Feeds) -> Run:
    """NNCF's model in OpenVINO."""
    data = folder / "feeds"
    data.mkdir(exist_ok=True)
    np.savez(data / "0.npz", **feeds)  # type: ignore[arg-type]
    peers = str(Path(__file__).with_name("quantizer_peers.py"))
    command = [python, peers, "NNCF", str(folder), str(_LIMIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.splitlines()[-1][:160] if done.stderr else f"exit code {done.returncode}")
    return openvino(folder / "quantized.onnx", feeds)


def engines(
    folder: Path, feeds: Feeds, target: Target, scratch: Path, python: str
) -> tuple[list[Engine], dict[str, Cost]]:
    """All engines of a model, and what compiling it took."""
    quantized, original, costs = folder / "qdq.onnx", folder / "model.onnx", dict[str, Cost]()

    def ours(name: str, model: Path, precision: str, threads: int = 1) -> Run:
        path = scratch / f"{precision}.so"
        if not path.exists():
            costs[name] = compiled(model, precision, target, path)
        return library(path, feeds, threads)

    ways: dict[str, Callable[[], Run]] = {
        OURS: lambda: ours(OURS, quantized, "int8"),
        TWO_THREADS: lambda: ours(TWO_THREADS, quantized, "int8", 2),
        FLOAT: lambda: ours(FLOAT, original, "float"),
        "ONNX Runtime FP32": lambda: onnx_runtime(original, feeds),
        "ONNX Runtime QDQ": lambda: onnx_runtime(quantized, feeds),
        "OpenVINO QDQ": lambda: openvino(quantized, feeds),
        **({"OpenVINO NNCF": lambda: nncf(python, folder, feeds)} if python else {}),
        "LiteRT FP32": lambda: litert(folder, "edgec float", feeds),
        "LiteRT INT8": lambda: litert(folder, "edgec INT8", feeds),
    }
    found = []
    for name, make in ways.items():
        try:
            run = make()
            run()
            found.append(Engine(name, run))
        except Exception as error:  # whatever an engine says of a model that it can't run
            found.append(Engine(name, failure=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"))
    return found, costs


def interleave(found: list[Engine], runs: int, clock: Callable[[], int]) -> None:
    """Fill in the times, in turns."""
    for turn in range(1 + runs // TURN):
        for engine in found:
            if engine.run is None:
                continue
            engine.run()
            for _ in range(TURN):
                began = clock()
                engine.run()
                if turn:  # the first turn warms up
                    engine.times.append((clock() - began) / 1e6)


def table(found: list[Engine]) -> str:
    """Markdown: one row an engine, with the ratio of ours to it."""
    ours = next(engine for engine in found if engine.name == OURS)
    floats = next(engine for engine in found if engine.name == FLOAT)
    lines = ["| engine | p50 ms | edgec INT8 / it | edgec FP32 / it |", "|---|---|---|---|"]
    for engine in found:
        if engine.failure:
            lines.append(f"| {engine.name} | | | {engine.failure.replace('|', ' ')} |")
            continue
        ratios = [f"{us.median / engine.median:.2f}" if us.times and us is not engine else "" for us in (ours, floats)]
        lines.append(f"| {engine.name} | {engine.median:.3f} | {ratios[0]} | {ratios[1]} |")
    peers = [engine for engine in found if engine.times and not engine.name.startswith("edgec")]
    if ours.times and peers:
        best = min(peers, key=lambda engine: engine.median)
        lines.append(f"\nINT8 takes {ours.median / best.median:.2f} of the best peer ({best.name}).")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--compile"]:
        model, precision, name, out = sys.argv[2:]
        compile_here(Path(model), precision, load_target(name), Path(out))  # type: ignore[arg-type]
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help=f"default: {','.join(MODELS)}")
    parser.add_argument("--runs", type=int, default=160)
    parser.add_argument("--folder", type=Path, help="where models are kept that have been prepared")
    parser.add_argument("--target", default="x86-64-vnni")
    parser.add_argument("--nncf-python", default="", help="an interpreter that has nncf, onnx and onnxruntime")
    parser.add_argument("--cpu-time", action="store_true")
    arguments = parser.parse_args()
    target = load_target(arguments.target)
    clock = time.process_time_ns if arguments.cpu_time else time.perf_counter_ns
    with tempfile.TemporaryDirectory() as name:
        for model in arguments.models.split(","):
            try:
                folder = prepared(model, arguments.folder or Path(name), target)
            except Unavailable as error:
                print(f"\n### {model}\n\ncan't be fetched: {error}")
                continue
            with np.load(folder / "example.npz") as stored:
                feeds = dict(stored)
            scratch = Path(name) / f"made-{model}"
            scratch.mkdir()
            found, costs = engines(folder, feeds, target, scratch, arguments.nncf_python)
            interleave(found, arguments.runs, clock)
            print(f"\n### {model}, {arguments.runs} interleaved runs\n\n{table(found)}")
            for way, cost in costs.items():
                print(f"\nCompiling for {way}: {cost.seconds:.1f} s of CPU, {cost.mib:.0f} MiB at most.", flush=True)


if __name__ == "__main__":
    main()
