"""Read a model that comes from anywhere, before any native library sees it.

`scan` checks the bytes of a model and opens every file that it names, in pure Python and in constant memory; see
edgec.onnx_graph.structure and edgec.onnx_graph.external_data for what is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import ModelRefused
from edgec.onnx_graph.external_data import ModelFolder, OpenedFile, check_ranges, kind_of
from edgec.onnx_graph.structure import EXPORT_AGAIN, Structure, read_structure

MAX_MODEL_BYTES = (1 << 31) - 1  # what protobuf can parse


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model, the .onnx first, and one digest of all their bytes.

    digest: SHA-256 of the .onnx file where that is all there is; otherwise of a list of names and SHA-256 digests.
    parts: (name, SHA-256) of each: "model", and "external data: " with the path from the model's folder.
    """

    files: tuple[Path, ...]
    digest: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class OpenedModel:
    """A scanned model whose files are open: what was checked is what will be read."""

    model: OpenedFile
    structure: Structure
    external: dict[str, OpenedFile]
    """By the location that the model gives."""

    def files(self) -> ModelFiles:
        """Hash all bytes. Raises ModelRefused when a file changes while it is read."""
        own = self.model.digest()
        if not self.external:
            return ModelFiles((self.model.path,), own, (("model", own),))
        external = {opened.path: opened for _, opened in sorted(self.external.items())}
        digests = {str(path.relative_to(self.model.path.parent)): opened.digest() for path, opened in external.items()}
        listing = f"{own}  the model\n" + "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        parts = (("model", own), *((f"external data: {name}", digest) for name, digest in digests.items()))
        return ModelFiles((self.model.path, *external), hashlib.sha256(listing.encode()).hexdigest(), parts)


def scan(path: Path) -> ModelFiles:
    """Check the model at `path` and hash it with everything it names.

    Raises ModelRefused. Loads no native library.
    """
    with open_model(path) as opened:
        return opened.files()


@contextlib.contextmanager
def open_model(path: Path) -> Iterator[OpenedModel]:
    """Check the model at `path` and keep its files open. Raises ModelRefused."""
    path = Path(path)
    model = _open_model_file(path)
    try:
        structure = read_structure(model)
        with ModelFolder(path.parent) as folder:
            pairs = [(reference, folder.open(reference)) for reference in structure.references]
            for reference, opened in pairs:
                if opened.identity == model.identity:
                    raise ModelRefused(
                        f"The external data of {reference.tensor} is refused",
                        f"Its location {reference.location!r} is the model file itself.",
                        "No exporter writes such a model: export it again from its source.",
                    )
            check_ranges(pairs)
            yield OpenedModel(model, structure, {reference.location: opened for reference, opened in pairs})
    finally:
        os.close(model.descriptor)


def _open_model_file(path: Path) -> OpenedFile:
    fix = "Give the path of an .onnx file."
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ModelRefused(f"There is no model at {path}", _beside(path), fix) from None
    except OSError as error:
        raise ModelRefused(
            f"{path} can't be opened", f"The system says: {os.strerror(error.errno or 0)}.", fix
        ) from error
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISDIR(facts.st_mode):
            raise ModelRefused(f"{path} is a folder, not a model", _inside(path), fix)
        if not stat.S_ISREG(facts.st_mode):
            raise ModelRefused(f"{path} is {kind_of(facts.st_mode)}, not a model", "edgec reads plain files only.", fix)
        if facts.st_size == 0:
            raise ModelRefused(
                f"{path} is empty", "The file has no bytes: an export or a download failed.", EXPORT_AGAIN
            )
        if facts.st_size > MAX_MODEL_BYTES:
            raise ModelRefused(
                f"{path} is too large for one .onnx file",
                f"It has {facts.st_size:,} bytes; protobuf, the format of ONNX, ends at 2 GiB.",
                "Save it with its weights in a file of their own: "
                "`onnx.save(model, 'model.onnx', save_as_external_data=True, location='weights.bin')`.",
            )
    except ModelRefused:
        os.close(descriptor)
        raise
    return OpenedFile(path, descriptor, facts.st_size, (facts.st_dev, facts.st_ino))


def _beside(path: Path) -> str:
    with contextlib.suppress(OSError):
        models = sorted(item.name for item in path.parent.iterdir() if item.suffix == ".onnx")[:8]
        if models:
            return f"The folder {path.parent} holds: {', '.join(models)}."
        return f"The folder {path.parent} holds no .onnx file."
    return f"The folder {path.parent} does not exist."


def _inside(path: Path) -> str:
    models: list[str] = []
    with contextlib.suppress(OSError):
        models = sorted(item.name for item in path.iterdir() if item.suffix == ".onnx")[:8]
    return f"It holds: {', '.join(models)}." if models else "It holds no .onnx file."
