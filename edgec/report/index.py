"""Many builds on one page: what came of each, side by side, with the way to its own report.

A build is known by its artifact, by the JSON report beside it, or by both; one that was refused has left a report only,
and an artifact that was copied somewhere has none. What nobody knows is a dash, never a guess.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgec.comparison.document import compared
from edgec.comparison.subjects import Subject, read
from edgec.errors import UsageError
from edgec.report import formats, story
from edgec.report.documents import read_report, rendering
from edgec.report.html import environment, marks, style
from edgec.report.inputs import ReportInputs
from edgec.report.markdown import table
from edgec.report.scatter import Mark, scatter
from edgec.untrusted_text import markdown
from edgec.version import __version__

ARTIFACT, REPORT = ".edgec", ".report.json"
_TITLES = ("Build", "Verdict", "Target", "Backend", "Precision", "Size", "Agreement", "Latency", "Against the original")
_LEAST_POINTS = 3


@dataclass(frozen=True)
class Builds:
    """subjects: artifacts. reports: of builds, by the path of their JSON; those of `subjects` are among them."""

    subjects: tuple[Subject, ...]
    reports: Mapping[Path, ReportInputs]


def gather(paths: Sequence[Path]) -> Builds:
    """The builds that `paths` name: artifacts, JSON reports, and folders with all that lie in them, each once.

    Raises UsageError for what is not there or is neither, ArtifactError for a damaged artifact.
    """
    files: dict[Path, Path] = {}
    for path in paths:
        found = [path]
        if path.is_dir():
            found = sorted([*path.rglob(f"*{ARTIFACT}"), *path.rglob(f"*{REPORT}")])
            if not found:
                raise UsageError(
                    f"There is no build in {path}",
                    f"No file in it ends in {ARTIFACT} or {REPORT}.",
                    "Name the folder that `edgec build -o` wrote to.",
                )
        for file in found:
            if not file.exists():
                raise UsageError(f"There is no {file}", "Nothing is there to report on.", "Check the path.")
            if not file.name.endswith((ARTIFACT, REPORT)):
                raise UsageError(
                    f"{file} is neither an artifact nor a report",
                    f"Artifacts end in {ARTIFACT}, reports for programs in {REPORT}.",
                    "Name those, or the folder that they lie in.",
                )
            files.setdefault(file.resolve(), file)
    subjects = tuple(read(file) for file in files.values() if file.name.endswith(ARTIFACT))
    reports = {file: read_report(file) for file in files.values() if file.name.endswith(REPORT)}
    for subject in subjects:
        if subject.record is not None:
            place = subject.path.with_suffix(REPORT)
            reports.setdefault(place, read_report(place))
    return Builds(subjects, reports)


def document(builds: Builds) -> dict[str, Any]:
    """The index for programs.

    {"edgec", "schema": 1, "builds": [{"name", "status": "ok" | "refused" | "failed" | "no report", "verdict": in words,
    "model_sha256", "target", "backend", "precision", "artifact": path | null, "report": path of the HTML | null,
    "bytes", "original_bytes", "accuracy": {"measure", "value", "original", "of_reference"}, "latency_ms": median,
    "ratio_of_medians", "int8_share", "machine", "error": in words}, ...], "notes": [...]}; what is not known is null.
    """
    rows, notes = [], []
    if builds.subjects:
        comparison = compared(builds.subjects)
        notes = [note for subject in builds.subjects for note in subject.notes]
        if noisy := [Path(row["path"]).name for row in comparison["rows"] if row["noisy"]]:
            notes.append(f"The machine was busy while times were taken of {', '.join(noisy)}: they are rough.")
        for subject, found in zip(builds.subjects, comparison["rows"], strict=True):
            place = subject.path.with_suffix(REPORT)
            with rendering(place):
                rows.append(_of_artifact(subject, found, builds.reports.get(place)))
    shown = {subject.path.with_suffix(REPORT).resolve() for subject in builds.subjects if subject.record is not None}
    for path, inputs in builds.reports.items():
        if path.resolve() not in shown:
            with rendering(path):
                rows.append(_of_report(path, inputs))
    rows.sort(key=lambda row: (row["name"], row["target"], row["ratio_of_medians"] or float("inf"), row["backend"]))
    return {"edgec": __version__, "schema": 1, "builds": rows, "notes": notes}


def _of_artifact(subject: Subject, found: Mapping[str, Any], inputs: ReportInputs | None) -> dict[str, Any]:
    page = subject.path.with_suffix(".report.html")
    return {
        **{key: found[key] for key in ("name", "model_sha256", "target", "backend", "precision", "bytes", "accuracy")},
        **{key: found[key] for key in ("ratio_of_medians", "int8_share", "machine")},
        "status": "ok" if inputs is not None else "no report",
        "verdict": story.headline(inputs).word if inputs is not None else "No report",
        "artifact": str(subject.path),
        "report": str(page) if page.is_file() else None,
        "original_bytes": story.original_bytes(inputs) if inputs is not None else None,
        "latency_ms": (found["latency_ms"] or {}).get("p50"),
        "error": None,
    }


def _of_report(path: Path, inputs: ReportInputs) -> dict[str, Any]:
    build, page = inputs.build, path.with_suffix(".html")
    made = build["artifact"]
    latency = inputs.latency or {}
    error = (build.get("error") or {}).get("what")
    if made and error is None:
        error = "The artifact does not lie beside its report."
    return {
        "name": story.model_name(inputs),
        "status": build["status"],
        "verdict": story.headline(inputs).word,
        "model_sha256": inputs.model["sha256"],
        "target": build["target"],
        "backend": build["backend"],
        "precision": build["precision"],
        "artifact": None,
        "report": str(page) if page.is_file() else None,
        "bytes": made and made["bytes"],
        "original_bytes": story.original_bytes(inputs),
        "accuracy": None,
        "latency_ms": (latency.get("artifact") or {}).get("p50"),
        "ratio_of_medians": latency.get("ratio_of_medians"),
        "int8_share": build["int8_mac_fraction"],
        "machine": latency.get("machine"),
        "error": error,
    }


def render_index(found: Mapping[str, Any], place: Path) -> str:
    """The page; `place` is where it will lie, which links are relative to."""
    rows = [
        {
            "cells": _cells(row)[1:],
            "name": formats.clean(name),
            "link": _link(row["report"], place) if row["report"] else "",
            "tone": {"ok": "yes", "no report": ""}.get(row["status"], "no"),
            "error": formats.clean(row["error"] or ""),
        }
        for name, row in zip(_told_apart(found["builds"]), found["builds"], strict=True)
    ]
    return (
        environment()
        .get_template("index.html")
        .render(
            version=__version__,
            style=style(),
            marks=marks(),
            lead=_lead(found["builds"]),
            titles=_TITLES,
            rows=rows,
            plots=_plots(found["builds"]),
            notes=[formats.clean(note) for note in found["notes"]],
        )
    )


def render_index_markdown(found: Mapping[str, Any]) -> str:
    """The same as a table for a pull request."""
    lines = [f"**{markdown(_lead(found['builds']))}**", ""]
    names = _told_apart(found["builds"])
    lines += table(
        _TITLES,
        [(formats.clean(name), *_cells(row)[1:]) for name, row in zip(names, found["builds"], strict=True)],
    )
    errors = [f"- {markdown(row['name'])}: {markdown(row['error'])}" for row in found["builds"] if row["error"]]
    notes = [f"- {markdown(note)}" for note in found["notes"]]
    if errors or notes:
        lines += ["", *errors, *notes]
    return "\n".join(lines) + "\n"


def _lead(rows: Sequence[Mapping[str, Any]]) -> str:
    ok = sum(row["status"] == "ok" for row in rows)
    unknown = sum(row["status"] == "no report" for row in rows)
    bad = len(rows) - ok - unknown
    parts = [f"{ok} of {formats.counted(len(rows), 'build')} hold{'s' if ok == 1 else ''}"]
    if bad:
        parts.append(f"{bad} {'was' if bad == 1 else 'were'} not shipped")
    if unknown:
        parts.append(
            f"{unknown} {'has' if unknown == 1 else 'have'} no report beside {'it' if unknown == 1 else 'them'}"
        )
    return "; ".join(parts) + "."


def _told_apart(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What builds are called: by their model, or by their file where a model was built for a target more than once."""
    times = Counter((row["name"], row["target"]) for row in rows)
    return [
        row["name"] if times[row["name"], row["target"]] == 1 or place is None else _stem(place)
        for row in rows
        for place in [row["artifact"] or row["report"]]
    ]


