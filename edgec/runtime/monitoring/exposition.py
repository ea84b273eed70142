"""Prometheus' text exposition format, version 0.0.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Family:
    """One metric with all its samples. kind: "counter" (its name ends in _total), "gauge" or "histogram"."""

    name: str
    kind: str
    text: str
    samples: list[tuple[str, Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float | None, suffix: str = "", **labels: str) -> None:
        """One sample; nothing for None, which is a value that the system does not tell."""
        if value is not None:
            self.samples.append((self.name + suffix, labels, value))


def exposition(families: Iterable[Family], common: Mapping[str, str]) -> str:
    """The text of families that have samples. common: labels of all of them."""
    lines = []
    for family in families:
        if family.samples:
            lines.append(f"# HELP {family.name} {_escaped(family.text)}")
            lines.append(f"# TYPE {family.name} {family.kind}")
            lines.extend(_line(name, {**common, **labels}, value) for name, labels, value in family.samples)
    return "\n".join(lines) + "\n"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text, quotes=True)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {number(value)}"


def number(value: float) -> str:
    """A number as Go reads it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _escaped(text: str, quotes: bool = False) -> str:
    plain = text.replace("\\", "\\\\").replace("\n", "\\n")
    return plain.replace('"', '\\"') if quotes else plain
