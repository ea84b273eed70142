"""Which function imports which ONNX operator.

A module of this package registers its functions; `model.py` imports them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgec.ir.importer.node import NodeImport

Handler = Callable[["NodeImport"], None]
HANDLERS: dict[str, Handler] = {}


def imports(*operators: str) -> Callable[[Handler], Handler]:
    """Register a function for ONNX operators of the standard domain."""

    def register(handler: Handler) -> Handler:
        for operator in operators:
            assert operator not in HANDLERS, operator
            HANDLERS[operator] = handler
        return handler

    return register
