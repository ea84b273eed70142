"""Any graph as one that TFLite's kernels take: in their shapes, their types and their kinds of padding.

rewriting.py     the walk, and what a rule works with
dtypes.py        which element types the kernel of a kind takes, and casts around those that it does not
ranks.py         fewer dimensions, where a kernel takes no more
products.py, windows.py, elementwise.py, movement.py, normalization.py, reductions.py, quantization.py
                 what is written in the place of a kind; the families are those of edgec/ir/kinds

What "TFLite" can do is what both ai-edge-litert and tflite-runtime 2.14 were seen to do, on every element type and up
to seven dimensions (tests/backends/tflite/test_legal.py runs the claims on the first).
"""

from edgec.backends.tflite.legal import (  # noqa: F401  (each registers its rules)
    elementwise,
    movement,
    normalization,
    products,
    quantization,
    reductions,
    windows,
)
from edgec.backends.tflite.legal.rewriting import Objection, legalize, objections

__all__ = ["Objection", "legalize", "objections"]
