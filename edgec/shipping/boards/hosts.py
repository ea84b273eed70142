"""Boards by name, as `edgec deploy` takes them: hosts of ssh, each with the folder that is the device agent's there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import UsageError
from edgec.runners import ssh

ROOTS = ("/var/lib/edgec", "~/.local/share/edgec")
"""Where the agent keeps its models: the first that the user on the board may write. The agent alone takes the first."""

_SCHEME = "ssh://"
_ROOT = re.compile(r"(~|)(/[A-Za-z0-9_.-]+)+")
_HOST_KEY = re.compile(r"(ssh-[a-z0-9]+|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( .*)?")


@dataclass(frozen=True)
class Host:
    """A board. name: as ssh takes it, and as people read it. root: the agent's folder there; "": one of ROOTS."""

    name: str
    root: str = ""

    @property
    def roots(self) -> Sequence[str]:
        return (self.root,) if self.root else ROOTS


def parse_host(text: str) -> Host:
    """ "[user@]host", or "ssh://[user@]host[:port][/path]", where a path "/~/x" is in the home folder there.

    Raises UsageError.
    """
    if not text.startswith(_SCHEME):
        ssh.check_host(text)
        if "/" in text or ":" in text:
            raise UsageError(
                f"{text!r} is no host",
                "A port and a folder are told from the name in an URL only; and artifacts are files *.edgec.",
                "Write ssh://[user@]host:port/path",
            )
        return Host(text)
    name, slash, path = text.removeprefix(_SCHEME).partition("/")
    ssh.check_host(name)
    root = (path if path.startswith("~/") else f"/{path}").rstrip("/")
    if slash and path and (not _ROOT.fullmatch(root) or ".." in root.split("/")):
        raise UsageError(
            f"{root!r} can't be the agent's folder on {name}",
            "Its path holds characters other than letters, digits, '.', '_' and '-', or leads upwards.",
            "Write ssh://host/var/lib/edgec, or ssh://host/~/edgec for a folder in the home folder there.",
        )
    return Host(f"{_SCHEME}{name}" if ":" in name else name, root if path else "")


def hosts_of(given: Iterable[str], file: Path | None) -> list[Host]:
    """The boards that are named, and those in a file with one in each line. Raises UsageError."""
    texts = [*given, *(_lines(file) if file is not None else [])]
    hosts = [parse_host(text) for text in texts]
    if not hosts:
        raise UsageError(
            "No board is named",
            "Boards are named as [user@]host or ssh://[user@]host[:port][/path].",
            "Name one or several, or a file with one in each line: --hosts FILE",
        )
    names = [host.name for host in hosts]
    if again := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{again} is named twice", "A board has one agent, and one folder for it.", "Name it once.")
    return hosts


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(f"{file} can't be read", f"The reason: {reason}.", "Check the path of --hosts.") from error
    return [line for each in text.splitlines() if (line := each.partition("#")[0].strip())]


def known_hosts(file: Path) -> str:
    """The lines of a known_hosts file that say what `file` does: it is one, or holds public keys of hosts.

    Raises UsageError.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="ascii").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{file} can't be read", f"The reason: {reason}.", "Check the path of --host-key.") from error
    lines = [f"* {line}" if _HOST_KEY.fullmatch(line) else line for line in lines if line and not line.startswith("#")]
    if not lines or not all(_HOST_KEY.search(line.partition(" ")[2]) for line in lines):
        raise UsageError(
            f"{file} holds no keys of hosts",
            "It is neither a known_hosts file nor a host's public key.",
            "Fetch /etc/ssh/ssh_host_ed25519_key.pub from the board on a way that you trust, or name known_hosts.",
        )
    return "\n".join(lines) + "\n"
