"""What there are integer kernels for, and why not for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.backends.tvm.storage import image_shape
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation, TensorType
from edgec.ir.passes.integer_kinds import same_grid

EIGHT_BITS = ("int8", "uint8")


@dataclass(frozen=True)
class TVMKernels:
    """Answers `edgec.ir.passes.integers.IntegerKernels`."""

    def objection(
        self, graph: Graph, operation: Operation, inputs: tuple[TensorType, ...], output: TensorType
    ) -> str | None:
        """Why there is no kernel for an operation on integers; None where there is one."""
        kind, x = operation.kind, inputs[0]
        if x.dtype not in EIGHT_BITS or output.dtype not in EIGHT_BITS:
            return f"there is no {kind.label} kernel from {x.dtype} to {output.dtype}"
        if image_shape(x) is None or image_shape(output) is None:
            return f"there is no {kind.label} kernel for {x.rank} dimensions"
        if isinstance(kind, kinds.Conv2D):
            return _of_convolution(kind, inputs)
        if isinstance(kind, kinds.FullyConnected):
            return None if graph.values[operation.inputs[1]].is_constant else "its weights are computed"
        if isinstance(kind, kinds.Reshape):
            return None if image_shape(x) == image_shape(output) and same_grid(x, output) else "it moves elements"
        if isinstance(kind, kinds.MaxPool2D):
            return None if same_grid(x, output) else "its result is on another grid"
        if isinstance(kind, kinds.Reduce):
            whole = kind.function == "mean" and kind.axes == (1, 2) and x.rank == 4
            return None if whole else "there is a kernel for means of whole images only"
        if isinstance(kind, kinds.Binary):
            same = kind.function == "add" and inputs[0].shape == inputs[1].shape and inputs[1].dtype in EIGHT_BITS
            return None if same else "there is a kernel for sums of two values of one shape only"
        return f"there is no {kind.label} kernel"


def is_depthwise(kind: kinds.Conv2D, x: TensorType, weights: TensorType) -> bool:
    """Whether every channel is convolved for itself, once."""
    return kind.groups > 1 and kind.groups == x.shape[3] == weights.shape[0] and weights.shape[3] == 1


def _of_convolution(kind: kinds.Conv2D, inputs: tuple[TensorType, ...]) -> str | None:
    if kind.groups > 1 and not is_depthwise(kind, inputs[0], inputs[1]):
        return "there is no kernel for groups of several channels"
    if inputs[1].dtype != "int8":
        return f"its weights are {inputs[1].dtype}"
    return None
