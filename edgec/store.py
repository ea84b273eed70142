"""The store: results of stages, found again by what they were made from.

    $EDGEC_CACHE_DIR (default: ~/.cache/edgec)
      v1/entries/KEY/     the files of one result, and entry.json which lists them with their digests
      v1/making/          results in the making; renamed into entries/ when they are whole
      v1/journals/KEY/    what the maker of KEY wants to find again if it is killed; gone once the result is there
      v1/locks/KEY        held while KEY is made, so that two builds make it once
      v1/in-use           held (shared) by every build, so that gc takes nothing away from one

KEY is the digest of everything that the result depends on; the entry's own digest covers only the bytes that came out,
so a change that leaves a stage's output alone does not rebuild what follows. Every file is hashed again before it is
used: a result that was damaged on disk is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.digest import digest_file, digest_of
from edgec.errors import OutputError

_ENTRY = "entry.json"


@dataclass(frozen=True)
class Entry:
    """One stored result. `digest` covers names and bytes of its files; `seconds` is what making it took."""

    key: str
    path: Path
    digest: str
    stage: str
    seconds: float
    bytes: int
    notes: tuple[tuple[str, str], ...] = ()
    """(level, text) of what the stage had to say, said again when the result is found in the store."""

    def read_json(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))


def cache_folder() -> Path:
    """Where edgec keeps what it can make again: $EDGEC_CACHE_DIR, or a folder of the user's own."""
    chosen = os.environ.get("EDGEC_CACHE_DIR")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen).absolute() if chosen else base / "edgec"


class Store:
    """A folder of results. Any number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute() / "v1"
        try:
            for name in ("entries", "making", "journals", "locks"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The store {root} can't be written",
                f"The system says: {error.strerror}.",
                "Results of stages are kept there. Name a folder that you own in the variable EDGEC_CACHE_DIR.",
            ) from error

    @classmethod
    def default(cls) -> Store:
        return cls(cache_folder())

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Held by a build: as long as one runs, nothing is collected."""
        with (self.root / "in-use").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder for the length of a build; what a killed build leaves there, gc removes."""
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=self.root / "making") as folder:
            yield Path(folder)

    def journal(self, key: str) -> Path:
        """A folder for whoever makes `key`, which outlives them until the result is stored. It may not exist yet."""
        return self.root / "journals" / key

    def find(self, key: str) -> Entry | None:
        """The result of `key`, every byte of it checked; None when there is none, or it was damaged."""
        folder = self.root / "entries" / key
        try:
            record = json.loads((folder / _ENTRY).read_text(encoding="utf-8"))
            files: dict[str, str] = record["files"]
            present = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
            if present != {*files, _ENTRY}:
                return None
            if any(digest_file(folder / name) != digest for name, digest in files.items()):
                return None
            notes = tuple((str(level), str(text)) for level, text in record["notes"])
            entry = Entry(key, folder, digest_of(files), record["stage"], record["seconds"], record["bytes"], notes)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)  # gc drops what was not used for long
        return entry

    def make(self, key: str, stage: str, fill: Callable[[Path], list[tuple[str, str]]]) -> tuple[Entry, bool]:
        """The result of `key` and whether it was found; when not, `fill(folder)` makes it.

        fill writes files into the empty folder that it is given and returns the notes to keep with them. When it
        raises, nothing is stored. Of two callers with one key, the second waits for the first.
        """
        if (entry := self.find(key)) is not None:
            return entry, True
        with (self.root / "locks" / key).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (entry := self.find(key)) is not None:
                return entry, True
            folder = Path(tempfile.mkdtemp(prefix=f"{stage}-", dir=self.root / "making"))
            try:
                started = time.monotonic()
                notes = fill(folder)
                self._seal(folder, key, stage, time.monotonic() - started, notes)
                shutil.rmtree(self.journal(key), ignore_errors=True)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        entry = self.find(key)
        assert entry is not None, "a result that was just written can't be read"
        return entry, False

    def _seal(self, folder: Path, key: str, stage: str, seconds: float, notes: list[tuple[str, str]]) -> None:
        """List the files of `folder`, and put it in its place in one step."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        record = {
            "stage": stage,
            "seconds": round(seconds, 3),
            "bytes": sum(path.stat().st_size for path in paths),
            "files": {str(path.relative_to(folder)): digest_file(path) for path in paths},
            "notes": notes,
        }
        (folder / _ENTRY).write_text(json.dumps(record, indent=1), encoding="utf-8")
        place = self.root / "entries" / key
        if place.exists():  # damaged, or `find` would have returned it
            place.rename(folder.with_name(folder.name + "-damaged"))
            shutil.rmtree(folder.with_name(folder.name + "-damaged"), ignore_errors=True)
        folder.rename(place)

    def entries(self) -> list[Entry]:
        """All results, the one used last first. Their bytes are not checked."""
        found = []
        for folder in (self.root / "entries").iterdir():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                record = json.loads((folder / _ENTRY).read_text(encoding="utf-8"))
                used = folder.stat().st_mtime
                entry = Entry(
                    folder.name,
                    folder,
                    digest_of(record["files"]),
                    record["stage"],
                    record["seconds"],
                    record["bytes"],
                )
                found.append((used, entry))
        return [entry for _, entry in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def collect(self, *, unused_for: float = 0.0) -> tuple[int, int] | None:
        """Remove results not used for `unused_for` seconds, and what killed builds left behind.

        Returns (results removed, bytes freed), or None when a build is running.
        """
        with (self.root / "in-use").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return None
            removed = freed = 0
            limit = time.time() - unused_for
            left_behind = [folder for name in ("making", "journals") for folder in (self.root / name).iterdir()]
            for folder in [*(self.root / "entries").iterdir(), *left_behind]:
                if folder.parent.name == "entries" and folder.stat().st_mtime > limit:
                    continue
                freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                removed += folder.parent.name == "entries"
                shutil.rmtree(folder, ignore_errors=True)
            for path in (self.root / "locks").iterdir():
                path.unlink(missing_ok=True)
            return removed, freed
