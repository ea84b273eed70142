"""The device agent on a board that ssh reaches: brought there when it is missing or older, and asked.

    with agent_on(Host("pi@board"), making=True) as agent:
        agent.send(program())
        told = agent.ask("check", "needs.json")

What is asked are the agent's own commands with `--json`, and nothing else: a board may have a newer agent than this
edgec, and its commands stay.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.errors import DeviceError
from edgec.runners import ssh
from edgec.runners.ssh_refusals import tail
from edgec.shipping.agent_program import NAME, Program
from edgec.shipping.boards.hosts import Host

_OLDEST_PYTHON = (3, 9)

_LOOK = r"""
import hashlib, json, re, sys, zipfile
found = {"python": list(sys.version_info[:3]), "agent": None}
try:
    with open(sys.argv[1], "rb") as stream:
        sha256 = hashlib.sha256(stream.read()).hexdigest()
    with zipfile.ZipFile(sys.argv[1]) as archive:
        text = archive.read("edgec_runtime/agent/version.py").decode("ascii")
    found["agent"] = {"sha256": sha256, "version": re.search("VERSION = '(.*)'", text).group(1)}
except Exception:
    pass
print(json.dumps(found))
"""
"""Run by whatever Python 3 the board has. What can't be read as an agent is none."""

_ALONE = """
import subprocess, sys
sys.exit(subprocess.Popen(sys.argv[1:], start_new_session=True, cwd="/").wait())
"""
"""Runs a command that goes on when the connection breaks: in a session of its own, and not in the session's folder."""


_KEEP = """
set -e
umask 022
mkdir -p "$2"
chmod 755 "$1"
mv -f "$1" "$2/.$3"
sync
mv -f "$2/.$3" "$2/$3"
sync
"""


class OnDevice(DeviceError):
    """What the agent on a board says went wrong, with its own exit code. kind: of the failure there."""

    def __init__(self, what: str, why: str, fix: str, details: Mapping[str, Any], kind: str, code: int) -> None:
        super().__init__(what, why, fix, details)
        self.kind, self.exit_code = kind, code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.why, self.fix, self.details, self.kind, self.exit_code)

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "kind": self.kind}


@dataclass(frozen=True)
class Had:
    """The agent that a board had: "" where there is none. python: "3.11.2"."""

    version: str
    sha256: str
    python: str


