"""The folders that emulated programs run in: Python, numpy and an engine for another architecture.

A root is made once (`edgec emulator setup`), is shared by all targets of its architecture, and never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Root:
    """A root that is there.

    digest: of everything in it. versions: of what matters: "python", "numpy", and the engine's distribution.
    """

    arch: str
    path: Path
    digest: str
    versions: Mapping[str, str]
    library_paths: tuple[str, ...] = ()


def find(arch: str) -> Root | None:
    """The root for `arch`; None where there is none. Raises ToolMissing for one that is not whole."""
    raise NotImplementedError
