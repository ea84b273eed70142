"""Writing into a repository that is being read: each file appears whole or not at all, and a kill loses nothing.

Payloads and versioned metadata are new files that nobody knows of until timestamp.json names them. So a command first
puts these in place, and replaces timestamp.json last. The metadata of one command is committed like a journal: all its
files are written to the side and synced, then a list of them, and only then they are renamed into place. A kill before
the list is there changed nothing; a kill after it is made good by the next command, which finishes the renames.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgec.digest import digest_file
from edgec.errors import ArtifactError, Busy, EdgecError, OutputError, UsageError
from edgec.shipping.repository.layout import METADATA, WORKSHOP

_LOCK = "lock"
_INCOMING = "incoming"
_JOURNAL = "journal.json"
_CHUNK = 1 << 20
_METADATA_NAME = re.compile(r"timestamp\.json|[1-9][0-9]*\.[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\.json")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the repository for one publisher, after finishing what a killed one had begun to commit.

    Raises Busy while another one works, UsageError or OutputError where the folder can't be written.
    """
    workshop = folder / WORKSHOP
    with _explained(folder):
        workshop.mkdir(exist_ok=True)
        handle = os.open(workshop / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(
                f"Another command is publishing to {folder}",
                f"It holds the lock {workshop / _LOCK}.",
                "Wait until it has ended, and run this again.",
            ) from error
        with _explained(folder):
            _recover(folder)
        try:
            yield
        finally:
            if not (workshop / _JOURNAL).exists():  # what failed half-way; a journal still needs its files
                shutil.rmtree(workshop / _INCOMING, ignore_errors=True)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say in a publisher's terms what the system refused."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> EdgecError:
    """The publisher's view of a write that failed: what clients see is as it was."""
    said = f"The system says: {error.strerror}{f' ({error.filename})' if error.filename else ''}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"The disk is full: {folder} can't take what is to be published",
            f"{said} What clients see was not changed.",
            "Free some space (`edgec publish prune` removes old releases), and run the same command again.",
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return UsageError(
            f"{folder} holds no repository", said, f"Make one: edgec publish init --repo {folder}, or correct --repo."
        )
    return OutputError(
        f"{folder} can't be written",
        f"{said} What clients see was not changed.",
        "Check the folder's owner and permissions, and run the same command again.",
    )


def is_unfinished(folder: Path) -> bool:
    """Whether a command was interrupted while it put its metadata in place, or is doing so right now."""
    return (folder / WORKSHOP / _JOURNAL).exists()


def place_payload(folder: Path, source: Path | bytes, place: Path, sha256: str) -> None:
    """Put a payload where clients will ask for it; one that an earlier command left there is taken as it is.

    Raises ArtifactError when the bytes copied are not those of `sha256`: the source changed meanwhile.
    """
    with _explained(folder):
        if place.exists():
            if digest_file(place) == sha256:
                return
            place.unlink()  # damaged by the disk, or by hand: nothing of ours leaves it half-written
        staged = folder / WORKSHOP / _INCOMING / place.name
        _write(staged, source)
        if digest_file(staged) != sha256:
            staged.unlink()
            raise ArtifactError(
                f"{source if isinstance(source, Path) else place.name} changed while it was being published",
                "What was copied is not what had been checked.",
                "Run the command again when nothing writes to that file.",
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(place)
        _sync_folder(place.parent)


def commit(folder: Path, files: Sequence[tuple[Path, bytes]]) -> None:
    """Put metadata in place, in the order given; from some moment on, all of it, even if this process is killed."""
    workshop = folder / WORKSHOP
    with _explained(folder):
        incoming = workshop / _INCOMING
        for place, content in files:
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(incoming / place.name, content)
        _sync_folder(incoming)
        names = [place.name for place, _ in files]
        _write(workshop / f"{_JOURNAL}.new", json.dumps(names).encode())
        (workshop / f"{_JOURNAL}.new").replace(workshop / _JOURNAL)
        _sync_folder(workshop)
    try:
        _recover(folder)
    except OSError as error:
        raise OutputError(
            f"{folder} was not brought to its new state",
            f"The system says: {error.strerror}. Everything new is written and signed, but not all of it is in place.",
            "Repair what the system complains of; any later `edgec publish`, such as refresh, then finishes this one.",
        ) from error


def _recover(folder: Path) -> None:
    """Finish the renames of the journal, if there is one, and drop what else was left unfinished."""
    workshop = folder / WORKSHOP
    journal, incoming = workshop / _JOURNAL, workshop / _INCOMING
    if journal.exists():
        try:
            names = json.loads(journal.read_bytes())
            sound = isinstance(names, list) and all(_METADATA_NAME.fullmatch(name) for name in names)
        except (ValueError, TypeError):
            sound = False
        if not sound:
            raise ArtifactError(
                f"{journal} is damaged",
                "It should list the metadata that an interrupted command was about to put in place.",
                "Look who wrote it. Then remove it, and run the interrupted command again.",
            )
        for name in names:
            if (incoming / name).exists():  # not there: already renamed
                (incoming / name).replace(folder / METADATA / name)
        _sync_folder(folder / METADATA)
        journal.unlink()
    if incoming.exists():
        shutil.rmtree(incoming)


def write_whole(folder: Path, place: Path, content: bytes) -> None:
    """Write one file of the workshop's own, whole or not at all."""
    with _explained(folder):
        beside = place.with_name(f".{place.name}.new")
        _write(beside, content)
        beside.replace(place)
        _sync_folder(place.parent)


def _write(place: Path, content: Path | bytes) -> None:
    """Write and sync a file, readable for a web server whatever the umask is."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as stream:
        if isinstance(content, bytes):
            stream.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, stream, _CHUNK)
        stream.flush()
        os.fsync(stream.fileno())
    place.chmod(0o644)


def _sync_folder(folder: Path) -> None:
    """Make the folder's entries last through a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
