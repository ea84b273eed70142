"""edgec's quantizer beside its peers: the same float model, the same calibration data, the same judge.

    python benchmarks/quantizers.py [MODEL] [--nncf-python PATH]

MODEL is a name of examples/model_zoo without a state (default: efficientnet_lite0). Each quantizer runs in a process of
its own, with one thread, and writes an ONNX file; all files then run in ONNX Runtime without graph optimizations on
labelled examples that no quantizer has seen. edgec's time includes its search and the layers it diagnoses.

--nncf-python names the interpreter of an environment with nncf, onnx and onnxruntime. NNCF wants other versions than
edgec, so it is never imported here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Feeds = dict[str, np.ndarray]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


# --- the quantizers: each runs as `quantizers.py --run NAME FOLDER`, and writes FOLDER/NAME.onnx ---


@dataclass(frozen=True)
class StoredFeeds:
    """The calibration data, one array file an input, as a SampleSource."""

    folder: Path

    @property
    def digest(self) -> str:
        return ""

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.npz")))

    def feeds(self, indices: Sequence[int] | None = None) -> Iterator[Feeds]:
        for i in range(len(self)) if indices is None else indices:
            with np.load(self.folder / f"{i:04}.npz") as stored:
                yield dict(stored)

    def read(self, indices: Sequence[int] | None = None) -> Iterator[Any]:
        from edgec.samples import Sample

        for number, feeds in enumerate(self.feeds(indices)):
            yield Sample(str(number), (feeds,))


def run_edgec(folder: Path) -> None:
    from edgec.events import ignore
    from edgec.stage import StageContext
    from edgec.stages import calibrate, quantize

    def context(stage: str) -> StageContext:
        out = folder / stage
        out.mkdir()
        return StageContext(stage, out, ignore)

    samples = StoredFeeds(folder / "data")
    calibrated, quantized = context("calibrate"), context("quantize")
    calibrate.run(simplified=folder, samples=samples, params=calibrate.CalibrateParams(), context=calibrated)
    quantize.run(
        simplified=folder,
        calibrated=calibrated.out,
        samples=samples,
        params=quantize.QuantizeParams(),
        context=quantized,
    )
    shutil.copyfile(quantized.out / "qdq.onnx", folder / "edgec.onnx")
    report = json.loads((quantized.out / "quantize.json").read_text())
    print(f"profile {report['profile']}, {report['method']}, {report['int8_mac_fraction']:.1%} of MACs in INT8")


def run_onnxruntime(folder: Path) -> None:
    import onnxruntime
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = StoredFeeds(folder / "data").feeds()

        def get_next(self) -> Feeds | None:
            return next(self.feeds, None)

    quantize_static(
        str(folder / "model.onnx"),
        str(folder / "onnxruntime.onnx"),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    print(f"{onnxruntime.__version__}, MinMax, per channel")


def run_nncf(folder: Path) -> None:
    import nncf
    import onnx

    model = onnx.load(str(folder / "model.onnx"))
    data = list(StoredFeeds(folder / "data").feeds())
    quantized = nncf.quantize(model, nncf.Dataset(data), subset_size=len(data))
    onnx.save(quantized, str(folder / "nncf.onnx"))
    print(f"{nncf.__version__}, default preset")


RUNS = {"edgec": run_edgec, "onnxruntime": run_onnxruntime, "nncf": run_nncf}


# --- what is measured ---


@dataclass(frozen=True)
class Measured:
    """One row. cpu_seconds and peak_mib are those of the quantizer's process, imports included."""

    name: str
    note: str
    cpu_seconds: float
    peak_mib: float
    sqnr_db: float
    agreement: float
    score: float


