"""Real models on real tasks, built as a user builds them, must stay as good as they were.

accuracy.toml holds what each model reached. Worse than that is a regression and fails. Better is reported, with the
command that raises the record.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from model_zoo.fetch import CASES

from .measurement import Measurement, Record, measure, read_records

RECORDS = read_records()
_FP32_SLACK = 0.011  # ONNX Runtime's float kernels differ between CPUs: one decision in a hundred may go the other way
_SQNR_SLACK_DB = 2.0  # kernels of the engine differ between CPUs; the samples are the same
_MAC_SLACK = 0.005


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECORDS))
def test_model_is_as_accurate_as_it_was(
    name: str, fetched: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = fetched(CASES[name])
    monkeypatch.setenv("EDGEC_CACHE_DIR", str(tmp_path / "store"))
    measured = measure(case, tmp_path)
    assert regressions(RECORDS[name], measured) == []
    if improved := improvements(RECORDS[name], measured):
        advice = f"run `python tests/e2e/record.py {name}` and commit accuracy.toml"
        warnings.warn(f"{name} became better ({', '.join(improved)}): {advice}", stacklevel=1)


def regressions(record: Record, measured: Measurement) -> list[str]:
    """In words, what is worse than the record by more than may be."""
    known = record.measurement
    found = []
    if abs(measured.fp32_accuracy - known.fp32_accuracy) > _FP32_SLACK:
        found.append(f"the original's accuracy is {measured.fp32_accuracy}, not {known.fp32_accuracy}: other data")
    if measured.int8_accuracy < known.int8_accuracy - record.tolerance - 1e-9:
        found.append(f"accuracy {measured.int8_accuracy} < {known.int8_accuracy} - {record.tolerance}")
    if measured.sqnr_db < known.sqnr_db - _SQNR_SLACK_DB:
        found.append(f"SQNR {measured.sqnr_db} dB < {known.sqnr_db} - {_SQNR_SLACK_DB} dB")
    if measured.int8_mac_fraction < known.int8_mac_fraction - _MAC_SLACK:
        found.append(f"INT8 share of the work {measured.int8_mac_fraction} < {known.int8_mac_fraction}")
    return found


def improvements(record: Record, measured: Measurement) -> list[str]:
    """In words, what is better than the record by more than noise."""
    known = record.measurement
    found = []
    if measured.int8_accuracy > known.int8_accuracy + record.tolerance + 1e-9:
        found.append(f"accuracy {known.int8_accuracy} -> {measured.int8_accuracy}")
    if measured.sqnr_db > known.sqnr_db + _SQNR_SLACK_DB:
        found.append(f"SQNR {known.sqnr_db} -> {measured.sqnr_db} dB")
    if measured.int8_mac_fraction > known.int8_mac_fraction + _MAC_SLACK:
        found.append(f"INT8 share {known.int8_mac_fraction} -> {measured.int8_mac_fraction}")
    return found


KNOWN = Measurement(fp32_accuracy=0.97, int8_accuracy=0.96, precision="int8", sqnr_db=30.0, int8_mac_fraction=1.0)


@pytest.mark.parametrize(
    ("measured", "word"),
    [
        (Measurement(0.97, 0.90, "int8", 30.0, 1.0), "accuracy"),
        (Measurement(0.97, 0.96, "int8", 20.0, 1.0), "SQNR"),
        (Measurement(0.97, 0.96, "mixed", 30.0, 0.5), "INT8 share"),
        (Measurement(0.50, 0.96, "int8", 30.0, 1.0), "other data"),
    ],
)
def test_what_is_worse_than_the_record_is_a_regression(measured: Measurement, word: str) -> None:
    record = Record(KNOWN, 0.01, "a test")
    assert regressions(record, KNOWN) == []
    assert word in " ".join(regressions(record, measured))


def test_what_is_better_than_the_record_is_reported() -> None:
    record = Record(KNOWN, 0.005, "a test")
    assert improvements(record, KNOWN) == []
    assert len(improvements(record, Measurement(0.97, 0.97, "int8", 40.0, 1.0))) == 2


def test_every_record_says_why_it_tolerates_what_it_tolerates() -> None:
    assert {name for name, record in RECORDS.items() if len(record.reason) < 20} == set()
