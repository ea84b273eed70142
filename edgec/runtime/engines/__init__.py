"""Engines by name. One module an engine; each is imported when an artifact asks for it.

A module here has `DISTRIBUTION` (what to install; "" where the payload is machine code that needs nothing) and
`load(files, options, threads) -> Engine`; some have `ALTERNATIVES`, distributions that do as well, with their least
versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from ..errors import EngineMissing

ENGINES = ("openvino", "tflite", "tvm")


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


def open_engine(name: str, files: Mapping[str, bytes], options: Mapping[str, Any], threads: int = 0) -> Engine:
    """Load a payload.

    files: the payload's files by name, the one to open first.
    options: what the backend left for its engine.
    threads: how many to use; 0 leaves it to the engine.

    Raises EngineMissing when the engine's package is not installed, or can't load this payload.
    """
    if name not in ENGINES:
        raise EngineMissing(
            f"This artifact needs the engine {name!r}",
            f"This runtime knows: {', '.join(ENGINES)}.",
            "Use the runtime that the artifact carries: python3 FILE.edgec run ...",
        )
    module = import_module(f".{name}", __name__)
    engine: Engine = module.load(files, options, threads)
    return engine


def alternatives(name: str) -> Mapping[str, str]:
    """Distributions that run an engine's payloads as well as its own, with their least versions."""
    if name not in ENGINES:
        return {}
    return getattr(import_module(f".{name}", __name__), "ALTERNATIVES", {})
