"""The program that is counted on an emulated device: it loads an artifact and runs it, and marks what is to be counted.

It is sent there beside the runtime that artifacts carry (`edgec_runtime`), and has nothing else of edgec. An inference
makes four marks: before the artifact's `run`, before and after its engine's machine code, and after `run`. The same
four around nothing tell what marks cost. On its standard output it says in JSON the engine's version, or why it failed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from edgec_runtime.bundle import Bundle  # type: ignore[import-not-found]
from edgec_runtime.errors import ArtifactFailure  # type: ignore[import-not-found]
from edgec_runtime.golden import read_golden  # type: ignore[import-not-found]
from edgec_runtime.model import Model  # type: ignore[import-not-found]


def marker(first: int, second: int) -> Any:
    """What makes a mark when it is called."""
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = (ctypes.c_long, ctypes.c_long)

    def mark() -> None:
        prctl(first, second)

    return mark


def marked(call: Any, mark: Any) -> Any:
    """`call` with a mark before and after it."""

    def between(*arguments: Any) -> Any:
        mark()
        result = call(*arguments)
        mark()
        return result

    return between


def count(artifact: Path, mark: Any, warm_ups: int, runs: int) -> str:
    """Run an artifact on its first golden sample, and nothing `runs` times after it; the engine's version."""
    bundle = Bundle.open(artifact)
    model = Model.load(bundle, 1)
    feeds, _ = read_golden(bundle.read("golden.npz")).samples[0][0]
    model.engine.surround(lambda call: marked(call, mark))
    nothing = marked(lambda: None, mark)
    gc.collect()
    gc.disable()  # else some inferences would collect what all have left
    for _ in range(warm_ups + runs):
        mark()
        model.run(feeds)
        mark()
    for _ in range(warm_ups + runs):
        mark()
        nothing()
        mark()
    version: str = model.engine.version
    return version


def _main(artifact: str, numbers: list[int]) -> None:
    first, second, warm_ups, runs = numbers
    told: dict[str, Any]
    try:
        told = {"version": count(Path(artifact), marker(first, second), warm_ups, runs)}
    except ArtifactFailure as failure:
        keys = ("what", "why", "fix", "details", "exit_code")
        told = {"failure": {key: getattr(failure, key) for key in keys}}
    print(json.dumps(told), flush=True)
    os._exit(0)  # destructors of native libraries are a well-known place to crash


if __name__ == "__main__":
    _main(sys.argv[1], [int(word) for word in sys.argv[2:]])
