"""The comparison as one document: figures of every artifact, what may be compared with what, and the Pareto front.

    {"rows": [{"path", "name", "model_sha256", "target", "arch", "backend", "precision", "threads", "bytes", "sha256",
               "accuracy": {"measure", "value", "original", "of_reference"} | null, "sqnr_db", "agreement",
               "int8_share", "latency_ms": {"p50", "p95"} | null, "latency_from": "build" | "measured" | null,
               "machine", "noisy", "ratio_of_medians" (to the original in ONNX Runtime), "peak_bytes", "cost",
               "group", "front"}],
     "groups": [{"model_sha256", "machine", "judged_by": ["latency", "size", "accuracy"]}],
     "notes": [sentences]}

Rows are of one group where they were made from one model and timed on one processor, or not timed at all. A front is a
group's: figures of two machines, or of two models, are never set against each other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgec import resources
from edgec.candidates.candidate import Candidate
from edgec.candidates.figures import known_columns, pareto
from edgec.comparison.accuracy import SQNR, accuracy_of
from edgec.comparison.subjects import Subject, models_of
from edgec.cost import KEYS, CostFigures, cost_document, figures_of, missing
from edgec.errors import EdgecError
from edgec.targets import load_target

MEASURED, RECORDED = "measured", "build"


def compared(
    subjects: Sequence[Subject],
    measurements: Mapping[str, Mapping[str, Any]] | None = None,
    described: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The document.

    measurements: by path, of one run in turns on this machine; None takes what builds recorded. described: files of
    targets by the targets' names, for prices; a name that is not there is looked for as usual.
    """
    rows = [_row(each, measurements, (described or {}).get(each.manifest["target"])) for each in subjects]
    places: dict[tuple[str, str | None], list[int]] = {}
    for number, row in enumerate(rows):
        places.setdefault((row["model_sha256"], row["machine"]), []).append(number)
    groups = []
    for number, ((model, machine), members) in enumerate(places.items()):
        candidates = [_candidate(rows[each], subjects[each]) for each in members]
        if len({each.accuracy.measure for each in candidates if each.accuracy}) > 1:
            candidates = [Candidate(*_bare(each), latency=each.latency, error=None) for each in candidates]
        on_front = pareto(candidates, range(len(candidates)))
        for place, each in enumerate(members):
            rows[each] |= {"group": number, "front": place in on_front}
        groups.append(
            {"model_sha256": model, "machine": machine, "judged_by": known_columns(candidates, range(len(candidates)))}
        )
    return {"rows": rows, "groups": groups, "notes": _notes(subjects, rows, groups, measurements is not None)}


def _row(
    subject: Subject, measurements: Mapping[str, Mapping[str, Any]] | None, described: str | None
) -> dict[str, Any]:
    manifest = subject.manifest
    target = described or manifest["target"]
    measured = None if measurements is None else measurements.get(str(subject.path))
    latency = subject.latency if measurements is None else None
    threads: int | None = manifest["threads"] or None
    times, machine = None, None
    if measured is not None:
        times, machine, threads = measured["latency_ms"], "this machine", measured["threads"] or None
    elif latency is not None:
        times, machine, threads = latency["artifact"], latency.get("machine") or "not recorded", latency["threads"]
    accuracy = subject.accuracy
    return {
        "path": str(subject.path),
        "name": manifest["name"],
        "model_sha256": manifest["model_sha256"],
        "target": manifest["target"],
        "arch": manifest["arch"],
        "backend": manifest["backend"],
        "precision": manifest["precision"],
        "threads": threads,
        "bytes": subject.bytes,
        "sha256": subject.sha256,
        "accuracy": accuracy and asdict(accuracy),
        "sqnr_db": _sqnr(subject),
        "agreement": subject.agreement,
        "int8_share": subject.int8_share,
        "latency_ms": times and {"p50": times["p50"], "p95": times["p95"]},
        "latency_from": MEASURED if measured is not None else RECORDED if latency is not None else None,
        "machine": machine,
        "noisy": bool((measured or latency or {}).get("noisy")),
        "ratio_of_medians": latency["ratio_of_medians"] if latency is not None else None,
        "peak_bytes": measured["peak_bytes"] if measured is not None else None,
        "cost": _cost(target, described is not None, measured or _as_measured(latency), latency, threads),
    }


