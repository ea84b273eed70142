"""Writing what goes between real numbers and integers."""

from __future__ import annotations

from edgec.backends.tflite.schema import options
from edgec.backends.tflite.writer.graph_writer import Site, write_kind
from edgec.ir.kinds import Dequantize, Quantize


@write_kind.register
def _(kind: Quantize, site: Site) -> None:
    site.emit("QUANTIZE", options("QuantizeOptions"))


@write_kind.register
def _(kind: Dequantize, site: Site) -> None:
    site.emit("DEQUANTIZE", options("DequantizeOptions"))
