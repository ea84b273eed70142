"""Support: can the backend take every node? Asked before the long work of calibration and quantization.

out: support.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.backends import backend_tools
from edgec.stage import Stage, StageContext
from edgec.targets import Target


@dataclass(frozen=True)
class SupportParams:
    """Which backend, for which device."""

    backend: str
    target: Target


def run(simplified: Path, params: SupportParams, context: StageContext) -> None:
    """Write support.json, nodes by operator. Raises UnsupportedOp naming those that the backend can't take."""
    from edgec.backends.support import require_support

    supported = require_support(simplified / "model.onnx", params.backend, params.target)
    context.write_json("support.json", {"backend": params.backend, "operators": supported})


STAGE = Stage(
    name="support",
    tools=("onnx", *backend_tools()),
    run=run,
)
