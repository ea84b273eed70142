"""The comparison as cells of text: for the terminal, for Markdown and for CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.comparison.accuracy import SQNR
from edgec.cost import price_text
from edgec.untrusted_text import markdown as literally

MARK = "◆"
"""Stands beside what is on the Pareto front."""

Row = Mapping[str, Any]

_NONE = "–"

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Figure:
    """One property of an artifact. title: for people. key: for CSV, with its unit. text, value: of a row, for either.

    text gives _NONE where it is not known; value gives None.
    """

    title: str
    key: str
    text: Callable[[Row], str]
    value: Callable[[Row], Any]


def names(rows: Sequence[Row]) -> list[str]:
    """Short names of the artifacts: file names, with as many folders as it takes to tell them apart."""
    paths = [Path(row["path"]).with_suffix("") for row in rows]
    for depth in range(1, max((len(path.parts) for path in paths), default=1) + 1):
        found = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(found)) == len(found):
            return found
    return [str(path) for path in paths]


def figures(rows: Sequence[Row]) -> list[Figure]:
    """Those that are known of any row; what none has is not shown."""
    return [figure for figure in FIGURES if any(figure.value(row) is not None for row in rows)]


def markdown(document: Mapping[str, Any]) -> str:
    """A table for pull requests, artifacts as rows, and the notes below."""
    rows, shown = document["rows"], figures(document["rows"])
    lines = [
        "| | " + " | ".join(figure.title for figure in shown) + " |",
        "|---|" + "---|" * len(shown),
    ]
    for name, row in zip(names(rows), rows, strict=True):
        cells = [figure.text(row) for figure in shown]
        lines.append("| " + " | ".join(literally(cell) for cell in (heading(name, row), *cells)) + " |")
    lines += ["", legend(document), *(f"\n{literally(note)}" for note in document["notes"])]
    return "\n".join(lines)


def as_csv(document: Mapping[str, Any]) -> str:
    """RFC 4180: all figures in full, in the units of their names; empty where one is not known.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    columns = (*FIGURES, _CURRENCY)
    writer.writerow(["path", *(figure.key for figure in columns), "group", "front"])
    for row in document["rows"]:
        values = ["" if (value := figure.value(row)) is None else _no_formula(value) for figure in columns]
        writer.writerow([_no_formula(row["path"]), *values, row["group"], str(row["front"]).lower()])
    return out.getvalue()


def legend(document: Mapping[str, Any]) -> str:
    """What the mark means, and by which figures."""
    judged = list(dict.fromkeys(by for group in document["groups"] for by in group["judged_by"]))
    what = f"{', '.join(judged[:-1])} and {judged[-1]}" if len(judged) > 1 else "".join(judged)
    parts = "" if len(document["groups"]) == 1 else f", each of {len(document['groups'])} groups by itself"
    return f"{MARK} on the Pareto front of {what}{parts}: no other is better in one of them and nowhere worse."


def heading(name: str, row: Row) -> str:
    """The name of an artifact, marked where it is on the front."""
    return f"{name} {MARK}" if row["front"] else name


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _size(count: float | None) -> str:
    if count is None:
        return _NONE
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} KB"


def _ms(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3g} ms"


def _of(key: str) -> Callable[[Row], Any]:
    return lambda row: row[key]


def _latency(level: str) -> Callable[[Row], Any]:
    return lambda row: row["latency_ms"] and row["latency_ms"][level]


def _metric(row: Row) -> Any:
    accuracy = row["accuracy"]
    return accuracy["value"] if accuracy and accuracy["measure"] != SQNR else None


def _metric_text(row: Row) -> str:
    if _metric(row) is None:
        return _NONE
    accuracy = row["accuracy"]
    return f"{accuracy['value']:.4g} ({accuracy['measure']}; original {accuracy['original']:.4g})"


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1%}"


def _cost(key: str) -> Callable[[Row], Any]:
    return lambda row: row["cost"] and row["cost"]["after"] and row["cost"]["after"][key]


def _price_text(row: Row) -> str:
    value = _cost("per_1000")(row)
    return _NONE if value is None else f"{price_text(value)} {row['cost']['currency']}"


def _speed_text(row: Row) -> str:
    ratio = row["ratio_of_medians"]
    return _NONE if ratio is None else f"{1 / ratio:.2f}x"


def _currency(row: Row) -> Any:
    return None if not row["cost"] else row["cost"]["currency"] or None


def _plain(key: str, title: str, name: str = "") -> Figure:
    return Figure(title, name or key, lambda row: str(row[key]) if row[key] is not None else _NONE, _of(key))


_CURRENCY = Figure("currency", "currency", lambda row: _currency(row) or _NONE, _currency)

FIGURES: tuple[Figure, ...] = (
    _plain("target", "target"),
    _plain("backend", "backend"),
    _plain("precision", "precision"),
    _plain("threads", "threads"),
    Figure("size", "bytes", lambda row: _size(row["bytes"]), _of("bytes")),
    Figure("latency", "latency_p50_ms", lambda row: _ms(_latency("p50")(row)), _latency("p50")),
    Figure("its p95", "latency_p95_ms", lambda row: _ms(_latency("p95")(row)), _latency("p95")),
    Figure("vs original", "ratio_of_medians", _speed_text, _of("ratio_of_medians")),
    Figure("accuracy", "accuracy", _metric_text, _metric),
    Figure(
        "SQNR", "sqnr_db", lambda row: _NONE if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f} dB", _of("sqnr_db")
    ),
    Figure("agreement", "agreement", lambda row: _share(row["agreement"]), _of("agreement")),
    Figure("INT8 MACs", "int8_share", lambda row: _share(row["int8_share"]), _of("int8_share")),
    Figure("peak memory", "peak_bytes", lambda row: _size(row["peak_bytes"]), _of("peak_bytes")),
    Figure("1,000 cost (est.)", "cost_per_1000", _price_text, _cost("per_1000")),
    Figure(
        "energy (est.)",
        "joules",
        lambda row: _NONE if _cost("joules")(row) is None else f"{_cost('joules')(row):.3g} J",
        _cost("joules"),
    ),
    Figure(
        "saved (est.)",
        "saved",
        lambda row: _NONE if not row["cost"] else _share(row["cost"]["saved"]),
        lambda row: row["cost"] and row["cost"]["saved"],
    ),
    _plain("machine", "timed on"),
)
