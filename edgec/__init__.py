"""edgec: a compiler for edge deployment.

    import edgec
    result = edgec.build("model.onnx", targets=["host"], calibration="photos/", preprocess="imagenet")

The names below are the public API. They load on first use, so that `import edgec` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgec.version import __version__

if TYPE_CHECKING:
    from edgec.api import build as build
    from edgec.api import diagnose as diagnose
    from edgec.errors import EdgecError as EdgecError
    from edgec.result import BuildResult as BuildResult
    from edgec.spec import BuildSpec as BuildSpec
    from edgec.targets import load_target as load_target

_HOME = {
    "build": "edgec.api",
    "diagnose": "edgec.api",
    "BuildResult": "edgec.result",
    "BuildSpec": "edgec.spec",
    "EdgecError": "edgec.errors",
    "load_target": "edgec.targets",
}

__all__ = ["BuildResult", "BuildSpec", "EdgecError", "__version__", "build", "diagnose", "load_target"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'edgec' has no attribute {name!r}")
