"""Run a stage as the pipeline does, without the pipeline."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgec.contract import Contract
from edgec.events import Note
from edgec.stage import StageContext
from edgec.stages import ingest, simplify


@dataclass
class Ran:
    """A stage's folder and what it said."""

    folder: Path
    notes: list[Note] = field(default_factory=list)

    def document(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @property
    def contract(self) -> Contract:
        return Contract.from_json(self.document("contract.json"))

    @property
    def warnings(self) -> list[str]:
        return [note.text for note in self.notes if note.level == "warning"]

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"


def ingested(model: Path, folder: Path, **params: Any) -> Ran:
    """Ingest `model` into a new folder below `folder`."""
    return _run(ingest.STAGE.name, folder, lambda context: ingest.run(model, ingest.IngestParams(**params), context))


def simplified(source: Ran, folder: Path, **params: Any) -> Ran:
    """Simplify what was ingested into a new folder below `folder`."""
    chosen = simplify.SimplifyParams(**params)
    return _run(simplify.STAGE.name, folder, lambda context: simplify.run(source.folder, chosen, context))


def _run(stage: str, folder: Path, run: Any) -> Ran:
    out = folder / f"{stage}-{len(list(folder.iterdir()))}"
    out.mkdir()
    result = Ran(out)
    run(StageContext(stage, out, lambda event: result.notes.append(event) if isinstance(event, Note) else None))
    return result
