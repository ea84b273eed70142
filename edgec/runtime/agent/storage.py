"""Writing to a device's storage so that a power cut at any point leaves the old file or the new one, and both whole.

The order is always the same: write to another name, have the bytes on the medium (fsync), rename over the old name,
have the folder on the medium. What a killed run leaves under the other names begins with a dot, and is removed by the
next run (`Slots.recover`). A rename is atomic by POSIX; that it does not overtake the bytes is what fsync is for.
"""

# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH211
# The system's calls under their own names, one after the other: what is in which order is all that matters here.

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import StorageFailed, Untrusted

GARBAGE = ".garbage-"
"""What the names of folders begin with that are being removed."""

_CHUNK = 1 << 20


@contextmanager
def storing(path: Path, doing: str = "written") -> Iterator[None]:
    """Every OSError in the block becomes a StorageFailed that says what `path` can't be, why, and what to do."""
    try:
        yield
    except OSError as error:
        raise _failure(path, doing, error) from error


def _failure(path: Path, doing: str, error: OSError) -> StorageFailed:
    what = f"{path} can't be {doing}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFailed(
            f"{what}: the storage is full",
            f"The system says: {error.strerror}. What is installed was not touched.",
            "Make room, or keep fewer versions (edgec-device prune; keep in device.conf).",
        )
    if error.errno == errno.EROFS:
        return StorageFailed(
            f"{what}: the file system is read-only",
            "It is mounted so, or the kernel made it so after an error.",
            "Put the device's folder on storage that can be written (--root), or look at what the kernel logged.",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return StorageFailed(
            f"{what}: this user may not",
            f"The system says: {error.strerror}. This process is of user {os.geteuid()}.",
            "Run edgec-device as the user that the folder belongs to, usually root.",
        )
    return StorageFailed(what, f"The system says: {error.strerror or error}.", "Check the storage and its cables.")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, for all to read."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with storing(path, "made"):
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            if not path.is_dir():
                raise
            return
        os.chmod(path, 0o755)  # whatever the umask: applications of other users read what is in it
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the medium."""
    with storing(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that has nothing to do for a folder says so
                raise
        finally:
            os.close(descriptor)


def write_new(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that is not there, and have its bytes on the medium."""
    with storing(path), _created(path, mode) as descriptor:
        _write_all(descriptor, content)
        os.fsync(descriptor)


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file whole, or leave the one that is there."""
    part = path.with_name(f".{path.name}")
    with storing(path):
        remove(part)
        write_new(part, content, mode)
        os.rename(part, path)
    sync_folder(path.parent)


def copy_new(source: Path, path: Path) -> str:
    """Copy a file to where none is, and have its bytes on the medium; returns the SHA-256 (hex) of what was copied."""
    digest = hashlib.sha256()
    with storing(source, "read"):
        reading = os.open(source, os.O_RDONLY)
    try:
        with storing(path), _created(path, 0o644) as descriptor:
            while True:
                with storing(source, "read"):
                    chunk = os.read(reading, _CHUNK)
                if not chunk:
                    break
                digest.update(chunk)
                _write_all(descriptor, chunk)
            os.fsync(descriptor)
    finally:
        os.close(reading)
    return digest.hexdigest()


def can_be_moved(file: Path, folder: Path) -> bool:
    """Whether `move_new` moves a file into a folder, without a second copy of it."""
    try:
        return file.stat().st_dev == folder.stat().st_dev and _is_ours_alone(os.lstat(file))
    except OSError:
        return False


def move_new(source: Path, path: Path) -> str:
    """Like `copy_new`, but `source` is gone afterwards: without a second copy, where `can_be_moved` says so.

    What somebody else owns, may write to, or has under another name is copied: in its place he could change it later.

    Raises Untrusted where the file was exchanged for such a one meanwhile.
    """
    if not can_be_moved(source, path.parent):
        return _copy_and_remove(source, path)
    with storing(path):
        try:
            os.rename(source, path)
        except OSError as error:
            if error.errno != errno.EXDEV:  # a folder that is mounted twice has one device and two mounts
                raise
            return _copy_and_remove(source, path)
        if not _is_ours_alone(os.lstat(path)):
            raise Untrusted(
                f"{source.name} was exchanged while it was moved",
                "What is there now is a link, or a file that somebody else may write to.",
                "Look at who may write to the folder that it lies in.",
            )
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return sha256_of(path)


def _copy_and_remove(source: Path, path: Path) -> str:
    digest = copy_new(source, path)
    with storing(source, "removed"):
        os.unlink(source)
    return digest


def _is_ours_alone(facts: os.stat_result) -> bool:
    """Whether nobody but this user (and root) can write to a file: a plain one, with this one name."""
    others_write = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and facts.st_nlink == 1 and not others_write


def sha256_of(path: Path) -> str:
    """The SHA-256 (hex) of a file's bytes."""
    digest = hashlib.sha256()
    with storing(path, "read"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            while chunk := os.read(descriptor, _CHUNK):
                digest.update(chunk)
        finally:
            os.close(descriptor)
    return digest.hexdigest()


def point(link: Path, target: str) -> None:
    """Let the symbolic link name `target`: the old one or the new one at any time, never none."""
    part = link.with_name(f".{link.name}")
    with storing(link):
        remove(part)
        if link.is_dir() and not link.is_symlink():
            remove(link)  # a copy of the folder that did not keep its links
        try:
            os.symlink(target, part)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP):
                raise StorageFailed(
                    f"{link} can't be made: this file system has no symbolic links",
                    "Versions are switched by renaming such a link, which is atomic. FAT and exFAT have none.",
                    "Put the device's folder (--root) on ext4, f2fs, btrfs, ubifs or the like.",
                ) from error
            raise
        os.rename(part, link)
    sync_folder(link.parent)


def move(source: Path, path: Path) -> None:
    """Rename a file or folder to where none is."""
    with storing(path):
        os.rename(source, path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file, link or folder, if it is there. A folder vanishes from its name at once, then piece by piece."""
    with storing(path, "removed"):
        if path.is_dir() and not path.is_symlink():
            garbage = path
            if not path.name.startswith(GARBAGE):
                garbage = path.with_name(f"{GARBAGE}{path.name.lstrip('.')}")
                remove(garbage)
                os.rename(path, garbage)
            shutil.rmtree(garbage)
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)


def free_bytes(path: Path) -> int:
    """What an ordinary user may still write on the file system of a folder."""
    with storing(path, "looked at"):
        found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


@contextmanager
def _created(path: Path, mode: int) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(descriptor, mode)  # whatever the umask
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
