"""What the system tells, read from files that tests write."""

from __future__ import annotations

import pytest

from edgec.runtime import machine


def written(folder, **texts):
    for name, text in texts.items():
        place = folder / name.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n")


def test_this_process_has_memory():
    before = machine.resident_bytes()
    assert machine.peak_bytes() >= before > 1 << 20


def test_memory_is_counted_in_bytes(tmp_path, monkeypatch):
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
    monkeypatch.setattr(machine, "_STATUS", tmp_path / "status")
    assert (machine.peak_bytes(), machine.resident_bytes()) == (2 << 20, 1 << 20)


def test_a_system_that_tells_nothing_is_not_guessed_about(tmp_path, monkeypatch):
    for name in ("_STATUS", "_TASKS", "_THERMAL", "_CPUS"):
        monkeypatch.setattr(machine, name, tmp_path / "nothing")
    assert machine.peak_bytes() is machine.resident_bytes() is machine.waited_seconds() is None
    assert machine.celsius() is machine.megahertz() is None


def test_the_hottest_sensor_of_the_processor_counts(tmp_path, monkeypatch):
    written(tmp_path, thermal_zone0__type="acpitz", thermal_zone0__temp="90000")
    monkeypatch.setattr(machine, "_THERMAL", tmp_path)
    assert machine.celsius() == 90, "where none says that it is the processor's, all count"
    written(tmp_path, thermal_zone1__type="cpu-thermal", thermal_zone1__temp="51234")
    written(tmp_path, thermal_zone2__type="cpu1-thermal", thermal_zone2__temp="48000")
    assert machine.celsius() == pytest.approx(51.234)


def test_the_clock_is_that_of_the_fastest_core(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CPUS", tmp_path)
    written(tmp_path, cpu0__cpufreq__scaling_cur_freq="600000", cpu3__cpufreq__scaling_cur_freq="1800000")
    assert machine.megahertz() == 1800


def test_what_all_threads_waited_is_added_up(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_TASKS", tmp_path)
    written(tmp_path, **{"11__schedstat": "5 1500000000 9", "12__schedstat": "5 250000000 9", "13__schedstat": ""})
    assert machine.waited_seconds() == 1.75
