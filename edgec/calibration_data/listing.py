"""What lies in a folder: images, arrays, and what is left aside. Nothing is decoded here."""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import CalibrationDataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
ARRAY_SUFFIXES = frozenset({".npy", ".npz"})

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class Listing:
    """The files below a folder, each kind in natural order (img2 before img10). left_aside: relative paths."""

    images: tuple[Path, ...]
    arrays: tuple[Path, ...]
    left_aside: tuple[str, ...]


def list_folder(folder: Path) -> Listing:
    """Everything below `folder`; symbolic links are followed, each folder is visited once.

    Raises CalibrationDataError for a link to nowhere or a folder that may not be read.
    """
    images: list[Path] = []
    arrays: list[Path] = []
    left_aside: list[str] = []
    visited: set[tuple[int, int]] = set()
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            entries = list(here.iterdir())
        except OSError as error:
            raise unreadable(here, error) from error
        for path in entries:
            name = path.relative_to(folder).as_posix()
            if path.name.startswith("."):
                left_aside.append(name)
                continue
            kind = kind_of(path)
            mode = _mode(path)
            if stat.S_ISDIR(mode):
                pending.append(path)
            elif kind is None or not stat.S_ISREG(mode):
                left_aside.append(name)
            else:
                (images if kind == "image" else arrays).append(path)
    return Listing(
        images=tuple(sorted(images, key=lambda path: natural_key(path.relative_to(folder).as_posix()))),
        arrays=tuple(sorted(arrays, key=lambda path: natural_key(path.relative_to(folder).as_posix()))),
        left_aside=tuple(sorted(left_aside, key=natural_key)),
    )


def kind_of(path: Path) -> str | None:
    """ "image", "array" or None, by the file's name."""
    suffix = path.suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else "array" if suffix in ARRAY_SUFFIXES else None


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sorts numbers inside names by value; equal on every machine, and never equal for two names."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts), name


def check_image_signature(path: Path, start: bytes) -> None:
    """Refuse a file whose first bytes are not those of any image format that edgec reads.

    start: at least the first 16 bytes.
    """
    if start.startswith(_SIGNATURES) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return
    if start[:1] == b"P" and start[1:2] in b"123456" and len(start) > 2:
        return
    if not start:
        why = "It is empty."
    elif start[4:8] == b"ftyp":
        why = "It holds HEIC, AVIF or video."
    elif start.lstrip()[:1] == b"<":
        why = f"It holds a web page or XML: {start[:16]!r}."
    else:
        why = f"It begins with {start[:8]!r}."
    raise CalibrationDataError(
        f"{path} is not an image", why, "Leave it out, or convert it to JPEG or PNG, or fetch it again."
    )


def describe_left_aside(names: Iterable[str]) -> str:
    """'3 files: README.md, Thumbs.db, a.pdf'; long lists are cut."""
    names = list(names)
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{len(names)} file{'s' if len(names) != 1 else ''}: {shown}"


def describe_kinds(names: Iterable[str]) -> str:
    """'12 .heic, 1 .pdf': what a folder holds instead of samples."""
    kinds = Counter(Path(name).suffix.lower() or "without an extension" for name in names)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))


def unreadable(path: Path, error: OSError) -> CalibrationDataError:
    return CalibrationDataError(
        f"{path} can't be read", f"The system says: {error.strerror or error}.", "Check the path and its permissions."
    )


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError as error:
        raise CalibrationDataError(
            f"{path} is a link to a file that is not there",
            f"It points to {path.readlink()}.",
            "Restore that file, or remove the link.",
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
