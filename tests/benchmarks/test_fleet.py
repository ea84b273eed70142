"""A fleet on one static server, scaled down: nothing is lost, and devices download what they need and no more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.shipping.repositories import artifact

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SIZE = 300_000
DEVICES = 24


@pytest.fixture
def benchmark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    module = __import__(request.param)
    yield module
    sys.modules.pop(request.param, None)


@pytest.mark.parametrize("benchmark", ["fleet"], indirect=True)
def test_a_fleet_follows_its_repository(benchmark: ModuleType, tmp_path: Path) -> None:
    runs = list(benchmark.runs(tmp_path, DEVICES, 2, SIZE, "python", checks=False))
    first, nothing, changed, tenth, all_of_them = facts = [run.facts() for run in runs]
    assert [each["failed"] for each in facts] == [0] * 5
    assert [each["wrong bytes"] for each in facts] == [0] * 5
    assert [each["on the newest version"] for each in (first, nothing, changed, all_of_them)] == [DEVICES] * 4
    assert 0 < tenth["on the newest version"] < DEVICES / 2
    assert first["bytes a device"] > SIZE
    assert nothing["bytes a device"] < 1000
    assert nothing["requests in all"] == 2 * DEVICES
    assert changed["bytes a device"] < 0.2 * SIZE


@pytest.mark.parametrize("benchmark", ["delta"], indirect=True)
def test_the_next_version_costs_what_changed(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = bytes(byte for number in range(800) for byte in benchmark.random.Random(number).randbytes(256))
    made = artifact(tmp_path, weights=weights)
    assert benchmark.main([str(made), "--next", f"mine={made}"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    share = {row[0]: float(row[-1].rstrip(" %")) for row in rows[2:] if len(row) > 1}
    assert rows[-1][0].startswith("Cutting into chunks: ")
    assert share["nothing changed"] < 1
    assert share["1 % in one place"] < 20
    assert share["another model"] > 50  # the runtime stays
    assert set(share) == {
        "nothing changed",
        "runtime changed",
        "1 % in one place",
        "1 % scattered, 4 KiB",
        "1 % scattered, bytes",
        "another model",
        "mine",
    }