def prepare(name: str, folder: Path) -> Any:
    """Write the simplified float model, its contract and the calibration data to `folder`; returns the case."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
    from model_zoo.fetch import CASES

    from edgec.calibration_data.sources import open_source
    from edgec.contract import Contract
    from edgec.events import ignore
    from edgec.recipes import load_recipe
    from edgec.stage import StageContext
    from edgec.stages import ingest, simplify

    case = CASES[name]()
    if case.state:
        sys.exit(f"{name} is recurrent, which the peers can't calibrate")
    shapes = tuple((key, tuple(shape)) for key, shape in case.shapes.items())
    (folder / "ingest").mkdir()
    context = StageContext("ingest", folder / "ingest", ignore)
    ingest.run(model=Path(case.model), params=ingest.IngestParams(shapes), context=context)
    context = StageContext("simplify", folder, ignore)
    simplify.run(ingested=folder / "ingest", params=simplify.SimplifyParams(), context=context)
    contract = Contract.from_json(json.loads((folder / "contract.json").read_text()))
    recipe = load_recipe(case.recipe) if case.recipe else None
    (folder / "data").mkdir()
    for i, sample in enumerate(open_source(Path(case.calibration), contract, recipe).read()):
        np.savez(folder / "data" / f"{i:04}.npz", **sample.steps[0])
    return case


def quantize_in_child(name: str, python: str, folder: Path) -> tuple[str, float, float] | str:
    """(note, CPU seconds, peak MiB) of a quantizer; what it complained of when it failed."""
    command = [python, str(Path(__file__).resolve()), "--run", name, str(folder)]
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **ONE_THREAD})
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        lines = [line for line in output.read().splitlines() if line.strip()]
    if child.returncode:
        return lines[-1] if lines else f"exit code {child.returncode}"
    return lines[-1], usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def judge(
    case: Any, folder: Path, name: str, made: tuple[str, float, float], expected: list[Mapping[str, Any]]
) -> Measured:
    """Run a quantized file on the labelled examples."""
    from edgec.reference import Reference

    run = Reference(folder / f"{name}.onnx", "none").run
    actual = [run(example.steps[0]) for example in case.examples()]
    output = next(iter(expected[0]))
    before = np.stack([item[output] for item in expected]).astype(np.float64)
    after = np.stack([item[output] for item in actual]).astype(np.float64)
    error = float(((before - after) ** 2).sum())
    note, seconds, peak = made
    return Measured(
        name=name,
        note=note,
        cpu_seconds=seconds,
        peak_mib=peak,
        sqnr_db=10 * np.log10(float((before**2).sum()) / max(error, 1e-30)),
        agreement=float((before.argmax(-1) == after.argmax(-1)).mean()),
        score=case.accuracy(run),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="efficientnet_lite0")
    parser.add_argument("--nncf-python", metavar="PATH", help="an interpreter that has nncf")
    parser.add_argument("--run", nargs=2, metavar=("QUANTIZER", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        RUNS[arguments.run[0]](Path(arguments.run[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = prepare(arguments.model, folder)
        from edgec.reference import Reference

        original = Reference(folder / "model.onnx").run
        expected: list[Mapping[str, Any]] = [original(example.steps[0]) for example in case.examples()]
        samples = len(StoredFeeds(folder / "data"))
        print(f"{arguments.model}: {samples} calibration samples, {len(expected)} labelled examples, one thread")
        print(f"{'':12} {'CPU s':>6} {'peak MiB':>9} {'SQNR dB':>8} {'agreement':>10} {'score':>7}")
        print(f"{'float':12} {'':>6} {'':>9} {'':>8} {'':>10} {case.accuracy(original):7.2%}")
        for quantizer, python in (
            ("edgec", sys.executable),
            ("onnxruntime", sys.executable),
            ("nncf", arguments.nncf_python),
        ):
            if python is None:
                print(f"{quantizer:12} is not installed: name an interpreter that has it with --nncf-python")
                continue
            made = quantize_in_child(quantizer, python, folder)
            if isinstance(made, str):
                print(f"{quantizer:12} failed: {made}")
                continue
            row = judge(case, folder, quantizer, made, expected)
            print(
                f"{row.name:12} {row.cpu_seconds:6.1f} {row.peak_mib:9.0f} {row.sqnr_db:8.2f} {row.agreement:10.2%} "
                f"{row.score:7.2%}  {row.note}"
            )


if __name__ == "__main__":
    main()
