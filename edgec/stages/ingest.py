"""The stage that reads the user's model: checked, of one form, with static shapes and a contract."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.stage import Stage, StageContext


@dataclass(frozen=True)
class IngestParams:
    """shapes: (input, dims) as given with --shape. state: (output, input) pairs as given with --state.

    digest: what `edgec.onnx_graph.untrusted.scan` returned. When given, a model whose bytes have another digest by now
    is refused, so that a result is never kept under the name of another model.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    state: tuple[tuple[str, str], ...] = ()
    digest: str = ""


def run(model: Path, params: IngestParams, context: StageContext) -> None:
    """Read `model` and what it names; leave model.onnx (and weights.bin), contract.json, ingest.json.

    Raises ModelRefused, UnsupportedOp, UsageError (for --state).
    """
    from edgec.onnx_graph.ingestion import ingest

    ingest(model, params, context)


STAGE = Stage("ingest", ("onnx", "onnxruntime"), run)
