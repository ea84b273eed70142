"""Machine code for tests: C files, compiled and linked for targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgec import toolchain
from edgec.targets import Target, load_target

DOT = """
#include <stdint.h>
int32_t dot(const int8_t *a, const int8_t *b, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += (int32_t)a[i] * b[i];
    return sum;
}
"""
"""A product of two vectors of bytes, which a compiler makes SDOT of where the core has that."""

RANDOM = """
#include <stdint.h>
uint32_t arc4random(void);
uint32_t number(void) { return arc4random(); }
"""
"""arc4random is in glibc from version 2.36 on."""


def target(name: str, **changes) -> Target:
    """A built-in target with changes."""
    return replace(load_target(name), **changes)


def library(folder: Path, source: str, for_target: Target, name: str = "kernels.so", **options) -> Path:
    """The shared library that `source` makes for a target."""
    (folder / "source.c").write_text(source)
    tools = toolchain.find(for_target)
    tools.compile(folder / "source.c", folder / "source.o", for_target)
    tools.link([folder / "source.o"], folder / name, for_target, **options)
    return folder / name
