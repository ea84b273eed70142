"""Which packages run which engine's payloads: known without loading one, and without numpy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ALTERNATIVES: Mapping[str, Mapping[str, str]] = {"tflite": {"tflite-runtime": "2.14"}}
"""Engine: distributions that do as well as the one in the manifest, and their least versions. 32-bit ARM has no other
for TensorFlow Lite."""


def packages_for(engine: Mapping[str, Any]) -> dict[str, str]:
    """The distributions that run a manifest's `engine`, each with its least version; none for one that needs none."""
    first = engine.get("distribution", engine["name"])
    return {first: engine["minimum_version"], **ALTERNATIVES.get(engine["name"], {})} if first else {}


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version starts with: "2026.4.1rc2" gives (2026, 4, 1)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def pip_install(distribution: str, minimum: str, python: str = "python3") -> str:
    """What to type."""
    return f'{python} -m pip install "{distribution}>={minimum}"'
