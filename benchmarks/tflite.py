"""edgec's .tflite files beside those of onnx2tf and ai-edge-quantizer: latency, size, error, and what making them took.

    python benchmarks/tflite.py [--models NAME,NAME...] [--runs 160] [--only CONVERTER,...]

The models are those of examples/model_zoo. All converters get the same float graph (simplified, static shapes) and the
same calibration samples:

    edgec INT8, edgec float     what `edgec build --backend tflite` makes; it takes and gives float32
    edgec --io int8             the same with integers at its inputs and outputs, and with integer kernels only
    onnx2tf 1 ...               1.29.24, through TensorFlow, with its representative dataset for INT8
    onnx2tf 2 ...               2.6.9, which writes the file itself and needs Python 3.12
    ai-edge-quantizer INT8      static_wi8_ai8 on edgec's float file

Each runs in a process and an environment of its own, made on first use in the cache of the model zoo (onnx2tf 1 takes
2.6 GB); what can't be installed is named at the end. All files then run in one process with ai-edge-litert on one
thread, in turns of a few runs each, and only the ratio of medians says something.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from model_zoo.case import Case, Feeds, Outputs
from model_zoo.environments import environment
from model_zoo.fetch import CASES
from model_zoo.packages import Unavailable
from quantizers import ONE_THREAD, prepare
from tflite_peers import CONVERTERS

HERE = Path(__file__).resolve().parent

MODELS = ("efficientnet_lite0", "ppocr_cls", "mnist_cnn")
TURN = 8  # runs of one file at a time; the first of them, which finds cold caches, does not count

_ONNX2TF_1 = (
    "onnx2tf==1.29.24",
    "numpy==1.26.4",
    "onnx==1.19.1",
    "onnxsim==0.4.36",
    "onnxruntime==1.23.0",
    "tensorflow==2.19.0",
    "protobuf==4.25.5",
    "ai-edge-litert==2.1.0",
)
ENVIRONMENTS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "onnx2tf 1": (_ONNX2TF_1, "python3.11"),
    "onnx2tf 2": (("onnx2tf==2.6.9",), "python3.12"),
    "ai-edge-quantizer": (("ai-edge-quantizer==0.10.0", "ai-edge-litert==2.3.0"), "python3.11"),
}
"""Requirements, and the Python that has wheels for them, by the beginning of a converter's name."""


@dataclass
class Row:
    """What became of one converter on one model.

    seconds, raised_mib: of the conversion alone, imports left out. cpu_seconds, peak_mib: of its whole process.
    interface: the type of its input. failure: why there is no file, or why it does not run.
    """

    name: str
    note: str = ""
    failure: str = ""
    seconds: float = 0.0
    raised_mib: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    size: int = 0
    interface: str = ""
    scores: Mapping[str, float] | None = None
    times: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Milliseconds."""
        return statistics.median(self.times)


class File:
    """A .tflite file of one input and one output, run as the ONNX model is: float32, channels first."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_path=str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        (self._input,), (self._output,) = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        (self._name,) = shapes
        self._shape = shapes[self._name]

    @property
    def interface(self) -> str:
        """The type of its input."""
        return np.dtype(self._input["dtype"]).name

    def set(self, value: np.ndarray) -> None:
        """Hand over the input, in the order and the type that the file takes."""
        if value.shape != tuple(self._input["shape"]):
            value = value.transpose(0, 2, 3, 1)
        if self._input["dtype"] != np.float32:
            scale, zero_point = self._input["quantization"]
            limits = np.iinfo(self._input["dtype"])
            value = np.clip(np.rint(value / np.float32(scale)) + zero_point, limits.min, limits.max)
        self.interpreter.set_tensor(self._input["index"], value.astype(self._input["dtype"]))

    def run(self, feeds: Feeds) -> Outputs:
        (value,) = feeds.values()
        self.set(value)
        self.interpreter.invoke()
        found = self.interpreter.get_tensor(self._output["index"])
        if found.dtype != np.float32:
            scale, zero_point = self._output["quantization"]
            found = (found.astype(np.float32) - zero_point) * np.float32(scale)
        return {self._name: found if found.shape == self._shape else found.transpose(0, 3, 1, 2)}


