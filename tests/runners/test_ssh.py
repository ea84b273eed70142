"""Boards over ssh: what runs there, what is left there (nothing), and how it can fail."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from edgec.errors import ConnectionLost, DeviceError, ToolMissing, UsageError
from edgec.runners import ssh
from edgec.targets import load_target
from tests import boards
from tests.processes import ends

HOST = boards.HOST
_PATIENCE = 30


def test_files_go_there_and_programs_run(board, tmp_path):
    (tmp_path / "-rf $(id).bin").write_bytes(b"\0\xff" * 1000)
    hostile = "$(id) 'a' \"b\" `c` \\ * ~ \n -x; exit 3 #"
    with ssh.connect(HOST, room=1000) as there:
        there.put(
            {
                "a.bin": tmp_path / "-rf $(id).bin",
                "program": b"#!/bin/sh\nprintf '%s|' \"$@\"; cat; echo x >&2; exit 7\n",
            }
        )
        assert there.get("a.bin") == b"\0\xff" * 1000
        done = there.run(["./program", hostile, ""])
        assert (done.code, done.output, done.said) == (7, f"{hostile}||".encode(), "x\n")
        assert there.run(["sh", "-c", "kill -SEGV $$"]).code == 128 + signal.SIGSEGV
        assert there.run(["sh", "-c", "exit 255"]).code not in (0, 255), "255 is ssh's own"
        assert there.run(["echo", '{"a": 1}']).document() == {"a": 1}
        assert there.run(["echo", "a"]).document() is None
        assert there.run(["./nothing"]).code == 127
        heard = []
        assert there.run(["sh", "-c", "echo a >&2; echo b; echo c >&2"], listen=heard.append).output == b"b\n"
        assert heard == ["a", "c"]
        with pytest.raises(DeviceError, match="nothing can't be read"):
            there.get("nothing")
        assert boards.names(board.place) == [Path(there.folder).name]
        assert Path(there.folder).stat().st_mode & 0o777 == 0o700
        assert boards.names(there.folder) == ["a.bin", "program"]
        assert len(board.sessions()) == 1, "all share one connection"
    assert board.left() == []


def test_a_board_says_what_it_is(board):
    facts = ssh.facts_of(HOST)
    here = load_target("host")
    assert facts.architecture == here.arch and facts.python
    assert not facts.unfit(here)
    other = load_target("rpi4" if here.arch == "x86_64" else "x86-64-v3")
    assert f"the target is {other.arch}" in facts.unfit(other)
    assert board.left() == []


def test_an_open_connection_of_the_user_is_used(board):
    board.configure("ControlMaster auto", f"ControlPath {board.folder}/mux", "ControlPersist 60")
    subprocess.run(["ssh", HOST, "true"], check=True)
    with ssh.connect(HOST) as there:
        assert there.run(["echo", "a"]).output == b"a\n"
        assert len(board.sessions()) == 1
    assert (board.folder / "mux").exists(), "it is the user's to close"
    subprocess.run(["ssh", "-O", "exit", HOST], check=True, capture_output=True)
    assert board.left() == []


def test_what_the_user_configured_for_a_terminal_does_not_disturb(board):
    board.configure(
        "RemoteCommand echo mine", "RequestTTY force", "LocalForward 1 localhost:1", "ExitOnForwardFailure yes"
    )
    with ssh.connect(HOST) as there:
        assert there.run(["echo", "a"]).output == b"a\n"


def test_a_login_shell_that_talks_and_a_board_that_grants_one_session_only(another_board, capfd):
    board = another_board(
        "MaxSessions 1",
        """ForceCommand sh -c 'echo; echo hello; eval "$SSH_ORIGINAL_COMMAND"'""",
    )
    with ssh.connect(HOST) as there:
        there.put({"a": b"b"})
        assert there.get("a") == b"b"
        assert there.run(["echo", "c"]).output == b"c\n"
        assert boards.names(board.place) == [Path(there.folder).name]
    assert board.left() == []
    assert capfd.readouterr().out == "", "standard output is for results"


def programs(folder: Path, *names: str) -> Path:
    """A folder for PATH with these programs only."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(shutil.which(name))
    return folder


_LEAST = ("sh", "bash", "mktemp", "df", "tail", "tar", "cat", "rm", "chmod", "uname", "readlink")


