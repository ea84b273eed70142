"""What a build came to, as values and as the JSON document that `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgec.errors import EdgecError, LimitNotMet, ParityGateError
from edgec.events import Note
from edgec.runners.execution import described
from edgec.version import __version__

Status = Literal["ok", "refused", "failed"]


@dataclass(frozen=True)
class ModelFacts:
    """The model that was built. `name` is what its artifacts are called after; `sha256` and `bytes` cover its external
    data too."""

    name: str
    path: str
    sha256: str
    bytes: int
    macs: int
    parameters: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class CalibrationFacts:
    """The data that a build was calibrated on and judged by. `source` is a path, or the kind where there is none."""

    kind: Literal["files", "random", "arrays"]
    source: str
    samples: int
    sha256: str


@dataclass(frozen=True)
class ArtifactFile:
    """The file that ships."""

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class StageRecord:
    """One stage of a build. `seconds` is wall time of the run that made the result, now or then (`cached`)."""

    name: str
    seconds: float
    cached: bool
    key: str
    detail: str = ""


@dataclass(frozen=True)
class TargetBuild:
    """What became of one target.

    precision: "int8", "mixed" (some layers in float), "int8-weights", "fp16" or "float".
    parity, quantization, compression, lowered, latency: the documents of the stages validate, quantize, compress, lower
        and measure, None when not reached.
    choice: where several backends were tried, what became of each, and why this one was kept: `candidates.Choice`.
    cost: what an inference costs, where the target has figures (`edgec.cost.cost_document`).
    error: why there is no artifact.
    graph: the folder for viewers of graphs, where one was asked for.
    """

    target: str
    backend: str
    precision: str
    artifact: ArtifactFile | None
    calibration: CalibrationFacts | None
    parity: Mapping[str, Any] | None
    quantization: Mapping[str, Any] | None
    latency: Mapping[str, Any] | None
    stages: tuple[StageRecord, ...]
    notes: tuple[Note, ...]
    error: EdgecError | None
    report: Path | None = None
    compression: Mapping[str, Any] | None = None
    lowered: Mapping[str, Any] | None = None
    choice: Mapping[str, Any] | None = None
    graph: Path | None = None
    cost: Mapping[str, Any] | None = None

    @property
    def status(self) -> Status:
        if self.error is None:
            return "ok"
        return "refused" if isinstance(self.error, ParityGateError | LimitNotMet) else "failed"

    @property
    def calibration_is_random(self) -> bool:
        """Whether random numbers stood in for data: accuracy figures then say nothing."""
        return self.calibration is not None and self.calibration.kind == "random"

    @property
    def int8_mac_fraction(self) -> float:
        """The share of multiply-accumulates that run in INT8, 0 to 1."""
        return float(self.quantization["int8_mac_fraction"]) if self.quantization else 0.0

    @property
    def float_nodes(self) -> list[dict[str, str]]:
        """Nodes that stayed in float, each with the reason."""
        return list(self.quantization["float_nodes"]) if self.quantization else []

    def to_json(self) -> dict[str, Any]:
        artifact = self.artifact
        return {
            "target": self.target,
            "backend": self.backend,
            "precision": self.precision,
            "status": self.status,
            "artifact": artifact and {"path": str(artifact.path), "bytes": artifact.bytes, "sha256": artifact.sha256},
            "calibration": self.calibration and asdict(self.calibration),
            "executed": self.parity and described(self.parity),
            "parity": self.parity,
            "int8_mac_fraction": self.int8_mac_fraction,
            "float_nodes": self.float_nodes,
            "weight_bytes": self.compression
            and {"before": self.compression["bytes_before"], "after": self.compression["bytes_after"]},
            "payload": self.lowered and {"files": self.lowered["files"], "facts": self.lowered["facts"]},
            "latency_ms": self.latency and self.latency["artifact"],
            "choice": self.choice,
            "cost": self.cost,
            "stages": [
                {"name": stage.name, "detail": stage.detail, "seconds": stage.seconds, "cached": stage.cached}
                for stage in self.stages
            ],
            "notes": [{"stage": note.stage, "level": note.level, "text": note.text} for note in self.notes],
            "report": self.report and str(self.report),
            "graph": self.graph and str(self.graph),
            "error": self.error and self.error.to_json(),
        }


@dataclass(frozen=True)
class BuildResult:
    """One model, built for some targets."""

    model: ModelFacts
    builds: tuple[TargetBuild, ...]

    @property
    def exit_code(self) -> int:
        """0, or the exit code of the first target that has no artifact."""
        return next((build.error.exit_code for build in self.builds if build.error is not None), 0)

    @property
    def status(self) -> Status:
        return next((build.status for build in self.builds if build.error is not None), "ok")

    def to_json(self) -> dict[str, Any]:
        return {
            "edgec": __version__,
            "schema": 1,
            "status": self.status,
            "exit_code": self.exit_code,
            "model": self.model.to_json(),
            "builds": [build.to_json() for build in self.builds],
            "error": None,
        }
