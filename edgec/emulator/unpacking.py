"""Unpacking a tar of Debian's packages without privileges: no device, no owner, nothing outside of the folder.

tarfile's own filters would do, but Debian 12's Python (3.11.2) has none.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path


def unpack(archive: Path, folder: Path, keeps: Callable[[str], bool]) -> None:
    """The files, folders and links of `archive` that `keeps(name)` accepts, below `folder`.

    Links to absolute paths are made relative: the kernel would follow them to this machine's own files.

    Raises tarfile.TarError for a damaged archive, or one with a path that leads out of `folder`.
    """
    with tarfile.open(archive) as tar:
        for member in tar:
            name = posixpath.normpath(member.name)
            if (member.isreg() or member.issym() or member.islnk()) and keeps(name):
                _place(tar, member, name, folder)  # folders appear with what is in them


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, folder: Path) -> None:
    path = folder / name
    _require_inside(path.parent, folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # an archive may name a file twice; a link must not be written through
    if member.issym():
        target = member.linkname
        if target.startswith("/"):
            target = os.path.relpath(target.lstrip("/"), posixpath.dirname(name) or ".")
        _require_inside(path.parent / target, folder, name)
        path.symlink_to(target)
    elif member.islnk():
        linked = folder / posixpath.normpath(member.linkname)
        _require_inside(linked, folder, name)
        if not linked.is_file():
            raise tarfile.ExtractError(f"{name} links to {member.linkname}, which is not before it")
        path.hardlink_to(linked)
    else:
        content = tar.extractfile(member)
        assert content is not None
        with content, path.open("xb") as file:
            shutil.copyfileobj(content, file)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _require_inside(path: Path, folder: Path, name: str) -> None:
    """`path`, with the links that are on the way to it, is in `folder`. Asked before every write: links change that."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise tarfile.ExtractError(f"{name} leads out of the folder")
