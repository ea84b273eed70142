"""What went into a build, and what was asked for, for the artifact's provenance: no path of this machine is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from edgec.digest import digest_of
from edgec.pipeline.front import Front
from edgec.spec import BuildSpec
from edgec.targets import Target

Materials = tuple[tuple[str, str], ...]

_ELSEWHERE = frozenset(
    {"model", "targets", "calibration", "name", "recipe", "metric", "labels", "evaluation", "tuning"}
)
"""Fields that name files: these are among the materials, by their digests; names are given below."""

_OTHER_FILES = frozenset({"output", "graph", "tune_on"})
"""Fields that say where things are, or what else is to be written."""

_CHOICE = frozenset({"search", "optimize", "max_latency", "max_size"})
"""Fields that say which artifact is kept, and make none other: with other limits, none is packed and measured anew."""


def request(spec: BuildSpec, front: Front, target: Target) -> dict[str, Any]:
    """What the user asked of the artifact: what is not as it would be by itself."""
    given: dict[str, Any] = {"name": spec.artifact_name, "target": target.name}
    for field in fields(spec):
        if field.name in _ELSEWHERE | _OTHER_FILES | _CHOICE:
            continue
        value, usual = getattr(spec, field.name), field.default
        if usual is MISSING and field.default_factory is not MISSING:
            usual = field.default_factory()
        if value != usual:
            given[field.name] = _plain(value)
    if front.recipe is not None:
        given["recipe"] = front.recipe["name"]
    if front.metric is not None:
        given["metric"] = front.metric.name
        if front.metric.labels is not None:
            given["labels"] = front.metric.labels_name
    if front.calibration is not None and front.calibration.kind != "files":
        given["calibration"] = front.calibration.kind
    return given


def materials(front: Front, target: Target, tuning_sha256: str | None) -> Materials:
    """Name and SHA-256 of each thing that went in; what is not one file has the digest of a list of files."""
    found = list(front.files.parts)
    if front.samples is not None:
        found.append(("calibration", front.samples.digest))
    if front.metric is not None:
        found.append(("metric", front.metric.function.digest))
        if front.metric.labels_digest:
            found.append(("labels", front.metric.labels_digest))
        if front.metric.evaluation is not None:
            found.append(("evaluation", front.metric.evaluation.digest))
    if front.recipe is not None:
        found.append(("recipe", digest_of(front.recipe)))
    if tuning_sha256 is not None:
        found.append(("tuning", tuning_sha256))
    found.append(("target", digest_of(asdict(target))))
    return tuple(found)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
