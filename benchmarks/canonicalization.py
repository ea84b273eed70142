"""What canonicalization does to real models: nodes, rewrites, the difference it makes, and the time of the float model.

    python benchmarks/canonicalization.py [MODEL ...] [--runs 40] [--threads 1]

Each model of the zoo (default: ppocrv4_rec, ppocrv4_det, magika, minilm_l6_v2) goes through ingest and simplify. Then
the simplified model and its normal form run in turn in one process, in ONNX Runtime and in OpenVINO (f32), with default
options but for the threads. The times are medians of the process's CPU time for one inference, so that other load on
the machine says little; the float model is measured because that is all that canonicalization changes by itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from model_zoo.case import Case
from model_zoo.fetch import CASES
from model_zoo.packages import Unavailable

from edgec.contract import Contract
from edgec.onnx_graph.made_up_inputs import probe_inputs
from edgec.reference import open_session
from edgec.stage import StageContext
from edgec.stages import canonicalize, ingest, simplify

DEFAULT = ("ppocrv4_rec", "ppocrv4_det", "magika", "minilm_l6_v2")
WARM = 3

Run = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """document: canonicalize.json. seconds: of the stage. ms: CPU time by engine and form ("before", "after")."""

    document: dict[str, Any]
    seconds: float
    ms: dict[tuple[str, str], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(sorted(CASES))}")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if unknown := set(options.models) - set(CASES):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    found = {}
    for name in options.models or DEFAULT:
        try:
            case = CASES[name]()
        except Unavailable as error:
            print(f"{name} can't be fetched: {error}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(case, Path(folder), options.runs, options.threads)
    show(found)


def measure(case: Case, folder: Path, runs: int, threads: int) -> Measured:
    """Bring one model into its normal form, and time both forms."""
    shapes = tuple(sorted((name, tuple(shape)) for name, shape in case.shapes.items()))
    state = tuple(sorted(case.state.items()))
    ingested = stage(folder, "ingest", lambda to: ingest.run(case.model, ingest.IngestParams(shapes, state), to))
    before = stage(folder, "simplify", lambda to: simplify.run(ingested, simplify.SimplifyParams(), to))
    began = time.perf_counter()
    params = canonicalize.CanonicalizeParams()
    after = stage(folder, "canonicalize", lambda to: canonicalize.run(before, params, to))
    seconds = time.perf_counter() - began
    feeds = list(probe_inputs(Contract.read(before).inputs, {}))[1]
    contenders = {
        (engine, form): made(path / "model.onnx", feeds, threads)
        for engine, made in (("ONNX Runtime", onnx_runtime), ("OpenVINO", openvino))
        for form, path in (("before", before), ("after", after))
    }
    document = json.loads((after / "canonicalize.json").read_text(encoding="utf-8"))
    return Measured(document, seconds, interleaved(contenders, runs))


def stage(folder: Path, name: str, run: Callable[[StageContext], None]) -> Path:
    out = folder / name
    out.mkdir()
    run(StageContext(name, out, lambda event: None))
    return out


def onnx_runtime(model: Path, feeds: dict[str, np.ndarray], threads: int) -> Run:
    session = open_session(model, "all", threads)
    return lambda: session.run(None, feeds)


def openvino(model: Path, feeds: dict[str, np.ndarray], threads: int) -> Run:
    import openvino as ov

    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(str(model), "CPU", options).create_infer_request()
    return lambda: request.infer(feeds)


def interleaved(contenders: dict[tuple[str, str], Run], runs: int) -> dict[tuple[str, str], float]:
    """The median CPU time of each in milliseconds; they take turns."""
    times: dict[tuple[str, str], list[float]] = {key: [] for key in contenders}
    for turn in range(runs + WARM):
        for key, run in contenders.items():
            began = time.process_time()
            run()
            if turn >= WARM:
                times[key].append(1e3 * (time.process_time() - began))
    return {key: statistics.median(values) for key, values in times.items()}


def show(found: dict[str, Measured]) -> None:
    print("| model | nodes | ONNX Runtime ms | OpenVINO ms | largest difference | stage s |")
    print("|---|---|---|---|---|---|")
    for name, item in found.items():
        document = item.document
        engines = [
            f"{item.ms[engine, 'before']:.1f} → {item.ms[engine, 'after']:.1f}"
            for engine in ("ONNX Runtime", "OpenVINO")
        ]
        nodes = f"{document['nodes_before']} → {document['nodes_after']}"
        print(f"| {name} | {nodes} | {' | '.join(engines)} | {document['max_abs_diff']:.1e} | {item.seconds:.1f} |")
    for name, item in found.items():
        made = ", ".join(f"{entry['pass']} {entry['count']}" for entry in item.document["rewrites"])
        print(f"\n{name}: {made}")
        for entry in item.document["left_out"]:
            print(f"  left out: {entry['pass']}: {entry['reason']}")


if __name__ == "__main__":
    main()
