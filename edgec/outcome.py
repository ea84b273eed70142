"""What the stages of one target left behind, as a result and as reports. Reads the store; decides nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.candidates.asked import is_tuned, profile_of
from edgec.candidates.candidate import Candidate
from edgec.candidates.choice import Choice
from edgec.cost import CostFigures, cost_document
from edgec.errors import EdgecError
from edgec.events import Note
from edgec.result import ArtifactFile, CalibrationFacts, ModelFacts, StageRecord, TargetBuild
from edgec.spec import BuildSpec
from edgec.store import Entry
from edgec.targets import Target

if TYPE_CHECKING:
    from edgec.report import ReportInputs


@dataclass(frozen=True)
class Outcome:
    """The stored results of one target as far as the build came; None for a stage that was not reached.

    spec: with the backend named. choice: where there were several candidates to try, which of them this is, and why.
    figures: what the user says of the device's price and power.
    """

    spec: BuildSpec
    model: ModelFacts
    target: Target
    backend: str
    precision: str
    artifact: ArtifactFile | None
    error: EdgecError | None
    calibration: CalibrationFacts | None
    recipe: Mapping[str, Any] | None
    ingested: Entry
    simplified: Entry
    canonical: Entry
    calibrated: Entry | None
    quantized: Entry | None
    compressed: Entry | None
    lowered: Entry | None
    validated: Entry | None
    packed: Entry | None
    measured: Entry | None
    counted: Entry | None
    stages: tuple[StageRecord, ...]
    notes: tuple[Note, ...]
    choice: Choice | None = None
    analyzed: Entry | None = None
    figures: CostFigures | None = None

    @property
    def candidate(self) -> Candidate:
        """As one of several."""
        return Candidate(
            backend=self.backend,
            precision=self.precision,
            artifact_bytes=self.artifact.bytes if self.artifact is not None else None,
            latency=_document(self.measured, "latency.json"),
            error=self.error,
            instructions=_document(self.counted, "instructions.json"),
            parity=_document(self.validated, "parity.json"),
            profile=profile_of(self.spec),
            tuned=is_tuned(self.spec),
            threads=self.spec.threads,
            watts=self.figures.watts(self.spec.threads or 1, self._device_threads) if self.figures else None,
        )

    @property
    def _device_threads(self) -> int | None:
        """How many the device has; None where nobody said."""
        return self.target.threads or (len(os.sched_getaffinity(0)) if self.target.here else None)

    def result(self, report: Path) -> TargetBuild:
        """The build's result; `report` is where its HTML report will lie."""
        return TargetBuild(
            target=self.target.name,
            backend=self.backend,
            precision=self.precision,
            artifact=self.artifact,
            calibration=self.calibration,
            parity=_document(self.validated, "parity.json"),
            quantization=_document(self.quantized, "quantize.json"),
            compression=_document(self.compressed, "compress.json"),
            lowered=_document(self.lowered, "lower.json"),
            latency=_document(self.measured, "latency.json"),
            stages=self.stages,
            notes=self.notes,
            error=self.error,
            report=report,
            choice=self.choice.to_json() if self.choice is not None else None,
            cost=cost_document(
                self.figures,
                self.target.name,
                _document(self.measured, "latency.json"),
                self.spec.threads or 1,
                self._device_threads,
            ),
        )

    def reports(self, built: TargetBuild) -> dict[str, str]:
        """The report of `built` by file suffix: json, md, html."""
        from edgec.report import render_html, render_json, render_markdown

        inputs = self._inputs(built)
        return {"json": render_json(inputs), "md": render_markdown(inputs), "html": render_html(inputs)}

    def record(self, built: TargetBuild) -> str:
        """The JSON report of `built` alone."""
        from edgec.report import render_json

        return render_json(self._inputs(built))

    def _inputs(self, built: TargetBuild) -> ReportInputs:
        from edgec.report import ReportInputs

        sheet = self.calibrated.path / "contact_sheet.png" if self.calibrated else None
        return ReportInputs(
            model=self.model.to_json(),
            build=built.to_json(),
            target=asdict(self.target),
            ingest=_document(self.ingested, "ingest.json"),
            contract=_document(self.ingested, "contract.json"),
            simplify=_document(self.simplified, "simplify.json"),
            canonicalize=_document(self.canonical, "canonicalize.json"),
            inputs=_document(self.calibrated, "inputs.json"),
            contact_sheet=sheet.read_bytes() if sheet is not None and sheet.is_file() else None,
            quantize=built.quantization,
            compress=built.compression,
            lower=built.lowered,
            parity=built.parity,
            latency=built.latency,
            recipe=self.recipe,
            choice=built.choice,
            cost=built.cost,
            analysis=_document(self.analyzed, "analysis.json"),
        )


def _document(entry: Entry | None, name: str) -> Any:
    return entry.read_json(name) if entry is not None else None
