"""Measurements as text: rows of (title, text)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from .durations import shown
from .latencies import MOST_WAITING
from .profiles import by_operator

FEW_RUNS = 100
"""Of fewer, p99 is no more than the slowest."""

_WIDTH = 80
_STEPS = 10
_KINDS = 5


def threads(count: int) -> str:
    """ "1 thread", "4 threads", or that the engine chooses."""
    return f"{count} thread{'s' if count > 1 else ''}" if count else "as many threads as the engine likes"


def milliseconds(value: float) -> str:
    """ "0.0049 ms", "1.234 ms", "123.4 ms": as `number`."""
    return f"{number(value)} ms"


def number(value: float) -> str:
    """Milliseconds with three decimals; below 0.1 with four, as they are measured, and from 100 on with one."""
    return f"{value:.{4 if value < 0.1 else 3 if value < 100 else 1}f}"


def each_second(value: float) -> str:
    """A throughput, to a tenth below 1000."""
    return f"{value:.{1 if value < 1000 else 0}f}"


def mebibytes(count: int | None) -> str:
    """ "12.3 MiB"; "not told by this system" for None."""
    return "not told by this system" if count is None else f"{count / 2**20:.1f} MiB"


def rows(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures of one measurement."""
    latency = document["latency_ms"]
    batch = document["batch"]
    shown_rows = [
        (
            "engine",
            f"{document['engine']} {document['engine_version']}, {threads(document['threads'])}, {document['machine']}",
        ),
        ("load", f"{milliseconds(document['load_ms'])}, with the engine's start and verification"),
        ("first run", milliseconds(document["first_ms"])),
        *(
            [("query", f"{batch} inferences, one after the other: the artifact's shapes are fixed")]
            if batch > 1
            else []
        ),
        *((name, milliseconds(latency[name])) for name in ("p50", "p90", "p95", "p99", "max")),
        (
            "throughput",
            f"{each_second(document['per_second'])} inferences/s ({document['runs']} runs, one after the other)",
        ),
        (
            "CPU time",
            f"{milliseconds(document['cpu_ms'])} {'a query' if batch > 1 else 'an inference'}, over all threads",
        ),
        ("peak memory", f"{mebibytes(document['peak_bytes'])}{_before(document)}"),
    ]
    return [*shown_rows, *(("note", text) for text in notes(document))]


def notes(document: Mapping[str, Any]) -> list[str]:
    """What keeps a measurement's figures from being more than rough."""
    return [text for text in (busy_note([document]), few_runs_note([document])) if text]


def busy_note(documents: Sequence[Mapping[str, Any]]) -> str:
    """That the machine was busy while the subjects ran, and by what that is known; "" where it was not."""
    busy = [document for document in documents if document["noisy"]]
    if not busy:
        return ""
    waiting = max((document["waiting"] or 0.0) for document in busy)
    why = (
        f"{waiting:.0%} of the time was spent waiting for a processor that others had"
        if waiting > MOST_WAITING
        else "the quartiles lie further apart than a quarter of the median"
    )
    return f"The machine was busy: {why}. Take the figures as rough; CPU time tells more."


def few_runs_note(documents: Sequence[Mapping[str, Any]]) -> str:
    """That there are too few runs for p99; "" where there are enough."""
    least = min(document["runs"] for document in documents)
    return f"Of {least} runs, p99 is no more than the slowest; measure longer." if least < FEW_RUNS else ""


def _before(document: Mapping[str, Any]) -> str:
    start = document["start_bytes"]
    return f", of which {mebibytes(start)} Python and numpy before loading" if start is not None else ""


def single_stream_rows(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `single_stream` found."""
    valid = "valid" if document["valid"] else f"NOT valid: {document['invalid_because']}"
    return [
        ("MLPerf", "single stream; follows the protocol, not a result reviewed by MLCommons"),
        ("p90", milliseconds(document["p90_ms"])),
        ("run", f"{document['queries']} queries in {document['seconds']:.1f} s: {valid}"),
    ]


def soak_rows(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `soak.findings` found."""
    windows = document["windows"]
    if not windows:
        return [("soak", "ended before its first window did: nothing can be said")]
    latency, memory = document["latency"], document["memory"]
    told = [
        ("soak", f"{shown(windows[-1]['seconds'])}, {len(windows)} windows"),
        ("latency", _latency(latency)),
        ("memory", _memory(memory)),
    ]
    for key, title, unit in (("celsius", "temperature", "°C"), ("megahertz", "clock", "MHz")):
        course = document[key]
        told.append(
            (
                title,
                f"{course['first']:.0f} to {course['last']:.0f} {unit}, at most {course['most']:.0f}"
                if course
                else "not told by this system",
            )
        )
    return [*told, ("judged by", document["criterion"])]


def _latency(found: Mapping[str, Any]) -> str:
    if found["trend"] is None:
        return "too few windows to tell a trend"
    change = f"{found['share']:+.1%} over the soak, {_chance(found)}"
    if found["verdict"] == "steady":
        return f"steady ({change})"
    return f"DRIFTS: gets {found['verdict']} ({change})"


def _memory(found: Mapping[str, Any]) -> str:
    if found["verdict"] == "unknown":
        return "not told by this system"
    if found["trend"] is None:
        return "too few windows to tell a trend"
    change = f"{found['trend']['change'] / 2**20:+.2f} MiB over the soak, {_chance(found)}"
    if found["verdict"] == "steady":
        return f"steady ({change})"
    return f"LEAKS: {found['trend']['per_hour'] / 2**20:.2f} MiB an hour ({change})"


def _chance(found: Mapping[str, Any]) -> str:
    chance = found["trend"]["chance"]
    return f"chance {chance:.1%}" if chance >= 0.001 else "chance below 0.1%"


def profile_lines(profile: Sequence[Mapping[str, Any]] | None, note: str) -> list[str]:
    """The most expensive steps, a line each, and what is to know of them."""
    if profile is None:
        return wrap(f"no profile: {note}", _WIDTH)
    largest = sorted(profile, key=lambda step: -float(step["share"]))[:_STEPS]
    decimals = 4 if largest[0]["milliseconds"] >= 0.1 else 5
    wide = max(len(_clipped(step["operator"], 32)) for step in largest)
    lines = [f"{'ms':>9}  {'share':>6}  {'operator':<{wide}}  name"]
    for step in largest:
        operator = _clipped(step["operator"], 32)
        name = _clipped(step["name"], 27)
        lines.append(
            f"{step['milliseconds']:>9.{decimals}f}  {step['share']:>6.1%}  {operator:<{wide}}  {name}".rstrip()
        )
    rest = len(profile) - len(largest)
    if rest:
        share = 1 - sum(step["share"] for step in largest)
        lines.append(f"{'':>9}  {max(share, 0):>6.1%}  in {rest} more steps")
    kinds = by_operator(profile)
    lines += [
        "",
        *(f"{'':>9}  {share:>6.1%}  all {_clipped(kind, 60)}" for kind, share in list(kinds.items())[:_KINDS]),
    ]
    return [*lines, f"({note})"]


def _clipped(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
