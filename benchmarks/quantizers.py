"""edgec's quantizer beside its peers: the same float model, the same calibration data, the same judge.

    python benchmarks/quantizers.py [--models NAME,NAME...] [--seed N] [--nncf-python PATH] [--only QUANTIZER,...]

The models are those of examples/model_zoo. Each quantizer runs in a process of its own, with one thread, at most 8 GiB
and --limit CPU seconds, and writes an ONNX file; that then runs in ONNX Runtime without graph optimizations on labelled
examples that no quantizer has seen. All get the simplified graph with static shapes. edgec's time is that of a whole
build: search, lowering, validation, packing and measuring included. A recurrent model is calibrated by edgec on
sequences; the peers, which know none, get every eighth step with the state that the float model had then.

Output: a Markdown table for each model, and a summary. --nncf-python names the interpreter of an environment with nncf,
onnx and onnxruntime. NNCF wants other versions than edgec, so it is never imported here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from int8_share import int8_share
from model_zoo.case import Case, Run, onnx_runtime
from model_zoo.fetch import CASES
from model_zoo.packages import Unavailable
from quantizer_peers import QUANTIZERS

from edgec.calibration_data.sources import open_source
from edgec.contract import Contract
from edgec.events import ignore
from edgec.recipes import load_recipe
from edgec.reference import Reference
from edgec.stage import StageContext
from edgec.stages import ingest, simplify

HERE = Path(__file__).resolve().parent

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
MODELS = (
    "mnist_cnn",
    "efficientnet_lite0",
    "ppocrv4_rec",
    "ppocrv4_det",
    "ppocr_cls",
    "magika",
    "minilm_l6_v2",
    "silero_vad_16k",
)
_EVERY = 8  # step of a sequence that the peers calibrate on
_COMPARABLE = 0.01  # a peer with a smaller share of INT8 than edgec's, by more than this, does other work


@dataclass(frozen=True)
class Row:
    """What became of one quantizer on one model. cpu_seconds and peak_mib are those of its process, imports included.

    failure: why there is no model; the other values then say nothing.
    """

    name: str
    note: str = ""
    failure: str = ""
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    int8_share: float = 0.0
    scores: Mapping[str, float] | None = None


def prepare(case: Case, folder: Path) -> None:
    """Write model.onnx, feeds/ and build.json for the quantizers to `folder`."""
    shapes = tuple((key, tuple(shape)) for key, shape in case.shapes.items())
    (folder / "ingest").mkdir(parents=True)
    context = StageContext("ingest", folder / "ingest", ignore)
    ingest.run(model=Path(case.model), params=ingest.IngestParams(shapes), context=context)
    context = StageContext("simplify", folder, ignore)
    simplify.run(ingested=folder / "ingest", params=simplify.SimplifyParams(), context=context)
    # Some peers skip, without a word, whatever has a tensor of unknown shape.
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(folder / "model.onnx")), folder / "model.onnx")
    (folder / "feeds").mkdir()
    steps = _with_states(case, folder / "model.onnx") if case.state else _samples(case, folder / "contract.json")
    for index, feeds in enumerate(steps):
        np.savez(folder / "feeds" / f"{index:05}.npz", **feeds)  # type: ignore[arg-type]
    calibration = case.calibration if case.state else folder / "feeds"
    options = {"calibration": str(calibration), "state": dict(case.state), "name": case.name}
    (folder / "build.json").write_text(json.dumps(options))


def _samples(case: Case, contract: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The calibration data as the model's inputs."""
    source = open_source(
        Path(case.calibration),
        Contract.from_json(json.loads(contract.read_text())),
        load_recipe(case.recipe) if case.recipe else None,
    )
    return (sample.steps[0] for sample in source.read())


