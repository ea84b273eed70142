"""device.conf: what this device is, where its releases come from, and how careful it is with them.

    [device]
    target = rpi4
    channel = stable
    [repository]
    url = https://models.example/edgec
    [health]
    command = /usr/local/bin/check-model --quick
    timeout = 30s

Every key has a default but `target`, which is needed where there is a repository, and is compared with each artifact's
where it is given.
"""

from __future__ import annotations

import configparser
import hashlib
import hmac
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..durations import seconds_of
from ..errors import InputError
from .storage import storing

FILE = "device.conf"
LARGEST_KEEP = 26
_MACHINE_ID = Path("/etc/machine-id")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


@dataclass(frozen=True)
class Settings:
    """A device's configuration. Times are in seconds.

    root: the device's folder.
    target: whose artifacts it takes; "" for any that fits the machine.
    id: what staged rollouts tell devices apart by.
    keep: versions of a model that stay installed, the running one among them.
    models: patterns (fnmatch) of the models that `update` installs.
    pinned: the version that a model shall have, whatever its channel says; by model.
    python: the interpreter that the artifacts run in; their engines are installed there.
    health_command: run after a switch; ends with 0 where the version is good. Empty: the self-test is enough.
    confirm: who says that a version is good: "health" (the self-test and the health command), or "application"
        (`edgec-device confirm`).
    starts: how often the device or the application may start with a version that nobody has confirmed.
    lock_wait: how long to wait for another agent. use_wait: how long for applications that hold updates off.
    """

    root: Path
    target: str = ""
    channel: str = "stable"
    id: str = ""
    keep: int = 2
    models: tuple[str, ...] = ("*",)
    pinned: Mapping[str, int] = field(default_factory=dict)
    python: str = sys.executable
    repository: str = ""
    health_command: tuple[str, ...] = ()
    health_timeout: float = 60.0
    confirm: str = "health"
    starts: int = 3
    selftest_timeout: float = 600.0
    lock_wait: float = 10.0
    use_wait: float = 300.0
    silence: float = 30.0
    least_rate: float = 512.0
    deadline: float = 4 * 3600.0

    @property
    def keys(self) -> Path:
        """Where the public keys lie that may sign artifacts."""
        return self.root / "trust" / "keys"