def test_a_board_with_little_installed(another_board, tmp_path):
    board = another_board(PATH=programs(tmp_path / "bin", *_LEAST))
    facts = ssh.facts_of(HOST)
    assert (facts.python, facts.glibc) == (False, "")
    with ssh.connect(HOST) as there:
        there.put({"a": b"b"})
        assert there.get("a") == b"b"
    assert board.left() == []


def test_what_shall_stay_has_a_root(board, tmp_path):
    """The first that can be written, and the session's folder in it; looking makes nothing."""
    (tmp_path / "file").touch()
    roots = (f"{tmp_path}/file/root", "~/.local/share/edgec", f"{tmp_path}/other")
    home = board.folder / "home"
    with ssh.connect(HOST, roots=roots) as there:
        assert there.root == f"{home}/.local/share/edgec"
        assert Path(there.folder).parent == board.place and boards.names(home) == []
    with ssh.connect(HOST, roots=roots, make=True) as there:
        assert Path(there.folder).parent == Path(there.root) / "incoming"
        assert Path(there.root).stat().st_mode & 0o777 == 0o755
        there.put({"a": b"b"})
    assert board.left() == [] and boards.names(home / ".local/share/edgec/incoming") == []
    with ssh.connect(HOST, roots=roots[:1], make=True) as there:
        assert there.root == "" and Path(there.folder).parent == board.place


def test_bytes_are_counted_on_their_way(board):
    heard = []
    with ssh.connect(HOST) as there:
        there.put({"a": bytes(50_000)}, heard.append)
    assert heard == sorted(heard) and heard[-1] >= 50_000


# --- boards that can't be had ---


def refused(**how) -> DeviceError:
    with pytest.raises(DeviceError) as caught, ssh.connect(HOST, **how):
        pytest.fail("it is open")
    error = caught.value
    assert error.exit_code == 10 and error.what and error.why and error.fix
    return error


def test_nobody_listens(board):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        text = (board.folder / "config").read_text().replace("Port ", f"Port {free.getsockname()[1]}\n  Port ")
    (board.folder / "config").write_text(text)
    error = refused()
    assert f"{HOST} can't be reached" in error.what and "refused" in error.why


