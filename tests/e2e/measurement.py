"""Build a real model and measure what came out, and the records that measurements are held against.

accuracy.toml (and accuracy-BACKEND.toml, for a backend that is not the host's first) has a table a model, and in it one
a seed. Seeds draw other calibration data and other test data. What is asked for stands beside what was measured, also
where it is not reached.
"""

from __future__ import annotations

import json
import resource
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_zoo.case import Case, onnx_runtime
from model_zoo.fetch import CASES

import edgec
import edgec.runtime
from edgec.errors import ParityGateError
from edgec.result import TargetBuild

BACKENDS = ("openvino", "tflite", "tvm")
"""The host's, its first one first."""

FEW: Mapping[str, tuple[str, ...]] = {
    "tvm": ("digits_cnn", "mtcnn_onet", "silero_vad_16k", "efficientnet_lite0", "ppocrv4_det", "ppocrv4_rec")
}
"""Models that are recorded of a backend, where it is not all of them: a build spends its time on quantizing, which is
measured with the others. These have several outputs, a state, layers left in float, attention and large images; and the
larger ones name the profile that OpenVINO's record names, so that one quantization serves both."""

UNEXPLAINED = "say why"
_HEAD = """# What every real model reached, measured by `python tests/e2e/record.py`. Written by hand: profile, force,
# asked, tolerance, reason and short. Figures are of the final artifact, on data that neither calibration nor search has
# seen; a drop is that from the ONNX file in float on the same data; cpu_seconds is what the build took, on one thread.
"""


@dataclass(frozen=True)
class Measurement:
    """What a build of one model on the data of one seed came to.

    precision: "int8", "mixed" or "float": what the build came to; "refused": no artifact passed the gate.
    figures: the scores of the case (examples/model_zoo/case.py) of the artifact, `int8_mac_fraction`, and `cpu_seconds`
        and `artifact_mb` for information. A refused build has `fp32_accuracy` and `cpu_seconds`.
    """

    precision: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Record:
    """What is known of a model.

    profile, force: as `edgec build` takes them.
    asked: figure to a limit like ">= 0.99".
    tolerance: figure to the amount by which it may be worse than the record without being a regression; `reason` says
        why.
    short: why a figure that is asked for is not reached yet; empty where all are.
    measured: by seed.
    """

    profile: str = "auto"
    force: Sequence[str] = ()
    asked: Mapping[str, str] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)
    reason: str = UNEXPLAINED
    short: str = ""
    measured: Mapping[int, Measurement] = field(default_factory=dict)


def models_of(backend: str) -> list[str]:
    """The models that are recorded of a backend."""
    return [name for name in CASES if name in FEW.get(backend, CASES)]


def records_of(backend: str) -> Path:
    """The file with the records of a backend."""
    return Path(__file__).with_name("accuracy.toml" if backend == BACKENDS[0] else f"accuracy-{backend}.toml")


def measure(
    case: Case, profile: str, output: Path, backend: str = BACKENDS[0], force: Sequence[str] = ()
) -> Measurement:
    """Build the case for the machine at hand into the folder `output`, and judge the artifact on labelled data."""

    def build(**how: Any) -> TargetBuild:
        return edgec.build(
            case.model,
            name=case.name,
            targets=("host",),
            backend=backend,
            shapes=case.shapes,
            state=case.state,
            output=output,
            **how,
        ).builds[0]

    before = _cpu_seconds()
    data = {"calibration": case.calibration, "preprocess": case.recipe}
    try:
        built = build(profile=profile, force=tuple(force), **data)
    except ParityGateError as refusal:
        print(refusal)
        seconds = _cpu_seconds() - before
        figures = {"fp32_accuracy": case.accuracy(onnx_runtime(case.model)), "cpu_seconds": seconds}
        return Measurement("refused", _rounded(figures))
    seconds = _cpu_seconds() - before
    assert built.artifact is not None
    figures = {
        **case.scores(edgec.runtime.load(built.artifact.path).run),
        "int8_mac_fraction": built.int8_mac_fraction,
        "artifact_mb": built.artifact.bytes / 1e6,
        "cpu_seconds": seconds,
    }
    if backend != BACKENDS[0]:
        figures |= _lowered(built, build(precision="float", **data))
    return Measurement(built.precision, _rounded(figures))


def _lowered(built: TargetBuild, in_float: TargetBuild) -> dict[str, float]:
    """What lowering did to the numbers, at the worst output that carries one.

    float_sqnr_db: the float artifact against the original. lowering_db: by how much lowering the quantized reference
    lowers its SQNR to the original. lowering_lsb: the largest difference from that reference, in steps of the output.
    """
    assert built.parity is not None and in_float.parity is not None

    def outputs(parity: Mapping[str, Any], section: str) -> dict[str, Mapping[str, Any]]:
        found = parity[section]["outputs"]
        return {item["name"]: item for item in found if item["degenerate"] is None and item["kind"] != "integer"}

    before, after = outputs(built.parity, "quantization"), outputs(built.parity, "total")
    steps = [item["max_lsb"] for item in outputs(built.parity, "lowering").values() if item["max_lsb"] is not None]
    return {
        "float_sqnr_db": min(item["sqnr_db"] for item in outputs(in_float.parity, "total").values()),
        "lowering_db": max([0.0, *(before[name]["sqnr_db"] - after[name]["sqnr_db"] for name in before)]),
        **({"lowering_lsb": max(steps)} if steps else {}),
    }


def short_of(asked: Mapping[str, str], measured: Measurement) -> list[str]:
    """In words, which of the asked-for limits a measurement does not keep."""
    if measured.precision == "refused":
        return ["refused: no artifact passed the gate"] if asked else []
    return [
        f"{name} {measured.figures[name]:g}, asked {limit}"
        for name, limit in asked.items()
        if not _keeps(measured.figures[name], limit)
    ]


def read_records(path: Path) -> dict[str, Record]:
    """Model name to record."""
    records: dict[str, Record] = {}
    if not path.is_file():
        return records
    for name, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
        measured = {}
        for key in [key for key in table if key.startswith("seed-")]:
            figures = table.pop(key)
            measured[int(key.removeprefix("seed-"))] = Measurement(figures.pop("precision"), figures)
        records[name] = Record(**table, measured=measured)
    return records


def write_records(records: Mapping[str, Record], path: Path) -> None:
    """Write the records, in the order of their names."""
    lines = [_HEAD.rstrip()]
    for name, record in sorted(records.items()):
        lines += ["", f"[{name}]", f'profile = "{record.profile}"']
        lines += [f"force = {json.dumps(list(record.force))}"] if record.force else []
        lines += [f"asked = {_inline(record.asked)}"] if record.asked else []
        lines += [f"tolerance = {_inline(record.tolerance)}", f"reason = {json.dumps(record.reason)}"]
        lines += [f"short = {json.dumps(record.short)}"] if record.short else []
        for seed, measured in sorted(record.measured.items()):
            lines += ["", f"[{name}.seed-{seed}]", f'precision = "{measured.precision}"']
            lines += [f"{key} = {value!r}" for key, value in measured.figures.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _inline(table: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + " }"


def _keeps(value: float, limit: str) -> bool:
    relation, bound = limit.split()
    return {">=": value >= float(bound), "<=": value <= float(bound)}[relation]


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    digits = {"sqnr_db": 1, "float_sqnr_db": 0, "lowering_db": 2, "lowering_lsb": 1, "cpu_seconds": 0, "artifact_mb": 2}
    return {key: round(float(value), digits.get(key, 4)) for key, value in figures.items()}


def _cpu_seconds() -> float:
    """CPU time of this process and of all it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
