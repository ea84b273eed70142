"""What a manifest has to look like. The format is described in docs/artifact.md."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from .archive import is_allowed
from .layouts import LAYOUTS

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

_RECIPE: Mapping[str, Any] = {
    "applies_to": str,
    "color": str,
    "layout": str,
    "dtype": str,
    "steps": [{"op": str}],
    "normalize": {"scale": (int, float), "mean": [(int, float)], "std": [(int, float)]},
}
_RECIPE_WORDS = {
    "applies_to": ("images", "arrays"),
    "color": ("RGB", "BGR", "GRAY"),
    "layout": (*LAYOUTS, "auto"),
    "dtype": ("float32", "float16", "uint8", "int8"),
}
_STEP_WORD = re.compile(r"[a-z_]{1,40}")
_MAX_PIXEL = 1e9  # of a recipe's numbers: sizes, shares, fills

_NAME = re.compile(r"[^./\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,199}")
"""What may become part of a file's name (`edgec build --name`)."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
"""Names of architectures, features, packages and versions: these are printed in commands to be typed."""

_MAX_THREADS = 1024
_MAX_RANK = 32  # numpy 1 has no more axes
_MAX_ELEMENTS = 1 << 32  # of a tensor: a state of this shape is allocated before an engine is asked

_GLIBC = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4})+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EVIDENCE = frozenset({"golden.npz", "parity.json", "provenance.json"})


def fault(manifest: Any) -> str | None:
    """What is wrong with a manifest, in words; None when it is as it should be. The format version is not looked at."""
    if (wrong := _mismatch(manifest, _SCHEMA, "the manifest")) is not None:
        return wrong
    return (
        _wrong_words(manifest)
        or _wrong_files(manifest["files"], manifest["payload"])
        or _wrong_tensors(manifest)
        or _wrong_recipe(manifest.get("preprocess"))
    )


def _wrong_words(manifest: Mapping[str, Any]) -> str | None:
    """What is wrong with names and versions, which end up in paths and in commands that people type."""
    for key in ("name", "target"):
        if not _NAME.fullmatch(manifest[key]):
            return f"{key!r} can't be part of a file's name: {manifest[key]!r:.60}"
    engine = manifest["engine"]
    words = {
        **{key: manifest[key] for key in ("arch", "backend", "precision")},
        "engine.name": engine["name"],
        "engine.distribution": engine["distribution"] or "none",
        "engine.minimum_version": engine["minimum_version"] or "0",
    }
    words.update((f"cpu_features[{index}]", feature) for index, feature in enumerate(manifest["cpu_features"]))
    for key, word in words.items():
        if not _WORD.fullmatch(word):
            return f"{key!r} is not a name: {word!r:.60}"
    least = manifest.get("min_glibc", "2.0")
    if not isinstance(least, str) or not _GLIBC.fullmatch(least):
        return "'min_glibc' is not a version"
    memory = manifest.get("memory_bytes")
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int) or memory < 0):
        return "'memory_bytes' is not a number of bytes"
    if not 0 <= manifest["threads"] <= _MAX_THREADS:
        return f"'threads' is not between 0 and {_MAX_THREADS}"
    return None


def _wrong_files(files: Mapping[str, Any], payload: list[str]) -> str | None:
    """What is wrong with the list of members."""
    for name, listed in files.items():
        if not is_allowed(name):
            return f"it lists a file with a name that is not allowed: {name!r:.60}"
        if (wrong := _mismatch(listed, {"bytes": int, "sha256": str}, f"the entry of {name}")) is not None:
            return wrong
        if not _SHA256.fullmatch(listed["sha256"]):
            return f"the entry of {name} has no SHA-256"
    if missing := sorted(_EVIDENCE - set(files)):
        return f"{', '.join(missing)} is not listed"
    if not payload or not all(name in files and name.startswith("payload/") for name in payload):
        return "'payload' names files that are not there"
    return None


def _wrong_tensors(manifest: Mapping[str, Any]) -> str | None:
    """What is wrong with inputs, outputs, state and tolerances."""
    for spec in (*manifest["inputs"], *manifest["outputs"]):
        if spec["dtype"] not in DTYPES or not _is_shape(spec["shape"]):
            return f"{spec['name']!r:.60} has a dtype or shape that no tensor has"
    names = [{spec["name"] for spec in manifest[key]} for key in ("outputs", "inputs")]
    for source, into in manifest["state"].items():
        if source not in names[0] or not isinstance(into, str) or into not in names[1]:
            return "'state' names outputs or inputs that the model does not have"
    for value in manifest["selftest"]["tolerances"].values():
        if not _is_number(value) or value < 0:
            return "a tolerance of the self-test is not a number"
    return None


def _wrong_recipe(recipe: Any) -> str | None:
    """What is wrong with the preprocessing, which is None where there is none."""
    if recipe is None:
        return None
    if (wrong := _mismatch(recipe, _RECIPE, "'preprocess'")) is not None:
        return wrong
    for key, words in _RECIPE_WORDS.items():
        if recipe[key] not in words:
            return f"{key!r} of 'preprocess' is {recipe[key]!r:.60}, which is none of {', '.join(words)}"
    rule = recipe["normalize"]
    numbers = [rule["scale"], *rule["mean"], *rule["std"]]
    if not rule["mean"] or not rule["std"] or not all(map(_is_number, numbers)) or 0 in rule["std"]:
        return "'normalize' of 'preprocess' can't be computed with"
    for step in recipe["steps"]:
        for key, value in step.items():
            if not _is_option(value, -_MAX_PIXEL if key == "fill" else 0):
                return f"{key!r:.60} of a step of 'preprocess' is neither a word nor a number nor a size"
    return None


def _is_shape(shape: list[int]) -> bool:
    return len(shape) <= _MAX_RANK and min(shape, default=0) >= 0 and math.prod(shape) <= _MAX_ELEMENTS


def _is_option(value: Any, least: float) -> bool:
    """Whether a step of a recipe may have it: a word, a number of pixels or a share, or a height and a width."""
    if isinstance(value, str):
        return _STEP_WORD.fullmatch(value) is not None
    numbers = value if isinstance(value, list) and len(value) == 2 else [value]
    return all(_is_number(number) and least <= number <= _MAX_PIXEL for number in numbers)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


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
    fits = isinstance(value, schema) and not isinstance(value, bool)  # which is an int to Python
    return None if fits else f"{where} is of the wrong type"