def test_nobody_answers(board, monkeypatch):
    monkeypatch.setattr(ssh, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = (board.folder / "config").read_text().replace("Port ", f"Port {silent.getsockname()[1]}\n  Port ")
        (board.folder / "config").write_text(text)
        error = refused()
    assert f"{HOST} can't be reached" in error.what and "timed out" in error.why


def test_a_key_that_does_not_open_it(board):
    (board.folder / "authorized").write_text("")
    error = refused()
    assert "refuses the login" in error.what and "ssh-copy-id" in error.fix


def test_a_host_that_is_not_known(board):
    (board.folder / "known").write_text("")
    error = refused()
    assert "is not known" in error.what and f"ssh {HOST}" in error.fix


def test_a_host_with_another_key(board):
    known = board.folder / "known"
    known.write_text(known.read_text().split()[0] + " " + (board.folder / "user.pub").read_text())
    before = known.read_bytes()
    error = refused()
    assert "is not the one that is known" in error.what and "ssh-keygen -R" in error.fix
    assert known.read_bytes() == before


def test_a_host_that_is_none(board):
    with pytest.raises(DeviceError, match="There is no host") as caught, ssh.connect("nobody.invalid:2222"):
        pytest.fail("it is open")
    assert "ssh://nobody.invalid:2222" in caught.value.fix


@pytest.mark.parametrize(
    "host",
    [
        "",
        "-oProxyCommand=touch x",
        "-l root",
        "me@-oProxyCommand=x",
        "-v@host",
        "a b",
        "$(touch x)",
        "`id`@h",
        "a\nb",
        "x;y",
    ],
)
def test_what_can_be_no_host_never_reaches_ssh(host, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **how: pytest.fail("it was called"))
    with pytest.raises(UsageError, match="can't be a host"), ssh.connect(host):
        pytest.fail("it is open")


def test_no_ssh(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="no `ssh`"), ssh.connect(HOST):
        pytest.fail("it is open")


def test_a_configuration_that_ssh_does_not_understand(board):
    board.configure("Nonsense yes")
    error = refused()
    assert "refuses" in error.what and "onsense" in error.why


# --- room ---


def test_no_place_with_enough_room(board):
    error = refused(room=1 << 60)
    assert "has no place" in error.what and f"{board.place} has " in error.why and "KiB free" in error.why
    assert board.left() == []


def test_files_that_do_not_fit(board):
    with ssh.connect(HOST) as there:
        there.free = 3 << 20
        with pytest.raises(DeviceError, match="disk of board is full") as caught:
            there.put({"a": bytes(3 << 20)})
        assert "3.0 MiB" in caught.value.why
        for _ in range(3):
            there.put({"b": bytes(1 << 20)})  # takes the place of the one before
        with pytest.raises(DeviceError, match="disk of board is full"):
            there.put({"c": bytes(3 << 19)})
        assert boards.names(there.folder) == ["b"]


@pytest.mark.parametrize("said", ["No space left on device", "Disk quota exceeded", "what?"])
def test_a_disk_that_becomes_full(another_board, tmp_path, said):
    folder = programs(tmp_path / "bin", *(name for name in _LEAST if name != "tar"))
    (folder / "tar").write_text(f"#!/bin/sh\nhead -c 100000 >/dev/null\necho 'tar: a: {said}' >&2\nexit 2\n")
    (folder / "tar").chmod(0o755)
    (folder / "head").symlink_to(shutil.which("head"))
    board = another_board(PATH=folder)
    with ssh.connect(HOST) as there, pytest.raises(DeviceError) as caught:
        there.put({"a": bytes(5_000_000)})
    assert ("is full" in caught.value.what) == (said != "what?") and said in caught.value.why
    assert board.left() == []


# --- ends ---


def sleeper(there) -> list[str]:
    """Words of a program that leaves its number in a file, and then does nothing for long."""
    return ["sh", "-c", "echo $$ >../pid.part; mv ../pid.part ../pid; sleep 600; true"]


def pid_of_sleeper(board) -> int:
    deadline = time.monotonic() + _PATIENCE
    while not (board.place / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int((board.place / "pid").read_text())
    (board.place / "pid").unlink()
    return pid


def test_what_takes_too_long_is_ended(board):
    with ssh.connect(HOST) as there:
        with pytest.raises(ssh.TooLate, match="did not end in 2 s on board"):
            there.run(sleeper(there), seconds=2)
        assert ends(pid_of_sleeper(board))
        with pytest.raises(ssh.TooLate):
            there.run(["sleep", "600"], seconds=1, listen=print)
        assert there.run(["echo", "a"]).output == b"a\n", "the session goes on"
    assert board.left() == []


def test_a_connection_that_breaks(board):
    with ssh.connect(HOST) as there:

        def cut():
            global pid
            pid = pid_of_sleeper(board)
            for session in board.sessions():
                os.kill(session, signal.SIGKILL)

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(ConnectionLost, match="connection to board was lost") as caught:
            there.run(sleeper(there))
        thread.join()
        assert caught.value.exit_code == 10 and caught.value.why and caught.value.fix
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                there.run(["true"])
            with pytest.raises(ConnectionLost):
                there.put({"a": b""})
    assert ends(pid)
    assert board.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_by_a_process_that_is_ended(board, number):
    program = (
        "from edgec.runners import ssh\n"
        f"with ssh.connect('{HOST}') as there:\n"
        "    there.put({'a': b'b'})\n"
        f"    there.run({sleeper(None)!r})\n"
    )
    short = tempfile.mkdtemp(dir="/tmp")  # a path of a socket can't be long
    environment = {**os.environ, "TMPDIR": short}
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL, env=environment)
    pid = pid_of_sleeper(board)
    process.send_signal(number)
    process.wait()
    assert ends(pid)
    assert board.left() == []
    deadline = time.monotonic() + _PATIENCE
    while boards.names(short) and time.monotonic() < deadline:
        time.sleep(0.05)
    Path(short).rmdir()


def test_a_shared_connection_whose_holder_does_not_answer_is_not_used(tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    (tmp_path / "ssh").write_text(f'#!/bin/sh\necho "$@" >{asked}\nexec sleep 600\n')
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(ssh, "_CHECK_SECONDS", 0.5)
    assert ssh._shared(HOST, "/sockets", [], own=False) == ["-o", "ControlPath=/sockets/%C"]
    assert asked.read_text() == f"-O check -- {HOST}\n"
