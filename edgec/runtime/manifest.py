"""What a manifest has to look like. The format is described in docs/artifact.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DTYPES = frozenset(
    {"bool", "float16", "float32", "float64"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)

_TENSOR = {"name": str, "dtype": str, "shape": [int]}
_SCHEMA: Mapping[str, Any] = {
    "name": str,
    "target": str,
    "arch": str,
    "cpu_features": [str],
    "threads": int,
    "backend": str,
    "precision": str,
    "engine": {"name": str, "distribution": str, "minimum_version": str, "options": dict},
    "inputs": [_TENSOR],
    "outputs": [_TENSOR],
    "state": dict,
    "payload": [str],
    "selftest": {"tolerances": dict},
    "files": dict,
}
"""Field to type: a class, a list of one element type, or a dictionary of fields. More fields than these are fine."""

_GLIBC = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4})+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EVIDENCE = frozenset({"golden.npz", "parity.json", "provenance.json"})


def fault(manifest: Any) -> str | None:
    """What is wrong with a manifest, in words; None when it is as it should be. The format version is not looked at."""
    if (wrong := _mismatch(manifest, _SCHEMA, "the manifest")) is not None:
        return wrong
    least = manifest.get("min_glibc", "2.0")
    if not isinstance(least, str) or not _GLIBC.fullmatch(least):
        return "'min_glibc' is not a version"
    files = manifest["files"]
    for name, listed in files.items():
        if (wrong := _mismatch(listed, {"bytes": int, "sha256": str}, f"the entry of {name}")) is not None:
            return wrong
        if not _SHA256.fullmatch(listed["sha256"]):
            return f"the entry of {name} has no SHA-256"
    if missing := sorted(_EVIDENCE - set(files)):
        return f"{', '.join(missing)} is not listed"
    payload = manifest["payload"]
    if not payload or not all(name in files and name.startswith("payload/") for name in payload):
        return "'payload' names files that are not there"
    for spec in (*manifest["inputs"], *manifest["outputs"]):
        if spec["dtype"] not in DTYPES or min(spec["shape"], default=0) < 0:
            return f"{spec['name']!r} has a dtype or shape that no tensor has"
    names = [{spec["name"] for spec in manifest[key]} for key in ("outputs", "inputs")]
    if not all(source in names[0] and into in names[1] for source, into in manifest["state"].items()):
        return "'state' names outputs or inputs that the model does not have"
    if not all(isinstance(value, (int, float)) for value in manifest["selftest"]["tolerances"].values()):
        return "a tolerance of the self-test is not a number"
    return None


def _mismatch(value: Any, schema: Any, where: str) -> str | None:
    """Where `value` first differs from `schema`; None when it does not."""
    if isinstance(schema, list):
        if not isinstance(value, list):
            return f"{where} is not a list"
        return next(filter(None, (_mismatch(item, schema[0], f"an entry of {where}") for item in value)), None)
    if isinstance(schema, Mapping):
        if not isinstance(value, dict):
            return f"{where} is not an object"
        for key, kind in schema.items():
            if key not in value:
                return f"{where} has no {key!r}"
            if (wrong := _mismatch(value[key], kind, f"{key!r}")) is not None:
                return wrong
        return None
    return None if isinstance(value, schema) else f"{where} is of the wrong type"
