"""Analyze: what a model computes, what that takes, what bounds it, and what the target's backends make of it.

out: analysis.json (docs/inspect.md describes it)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edgec.backends import backend_tools
from edgec.stage import Stage, StageContext
from edgec.targets import Target


@dataclass(frozen=True)
class AnalyzeParams:
    """came_quantized: the model brings scales of its own."""

    target: Target
    came_quantized: bool = False


def run(canonical: Path, params: AnalyzeParams, context: StageContext, peaks: Path | None = None) -> None:
    """Write analysis.json. peaks: where this machine is the target, what it can do at best."""
    from edgec.inspection.analysis import analyze

    known = None if peaks is None else json.loads((peaks / "peaks.json").read_text(encoding="utf-8"))
    context.write_json("analysis.json", analyze(canonical, params.target, params.came_quantized, known))


STAGE = Stage("analyze", ("onnx", "onnxruntime", "numpy", *backend_tools()), run)