def interpreters(names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The interpreter of each converter, and why there is none."""
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in names:
        key = next((key for key in ENVIRONMENTS if name.startswith(key)), None)
        if key is None:
            found[name] = sys.executable
            continue
        try:
            found[name] = str(environment(key.replace(" ", "-"), *ENVIRONMENTS[key]))
        except Unavailable as error:
            missing[name] = str(error)
    return found, missing


def convert(name: str, python: str, folder: Path, limit: int) -> Row:
    """Run one converter; its file becomes FOLDER/NAME.tflite."""
    made, kept = folder / "made.tflite", folder / f"{name}.tflite"
    made.unlink(missing_ok=True)
    command = [python, str(HERE / "tflite_peers.py"), name, str(folder), str(limit)]
    log = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "EDGEC_CACHE_DIR": str(folder / "store")}
    with tempfile.TemporaryFile("w+", errors="replace") as output, tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(command, stdout=output, stderr=said, env={**os.environ, **ONE_THREAD, **log})
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        lines = [[line for line in _read(stream).splitlines() if line.strip()] for stream in (output, said)]
    if child.returncode < 0:
        return Row(name, failure=f"killed by signal {-child.returncode} (limit: {limit} CPU seconds)")
    if child.returncode or not made.exists():
        return Row(name, failure=lines[1][-1][:200] if lines[1] else f"exit code {child.returncode}")
    facts = json.loads(lines[0][-1])
    made.rename(kept)
    cpu = usage.ru_utime + usage.ru_stime
    row = Row(name, facts["note"], "", facts["seconds"], facts["raised_mib"], cpu, facts["peak_mib"])
    row.size = kept.stat().st_size
    if name == "edgec float":
        (folder / "float.tflite").write_bytes(kept.read_bytes())
    return row


def _read(stream: object) -> str:
    stream.seek(0)  # type: ignore[attr-defined]
    return str(stream.read())  # type: ignore[attr-defined]


def compare(case: Case, folder: Path, pythons: Mapping[str, str], limit: int, runs: int) -> list[Row]:
    """Convert, judge and time one model."""
    rows = []
    for name, python in pythons.items():
        started = time.monotonic()
        rows.append(convert(name, python, folder, limit))
        print(f"  {case.name}, {name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    example = next(iter(case.examples())).steps[0]
    (value,) = example.values()
    output = _output(case)
    running: dict[str, tuple[Row, File]] = {}
    for row in rows:
        if row.failure or row.name == "edgec build":
            continue
        try:
            file = File(folder / f"{row.name}.tflite", output)
            row.scores = case.scores(file.run)
            file.set(value)
            row.interface = file.interface
            running[row.name] = row, file
        except Exception as error:  # whatever the interpreter says of a file that it can't run
            row.failure = f"its file does not run: {' '.join(str(error).split())[:160]}"
    interleave(running, runs)
    return rows


def _output(case: Case) -> dict[str, tuple[int, ...]]:
    """The name and the shape of the model's one output."""
    from edgec.reference import Reference

    reference = Reference(Path(case.model))
    (step,) = next(iter(case.examples())).steps
    return {name: tuple(array.shape) for name, array in reference.run(dict(step)).items()}


def interleave(running: Mapping[str, tuple[Row, File]], runs: int) -> None:
    """Fill in the times of all files, in turns."""
    for turn in range(1 + runs // TURN):
        for row, file in running.values():
            file.interpreter.invoke()
            for _ in range(TURN):
                began = time.perf_counter()
                file.interpreter.invoke()
                if turn:  # the first turn warms up
                    row.times.append((time.perf_counter() - began) * 1e3)


def table(rows: list[Row]) -> str:
    """Markdown: one row a file."""
    timed = {row.name: row for row in rows if row.times}
    head = ["file", "takes", "p50 ms", "edgec is", "KiB", "SQNR dB", "accuracy"]
    head += ["conversion s", "adds MiB", "CPU s", "peak MiB", ""]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        if row.failure:
            lines.append(f"| {row.name} |" + " |" * (len(head) - 2) + f" fails: {_cell(row.failure)} |")
            continue
        ours = timed.get(f"edgec {'float' if row.name.endswith('float') else 'INT8'}")
        latency = ratio = sqnr = accuracy = ""
        if row.times:
            latency = f"{row.median:.3f}"
            if ours is not None and row is not ours:
                ratio = f"{row.median / ours.median:.2f}x as fast"
        if row.scores is not None:
            sqnr, accuracy = f"{row.scores['sqnr_db']:.1f}", f"{row.scores['accuracy']:.2%}"
        cells = [
            row.name,
            row.interface,
            latency,
            ratio,
            f"{row.size / 1024:.0f}",
            sqnr,
            accuracy,
            f"{row.seconds:.2f}",
        ]
        cells += [f"{row.raised_mib:.0f}", f"{row.cpu_seconds:.0f}", f"{row.peak_mib:.0f}", row.note]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that does not end the cell of a table."""
    return text.replace("|", r"\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help=f"default: {','.join(MODELS)}")
    parser.add_argument("--runs", type=int, default=160)
    parser.add_argument("--only", default="", help="converters by the beginning of their names (default: all)")
    parser.add_argument("--limit", type=int, default=900, help="CPU seconds for each converter (default: 900)")
    arguments = parser.parse_args()
    wanted = tuple(arguments.only.split(","))
    pythons, missing = interpreters([name for name in CONVERTERS if name.startswith(("edgec", *wanted))])
    for model in arguments.models.split(","):
        try:
            case = CASES[model](seed=0)
        except Unavailable as error:
            print(f"\n### {model}\n\ncan't be fetched: {error}")
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "work"
            prepare(case, folder)
            rows = compare(case, folder, pythons, arguments.limit, arguments.runs)
        print(f"\n### {model}, one thread, {arguments.runs} interleaved runs\n")
        print(table(rows), flush=True)
    for name, why in missing.items():
        print(f"\nNot run: {name}: {why}")


if __name__ == "__main__":
    main()
