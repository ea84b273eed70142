"""The comparison on ARM cores: ratios to LiteRT, limits, and why something was not counted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from edgec.emulator.counting import Counts
from edgec.runners.counted import Counted, Spread

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import arm

    yield arm
    sys.modules.pop("arm", None)


def counted(run: int, engine: int) -> Counted:
    """A contender's numbers, all of them multiplications."""
    machine = SimpleNamespace(qemu=SimpleNamespace(name="qemu-aarch64"))
    whole, inner = (Spread.of([Counts(multiply=total)]) for total in (run, engine))
    return Counted(whole, inner, "2.3.0", machine)


def rows(arm: ModuleType, target: str, ours: int) -> list[object]:
    return [
        arm.Row("a_model", target, "edgec TVM", counted(ours + 50_000, ours)),
        arm.Row("a_model", target, "LiteRT", counted(1_100_000, 1_000_000)),
        arm.Row("a_model", target, "tflite-runtime", counted(3_100_000, 3_000_000)),
    ]


def test_ratios_are_to_litert(arm):
    header, _, line, *_ = arm.table(rows(arm, "rpi5", 800_000))
    assert header.endswith("| edgec TVM | LiteRT | tflite-runtime | edgec TVM to LiteRT | the same in run() |")
    assert line == "| a_model | cortex-a76 | 0.800 | 1.000 | 3.000 | 0.800 | 0.773 |"


def test_without_litert_the_ratio_is_to_tflite_runtime(arm):
    ours, _, other = rows(arm, "rpi2", 1_500_000)
    line = arm.table([ours, arm.Row("a_model", "rpi2", "LiteRT", None, "there is none"), other])[2]
    assert line.endswith("| 1.500 | there is none | 3.000 | 0.500 (to tflite-runtime) | 0.500 (to tflite-runtime) |")


@pytest.mark.parametrize(
    ("target", "ours", "kept"),
    [
        ("rpi5", 900_000, "kept"),
        ("rpi5", 900_001, "MISSED"),
        ("rpi4", 1_000_000, "kept"),
        ("rpi4", 1_000_001, "MISSED"),
    ],
)
def test_limits_are_those_of_the_core(arm, target, ours, kept):
    (verdict,) = arm.verdicts(rows(arm, target, ours))
    assert verdict.endswith(kept)


def test_a_core_without_a_limit_is_not_judged(arm):
    assert arm.verdicts(rows(arm, "rpi3", 2_000_000)) == []


def test_what_could_not_be_counted_says_why(arm):
    failed = arm.Row("a_model", "rpi3", "edgec TVM", None, "no kernels")
    lines = arm.table([failed, *rows(arm, "rpi3", 800_000)[1:]])
    assert lines[2] == "| a_model | cortex-a53 | no kernels | 1.000 | 3.000 |  |  |"
    assert json.loads(json.dumps(failed.to_json()))["failure"] == "no kernels"
