"""A legal graph as a .tflite file: one operator for each operation, but for stored constants and reorderings of them.

graph_writer.py  tensors, constants and operators while a graph is written
padding.py       which explicit padding is TFLite's SAME, and which VALID
products.py, windows.py, elementwise.py, movement.py, normalization.py, reductions.py, quantization.py
                 how each kind is written; the families are those of edgec/ir/kinds
"""

from edgec.backends.tflite.writer import (  # noqa: F401  (each registers how its kinds are written)
    elementwise,
    movement,
    normalization,
    products,
    quantization,
    reductions,
    windows,
)
from edgec.backends.tflite.writer.graph_writer import Written, write_graph

__all__ = ["Written", "write_graph"]
