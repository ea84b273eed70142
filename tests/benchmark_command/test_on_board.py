"""`edgec bench --on`: artifacts that are measured on a board, here the machine itself through an sshd of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from edgec.benchmark.comparison import Protocol, compare
from edgec.benchmark.on_board import BoardArtifact
from edgec.errors import ConnectionLost, DeviceError
from edgec.events import Progress
from edgec.runners import board_facts, ssh
from tests.benchmark_command.interruption import interrupted
from tests.boards import HOST
from tests.cli.test_command_line import edgec

SHORT = Protocol(seconds=0.1)


def measured(cnn, protocol=SHORT, listener=lambda event: None, count=1):
    with ssh.connect(HOST) as there:
        return compare([BoardArtifact(cnn.path, there, f"{n}.edgec") for n in range(count)], protocol, 0, listener)


def test_artifacts_are_measured_there_in_turns(cnn, board):
    found = measured(cnn, Protocol(seconds=0.2, profile=True), count=2)
    first, second = found.documents
    for document in (first, second):
        assert document["host"] == HOST and document["path"] == str(cnn.path) and not document["baseline"]
        assert 0 < document["latency_ms"]["p50"] <= document["latency_ms"]["max"]
        assert document["load_ms"] > 0 and document["first_ms"] > 0 and document["peak_bytes"] > document["start_bytes"]
        assert document["profile"] or document["profile_note"]
    assert first["ratio"] is None and second["ratio"]["to"] == str(cnn.path) and second["ratio"]["low"] is not None
    assert not found.failures and not found.interrupted
    assert board.left() == []


def test_a_soak_and_a_stream(cnn, board):
    assert measured(cnn, Protocol("soak", seconds=0.5)).documents[0]["soak"]
    (document,) = measured(cnn, Protocol("mlperf", seconds=0.3, queries=50)).documents
    assert document["mlperf"] and document["runs"] >= 50
    assert board.left() == []


def test_the_command(cnn, board, tmp_path):
    hostile = tmp_path / "-rf $(id) '.edgec"
    shutil.copy(cnn.path, hostile)
    result = edgec("bench", "--on", HOST, "--duration", "100ms", "--json", "--", hostile)
    assert (result.returncode, result.stderr) == (0, "")
    (document,) = json.loads(result.stdout)["artifacts"]
    assert (document["host"], document["path"]) == (HOST, str(hostile))
    shown = edgec("bench", "--on", HOST, "--duration", "100ms", cnn.path)
    assert shown.returncode == 0 and "p50" in shown.stdout and f"on {HOST}" in shown.stdout
    assert board.left() == []


def refused(cnn):
    with pytest.raises(DeviceError) as caught:
        measured(cnn)
    assert caught.value.exit_code == 10 and caught.value.why
    return caught.value


def programs(folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(shutil.which(name))
    return folder


_LEAST = ("sh", "bash", "mktemp", "df", "tail", "tar", "cat", "rm", "chmod", "uname", "readlink", "env")


def test_no_python_there(cnn, another_board, tmp_path):
    another_board(PATH=programs(tmp_path / "bin", *_LEAST))
    error = refused(cnn)
    assert f"no python3 on {HOST}" in error.what and f"ssh {HOST} sudo apt-get install python3" in error.fix


@pytest.mark.parametrize("engine", [False, True])
def test_no_numpy_or_no_engine_there(cnn, another_board, tmp_path, engine):
    folder = programs(tmp_path / "bin", *_LEAST)
    (folder / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (folder / "python3").chmod(0o755)
    if engine:
        import numpy

        (tmp_path / "lib").mkdir()
        for name in ("numpy", "numpy.libs"):
            (tmp_path / "lib" / name).symlink_to(Path(numpy.__path__[0]).parent / name)
        (folder / "python3").write_text(
            f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{tmp_path}/lib" exec {sys.executable} -S "$@"\n'
        )
    board = another_board(PATH=folder)
    error = refused(cnn)
    if engine:
        assert "openvino is not installed" in error.what and f"On {HOST}" in error.fix and "pip install" in error.fix
    else:
        assert f"no numpy on {HOST}" in error.what and "python3-numpy" in error.fix
    assert board.left() == []


def test_a_board_of_another_kind(cnn, board, monkeypatch):
    with ssh.connect(HOST) as there:
        there.facts = board_facts.Facts("riscv64", None, ("riscv64",), "2.36", True)
        with pytest.raises(DeviceError, match="can't be measured on board") as caught:
            BoardArtifact(cnn.path, there, "a.edgec").check()
        assert "is riscv64" in caught.value.why and caught.value.exit_code == 10


def test_what_dies_or_is_cut_off_keeps_the_figures_up_to_then(cnn, board):
    def during(event):
        if isinstance(event, Progress) and event.done >= 1 and not done:
            done.append(event)
            for session in board.sessions():
                os.kill(session, signal.SIGKILL)

    done = []
    found = measured(cnn, Protocol(seconds=60), during)
    assert isinstance(found.failures[0], ConnectionLost)
    assert found.documents[0]["runs"] > 0 and found.documents[0]["error"]["kind"] == "ConnectionLost"
    assert board.left() == []


def test_ctrl_c_shows_what_was_measured(cnn, board):
    code, output = interrupted("bench", cnn.path, "--on", HOST, "--mlperf", when=f"stream {cnn.path}: ")
    assert code == 130
    assert "p99" in output and "Interrupted" in output
    assert board.left() == []
