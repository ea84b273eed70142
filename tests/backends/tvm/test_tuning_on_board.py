"""Tiles that are searched for on a board over ssh: the machine itself, reached through an sshd of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace

import pytest

import edgec
from edgec import processors
from edgec.backends.support import require_tile_search
from edgec.backends.tvm.tuning.database import Database, DenseTile, Entry, read
from edgec.errors import ConnectionLost, DeviceError, UsageError, WorkerCrashed, WorkerTimedOut
from edgec.runners import board_facts, ssh
from edgec.spec import BuildSpec
from edgec.stage import StageContext
from edgec.stages import tune
from edgec.targets import cpu_name, load_target
from tests.backends.tvm.cases import Cases
from tests.backends.tvm.test_tuning import graph_of, lowered

pytest.importorskip("tvm")

from edgec.backends.tvm.isa import name_for, named
from edgec.backends.tvm.kernels.dense import Dense
from edgec.backends.tvm.kernels.depthwise import Depthwise
from edgec.backends.tvm.lowering import program_of
from edgec.backends.tvm.tuning import on_board, search
from edgec.backends.tvm.tuning.on_board import BoardTimer
from edgec.backends.tvm.tuning.on_board import program_of as timing_program
from edgec.backends.tvm.tuning.tiles import candidates, shape_of
from edgec.emulator import qemu
from tests.backends.tvm.compiled import HOST_RUNS_IT, ISA, TARGET
from tests.boards import HOST

runs = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

A53, A72 = (f"aarch64, CPU implementer 0x41, CPU part {part}" for part in ("0xd03", "0xd08"))
BOARD = board_facts.Facts("aarch64", frozenset(load_target("rpi4").features), (A72,) * 4, "2.36", True)


# --- which board ---


def refusal(target, monkeypatch, **changes):
    monkeypatch.setattr(ssh, "facts_of", lambda host: replace(BOARD, **changes))
    with pytest.raises(UsageError, match=f"Tiles for {target} can't be searched on pi") as caught:
        require_tile_search("tvm", load_target(target), measured=True, board="pi")
    return caught.value.why


def test_a_board_has_to_be_what_the_target_describes(monkeypatch):
    monkeypatch.setattr(ssh, "facts_of", lambda host: BOARD)
    require_tile_search("tvm", load_target("rpi4"), measured=True, board="pi")
    monkeypatch.setattr(ssh, "facts_of", lambda host: replace(BOARD, features=None, glibc=""))
    require_tile_search("tvm", load_target("rpi4"), measured=True, board="pi")
    assert "it is aarch64, and the target is x86_64" in refusal("x86-64-v3", monkeypatch)
    assert "it has cortex-a53, and the target cortex-a72" in refusal("rpi4", monkeypatch, cores=(A53,))
    assert "lacks asimddp" in refusal("rpi5", monkeypatch)
    assert "glibc 2.17" in refusal("rpi4", monkeypatch, glibc="2.17")


def test_of_cores_of_two_kinds_the_target_s_are_taken():
    mixed = replace(BOARD, cores=(A53, A53, A72, A72))
    assert mixed.processors_of(load_target("rpi4")) == (A72, (2, 3))
    assert mixed.processors_of(load_target("rpi3")) == (A53, (0, 1))
    assert mixed.processors_of(load_target("aarch64-generic")) == (A53, (0, 1))
    assert BOARD.processors_of(load_target("rpi4")) == (A72, ())


def test_tiles_of_another_core_are_not_used():
    entry = Entry("neon", A53, "time", "Dense()", DenseTile(4, 2), DenseTile(5, 4), 10.0, 8.0)
    other = replace(entry, cpu=A72, tile=DenseTile(3, 3))
    assert Database([entry, other]).of("neon", "x86", "cortex-a72") == {"Dense()": other}
    assert Database([entry]).of("neon", "x86", "cortex-a72") == {}
    assert Database([entry]).of("neon", "x86", "generic") == {"Dense()": entry}
    unknown = replace(entry, cpu="some core")
    assert Database([unknown]).of("neon", "x86", "cortex-a72") == {"Dense()": unknown}


def test_processors_have_names():
    text = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n\nprocessor\t: 1\nCPU implementer\t: 0x41\n"
    text += "CPU part\t: 0xd08\n\nHardware\t: BCM2835\nModel\t: Raspberry Pi\n"
    assert processors.names(text, "aarch64") == (A53, A72)
    assert [processors.core_of(name) for name in (A53, A72, "aarch64", cpu_name())][:3] == [
        "cortex-a53",
        "cortex-a72",
        "",
    ]
    assert processors.names("", "riscv64") == ("riscv64",)


def test_a_board_without_a_time_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--tune-on pi has no effect without --tune"):
        BuildSpec(tmp_path / "a.onnx", tune_on="pi")


# --- what is timed there ---


def calls(isa, target, count=3, family=Dense):
    """The arguments for timing the first kernel of a family in a graph, and `count` variants of it."""
    works = search.works_of(program_of(graph_of(Cases(0)), named(isa)), named(isa))
    work = next(work for work in works if isinstance(work.kernel, family))
    variants = candidates(work.kernel, named(isa))[:count]
    return {
        "default": work.kernel, "variants": variants, "operands": work.operands, "arena": work.arena, "isa": isa,
        "target": target,
    }  # fmt: skip


@runs
def test_variants_are_timed_there(board):
    with BoardTimer(HOST) as timer:
        found = timer(calls(ISA, TARGET), 60)
        assert 0 <= found.best < 3 and found.default_time > 1 and found.best_time > 1
        assert timer(calls(ISA, TARGET, 1, Depthwise), 60).best == 0
        assert len(board.sessions()) == 1, "one connection for all"
    assert board.left() == []


@runs
def test_what_crashes_or_hangs_there_is_told(board, monkeypatch):
    with BoardTimer(HOST, [0]) as timer:
        monkeypatch.setattr(on_board.worker, "call", lambda *words, **how: b"#!/bin/sh\nkill -ILL $$\n")
        with pytest.raises(WorkerCrashed, match=f"signal {int(signal.SIGILL)}"):
            timer(calls(ISA, TARGET), 60)
        monkeypatch.setattr(on_board.worker, "call", lambda *words, **how: b"#!/bin/sh\nsleep 60\n")
        with pytest.raises(WorkerTimedOut):
            timer(calls(ISA, TARGET), 3)
        monkeypatch.setattr(on_board.worker, "call", lambda *words, **how: b"no program")
        with pytest.raises(DeviceError, match="does not run on board"):
            timer(calls(ISA, TARGET), 60)
    assert board.left() == []


@runs
def test_a_connection_that_breaks_is_opened_again(board, monkeypatch):
    monkeypatch.setattr(on_board, "_PAUSES", (0.1,))
    with BoardTimer(HOST) as timer:
        timer(calls(ISA, TARGET, 1), 60)
        for session in board.sessions():
            os.kill(session, signal.SIGKILL)
        assert timer(calls(ISA, TARGET, 1), 60).best == 0
    assert board.left() == []


@pytest.mark.parametrize("family", [Dense, Depthwise])
def test_the_program_runs_on_arm_too(rpi4_machine, tmp_path, family):
    target = load_target("rpi4")
    (tmp_path / "timing").write_bytes(timing_program(**calls(name_for(target), target, 2, family)))
    (tmp_path / "timing").chmod(0o755)
    root = rpi4_machine.root.path
    emulator = qemu.find(target.emulator.qemu)
    done = subprocess.run(
        [emulator.program, "-L", root, "-cpu", target.emulator.cpu, tmp_path / "timing", "3", "0", "0", "2"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    told = ssh.Done(0, done.stdout.encode(), "").document()
    assert {name: len(times) for name, times in told["busy"].items()} == {"0": 3, "2": 3}
    assert len(told["idle"]) == 6 and told["calls"] >= 1


# --- a search ---


def run_stage(model, out, known=None, journal=None, seconds=100.0):
    out.mkdir()
    context = StageContext("tune", out, lambda event: None, journal)
    params = tune.TuneParams(TARGET, model.name, "a board", seconds, HOST)
    tune.run(model.parent, (known or Database()).text(), params, context)
    return read(out / "tuning.json")


@runs
def test_a_connection_that_stays_broken_loses_nothing_that_was_found(model, tmp_path, monkeypatch):
    shapes = [shape_of(work.kernel) for work in search.works_of(program_of(lowered(model), named(ISA)), named(ISA))]
    asked = []

    def timed(self, call, seconds):
        asked.append(call)
        if len(asked) == 2:
            raise ConnectionLost("The connection to board was lost", "It was cut.", "Try again.")
        return search.Timed(0, 100.0, 50.0)

    monkeypatch.setattr(BoardTimer, "__call__", timed)
    with pytest.raises(ConnectionLost) as caught:
        run_stage(model, tmp_path / "a", journal=tmp_path / "journal")
    found = Database.parse(caught.value.details[tune.FOUND], "what was found")
    (entry,) = found.entries.values()
    assert (entry.cpu, entry.kernel in shapes, entry.best) == ("a board", True, 50.0)
    rest = run_stage(model, tmp_path / "b", found)
    assert entry in rest.entries.values() and len(rest.entries) == len(asked) - 1


@runs
def test_a_search_there_is_kept_under_the_name_of_its_processor(model, board, tmp_path, monkeypatch):
    """A real one, of one kernel and two of its variants."""
    works, variants = search.works_of, search.candidates
    monkeypatch.setattr(search, "works_of", lambda *words: works(*words)[:1])
    monkeypatch.setattr(search, "candidates", lambda *words: variants(*words)[:2])
    (entry,) = run_stage(model, tmp_path / "a").entries.values()
    assert entry.cpu == "a board" and 0 < entry.best <= entry.default
    assert board.left() == []


@runs
def test_a_build_survives_the_loss_of_the_board(digits, board, tmp_path):
    how = {"calibration": digits.calibration, "preprocess": digits.recipe, "backend": "tvm", "output": tmp_path}
    ssh.facts_of(HOST)
    (board.folder / "authorized").write_text("")
    result = edgec.build(
        digits.model, **how, targets="x86-64-vnni", search_seconds=1.0, tune_seconds=30.0, tune_on=HOST
    )
    (build,) = result.builds
    assert build.artifact and not read(tmp_path / "digits_cnn-x86-64-vnni.tuning.json").entries
    assert any("refuses the login" in note.text and "go on" in note.text for note in build.notes)


def test_a_board_that_is_not_there_is_told_before_any_work(digits, board, tmp_path):
    (board.folder / "authorized").write_text("")
    how = {"calibration": digits.calibration, "preprocess": digits.recipe, "backend": "tvm", "output": tmp_path}
    with pytest.raises(DeviceError, match="refuses the login") as caught:
        edgec.build(digits.model, **how, targets="x86-64-vnni", tune_seconds=30.0, tune_on=HOST)
    assert caught.value.exit_code == 10 and not list(tmp_path.iterdir())
