"""Names for files in tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def distinct(paths: Sequence[str]) -> list[str]:
    """Short names for files: without folders where that is enough, else without those that all have."""
    files = [Path(path).name for path in paths]
    if len(set(files)) == len(set(paths)):
        return files
    common = (
        os.path.commonpath([str(Path(path).parent) for path in paths]) if len({*map(os.path.isabs, paths)}) == 1 else ""
    )
    return [os.path.relpath(path, common) if common else path for path in paths]
