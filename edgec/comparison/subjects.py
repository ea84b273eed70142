"""What there is to compare: artifacts, and what their builds recorded beside them.

An artifact holds what it is and how right it is. It holds no times: equal builds have equal bytes. Latency and the
share of INT8 are in the report that its build wrote beside it (NAME.report.json), which is believed only if it was
written for these very bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.bundle.errors import as_edgec_error
from edgec.comparison.accuracy import Accuracy, accuracy_of, agreement_of
from edgec.digest import digest_file
from edgec.errors import UsageError
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure

_SUFFIX = ".edgec"


@dataclass(frozen=True)
class Subject:
    """One artifact. manifest, parity: its own documents. record: the report of its build; None where there is none.

    notes: what is not as it should be, in sentences.
    """

    path: Path
    bytes: int
    sha256: str
    manifest: Mapping[str, Any]
    parity: Mapping[str, Any]
    record: Mapping[str, Any] | None
    notes: tuple[str, ...] = ()

    @property
    def accuracy(self) -> Accuracy | None:
        return accuracy_of(self.parity)

    @property
    def agreement(self) -> float | None:
        """The share of decisions that are the original's, 0 to 1; None where its outputs decide nothing."""
        return agreement_of(self.parity)

    @property
    def latency(self) -> Mapping[str, Any] | None:
        """latency.json of its build; None where that is not known, or nothing could be measured."""
        found = (self.record or {}).get("latency")
        return found if found and found["artifact"] else None

    @property
    def int8_share(self) -> float | None:
        """The share of multiply-accumulates that INT8 kernels compute, 0 to 1; None where only the report knew."""
        precision = self.manifest["precision"]
        if precision not in ("int8", "mixed"):
            return 0.0
        facts = ((self.record or {}).get("lower") or {}).get("facts", {})
        if (executed := facts.get("int8_mac_fraction_executed")) is not None:
            return float(executed)
        declared = ((self.record or {}).get("quantize") or {}).get("int8_mac_fraction")
        return float(declared) if declared is not None else (1.0 if precision == "int8" else None)


def gather(paths: Sequence[Path]) -> list[Subject]:
    """The artifacts that `paths` name: files, and folders with all that lie in them.

    Raises UsageError for what is not there, for a file that is named twice, and for fewer than two in all;
    ArtifactError for one that is damaged.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"There is no file {path}", "Nothing lies there.", "Check the path.")
        found = sorted(path.rglob(f"*{_SUFFIX}")) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"There is no artifact in {path}", f"It has no file that ends in {_SUFFIX}.", "Check it.")
        files += found
    seen: dict[Path, Path] = {}
    for file in files:
        if (place := file.resolve()) in seen:
            raise UsageError(
                f"{file} is there twice",
                "An artifact is no better than itself."
                if seen[place] == file
                else f"{seen[place]} is the same file: an artifact is no better than itself.",
                "Name each file once, and not beside the folder that it lies in.",
            )
        seen[place] = file
    if len(files) < 2:
        raise UsageError(
            "There is only one artifact to compare",
            f"{files[0] if files else 'Nothing'} stands alone." if files else "No file was named.",
            "Name two or more, or a folder of them. What one is by itself, its report tells, and: "
            f"python3 {files[0] if files else 'FILE.edgec'} info",
        )
    return [read(file) for file in files]


def read(path: Path) -> Subject:
    """One artifact, checked as a whole, with its report if there is one. Raises UsageError, ArtifactError."""
    if not path.exists():
        raise UsageError(f"There is no {path}", "Nothing is there to compare.", "Check the path.")
    try:
        bundle = Bundle.open(path)
        parity = json.loads(bundle.read("parity.json"))
    except ArtifactFailure as failure:
        error = as_edgec_error(failure)
        raise (
            error if str(path) in error.what else type(error)(f"{path}: {error.what}", error.why, error.fix)
        ) from failure
    digest = digest_file(path)
    record, notes = _record(path, digest)
    return Subject(path, path.stat().st_size, digest, bundle.manifest, parity, record, notes)


def _record(path: Path, digest: str) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    """The report of the build that made an artifact, if it lies beside it; else why it is not believed."""
    from edgec.report.documents import SCHEMA  # not at the top: an index of reports is made of comparisons

    place = path.with_suffix(".report.json")
    lost = "what its build measured is not known"
    if not place.is_file():
        return None, (f"{path}: there is no {place.name} beside it, so {lost}.",)
    try:
        record = json.loads(place.read_text(encoding="utf-8"))
        made = record["build"]["artifact"]
        if made is not None and made["sha256"] == digest:
            if record.get("schema") == SCHEMA:
                return record, ()
            return None, (f"{place} was written by another version of edgec, so {lost}. Build it again.",)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, (f"{place} can't be read as a report, so {lost}.",)
    return None, (f"{place} is the report of another build than {path.name}, so {lost}.",)


def models_of(subjects: Iterable[Subject]) -> dict[str, list[Subject]]:
    """The subjects of each original model, by its digest."""
    found: dict[str, list[Subject]] = {}
    for subject in subjects:
        found.setdefault(subject.manifest["model_sha256"], []).append(subject)
    return found
