"""A strict reader of Prometheus' text format 0.0.4, written from its specification, not from what edgec writes."""

from __future__ import annotations

import math
import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (\S+)(?: (-?\d+))?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\n|\\")*)"(,|$)')
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


def parse(text: str) -> dict[str, dict]:
    """{family: {"type", "help", "samples": {(name, ((label, value), ...)): number}}}. AssertionError for a fault."""
    assert text.endswith("\n"), "the last line ends with a line feed"
    families: dict[str, dict] = {}
    current = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _, _, current, help_text = line.split(" ", 3)
            assert current not in families, f"{current} comes in two groups"
            assert re.fullmatch(r"(?:[^\\]|\\\\|\\n)*", help_text), "only \\\\ and \\n are escapes in a help text"
            families[current] = {"help": help_text, "type": None, "samples": {}}
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current, "TYPE follows its HELP"
            assert families[name]["type"] is None
            assert kind in _SUFFIXES
            assert kind != "counter" or name.endswith("_total")
            families[name]["type"] = kind
        else:
            _add(families[current], current, line)
    for name, family in families.items():
        assert family["samples"], f"{name} has no samples"
        if family["type"] == "histogram":
            _check_histogram(name, family["samples"])
    return families


def _add(family: dict, name: str, line: str) -> None:
    found = _SAMPLE.fullmatch(line)
    assert found, f"not a sample: {line}"
    assert found[1] in [name + suffix for suffix in _SUFFIXES[family["type"]]], f"{found[1]} is not of {name}"
    labels, rest = [], found[2] or ""
    while rest:
        label = _LABEL.match(rest)
        assert label, f"not a label: {rest}"
        labels.append(
            (label[1], label[2].replace("\\\\", "\0").replace("\\n", "\n").replace('\\"', '"').replace("\0", "\\"))
        )
        rest = rest[label.end() :]
    assert len({key for key, _ in labels}) == len(labels)
    key = found[1], tuple(labels)
    assert key not in family["samples"], f"twice: {line}"
    family["samples"][key] = float(found[3].replace("Inf", "inf"))


def _check_histogram(name: str, samples: dict) -> None:
    buckets = [(dict(labels), value) for (each, labels), value in samples.items() if each == f"{name}_bucket"]
    bounds = [float(labels["le"].replace("Inf", "inf")) for labels, _ in buckets]
    assert bounds == sorted(set(bounds))
    assert math.isinf(bounds[-1])
    counts = [value for _, value in buckets]
    assert counts == sorted(counts)
    (count,) = [value for (each, _), value in samples.items() if each == f"{name}_count"]
    assert counts[-1] == count
    assert [each for each, _ in samples].count(f"{name}_sum") == 1
