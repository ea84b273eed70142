"""What the Edge TPU compiler says of an operation, in its own words.

The compiler is closed, and no list of its messages is published. These are the ones that people have quoted from its
logs (https://github.com/google-coral/edgetpu/issues, by number):

    461  Mapped to Edge TPU; More than one subgraph is not supported
    342  Operation not supported; Operation is otherwise supported, but not mapped due to some unspecified limitation
    420  Operation version not supported
    490  Operation is working on an unsupported data type
    75   Tensor has unsupported rank (up to 3 innermost dimensions mapped)
    25   Filter, bias, or other param is not constant at compile-time
    63   Image-interpolation layer won't run precisely enough on Edge TPU
    27   For example, a fully-connected or softmax layer with 2D output
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """One line of the compiler's table. A log may hold others: `edgec.backends.edgetpu.log` keeps them as they are."""

    MAPPED = "Mapped to Edge TPU"
    SUBGRAPH = "More than one subgraph is not supported"
    OPERATION = "Operation not supported"
    VERSION = "Operation version not supported"
    DATA_TYPE = "Operation is working on an unsupported data type"
    RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
    NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"
    IMPRECISE = "Image-interpolation layer won't run precisely enough on Edge TPU"
    TWO_DIMENSIONAL = "For example, a fully-connected or softmax layer with 2D output"
    LIMITATION = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