class AgentOnBoard:
    """An open session on a board with the agent. root: its folder there. before: what was there."""

    def __init__(self, board: ssh.Board, before: Had) -> None:
        self.board, self.before = board, before
        self.root = board.root
        self._program = self._place

    @property
    def _place(self) -> str:
        return f"{self.root}/bin/{NAME}"

    def needs(self, program: Program) -> bool:
        """Whether the board has no agent, an older one, or another one of the same version."""
        if not self.before.version or _numbers(self.before.version) < _numbers(program.version):
            return True
        return self.before.version == program.version and self.before.sha256 != program.sha256

    def send(self, program: Program) -> None:
        """Use this program in this session."""
        self.board.put({NAME: program.content})
        self._program = f"{self.board.folder}/{NAME}"

    def keep(self) -> None:
        """Let the program that was sent be the board's."""
        done = self.board.run(["sh", "-c", _KEEP, "sh", self._program, f"{self.root}/bin", NAME])
        if done.code != 0:
            raise DeviceError(
                f"The device agent can't be written to {self.root}/bin on {self.board.host}",
                f"The board says: {tail(done.said)}",
                "Free some space there, or name a folder that the user there may write: ssh://host/path",
            )
        self._program = self._place

    def link(self, file: str, name: str) -> None:
        """Let a file of the board be in the session's folder too, as `name`."""
        done = self.board.run(["sh", "-c", 'ln "$1" "$2" || cp "$1" "$2"', "sh", file, name])
        if done.code != 0:
            raise DeviceError(
                f"{file} can't be read on {self.board.host}", f"The board says: {tail(done.said)}", "Look at it there."
            )

    def ask(
        self, verb: str, *arguments: str, alone: bool = False, listen: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """The document that a command of the agent prints.

        alone: it goes on when the connection breaks. listen: gets what it says meanwhile.

        Raises OnDevice for what failed there, ConnectionLost, DeviceError for an agent that does not answer.
        """
        words = ["python3", self._program, verb, "--root", self.root, "--json", *arguments]
        done = self.board.run(["python3", "-c", _ALONE, *words] if alone else words, listen=listen)
        document = done.document()
        if done.code == 0 and isinstance(document, dict):
            return document
        if isinstance(document, dict) and isinstance(error := document.get("error"), dict):
            what, why, fix, kind = (str(error.get(key, "")) for key in ("what", "why", "fix", "kind"))
            details = {key: value for key, value in document.items() if key not in ("status", "exit_code", "error")}
            raise OnDevice(what, why, fix, details, kind, done.code)
        raise DeviceError(
            f"The device agent on {self.board.host} does not answer `{verb}`",
            tail(done.said) or f"It ended with {done.code}.",
            f"Look at it there: ssh {self.board.host} python3 {self._place} status",
        )


@contextlib.contextmanager
def agent_on(host: Host, making: bool, host_keys: str = "") -> Iterator[AgentOnBoard]:
    """Open a session on a board. making: its folder is made, for what will stay there.

    host_keys: lines of a known_hosts file; "": those that ssh knows. A host whose key is not known is refused.

    Raises what `ssh.connect` does, and DeviceError for a board without Python 3.9, or without a folder to be written.
    """
    with contextlib.ExitStack() as stack:
        options = {"StrictHostKeyChecking": "yes"}
        if host_keys:
            file = stack.enter_context(tempfile.NamedTemporaryFile("w", prefix="edgec-known-", encoding="ascii"))
            file.write(host_keys)
            file.flush()
            options |= {"UserKnownHostsFile": f'"{file.name}"', "GlobalKnownHostsFile": "none"}
        board = stack.enter_context(ssh.connect(host.name, roots=host.roots, make=making, more=options))
        if not board.root:
            raise DeviceError(
                f"There is no folder for the device agent on {host.name}",
                f"The user there may not write {' or '.join(host.roots)}.",
                f"Make one there (sudo install -d -o USER {host.roots[0]}), or name another: ssh://host/path",
            )
        yield AgentOnBoard(board, _look(board))


def _look(board: ssh.Board) -> Had:
    """Raises DeviceError for a board without Python 3.9."""
    install = f"ssh {board.host} sudo apt-get install python3 python3-numpy (Debian, Ubuntu, Raspberry Pi OS)"
    if not board.facts.python:
        raise DeviceError(
            f"There is no python3 on {board.host}", "The device agent needs Python 3.9.", f"Install it: {install}"
        )
    told = board.run(["python3", "-c", _LOOK, f"{board.root}/bin/{NAME}"])
    found = told.document()
    if not isinstance(found, dict):
        raise DeviceError(
            f"python3 on {board.host} does not run", tail(told.said) or f"It ended with {told.code}.", f"{install}"
        )
    version = ".".join(map(str, found["python"]))
    if tuple(found["python"]) < _OLDEST_PYTHON:
        raise DeviceError(
            f"Python on {board.host} is {version}",
            "The device agent and the runtime of artifacts need Python 3.9.",
            "Use a newer system there (Debian 11, Raspberry Pi OS 11 and later have it).",
        )
    agent = found["agent"] or {"version": "", "sha256": ""}
    return Had(agent["version"], agent["sha256"], version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def plain_name(path: Path, taken: Collection[str]) -> str:
    """A plain name for a file on a board, as much like its own as can be."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.name).lstrip("._-")[-80:]
    return name if name and name not in taken else f"{len(taken)}-{name}"
