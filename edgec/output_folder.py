"""The output folder: artifacts and reports appear there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgec.digest import digest_file
from edgec.errors import OutputError, UsageError
from edgec.result import ArtifactFile


def describe_file(source: Path, folder: Path) -> ArtifactFile:
    """What `source` will be in `folder`."""
    return ArtifactFile(folder / source.name, source.stat().st_size, digest_file(source))


def publish(source: Path, place: Path) -> None:
    """Put an artifact in its place; an older one there is replaced in one step."""
    with _replacing(place, 0o755) as target, source.open("rb") as stream:
        shutil.copyfileobj(stream, target)


def write_whole(place: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all."""
    with _replacing(place, mode) as target:
        target.write(content)


@contextlib.contextmanager
def _replacing(place: Path, mode: int) -> Iterator[IO[bytes]]:
    """A file that takes the place of `place` when the block ends well, and leaves no trace when it does not."""
    handle, name = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
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
    except OSError as error:
        raise OutputError(
            f"The output folder {folder} can't be written",
            f"The system says: {error.strerror}.",
            "Choose a folder that you own with -o.",
        ) from error
    os.close(handle)
    Path(name).unlink()
