"""What a root is made of. Whatever decides its content is here or in locks/, and is part of the recipe's digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from edgec.digest import digest_of

SUITE = "bookworm"
"""The Debian release: its glibc 2.36 runs every wheel that the locks name, whatever this machine runs."""

PYTHON = "3.11"
PROGRAM = f"usr/bin/python{PYTHON}"
WHEELS = f"usr/local/lib/python{PYTHON}/dist-packages"
"""Where Debian's Python looks for packages that Debian did not install."""

_MAKING = 1
"""Counted up when the code that makes roots changes what is in them."""

_KEPT = ("etc/python*", "lib/*", PROGRAM, "usr/lib/*", "usr/share/doc/*/copyright")
_DROPPED = (
    "*/__pycache__/*",
    "*/gconv/*",  # character sets for iconv, which Python does not use
    "*/numpy/*/include/*",
    "*/numpy/distutils/*",
    "*/numpy/f2py/*",
    "*/tests/*",
    "lib/systemd/*",
    "usr/lib/*/pkgconfig/*",
    "usr/lib/binfmt.d/*",
    "usr/lib/dpkg/*",
    "usr/lib/mime/*",
    "usr/lib/python*/ensurepip/*",
    "usr/lib/python3/dist-packages/pkg_resources/*",
    "usr/lib/python*/idlelib/*",
    "usr/lib/python*/lib2to3/*",
    "usr/lib/python*/pydoc_data/*",
)
_DROPPED_OF_WHEELS = (
    "bin/*",  # scripts that name this machine's Python
    "*.dist-info/RECORD",  # lists what is dropped
    "*/libLiteRtWebGpuAccelerator.so",  # loaded on request only, and there is no GPU
    "*/tests/*",
    "*.a",
    "*.h",
    "*.pyi",
    "numpy/distutils/*",
    "numpy/f2py/*",
)


EMPTY = ("etc/ld.so.cache", "etc/ld.so.preload")
"""Files without content: where a root has none, its loader would read this machine's."""


@dataclass(frozen=True)
class Recipe:
    """The content of the root for one architecture.

    arch: as `uname -m` has it. debian: Debian's name of it. multiarch: the folder of its libraries.
    packages: Debian's, without what they depend on. platforms: the prefix of the wheels' platform tags.
    engine: the distribution that runs models; engine_module: what it is imported from.
    """

    arch: str
    debian: str
    multiarch: str
    packages: tuple[str, ...]
    engine: str
    engine_module: str
    alternatives: tuple[tuple[str, str], ...] = ()
    """(link, target) that Debian's scripts would make, which do not run here."""

    @property
    def lock(self) -> Path:
        """The wheels with their digests."""
        return Path(__file__).parent / "locks" / f"{self.arch}.txt"

    @cached_property
    def digest(self) -> str:
        """Two roots with the same recipe differ in nothing but the patches of Debian's packages."""
        return digest_of(
            {
                "making": _MAKING,
                "suite": SUITE,
                "python": PYTHON,
                "arch": self.arch,
                "packages": self.packages,
                "wheels": self.lock.read_text(encoding="ascii"),
                "alternatives": self.alternatives,
                "empty": EMPTY,
                "kept": _KEPT,
                "dropped": _DROPPED,
                "dropped of wheels": _DROPPED_OF_WHEELS,
            }
        )


_SHARED = (f"python{PYTHON}", "libatomic1", "libgomp1", "libstdc++6")

RECIPES: Mapping[str, Recipe] = {
    recipe.arch: recipe
    for recipe in (
        Recipe("aarch64", "arm64", "aarch64-linux-gnu", _SHARED, "ai-edge-litert", "ai_edge_litert"),
        Recipe(
            "armv7l",
            "armhf",
            "arm-linux-gnueabihf",
            (*_SHARED, "python3-numpy"),  # there are no armv7 wheels of numpy
            "tflite-runtime",
            "tflite_runtime",
            alternatives=(
                ("usr/lib/arm-linux-gnueabihf/libblas.so.3", "blas/libblas.so.3"),
                ("usr/lib/arm-linux-gnueabihf/liblapack.so.3", "lapack/liblapack.so.3"),
            ),
        ),
    )
}


def keeps(name: str) -> bool:
    """Whether the file at `name` of Debian's packages becomes part of a root."""
    return _matches(name, _KEPT) and not _matches(name, _DROPPED)


def keeps_of_wheels(name: str) -> bool:
    """Whether the file at `name` of the installed wheels becomes part of a root."""
    return not _matches(name, _DROPPED_OF_WHEELS)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