def _stem(place: str) -> str:
    """ "a-host" of dist/a-host.edgec and of dist/a-host.report.html."""
    name = Path(place).name
    return name.removesuffix(ARTIFACT).removesuffix(".report.html")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    accuracy, ratio, size = row["accuracy"], row["ratio_of_medians"], row["bytes"]
    smaller = ""
    if size and row["original_bytes"]:
        smaller = f" ({formats.times(row['original_bytes'] / size)} smaller)" if size < row["original_bytes"] else ""
    return (
        formats.clean(row["name"]),
        formats.clean(row["verdict"]),
        formats.clean(row["target"]),
        formats.clean(row["backend"]),
        formats.clean(row["precision"]),
        formats.size(size) + smaller if size else "–",
        _agreement(accuracy) if accuracy else "–",
        formats.milliseconds(row["latency_ms"]) if row["latency_ms"] else "–",
        f"{formats.times(1 / ratio)} as fast" if ratio else "–",
    )


def _agreement(accuracy: Mapping[str, Any]) -> str:
    if accuracy["original"] is None:
        return formats.decibel(accuracy["value"])
    return f"{formats.clean(accuracy['measure'])} {accuracy['value']:.4g}, was {accuracy['original']:.4g}"


def _link(report: str, place: Path) -> str:
    relative = os.path.relpath(Path(report).resolve(), place.resolve().parent)
    return quote(Path(relative).as_posix())


def _plots(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One figure for each model that was timed often enough on one machine."""
    groups: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["latency_ms"] and row["bytes"] and row["status"] == "ok":
            groups.setdefault((row["model_sha256"], row["machine"]), []).append(row)
    plots = []
    for (_, machine), members in groups.items():
        if len(members) < _LEAST_POINTS:
            continue
        drawn = [
            Mark(
                f"{_point(row)}: {formats.milliseconds(row['latency_ms'])}, {formats.size(row['bytes'])}",
                row["latency_ms"],
                row["bytes"] / 1e6,
                "kept",
                _point(row),
            )
            for row in members
        ]
        name = formats.clean(members[0]["name"])
        words = "; ".join(mark.label for mark in drawn)
        plots.append(
            {
                "figure": scatter(drawn, "milliseconds", "MB", f"Latency and size of {name}. {words}."),
                "caption": f"{name}{f' on {formats.clean(machine)}' if machine else ''}: "
                "further left is faster, further down is smaller.",
            }
        )
    return plots


def _point(row: Mapping[str, Any]) -> str:
    return formats.clean(f"{row['backend']} {row['precision']}")
