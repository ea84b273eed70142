"""Boards for tests: an sshd of one's own on the loopback interface, with its own keys, and a client's configuration
that knows them. Nothing of the user's own ssh is read or written, nor what the user's login shell reads."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgec.runners import ssh
from tests.processes import ends

HOST = "board"
_SSHD = "/usr/sbin/sshd"  # it wants to be called by its whole path
_SEPARATION = Path("/run/sshd")  # where it wants an empty folder, when it is root's
_PATIENCE = 20  # seconds
_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class TestBoard:
    """folder: of keys and configurations. place: the only one on the board that files can go to. pid: of sshd."""

    __test__ = False

    folder: Path
    place: Path
    pid: int

    def configure(self, *lines: str) -> None:
        """Add lines to the client's configuration of the host."""
        with (self.folder / "config").open("a") as file:
            file.writelines(f"  {line}\n" for line in lines)

    def sessions(self) -> list[int]:
        """The processes that sshd has for open connections."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def left(self) -> list[str]:
        """What lies there, once connections had time to end."""
        for pid in self.sessions():
            assert ends(pid)
        deadline = time.monotonic() + _PATIENCE
        while (found := names(self.place)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


@contextlib.contextmanager
def started(folder: Path, *lines: str, **environment: object) -> Iterator[int]:
    """An sshd with its keys in `folder`, these lines in its configuration, and these variables in its sessions; its
    pid."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "home").mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    public = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {public}")
    server = [
        f"ListenAddress 127.0.0.1:{port}", f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/authorized",
        "StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
        "PermitRootLogin yes", "PidFile none", *lines,
        f"SetEnv HOME={folder}/home " + " ".join(f"{name}={value}" for name, value in environment.items()),
    ]  # fmt: skip
    client = [
        f"Host {HOST}", "HostName 127.0.0.1", f"Port {port}", f"User {getpass.getuser()}",
        f"IdentityFile {folder}/user", "IdentitiesOnly yes", "IdentityAgent none",
        f"UserKnownHostsFile {folder}/known", "GlobalKnownHostsFile none",
    ]  # fmt: skip
    (folder / "sshd_config").write_text("\n".join(server) + "\n")
    (folder / "config").write_text("\n  ".join(client) + "\n")
    if os.getuid() == 0:
        _SEPARATION.mkdir(mode=0o755, exist_ok=True)
    command = [_SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log")]
    server_process = subprocess.Popen(command)
    try:
        _wait_for(port, server_process, folder / "log")
        yield server_process.pid
    finally:
        server_process.terminate()
        server_process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            if connection.recv(4) == b"SSH-":
                return
        time.sleep(0.05)
    raise AssertionError(f"sshd does not answer: {log.read_text()}")


def names(folder: str | Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in Path(folder).iterdir())


def require_sshd() -> None:
    """Tests skip where there is no sshd; in CI they fail."""
    missing = [name for name in ("ssh", "ssh-keygen", _SSHD) if shutil.which(name) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"{', '.join(missing)} is not here: apt-get install openssh-client openssh-server"
        )


def use(monkeypatch: pytest.MonkeyPatch, folder: Path, programs: Path, before: Sequence[str] = ()) -> None:
    """Let `ssh` be one that reads the configuration in `folder` and no other."""
    programs.mkdir(exist_ok=True)
    real = shutil.which("ssh", path=os.defpath + ":/usr/bin")
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {" ".join(before)} {real} -F {folder}/config "$@"\n')
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    ssh.facts_of.cache_clear()


@pytest.fixture
def another_board(tmp_path_factory, monkeypatch):
    """A function that starts an sshd with more lines in its configuration, and variables in its sessions."""
    require_sshd()
    with contextlib.ExitStack() as running:

        def start(*lines: str, **environment: object) -> TestBoard:
            folder, place = tmp_path_factory.mktemp("sshd"), tmp_path_factory.mktemp("place")
            pid = running.enter_context(started(folder, *lines, TMPDIR=place, **environment))
            use(monkeypatch, folder, folder / "bin")
            return TestBoard(folder, place, pid)

        yield start
    ssh.facts_of.cache_clear()


@pytest.fixture
def board(another_board):
    """A host called `board` that ssh reaches, where files go to a folder of its own; with the tests' own python3."""
    return another_board(PATH=f"{Path(sys.executable).parent}:{_PATH}")
