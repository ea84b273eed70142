"""This machine's own Python in the place of an emulated one, with an engine that does as it is told."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

_START = """
import runpy, sys
import numpy as np
import edgec_runtime.engines
class Engine:
    version = "7.0"
    def run(self, feeds):
        return {name: array for name, array in feeds.items()}
"""
_END = """
if {faked}:
    edgec_runtime.engines.open_engine = {opened}
del sys.argv[1:2]
sys.argv[0:2] = ["guest"]
runpy.run_module("edgec_guest", run_name="__main__")
"""


@dataclass(frozen=True)
class FakeQemu:
    name: str = "qemu-aarch64"
    version: str = "1.2.3"


@dataclass(frozen=True)
class FakeRoot:
    arch: str = "aarch64"
    digest: str = "d" * 64
    versions: dict = field(default_factory=lambda: {"python": "3.11.2", "ai-edge-litert": "2.3.0"})


@dataclass(frozen=True)
class FakeMachine:
    """engine: source that changes the stand-in `Engine`, which gives its inputs back; None leaves the real engines.

    opened: what opens a payload. program: source that runs in place of the guest's program.
    """

    engine: str | None = ""
    program: str | None = None
    opened: str = "lambda name, files, options, threads: Engine()"
    core: str = "cortex-a72"
    qemu: FakeQemu = FakeQemu()
    root: FakeRoot = field(default_factory=FakeRoot)

    @property
    def label(self):
        return f"{self.qemu.name}:{self.core}"

    def python(self, arguments, path=()):
        environment = {"PYTHONPATH": os.pathsep.join(path), "PATH": "/usr/bin:/bin"}
        if self.program is not None:
            return [sys.executable, "-c", self.program, *arguments], environment
        if list(arguments[:1]) != ["-m"]:
            return [sys.executable, *arguments], environment
        end = _END.format(faked=self.engine is not None, opened=self.opened)
        return [sys.executable, "-c", _START + (self.engine or "") + end, *arguments], environment
