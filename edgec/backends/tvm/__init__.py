"""The TVM backend: see docs/tvm.md. Nothing is imported here but what names it."""

from __future__ import annotations

from edgec.backends.tvm.backend import BACKEND

__all__ = ["BACKEND"]
