"""The output folder: artifacts and reports appear there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgec.digest import digest_file
from edgec.errors import UsageError
from edgec.result import ArtifactFile


def publish(source: Path, folder: Path) -> ArtifactFile:
    """Put the artifact into the output folder; an older one of the same name is replaced in one step."""
    place = folder / source.name
    write_whole(place, source.read_bytes(), mode=0o755)
    return ArtifactFile(place, place.stat().st_size, digest_file(place))


def write_whole(place: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(mode)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_writable(folder: Path) -> None:
    """Learn now, not after an hour, that results can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".edgec-", dir=folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(
            f"The output folder {folder} can't be made", "A file of that name is in the way.", "Choose another with -o."
        ) from error
    os.close(handle)
    Path(name).unlink()
