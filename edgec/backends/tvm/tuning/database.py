"""What was measured of tiles: one JSON file, which machines may share. Imports nothing of TVM.

    {"format": 1, "entries": [{"isa": "avx512_vnni", "cpu": "AMD EPYC 9B45", "by": "time", "kernel": "Dense(...)",
                               "tile": [7, 3], "default_tile": [5, 4], "default": 5321.0, "best": 4876.5}, ...]}

An entry is found by instruction set, processor, what decides, and the kernel's shape without its tile. A later entry
takes the place of an earlier one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgec.errors import UsageError
from edgec.output_folder import write_whole
from edgec.processors import CORES, core_of

FORMAT = 1
BY_TIME = "time"

TileSize = tuple[int, int]
"""Pixels, and most vectors, of a tile."""

_writing = threading.Lock()


@dataclass(frozen=True)
class Entry:
    """One kernel. isa: instruction set. cpu: the processor's name where it was measured. by: what decides.

    kernel: its shape, see `tiles.shape_of`. tile: to be taken; the rule's own where no other was faster for sure.
    default_tile: the rule's. default, best: nanoseconds of one call with the rule's tile, and with `tile`.
    """

    isa: str
    cpu: str
    by: str
    kernel: str
    tile: TileSize
    default_tile: TileSize
    default: float
    best: float

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.isa, self.cpu, self.by, self.kernel


class Database:
    """Entries by their keys."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = {entry.key: entry for entry in entries}

    def merged(self, later: Iterable[Entry]) -> Database:
        """With others, which count where both have a key."""
        return Database([*self.entries.values(), *later])

    def of(self, isa: str, cpu: str, core: str = "") -> dict[str, Entry]:
        """The entries for an instruction set, by kernel: those of this processor where it has one, else another's.

        core: LLVM's name of the core that the target names; what is known to come from another core is left out.
        """
        wanted = {"", core} if core in CORES else {*CORES, ""}
        fitting = [entry for _, entry in sorted(self.entries.items()) if entry.isa == isa]
        fitting = [entry for entry in fitting if core_of(entry.cpu) in wanted]
        found = {entry.kernel: entry for entry in reversed(fitting)}
        return found | {entry.kernel: entry for entry in fitting if entry.cpu == cpu}

    def text(self) -> str:
        """Equal databases have equal texts."""
        document = {"format": FORMAT, "entries": [asdict(entry) for _, entry in sorted(self.entries.items())]}
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str, name: str) -> Database:
        """name: of the file, for people. Raises UsageError for anything else than a database."""
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r}, and {FORMAT} is known")
            return cls([_entry(item) for item in document["entries"]])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise UsageError(
                f"{name} is no database of tiles",
                f"It can't be read: {why}.",
                "Give a file that `edgec build --tune` wrote, or remove it: the next search writes a new one.",
            ) from error


def read(path: Path) -> Database:
    """The database in a file. Raises UsageError for one that is not there, or is something else."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"The database of tiles {path} can't be read",
            f"The system says: {error.strerror}.",
            "Give a file that `edgec build --tune SECONDS` wrote, or add --tune to have it made.",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is no database of tiles",
            "It is not text.",
            "Give a file that `edgec build --tune` wrote.",
        ) from error
    return Database.parse(text, str(path))


def update(path: Path, found: Database) -> None:
    """Put entries into a file, whole or not at all; others that it holds by now are kept."""
    with _writing:  # targets that are built at the same time may share a file
        known = read(path) if path.exists() else Database()
        text = known.merged(found.entries.values()).text()
        if not path.exists() or text != path.read_text(encoding="utf-8"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text.encode("utf-8"))


def _entry(item: Mapping[str, Any]) -> Entry:
    words = [item[name] for name in ("isa", "cpu", "by", "kernel")]
    if not all(isinstance(word, str) for word in words):
        raise ValueError("an entry's isa, cpu, by and kernel are texts")
    isa, cpu, by, kernel = words
    figures = [float(item[name]) for name in ("default", "best")]
    return Entry(isa, cpu, by, kernel, _size(item["tile"]), _size(item["default_tile"]), *figures)


def _size(value: Any) -> TileSize:
    if not (isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)):
        raise ValueError(f"a tile is two numbers, not {value!r}")
    return value[0], value[1]
