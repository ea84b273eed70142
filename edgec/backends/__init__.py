"""Backends by name. A backend is imported when it is asked for, never before."""

from __future__ import annotations

from importlib import import_module

from edgec.backends.base import Backend
from edgec.errors import UsageError

BACKENDS = ("openvino", "tflite", "edgetpu", "tvm")


def backend_tools() -> tuple[str, ...]:
    """The distributions that backends lower and run with: their versions are part of what a stage makes."""
    return tuple(sorted({tool for name in BACKENDS for tool in load_backend(name).tools}))


def load_backend(name: str) -> Backend:
    """The backend called `name`; UsageError for an unknown one."""
    if name not in BACKENDS:
        raise UsageError(
            f"There is no backend called {name!r}",
            f"The backends are: {', '.join(BACKENDS)}.",
            "Choose one with --backend, or leave it out to use what the target lists.",
        )
    backend: Backend = import_module(f"edgec.backends.{name}").BACKEND
    return backend
