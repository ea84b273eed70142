"""What was measured of tiles: one JSON file, which machines may share. Imports nothing of TVM.

    {"format": 2, "entries": [{"isa": "avx512_vnni", "cpu": "AMD EPYC 9B45", "by": "time", "kernel": "Dense(...)",
                               "tile": {"family": "dense", "pixels": 7, "vectors": 3},
                               "default_tile": {"family": "dense", "pixels": 5, "vectors": 4},
                               "default": 5321.0, "best": 4876.5}, ...]}

An entry is found by instruction set, processor, what decides, and the kernel's shape without its tile. A later entry
takes the place of an earlier one. Which kernels have tiles: `DenseTile`, `DepthwiseTile`.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgec.errors import UsageError
from edgec.output_folder import write_whole
from edgec.processors import CORES, core_of

FORMAT = 2
BY_TIME = "time"


@dataclass(frozen=True)
class DenseTile:
    """Of a product of all channels: pixels, and most vectors of channels (`kernels/dense.py`)."""

    pixels: int
    vectors: int

    def __str__(self) -> str:
        return f"{self.pixels} x {self.vectors}"


@dataclass(frozen=True)
class DepthwiseTile:
    """Of a depthwise convolution: which pixels are interleaved, how many are taken for one, and rows and columns of
    results (`kernels/depthwise.py`)."""

    form: str
    pixels: int
    height: int
    width: int

    def __str__(self) -> str:
        together = f" of {self.pixels}" if self.pixels > 1 else ""
        return f"{self.height} x {self.width}{together}, {self.form}"


TileSize = DenseTile | DepthwiseTile

_FAMILIES: dict[str, type[TileSize]] = {"dense": DenseTile, "depthwise": DepthwiseTile}

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
        document = {"format": FORMAT, "entries": [_document(entry) for _, entry in sorted(self.entries.items())]}
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str, name: str) -> Database:
        """name: of the file, for people. Raises UsageError for anything else than a database."""
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise ValueError(f"it is of format {document['format']!r}, and this edgec reads format {FORMAT}")
            return cls([_entry(item) for item in document["entries"]])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
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


def tile_document(tile: TileSize) -> dict[str, int | str]:
    """A tile as plain data."""
    family = next(name for name, kind in _FAMILIES.items() if isinstance(tile, kind))
    return {"family": family, **asdict(tile)}


def tile_from(document: Any) -> TileSize:
    """The tile that `tile_document` made plain. Raises ValueError for anything else."""
    if not isinstance(document, dict) or document.get("family") not in list(_FAMILIES):
        raise ValueError(f"a tile is of one of the families {', '.join(_FAMILIES)}: {document!r} is not")
    kind = _FAMILIES[document["family"]]
    wanted = {item.name: str if item.type == "str" else int for item in fields(kind)}
    if {"family", *wanted} != set(document) or any(type(document[name]) is not wanted[name] for name in wanted):
        names = ", ".join(f"{name} ({each.__name__})" for name, each in wanted.items())
        raise ValueError(f"a {document['family']} tile has {names}: {document!r} has not")
    return kind(**{name: document[name] for name in wanted})


def _document(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "tile": tile_document(entry.tile), "default_tile": tile_document(entry.default_tile)}


def _entry(item: Mapping[str, Any]) -> Entry:
    words = [item[name] for name in ("isa", "cpu", "by", "kernel")]
    if not all(isinstance(word, str) for word in words):
        raise ValueError("an entry's isa, cpu, by and kernel are texts")
    "".join(words).encode("utf-8")  # refuses halves of surrogates, which could not be written again
    isa, cpu, by, kernel = words
    figures = [float(item[name]) for name in ("default", "best")]
    if not all(math.isfinite(figure) for figure in figures):
        raise ValueError("an entry's default and best are nanoseconds")
    tile, default_tile = tile_from(item["tile"]), tile_from(item["default_tile"])
    if type(tile) is not type(default_tile):
        raise ValueError("an entry's two tiles are of one family")
    return Entry(isa, cpu, by, kernel, tile, default_tile, *figures)
