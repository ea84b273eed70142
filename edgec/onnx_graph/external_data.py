"""Files that a model names as the place of its weights, opened without trusting the names.

A model that comes from elsewhere can name any file of the machine. Each name is walked component by component from a
descriptor of the model's own folder and never through a symbolic link, so that nothing that happens to the folder in
the meantime can lead out of it. What was checked is the open file, and the open file is what is read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import resource
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edgec.errors import ModelRefused

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_READ_AT_ONCE = 1 << 20
_COPY = "Copy the model and its weight files into one folder of their own, as plain files: `cp -rL SOURCE FOLDER`."
_ORT_MEMORY = "_ORT_MEM_ADDR_"


@dataclass(frozen=True)
class ExternalReference:
    """What one tensor says about the place of its data.

    tensor: how messages call the tensor. location: the name as the model has it. length: bytes, from dims and dtype.
    """

    tensor: str
    location: str
    offset: int
    length: int


@dataclass(frozen=True)
class OpenedFile:
    """A regular file, open for reading."""

    path: Path
    descriptor: int
    size: int
    identity: tuple[int, int]

    def digest(self) -> str:
        """SHA-256 of all its bytes, in hex. Raises ModelRefused when the file changes its size meanwhile."""
        running = hashlib.sha256()
        buffer = memoryview(bytearray(_READ_AT_ONCE))
        at = 0
        while at < self.size:
            count = os.preadv(self.descriptor, [buffer[: self.size - at]], at)
            if not count:
                raise changed(self.path)
            running.update(buffer[:count])
            at += count
        if os.fstat(self.descriptor).st_size != self.size:
            raise changed(self.path)
        return running.hexdigest()


def changed(path: Path) -> ModelRefused:
    """The error for a file that is being written to while edgec reads it."""
    return ModelRefused(
        f"{path} changed while edgec read it",
        "Its size is no longer what it was a moment ago: another program is writing it.",
        "Wait until the export or the download is complete, then build again.",
    )


class ModelFolder:
    """The folder that a model lies in, as a descriptor; opens what the model names, once each.

    Use as a context manager: leaving it closes every file that it opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._opened: dict[str, OpenedFile] = {}

    def __enter__(self) -> ModelFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for opened in self._opened.values():
            os.close(opened.descriptor)
        os.close(self._descriptor)
        self._opened.clear()

    def open(self, reference: ExternalReference) -> OpenedFile:
        """The file that `reference` names; raises ModelRefused unless it is a plain file inside the folder."""
        name = "/".join(_components(reference))
        if name not in self._opened:
            self._opened[name] = self._open(name, reference)
        return self._opened[name]

    def _open(self, name: str, reference: ExternalReference) -> OpenedFile:
        *folders, last = name.split("/")
        path = self.folder / name
        current = os.dup(self._descriptor)
        try:
            for depth, component in enumerate(folders):
                inner = self._step(
                    current, component, _DIRECTORY, self.folder.joinpath(*folders[: depth + 1]), reference
                )
                os.close(current)
                current = inner
            descriptor = self._step(current, last, _FILE, path, reference)
        finally:
            os.close(current)
        facts = os.fstat(descriptor)
        try:
            if not stat.S_ISREG(facts.st_mode):
                raise _refused(reference, f"{path} is {kind_of(facts.st_mode)}, not a plain file.", _COPY)
            if facts.st_nlink > 1:
                why = (
                    f"{path} is one of {facts.st_nlink} hard links to the same file: the model may have been made to "
                    "read a file that belongs elsewhere."
                )
                raise _refused(reference, why, _COPY)
        except ModelRefused:
            os.close(descriptor)
            raise
        return OpenedFile(path, descriptor, facts.st_size, (facts.st_dev, facts.st_ino))

    def _step(self, folder: int, name: str, flags: int, path: Path, reference: ExternalReference) -> int:
        """Open one component of a name inside the open `folder`."""
        try:
            return _open(name, flags, folder)
        except OSError as error:
            raise self._not_opened(error, folder, name, path, reference) from error

    def _not_opened(
        self, error: OSError, folder: int, name: str, path: Path, reference: ExternalReference
    ) -> ModelRefused:
        mode = 0
        with contextlib.suppress(OSError):
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return _refused(reference, f"{path} is a symbolic link, which can lead anywhere.", _COPY)
        if error.errno == errno.ENOENT:
            fix = f"Put {reference.location} beside the model, as it was when the model was exported."
            beside = sorted(item.name for item in self.folder.iterdir() if item.is_file())[:8]
            return _refused(reference, f"{path} does not exist. The folder holds: {', '.join(beside)}.", fix)
        what = kind_of(mode) if mode else "not readable"
        return _refused(reference, f"{path} can't be opened ({what}): {os.strerror(error.errno or 0)}.", _COPY)


