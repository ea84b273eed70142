"""Build a real model and measure what came out, and the records that measurements are held against."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from model_zoo.case import Case, onnx_runtime

import edgec
import edgec.runtime

RECORDS = Path(__file__).with_name("accuracy.toml")


@dataclass(frozen=True)
class Measurement:
    """fp32_accuracy, int8_accuracy: the case's score of the ONNX file in ONNX Runtime, and of the artifact.

    precision: "int8", "mixed" or "float": what the build came to.
    sqnr_db: of the artifact against the ONNX file on held-out samples; the worst output.
    int8_mac_fraction: share of multiply-accumulates in INT8.
    """

    fp32_accuracy: float
    int8_accuracy: float
    precision: str
    sqnr_db: float
    int8_mac_fraction: float


@dataclass(frozen=True)
class Record:
    """A measurement, and by how much `int8_accuracy` may differ from it without being a regression, and why."""

    measurement: Measurement
    tolerance: float
    reason: str


def measure(case: Case, output: Path) -> Measurement:
    """Build the case for the machine at hand into the folder `output`, and judge the artifact on labelled data."""
    built = edgec.build(
        case.model,
        name=case.name,
        targets=("host",),
        calibration=case.calibration,
        preprocess=case.recipe,
        shapes=case.shapes,
        state=case.state,
        output=output,
    ).builds[0]
    assert built.artifact is not None
    assert built.parity is not None
    artifact = edgec.runtime.load(built.artifact.path)
    return Measurement(
        fp32_accuracy=round(case.accuracy(onnx_runtime(case.model)), 4),
        int8_accuracy=round(case.accuracy(artifact.run), 4),
        precision=built.precision,
        sqnr_db=round(min(output["sqnr_db"] for output in built.parity["total"]["outputs"]), 1),
        int8_mac_fraction=round(built.int8_mac_fraction, 4),
    )


def read_records() -> dict[str, Record]:
    """Model name to record."""
    records = {}
    for name, table in tomllib.loads(RECORDS.read_text(encoding="utf-8")).items():
        tolerance, reason = table.pop("tolerance"), table.pop("reason")
        records[name] = Record(Measurement(**table), tolerance, reason)
    return records


def write_records(records: dict[str, Record]) -> None:
    """Write the records, in the order of their names."""
    lines = ["# What every real model reached: measured by `python tests/e2e/record.py`, but for tolerance and reason."]
    for name, record in sorted(records.items()):
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {value!r}".replace("'", '"') for key, value in asdict(record.measurement).items()]
        lines += [f"tolerance = {record.tolerance!r}", f'reason = "{record.reason}"']
    RECORDS.write_text("\n".join(lines) + "\n", encoding="utf-8")
