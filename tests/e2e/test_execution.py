"""Artifacts for ARM run on emulated cores as part of their build, as near to their reference as they were.

Every built-in ARM target runs the digits model; the larger models run for one 64-bit and one 32-bit target. The record
(executed.toml) has all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from model_zoo.fetch import CASES

from edgec.targets import EMULATORS, load_target

from .execution import MODELS, Execution, between_marks, execute, pairs, read_records, table, with_table, write_records

README = Path(__file__).parents[2] / "README.md"
RECORDS = read_records()
SLACK = 3.0
"""dB by which a payload may be further from its reference than the record says: what is emulated computes the same
everywhere, but the search for a quantization differs between the CPUs that it runs on."""

EVERYWHERE = [(name, "digits_cnn") for name, _ in pairs() if load_target(name).arch in EMULATORS]
LARGE = [(name, model) for model in MODELS[1:] for name in ("rpi4", "rpi2")]


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize(("target", "model"), list(dict.fromkeys([*EVERYWHERE, *LARGE])))
def test_the_artifact_runs_on_the_targets_core(
    target: str,
    model: str,
    request: pytest.FixtureRequest,
    fetched: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    common_store: Path,
) -> None:
    monkeypatch.setenv("EDGEC_ROOTS_DIR", str(request.getfixturevalue(f"{load_target(target).arch}_roots")))
    backend = load_target(target).backends[0]
    case = fetched(lambda: CASES[model](seed=0))
    found = execute(case, target, backend, tmp_path)
    known = RECORDS[target, backend][model]
    assert (found.runner, found.precision, found.selftest) == (known.runner, known.precision, True)
    assert found.samples == known.samples
    assert found.sqnr_db is not None and known.sqnr_db is not None
    assert found.sqnr_db >= known.sqnr_db - SLACK


def test_the_readme_shows_what_is_recorded() -> None:
    assert between_marks(README.read_text(encoding="utf-8")) == table(RECORDS)


def test_every_built_in_target_is_recorded_with_every_backend_and_model() -> None:
    assert {pair: tuple(sorted(models)) for pair, models in RECORDS.items()} == dict.fromkeys(
        pairs(), tuple(sorted(MODELS))
    )


def test_a_target_with_an_emulator_was_executed_on_it_or_its_backend_can_not_be() -> None:
    for (name, backend), models in RECORDS.items():
        target = load_target(name)
        if target.emulator is None:
            continue
        expected = "none" if backend == "openvino" else f"{target.emulator.qemu}:{target.emulator.cpu}"
        assert {execution.runner for execution in models.values()} - {"refused"} == {expected}, name


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    one = Execution("native", "", "int8", 12, 1.5, 30.5, True)
    records = {("host", "tflite"): {"digits_cnn": one, "other": replace(one, lsb=None, sqnr_db=None, samples=0)}}
    write_records(records, tmp_path / "executed.toml")
    assert read_records(tmp_path / "executed.toml") == records


def test_the_table_takes_the_place_of_the_one_before() -> None:
    text = "above\n<!-- executed -->\nold\n<!-- end of executed -->\nbelow"
    assert with_table(text, "new") == text.replace("old", "new")
    assert between_marks(with_table(text, "new")) == "new"
