"""What there are integer kernels for, and why not for the rest.

Each kind that has some has a rule, in the module of its family; all others are computed in float.

question.py    what is asked, and the table of rules
products.py    convolutions, fully-connected layers, matrix products
windows.py     pooling, reductions, resizing
elementwise.py  sums and their like, functions of one value
movement.py    what moves elements
"""

from edgec.backends.tvm.support import elementwise, movement, products, windows
from edgec.backends.tvm.support.question import TVMKernels

__all__ = ["TVMKernels", "elementwise", "movement", "products", "windows"]
