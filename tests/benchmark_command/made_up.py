"""Subjects that do something on purpose. They are opened in other processes, so they live in a module."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from edgec.benchmark.subjects import Opened
from edgec.errors import ToolMissing
from edgec.runtime.profiles import profile_of


@dataclass(frozen=True)
class MadeUp:
    """Sleeps; after `runs` inferences does what `then` says: "die", "raise", or nothing."""

    label: str
    milliseconds: float = 1.0
    runs: int = 1 << 30
    then: str = ""
    leaks: int = 0  # bytes of each inference

    def check(self):
        if self.then == "refuse":
            raise ToolMissing("There is no tool", "It is made up.", "Do nothing.")

    def open(self, threads):
        done = 0
        kept = []

        def run(feeds):
            nonlocal done
            done += 1
            kept.append(b"x" * self.leaks)
            time.sleep(self.milliseconds / 1e3)
            if done > self.runs and self.then == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if done > self.runs and self.then == "raise":
                raise ValueError("made up")

        identity = {"name": self.label, "target": "host", "backend": "none", "precision": "float", "engine": "sleep"}
        document = {**identity, "engine_version": "1", "threads": threads or 0, "machine": "made-up"}
        return Opened(document, run, [{"x": np.zeros(1)}], lambda feeds, median: (profile_of([]), ""))
