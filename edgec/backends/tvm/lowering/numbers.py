"""What integers are computed with, as kernels want it: weights, biases and factors of products, numbers of grids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.constants import Number, folded_bias, reaches_far, result_words
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.lowering.program_writer import ProgramWriter
from edgec.ir.graph import Operation
from edgec.ir.kinds import Activation
from edgec.ir.reference.dispatch import Tensor
from edgec.ir.reference.grid import centred, ratio
from edgec.ir.reference.products import multipliers


@dataclass(frozen=True, eq=False)
class Numbers:
    """weights: int8 [O, KH, KW, C / groups], less their zero point. bias: int32 [O], with the zero point of x folded
    in, for weights that see all of the window. factors: float32 [O]. far: whether sums may reach far."""

    weights: np.ndarray
    bias: np.ndarray
    factors: np.ndarray
    far: bool

    @property
    def lowest(self) -> bool:
        """Whether a weight is -128, see `InstructionSet.dot`."""
        return bool((self.weights == np.iinfo(np.int8).min).any())

    @classmethod
    def of(cls, writer: ProgramWriter, operation: Operation) -> Numbers:
        weights = _centred(writer, operation.inputs[1])
        bias = given_bias(writer, operation, len(weights))
        x_type, weights_type = (writer.graph.type(name) for name in operation.inputs[:2])
        factors = multipliers(x_type, weights_type, writer.graph.type(operation.outputs[0]), 0)
        factors = np.broadcast_to(factors, (len(weights),)).astype(np.float32)
        x = writer.stored(operation.inputs[0])
        folded = folded_bias(weights, bias, x.zero_point)
        return cls(weights, folded, factors, reaches_far(weights, bias, x, factors))


def given_bias(writer: ProgramWriter, operation: Operation, outputs: int) -> np.ndarray:
    """The bias of a product: int32 [O]."""
    bias = writer.graph.constant(operation.inputs[2]) if len(operation.inputs) > 2 else None
    return np.zeros(outputs, np.int32) if bias is None else bias


def words_of_result(writer: ProgramWriter, name: str, activation: Activation) -> tuple[dict[Word, Number], bool]:
    """What a header says of a result, on a grid or in float32, and whether the activation limits it."""
    if writer.type(name).quantization is not None:
        result = writer.stored(name)
        return result_words(result, activation), result.is_limited(activation)
    return {Word.LOW: 0.0, Word.HIGH: 6.0 if activation == "relu6" else float("inf")}, activation != "none"


def rescaling(writer: ProgramWriter, source: str, name: str) -> tuple[dict[Word, Number], np.float32]:
    """What a header says of integers that go to another grid, and the factor between both."""
    factor = ratio(writer.type(source), writer.type(name))
    of_source: dict[Word, Number] = {Word.A_ZERO_POINT: writer.stored(source).zero_point, Word.FACTOR: factor}
    return result_words(writer.stored(name)) | of_source, factor


def _centred(writer: ProgramWriter, name: str) -> np.ndarray:
    """Constant weights less their zero point, which `support.products` has seen to fit into int8."""
    data = writer.graph.constant(name)
    assert data is not None, name
    weights = centred(Tensor(data, writer.graph.type(name))).astype(np.int8)
    return weights[:, None, None] if weights.ndim == 2 else weights
