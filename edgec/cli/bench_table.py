"""Measurements of several subjects, side by side."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from edgec.cli.bench_names import distinct
from edgec.runtime.bench_text import (
    busy_note,
    each_second,
    few_runs_note,
    mebibytes,
    number,
    profile_lines,
    rows,
    single_stream_rows,
    soak_rows,
    threads,
)

_FIGURES = 55  # columns that five of them take


def lines(documents: Sequence[Mapping[str, Any]], *, interrupted: bool = False) -> list[str]:
    """Measurements (docs/bench.md) as text: a list of figures for one subject, a table for several."""
    names = distinct([document["path"] for document in documents])
    shown = _alone(documents[0]) if len(documents) == 1 else _beside(documents, names)
    for name, document in zip(names, documents, strict=True):
        if document["ratio"] is not None:
            shown += _wrapped(f"{name}: {ratio_text(document, names, documents)}")
    for name, document in zip(names, documents, strict=True):
        title = [] if len(documents) == 1 else ["", f"{name}:"]
        more = [
            *(single_stream_rows(document["mlperf"]) if "mlperf" in document else []),
            *(soak_rows(document["soak"]) if "soak" in document else []),
        ]
        if more:
            shown += [*title, *_rows(more)]
        if document["profile"] is not None or document["profile_note"] != "not asked for":
            shown += [*(title or [""]), *_profile(document)]
        if document["error"] is not None:
            shown += ["", f"{name}: {document['error']['what']}; the figures are those up to then"]
    if interrupted:
        shown += ["", "Interrupted: these are the figures up to then."]
    return shown


def ratio_text(document: Mapping[str, Any], names: Sequence[str], documents: Sequence[Mapping[str, Any]]) -> str:
    """What the ratio of one subject shows, and nothing that it does not."""
    ratio = document["ratio"]
    to = next((name for name, each in zip(names, documents, strict=True) if each["path"] == ratio["to"]), ratio["to"])
    if ratio["low"] is None:
        return f"{ratio['of_medians']:.3f} of the time of {to}, of too few turns to say more; measure longer"
    interval = (
        f"{ratio['of_medians']:.3f} of the time of {to} (95 % confidence: {ratio['low']:.3f} to {ratio['high']:.3f})"
    )
    cpu = ratio["cpu"]
    spent = f"It took {cpu['of_medians']:.3f} of its processor time ({cpu['low']:.3f} to {cpu['high']:.3f})."
    match ratio["verdict"], ratio["busy"]:
        case "faster" | "slower" as which, True:
            return f"{interval}: {which}; by how much, a busy machine does not tell. {spent}"
        case "faster", False:
            return f"{interval}: faster, {1 / ratio['of_medians']:.2f} times as fast."
        case "slower", False:
            return f"{interval}: slower."
        case "alike", _:
            return f"{interval}: as fast, as far as 5 % go."
        case _:
            return f"{interval}: too noisy to tell which is faster; measure longer, or on an idle machine. {spent}"


def _alone(document: Mapping[str, Any]) -> list[str]:
    return _rows(rows(document))


def _beside(documents: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    wide = max(min(max(map(len, names)), _columns() - _FIGURES), 10)
    columns = ("p50", "p90", "p95", "p99", "max")
    batch = documents[0]["batch"]
    what = "ms a query" if batch > 1 else "ms"
    shown = [f"{what:<{wide}}" + "".join(f"  {column:>9}" for column in columns)]
    for name, document in zip(names, documents, strict=True):
        figures = "".join(f"  {number(document['latency_ms'][column]):>9}" for column in columns)
        shown.append(f"{_clipped(name, wide):<{wide}}{figures}")
    shown += [
        "",
        f"{'':<{wide}}" + "".join(f"  {each:>9}" for each in ("inf/s", "CPU ms", "peak MiB", "load ms", "first ms")),
    ]
    for name, document in zip(names, documents, strict=True):
        peak = document["peak_bytes"]
        figures = "".join(
            f"  {each:>9}"
            for each in (
                each_second(document["per_second"]),
                number(document["cpu_ms"]),
                "–" if peak is None else f"{peak / 2**20:.1f}",
                number(document["load_ms"]),
                number(document["first_ms"]),
            )
        )
        shown.append(f"{_clipped(name, wide):<{wide}}{figures}")
    shown.append("")
    for name, document in zip(names, documents, strict=True):
        shown += _wrapped(
            f"{name}: {document['precision']} in {document['engine']} {document['engine_version']}, "
            f"{threads(document['threads'])}, {document['runs']} runs{_in_turns(document['turns'])}"
        )
    start = documents[0]["start_bytes"]
    if start is not None:
        shown += _wrapped(f"peak: of a process of its own, some {mebibytes(start)} of it Python and numpy.")
    if batch > 1:
        shown += _wrapped(f"A query is {batch} inferences, one after the other: an artifact's shapes are fixed.")
    for text in (busy_note(documents), few_runs_note(documents)):
        shown += _wrapped(text)
    return shown if all(document["ratio"] is None for document in documents) else [*shown, ""]


def _profile(document: Mapping[str, Any]) -> list[str]:
    return profile_lines(document["profile"], document["profile_note"])


def _rows(items: Sequence[tuple[str, str]]) -> list[str]:
    wide = max(len(title) for title, _ in items) + 2
    shown = []
    for title, text in items:
        shown += _wrapped(text, f"{title:<{wide}}", " " * wide)
    return shown


def _wrapped(text: str, first: str = "", later: str = "  ") -> list[str]:
    return textwrap.wrap(
        text, _columns(), initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _in_turns(count: int) -> str:
    return f" in {count} turns" if count > 1 else ""


def _columns() -> int:
    return max(80, min(shutil.get_terminal_size((100, 24)).columns, 120))


def _clipped(name: str, width: int) -> str:
    return name if len(name) <= width else "…" + name[len(name) - width + 1 :]