def _as_measured(latency: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if latency is None else {"latency_ms": latency["artifact"]}


def _cost(
    target: str,
    trusted: bool,
    times: Mapping[str, Any] | None,
    latency: Mapping[str, Any] | None,
    threads: int | None,
) -> dict[str, Any] | None:
    """What an inference costs there; None without figures.

    target: what the user named, or what the artifact says of itself. trusted: the former, which may be a path.
    """
    known = trusted or target in resources.declared("targets")
    figures: CostFigures | None = figures_of(target) if known else None
    if figures is None:
        return None
    document = {**(latency or {}), "artifact": times and times["latency_ms"]}
    device = load_target(target)
    there = device.threads or (len(os.sched_getaffinity(0)) if device.here else None)
    return cost_document(figures, device.name, document, threads, there)


def _sqnr(subject: Subject) -> float | None:
    """In decibels, at the worst output, whatever accuracy is measured by."""
    found = accuracy_of({**subject.parity, "metric": None})
    return found.value if found is not None and found.measure == SQNR else None


def _candidate(row: Mapping[str, Any], subject: Subject) -> Candidate:
    """A row as what the front is made of: its ratio to the original where builds recorded one, else its time."""
    latency: Mapping[str, Any] | None = subject.latency if row["latency_from"] == RECORDED else None
    if row["latency_from"] == MEASURED:  # in turns with all others: times can be set side by side as they are
        times = row["latency_ms"]
        latency = {"artifact": times, "ratio_of_medians": times["p50"]}
    threads = row["threads"] if row["latency_from"] == RECORDED else None
    return Candidate(
        row["backend"], row["precision"], row["bytes"], latency, None, parity=subject.parity, threads=threads
    )


def _bare(candidate: Candidate) -> tuple[str, str, int | None]:
    return candidate.backend, candidate.precision, candidate.artifact_bytes


def _notes(
    subjects: Sequence[Subject], rows: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]], anew: bool
) -> list[str]:
    """What a reader has to know, the gravest first."""
    notes = []
    if len(models := models_of(subjects)) > 1:
        named = "; ".join(", ".join(each.path.name for each in members) for members in models.values())
        notes.append(
            f"These were made from {len(models)} different models ({named}): sizes and times of different models say "
            "nothing about each other, and each model has a front of its own."
        )
    machines = {row["machine"] for row in rows if row["machine"] is not None}
    if len(machines) > 1:
        notes.append(
            f"Times are of {len(machines)} machines ({'; '.join(sorted(machines))}): they are not to be compared, and "
            "each machine has a front of its own."
        )
    if None in {row["machine"] for row in rows} and machines:
        without = ", ".join(
            subject.path.name for subject, row in zip(subjects, rows, strict=True) if not row["machine"]
        )
        notes.append(f"No time is known of {without}: judged without, in a front apart.")
    if machines and not anew:
        recorded = [row for row in rows if row["latency_from"] == RECORDED]
        if len({row["threads"] for row in recorded}) > 1:
            notes.append("Times were taken with different numbers of threads.")
        notes.append(
            "Times are those that builds recorded, each at its own moment; --measure takes them anew, in turns."
        )
    if noisy := [str(subject.path) for subject, row in zip(subjects, rows, strict=True) if row["noisy"]]:
        which = "all of them" if len(noisy) == len(subjects) else ", ".join(noisy)
        notes.append(f"The machine was busy while times were taken of {which}: they are rough.")
    if len({row["accuracy"]["measure"] for row in rows if row["accuracy"]}) > 1:
        notes.append("Accuracy was measured in different ways; where a front would mix them, it leaves them out.")
    twins: dict[str, list[str]] = {}
    for subject in subjects:
        twins.setdefault(subject.sha256, []).append(str(subject.path))
    notes += [f"{' and '.join(names)} are the same, byte for byte." for names in twins.values() if len(names) > 1]
    notes += [note for subject in subjects for note in subject.notes]
    targets = list(dict.fromkeys(row["target"] for row in rows if row["cost"] is None))
    return [*notes, *_without_cost(targets)]


def _without_cost(targets: Sequence[str]) -> list[str]:
    """Where prices are to be added. One sentence, however many targets have none."""
    if len(targets) > 1:
        return [
            f"No costs for {', '.join(targets)}: they follow from a table [cost] in ./targets/NAME.toml (a built-in "
            f"target is copied there first), or in a file named with --target: {KEYS} (docs/targets.md)."
        ]
    return [f"No cost for {target}: {_where_to_add(target)}" for target in targets]


def _where_to_add(target: str) -> str:
    try:
        load_target(target)
    except EdgecError:
        return "that target is not described here. Name its file: --target FILE.toml, with a table [cost]."
    return missing(target)
