"""What the stage wrote down: which nodes went into which."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

RECORD = "canonicalize.json"


def now_called(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The nodes that nodes of the simplified model went into, each once; a name that is still there stays.

    folder: what the stage canonicalize left. Without its record, nothing went anywhere.
    """
    record = folder / RECORD
    became = json.loads(record.read_text(encoding="utf-8"))["became"] if record.exists() else {}
    return tuple(dict.fromkeys(became.get(name, name) for name in names))
