"""Whether a payload is what the artifact says that it is: the same question for every backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgec.backends.base import Precision
from edgec.errors import InternalError

INTEGER: tuple[Precision, ...] = ("int8", "mixed")
SMALLER_WEIGHTS: tuple[Precision, ...] = ("int8-weights", "fp16")

_ROOM = 1.1
"""Bytes of a payload's constants for each byte of the model's: engines add shapes and axes of their own, small ones."""

_REPORT = "Please report it with the model if you may share it and the output of `edgec doctor`."


def require_claimed(engine: str, precision: Precision, facts: Mapping[str, Any], stored_bytes: int) -> None:
    """Raises InternalError when a payload is not of the precision that it claims.

    facts: of the payload, with "int8_primitives", "float_primitives" and "weight_bytes". stored_bytes: of the
    constants of the model that it was made from.

    A quantized graph was made to be computed by INT8 kernels, so if none is, edgec made the wrong graph for this
    engine; and what made weights smaller must not be undone.
    """
    if precision in INTEGER and not facts["int8_primitives"]:
        raise InternalError(
            f"The artifact claims {precision}, but {engine} would compute all of it in float",
            f"None of its {facts['float_primitives']} convolutions and matrix products has an INT8 kernel there.",
            f"Build with --precision float. If the model has layers that INT8 should reach: {_REPORT}",
            dict(facts),
        )
    if precision in SMALLER_WEIGHTS and facts["weight_bytes"] > _ROOM * stored_bytes + 4096:
        raise InternalError(
            f"The artifact claims {precision}, but {engine} would store its weights in {facts['weight_bytes']:,} bytes",
            f"The model that it was made from stores them in {stored_bytes:,}.",
            f"Build with --precision float. {_REPORT}",
            {"weight_bytes": facts["weight_bytes"], "stored_bytes": stored_bytes},
        )
