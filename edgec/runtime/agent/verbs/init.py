"""`edgec-device init`: the device's folder, its configuration, and whom it trusts."""

from __future__ import annotations

import argparse
import json
import secrets
from pathlib import Path
from typing import Any

from ...errors import InputError
from .. import storage
from ..settings import FILE, Settings, device_conf, id_of_machine, parse_settings, read_settings, values_of
from ..signatures import public_keys

_FLAGS = {
    "target": ("device", "target", "TARGET", "the edgec target whose artifacts this device takes"),
    "channel": ("device", "channel", "NAME", "the repository's channel to follow (default: stable)"),
    "id": ("device", "id", "ID", "what staged rollouts tell devices apart by (default: from /etc/machine-id)"),
    "keep": ("device", "keep", "N", "versions of a model that stay installed (default: 2)"),
    "models": ("device", "models", "NAMES", "the models that `update` installs, names or patterns (default: *)"),
    "python": ("device", "python", "PROGRAM", "the Python that has numpy and the engine (default: this one)"),
    "url": ("repository", "url", "URL", "where releases come from"),
    "health_command": ("health", "command", "COMMAND", "run after a switch; when it fails, the version before runs"),
    "health_timeout": ("health", "timeout", "TIME", "how long it may take (default: 60s)"),
    "confirm": ("health", "confirm", "WHO", "who says that a version is good: health or application"),
    "starts": ("health", "starts", "N", "starts that a version is given which nobody confirmed (default: 3)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, (_, _, metavar, text) in _FLAGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar=metavar, help=text)
    parser.add_argument(
        "--trust-root",
        type=Path,
        metavar="root.json",
        help="where trust in the repository begins: its metadata/1.root.json",
    )
    parser.add_argument(
        "--trust-key",
        type=Path,
        action="append",
        default=[],
        metavar="KEY.pub",
        help="a key that may sign artifacts; several with several flags",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help=f"change {FILE}: what no flag names keeps its value; and trust another root",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    root: Path = options.root
    given = _values(options)
    keys = _keys(options.trust_key)
    metadata = None if options.trust_root is None else _root_metadata(options.trust_root)
    place = root / FILE
    exists = place.is_file()
    if exists and any(given.values()) and not options.replace:
        raise InputError(
            f"{place} is there already",
            "The flags ask for a configuration, and would change it.",
            "Edit the file, or give --replace: what no flag names keeps its value. Without such flags, `init` adds "
            "trusted keys and keeps the rest.",
        )
    values = values_of(root) if exists else {}
    for section, changed in given.items():
        values[section] = {**values.get(section, {}), **changed}
    for folder in (root, root / "models", root / "trust", root / "trust" / "keys", root / "metadata"):
        storage.make_folder(folder)
    written = [_trust(root, metadata, options.replace)] if metadata is not None else []
    for name, content in keys.items():
        storage.replace_file(root / "trust" / "keys" / name, content)
        written.append(f"trust/keys/{name}")
    if not exists or any(given.values()):
        if not id_of_machine():
            values["device"].setdefault("id", secrets.token_hex(16))
        text = device_conf(values)
        storage.replace_file(place, text.encode())
        written.append(FILE)
    settings = read_settings(root)
    return {"status": "ok", "root": str(root), "written": written, **_summary(settings)}


def _values(options: argparse.Namespace) -> dict[str, dict[str, str]]:
    """What the flags say, by section and key; a value that can't be read is refused before anything is written."""
    values: dict[str, dict[str, str]] = {"device": {}, "repository": {}, "health": {}}
    for name, (section, key, _, _) in _FLAGS.items():
        given = getattr(options, name)
        if given is None:
            continue
        if any(mark in given for mark in "\r\n"):
            raise InputError(f"--{name.replace('_', '-')} holds a line break", "A value is one line.", "Write it so.")
        values[section][key] = given
    parse_settings(device_conf(values), options.root, "the command line")
    return values


def _keys(files: list[Path]) -> dict[str, bytes]:
    """The keys' files by the names that they get here."""
    found: dict[str, bytes] = {}
    for file in files:
        (first, *_) = public_keys([file])
        name = file.name if file.name.endswith(".pub") and not file.name.startswith(".") else f"{first.keyid[:16]}.pub"
        found[name] = file.read_bytes()
    return found


def _root_metadata(file: Path) -> bytes:
    """What TUF starts to trust; its signatures are checked when it is used."""
    try:
        content = file.read_bytes()
        kind = json.loads(content.decode())["signed"]["_type"]
    except OSError as error:
        raise InputError(f"{file} can't be read", f"The system says: {error.strerror}.", "Check the path.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{file} is no TUF metadata", f"{error}.", "Take root.json of the repository.") from error
    if kind != "root":
        raise InputError(f"{file} is metadata of the role {kind!r}", "Trust begins with root.", "Take root.json.")
    return content


def _trust(root: Path, content: bytes, replace: bool) -> str:
    place = root / "trust" / "root.json"
    if place.exists() and place.read_bytes() != content:
        if not replace:
            raise InputError(
                f"{place} is there already, and is another one",
                "Who holds the keys in it decides what this device runs.",
                "A repository rotates its root by itself. To trust another repository, give --replace.",
            )
        storage.remove(root / "metadata")
        storage.make_folder(root / "metadata")
    storage.replace_file(place, content)
    return "trust/root.json"


def _summary(settings: Settings) -> dict[str, Any]:
    return {
        "id": settings.id,
        "target": settings.target,
        "repository": settings.repository,
        "keys": len(list(settings.keys.glob("*.pub"))),
    }


def text(document: dict[str, Any]) -> str:
    lines = [f"{document['root']}: ready", *(f"  {name} written" for name in document["written"])]
    if not document["keys"] and not document["repository"]:
        lines.append("  it trusts nobody yet: edgec-device init --trust-key KEY.pub, or --url and --trust-root")
    return "\n".join(lines)