def _open(name: str, flags: int, folder: int) -> int:
    """open(2) inside a folder; asks for more descriptors when they run out (old exporters write one file a tensor)."""
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if error.errno != errno.EMFILE or soft == hard:
            raise
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return os.open(name, flags, dir_fd=folder)


def _components(reference: ExternalReference) -> list[str]:
    """The parts of a location; raises ModelRefused for a name that could mean anything outside the folder."""
    location = reference.location
    shown = repr(location[:200])
    why = ""
    parts = [part for part in location.split("/") if part not in ("", ".")]
    if _ORT_MEMORY in location:
        why = f"Its location {shown} makes ONNX Runtime read its own memory at an address of the model's choice."
    elif "\0" in location or not location.isprintable():
        why = f"Its location {shown} holds characters that no file name needs."
    elif "\\" in location:
        why = f"Its location {shown} holds a backslash: a path of Windows, or a file name made to confuse."
    elif location.startswith("/"):
        why = f"Its location {shown} is an absolute path."
    elif ".." in parts:
        why = f"Its location {shown} leads out of the model's folder."
    elif not parts or location.endswith("/"):
        why = f"Its location {shown} names no file."
    if why:
        raise _refused(
            reference,
            why,
            "If you trust the model, save it again with its weights beside it: "
            "`onnx.save(model, 'model.onnx', save_as_external_data=True, location='weights.bin')`.",
        )
    return parts


def check_ranges(references: list[tuple[ExternalReference, OpenedFile]]) -> None:
    """Raises ModelRefused unless every tensor lies inside its file, and none overlaps another in part.

    Two tensors may share all of their bytes (tied weights), not some of them.
    """
    for reference, opened in references:
        if reference.offset + reference.length > opened.size:
            why = (
                f"It takes bytes {reference.offset:,} to {reference.offset + reference.length:,} of {opened.path}, "
                f"which has only {opened.size:,} bytes."
            )
            raise _refused(reference, why, "The file is cut off or belongs to another model: copy or export it again.")
    ordered = sorted(
        (item for item in references if item[0].length),
        key=lambda item: (item[1].identity, item[0].offset, item[0].length),
    )
    for (left, left_file), (right, right_file) in itertools.pairwise(ordered):
        same_file = left_file.identity == right_file.identity
        same_bytes = (left.offset, left.length) == (right.offset, right.length)
        if same_file and not same_bytes and right.offset < left.offset + left.length:
            why = f"Its bytes, from {right.offset:,} of {right_file.path}, are in part those of {left.tensor}."
            raise _refused(right, why, "No exporter writes such a model: export it again from its source.")


def kind_of(mode: int) -> str:
    """What a file is, in words, from its st_mode."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFREG: "a plain file",
    }
    return kinds.get(stat.S_IFMT(mode), "something unknown")


def _refused(reference: ExternalReference, why: str, fix: str) -> ModelRefused:
    details = {"tensor": reference.tensor, "location": reference.location}
    return ModelRefused(f"The external data of {reference.tensor} is refused", why, fix, details)
