"""Unpacking a tar of Debian's packages without privileges: no device, no owner, nothing outside of the folder."""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from edgec.errors import ToolMissing


def unpack(archive: Path, folder: Path, keeps: Callable[[str], bool]) -> None:
    """The files, folders and links of `archive` that `keeps(name)` accepts, below `folder`.

    Links to absolute paths are made relative: the kernel would follow them to this machine's own files.

    Raises tarfile.TarError for a damaged archive, or one with a path that leads out of `folder`.
    """
    if not hasattr(tarfile, "data_filter"):
        raise ToolMissing(
            "This Python can't unpack archives safely",
            "Its tarfile module has no extraction filters, which came with Python 3.11.4.",
            "Use a newer Python 3.11, or a later one.",
        )
    with tarfile.open(archive) as tar:
        tar.extractall(folder, members=_kept(tar, keeps), filter="data")


def _kept(tar: tarfile.TarFile, keeps: Callable[[str], bool]) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        name = posixpath.normpath(member.name)
        if not (member.isreg() or member.issym() or member.islnk()) or not keeps(name):
            continue  # folders appear with what is in them
        if member.issym() and member.linkname.startswith("/"):
            place = posixpath.dirname(name)
            member = member.replace(linkname=os.path.relpath(member.linkname.lstrip("/"), place or "."))
        yield member