def _with_states(case: Case, model: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Every eighth step of the calibration sequences, with the state that the float model has reached there."""
    run = Reference(model).run
    for path in sorted(case.calibration.glob("*.npz")):
        with np.load(path) as stored:
            sequence = dict(stored)
        carried = {into: np.zeros(case.shapes[into], np.float32) for into in case.state.values()}
        for step in range(len(next(iter(sequence.values())))):
            feeds = {**carried, **{key: np.asarray(values[step]) for key, values in sequence.items()}}
            if step % _EVERY == 0:
                yield feeds
            outputs = run(feeds)
            carried = {into: outputs[source] for source, into in case.state.items()}


def quantize(name: str, python: str, folder: Path, limit: int) -> tuple[str, float, float] | str:
    """(note, CPU seconds, peak MiB) of a quantizer that wrote quantized.onnx; what it complained of when it failed."""
    (folder / "quantized.onnx").unlink(missing_ok=True)
    command = [python, str(HERE / "quantizer_peers.py"), name, str(folder), str(limit)]
    environment = {**os.environ, **ONE_THREAD, "EDGEC_CACHE_DIR": str(folder / "store")}
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        lines = [line for line in output.read().splitlines() if line.strip()]
    seconds = usage.ru_utime + usage.ru_stime
    if child.returncode < 0:
        return f"killed by signal {-child.returncode} after {seconds:.0f} of {limit} CPU seconds"
    if child.returncode:
        return lines[-1] if lines else f"exit code {child.returncode}"
    return lines[-1], seconds, usage.ru_maxrss / 1024


def judge(case: Case, folder: Path, name: str, made: tuple[str, float, float] | str) -> Row:
    """Run what a quantizer wrote on the labelled examples."""
    if isinstance(made, str):
        return Row(name, failure=made)
    try:
        scores = case.scores(Reference(folder / "quantized.onnx", "none").run)
        share = int8_share(folder / "quantized.onnx")
    except Exception as error:  # whatever ONNX Runtime says of a file that it can't run
        return Row(name, failure=f"its file does not run: {' '.join(str(error).split())[:160]}")
    return Row(name, made[0], "", made[1], made[2], share, scores)


def table(before: float, rows: list[Row]) -> str:
    """Markdown: one row a quantizer."""
    extra = [key for key in next((row.scores for row in rows if row.scores), {}) if key not in _SHOWN]
    head = ["quantizer", "accuracy", "SQNR dB", *extra, "INT8 MACs", "CPU s", "peak MiB", ""]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines.append("| " + " | ".join(["float", f"{before:.2%}", *[""] * (len(head) - 2)]) + " |")
    for row in rows:
        if row.scores is None:
            cells = [row.name, *[""] * (len(head) - 2), f"fails: {row.failure}"]
        else:
            cells = [row.name, f"{row.scores['accuracy']:.2%}", f"{row.scores['sqnr_db']:.1f}"]
            cells += [f"{row.scores[key]:.4g}" for key in extra]
            cells += [f"{row.int8_share:.1%}", f"{row.cpu_seconds:.0f}", f"{row.peak_mib:.0f}", row.note]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


_SHOWN = ("accuracy", "fp32_accuracy", "accuracy_drop", "sqnr_db", "fp32_photos")


def summary(results: Mapping[str, list[Row]]) -> str:
    """Markdown: is edgec at least as accurate as the best of the others?"""
    lines = [
        "| model | edgec | best other | edgec is at least as accurate | SQNR dB: edgec, best other |",
        "|---|---|---|---|---|",
    ]
    for model, rows in results.items():
        ours = next((row for row in rows if row.name == "edgec" and row.scores), None)
        if ours is None or ours.scores is None:
            lines.append(f"| {model} | no model | | no | |")
            continue
        least = ours.int8_share - _COMPARABLE
        others = [row for row in rows if row.name != "edgec" and row.scores and row.int8_share >= least]
        if not others:
            lines.append(f"| {model} | {ours.scores['accuracy']:.2%} | none as much in INT8 | | |")
            continue
        best = max(others, key=lambda row: (row.scores["accuracy"], row.scores["sqnr_db"]))  # type: ignore[index]
        nearest = max(others, key=lambda row: row.scores["sqnr_db"])  # type: ignore[index]
        assert best.scores is not None
        assert nearest.scores is not None
        behind = best.scores["accuracy"] - ours.scores["accuracy"]
        verdict = "yes" if behind <= 0 else f"no, {behind * 100:.2f} points less"
        if behind > 0 and ours.scores["accuracy_drop"] <= 0:
            verdict = f"nothing lost to float; {best.name} is above float"
        lines.append(
            f"| {model} | {ours.scores['accuracy']:.2%} | {best.scores['accuracy']:.2%} ({best.name}) | {verdict} "
            f"| {ours.scores['sqnr_db']:.1f}, {nearest.scores['sqnr_db']:.1f} ({nearest.name}) |"
        )
    return "\n".join(lines)


def compare(case: Case, folder: Path, pythons: Mapping[str, str], limit: int) -> list[Row]:
    """Every quantizer that has an interpreter, one after the other."""
    rows = []
    for name, python in pythons.items():
        shutil.rmtree(folder / "store", ignore_errors=True)
        started = time.monotonic()
        rows.append(judge(case, folder, name, quantize(name, python, folder, limit)))
        print(f"  {case.name}, {name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help=f"default: {','.join(MODELS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the calibration and test data (default: 0)")
    parser.add_argument("--nncf-python", metavar="PATH", help="an interpreter that has nncf")
    parser.add_argument("--only", default="", help="quantizers by the beginning of their names (default: all)")
    parser.add_argument("--limit", type=int, default=900, help="CPU seconds for each quantizer (default: 900)")
    arguments = parser.parse_args()
    wanted = tuple(arguments.only.split(","))
    pythons = {name: arguments.nncf_python if name.startswith("NNCF") else sys.executable for name in QUANTIZERS}
    missing = [name for name, python in pythons.items() if python is None]
    chosen = {name: python for name, python in pythons.items() if python is not None and name.startswith(wanted)}
    results: dict[str, list[Row]] = {}
    for model in arguments.models.split(","):
        try:
            case = CASES[model](seed=arguments.seed)
        except Unavailable as error:
            print(f"\n### {model}\n\ncan't be fetched: {error}")
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "work"
            prepare(case, folder)
            samples = len(list((folder / "feeds").iterdir()))
            original: Run = onnx_runtime(case.model)
            before = case.accuracy(original)
            results[model] = compare(case, folder, chosen, arguments.limit)
        print(f"\n### {model}, seed {arguments.seed}: {samples} calibration samples, one thread\n")
        print(table(before, results[model]), flush=True)
    print(f"\n### Summary\n\n{summary(results)}")
    print(f"\nCompared with quantizers whose share of INT8 is at most {_COMPARABLE:.0%} of the MACs below edgec's.")
    if missing:
        print(f"Not run: {', '.join(missing)}: name an interpreter that has nncf with --nncf-python.")


if __name__ == "__main__":
    main()
