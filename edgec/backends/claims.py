"""Whether a payload is what the artifact says that it is: the same question for every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgec.backends.base import Precision
from edgec.errors import InternalError

if TYPE_CHECKING:
    from edgec.onnx_graph.cost import StoredBytes

INTEGER: tuple[Precision, ...] = ("int8", "mixed")
SMALLER_WEIGHTS: tuple[Precision, ...] = ("int8-weights", "fp16")

_ROOM = 0.1
"""Bytes of float32 constants that an engine may add for each byte of the model's: shapes, axes, masks, small ones."""

_REPORT = "Please report it with the model if you may share it and the output of `edgec doctor`."


def require_claimed(
    engine: str, precision: Precision, facts: Mapping[str, Any], found: StoredBytes, source: StoredBytes
) -> None:
    """Raises InternalError when a payload is not of the precision that it claims.

    facts: of the payload, with "int8_primitives" and "float_primitives". found, source: what the constants take, of the
    payload and of the model that it was made from.

    A quantized graph was made to be computed by INT8 kernels, so if none is, edgec made the wrong graph for this
    engine; and what made weights smaller must not be undone. That shows in float32 which the model does not have, not
    in the size of the whole: weights that two layers want in different arrangements are rightly stored twice.
    """
    if precision in INTEGER and not facts["int8_primitives"] and facts["float_primitives"]:
        raise InternalError(
            f"The artifact claims {precision}, but {engine} would compute all of it in float",
            f"None of its {facts['float_primitives']} convolutions and matrix products has an INT8 kernel there.",
            f"Build with --precision float. If the model has layers that INT8 should reach: {_REPORT}",
            dict(facts),
        )
    widened = found.float32 - source.float32
    if precision in SMALLER_WEIGHTS and widened > _ROOM * source.total + 4096:
        raise InternalError(
            f"The artifact claims {precision}, but {engine} would store {widened:,} bytes more in float32",
            f"The model that it was made from has {source.float32:,} bytes in float32, and {source.total:,} in all.",
            f"Build with --precision float. {_REPORT}",
            {"found": asdict(found), "source": asdict(source)},
        )
