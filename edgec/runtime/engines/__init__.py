"""Engines by name. One module an engine; each is imported when an artifact asks for it.

A module here has `DISTRIBUTION` (what to install; "" where the payload is machine code that needs nothing) and
`load(files, options, threads) -> Engine`. An engine that has to be told before it loads that its steps will be timed
has `load_for_profile` besides; one that can't time them says why in `NO_PROFILE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import EngineMissing

ENGINES = ("openvino", "tflite", "tvm")


class Step(NamedTuple):
    """What an engine computes in one go: one operator, or several that it fused. milliseconds: of one run, on average.

    operator: what it is, in the engine's words.
    """

    name: str
    operator: str
    milliseconds: float


class Engine(Protocol):
    """A loaded payload.

    version: of the engine's package, as installed here.
    """

    version: str

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once. `feeds` has every input, by name, with the dtype and shape of the contract.

        The arrays returned belong to the caller: a later run does not change them.
        """
        ...

    def profile(self, feeds: Mapping[str, np.ndarray], runs: int) -> Sequence[Step] | None:
        """How long each step takes, on average over `runs` runs, in the order of execution; None where the engine does
        not tell. Taking the time may itself take some."""
        ...


def open_engine(name: str, files: Mapping[str, bytes], options: Mapping[str, Any], threads: int = 0) -> Engine:
    """Load a payload.

    files: the payload's files by name, the one to open first.
    options: what the backend left for its engine.
    threads: how many to use; 0 leaves it to the engine.

    Raises EngineMissing when the engine's package is not installed, or can't load this payload.
    """
    engine: Engine = _module(name).load(files, options, threads)
    return engine


def open_for_profile(name: str, files: Mapping[str, bytes], options: Mapping[str, Any], threads: int = 0) -> Engine:
    """Like `open_engine`, for an engine whose `profile` is to be asked."""
    module = _module(name)
    engine: Engine = getattr(module, "load_for_profile", module.load)(files, options, threads)
    return engine


def no_profile(name: str) -> str:
    """Why an engine can't tell how long its steps take; "" where it can."""
    note: str = getattr(_module(name), "NO_PROFILE", "")
    return note


def _module(name: str) -> ModuleType:
    if name not in ENGINES:
        raise EngineMissing(
            f"This artifact needs the engine {name!r}",
            f"This runtime knows: {', '.join(ENGINES)}.",
            "Use the runtime that the artifact carries: python3 FILE.edgec run ...",
        )
    return import_module(f".{name}", __name__)