def _positive(text: str, key: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= LARGEST_KEEP:
        raise InputError(f"{key} = {text} is no number from 1 to {LARGEST_KEEP}", "", f"Give for example {key} = 3.")
    return int(text)


def _kept(text: str, key: str) -> int:
    if not text.isdigit() or not 2 <= int(text) <= LARGEST_KEEP:
        raise InputError(
            f"{key} = {text} is no number from 2 to {LARGEST_KEEP}",
            "A device keeps the version that runs, and one to go back to.",
            f"Give for example {key} = 2.",
        )
    return int(text)


def _confirm(text: str, key: str) -> str:
    if text not in ("health", "application"):
        raise InputError(f"{key} = {text} is not known", "It is 'health' or 'application'.", f"Give {key} = health.")
    return text


def _command(text: str, key: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(
            f"{key} can't be understood: {error}", f"It is {text!r}.", "Write it as in a shell, quotes in pairs."
        ) from error


def _wait(text: str, key: str) -> float:
    """A duration, or 0: not at all."""
    return 0.0 if text == "0" else seconds_of(text, key)


def _id(text: str, key: str) -> str:
    if not _ID.fullmatch(text):
        raise InputError(f"{key} = {text!r} is no name for a device", "Letters, digits and . _ : - only.", "Change it.")
    return text


def _text(text: str, key: str) -> str:
    return text


def _rate(text: str, key: str) -> float:
    """Bytes a second; 0 for a line that may be as slow as it likes."""
    if not text.isdigit():
        raise InputError(f"{key} = {text} is no number of bytes a second", "", f"Give for example {key} = 512.")
    return float(text)


def _pins(text: str, key: str) -> Mapping[str, int]:
    pins = {}
    for each in text.replace(",", " ").split():
        name, _, version = each.partition("@")
        if not name or not version.isdigit():
            raise InputError(
                f"{key} = {text} can't be understood", f"{each!r} is not MODEL@VERSION.", f"Give {key} = digits@3."
            )
        pins[name] = int(version)
    return pins


def _words(text: str, key: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split()) or ("*",)


_KEYS: Mapping[str, Mapping[str, tuple[str, Callable[[str, str], Any]]]] = {
    "device": {
        "target": ("target", _text),
        "channel": ("channel", _text),
        "id": ("id", _id),
        "keep": ("keep", _kept),
        "models": ("models", _words),
        "pin": ("pinned", _pins),
        "python": ("python", _text),
    },
    "repository": {"url": ("repository", _text)},
    "health": {
        "command": ("health_command", _command),
        "timeout": ("health_timeout", seconds_of),
        "confirm": ("confirm", _confirm),
        "starts": ("starts", _positive),
    },
    "limits": {
        "selftest": ("selftest_timeout", seconds_of),
        "lock_wait": ("lock_wait", _wait),
        "use_wait": ("use_wait", _wait),
        "silence": ("silence", seconds_of),
        "least_rate": ("least_rate", _rate),
        "deadline": ("deadline", seconds_of),
    },
}
"""Section, key: the field of Settings, and what reads its text."""


def read_settings(root: Path) -> Settings:
    """The configuration in a device's folder; the defaults where it has none.

    Raises InputError for a file that can't be understood, with the line where that is known, or for a key that nobody
    knows; StorageFailed where it can't be read.
    """
    return parse_settings(_content(root / FILE), root, str(root / FILE))


def parse_settings(content: str, root: Path, path: str) -> Settings:
    """The settings in the text of a device.conf; `path` names it in errors. Raises InputError."""
    fields: dict[str, Any] = {}
    for section, keys in _sections(content, path).items():
        if section not in _KEYS:
            raise InputError(
                f"{path} has a section [{section}]", f"Known are: {', '.join(_KEYS)}.", "Remove it, or correct it."
            )
        for key, text in keys.items():
            if key not in _KEYS[section]:
                raise InputError(
                    f"{path} has a key {key!r} in [{section}]",
                    f"Known there are: {', '.join(_KEYS[section])}.",
                    "Remove it, or correct it.",
                )
            name, read = _KEYS[section][key]
            if text:
                fields[name] = read(text, f"{path}: [{section}] {key}")
    fields.setdefault("id", id_of_machine())
    return Settings(root, **fields)


def values_of(root: Path) -> dict[str, dict[str, str]]:
    """What stands in a device's device.conf, by section and key. Raises as read_settings."""
    read_settings(root)
    return _sections(_content(root / FILE), str(root / FILE))


def _sections(content: str, path: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(content, source=path)
    except configparser.Error as error:
        raise InputError(
            f"{path} can't be understood", str(error), "It is an INI file: [section], then key = value."
        ) from error
    return {section: {key: text.strip() for key, text in parser.items(section)} for section in parser.sections()}


def _content(path: Path) -> str:
    with storing(path, "read"):
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not text", f"UTF-8 is expected: {error}.", "Write it anew.") from error


def id_of_machine() -> str:
    """An id that is this machine's own and tells nothing about it: derived from /etc/machine-id as machine-id(5) asks
    for, with a keyed hash. "" where there is none."""
    try:
        machine = _MACHINE_ID.read_bytes().strip()
    except OSError:
        return ""
    return hmac.new(machine, b"edgec-device", hashlib.sha256).hexdigest()[:32] if machine else ""


def device_conf(values: Mapping[str, Mapping[str, str]]) -> str:
    """The text of a device.conf with these values, by section and key; the defaults stand in it as comments."""
    lines = ["# What this device is, and how it is kept up to date: docs/device-agent.md", ""]
    for section, keys in _DESCRIBED.items():
        lines.append(f"[{section}]")
        for key, (example, what) in keys.items():
            value = values.get(section, {}).get(key, "").replace("\n", "\n    ")  # goes on in the next line
            lines += [f"# {what}", f"{key} = {value}" if value else f"# {key} = {example}"]
        lines.append("")
    return "\n".join(lines)


_DESCRIBED: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "device": {
        "target": ("rpi4", "Artifacts for this target only."),
        "channel": ("stable", "The repository's channel that is followed."),
        "id": ("(derived from /etc/machine-id)", "What staged rollouts tell devices apart by."),
        "keep": ("2", "Versions of a model that stay installed, the running one among them."),
        "models": ("*", "The models that `edgec-device update` installs: names or patterns."),
        "pin": ("digits@3", "Versions to have whatever the channel says, unless they are revoked."),
        "python": ("(the one that runs edgec-device)", "The Python that has numpy and the engine."),
    },
    "repository": {"url": ("https://models.example/edgec", "Where releases come from.")},
    "health": {
        "command": ("/usr/local/bin/check-model", "Run after a switch; not 0: back to the version before."),
        "timeout": ("60s", "How long it may take."),
        "confirm": ("health", "Who says that a version is good: health, or application (edgec-device confirm)."),
        "starts": ("3", "Starts that a version is given which nobody has confirmed."),
    },
    "limits": {
        "selftest": ("10m", "How long an artifact's own checks may take."),
        "lock_wait": ("10s", "How long to wait for another edgec-device."),
        "use_wait": ("5m", "How long to wait for applications that hold updates off."),
        "silence": ("30s", "How long a server may send nothing."),
        "least_rate": ("512", "Bytes a second that a server has to send on average over a minute."),
        "deadline": ("4h", "How long all transfers of an update may take together."),
    },
}
"""Section, key: an example or the default, and what it is."""
