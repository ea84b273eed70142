"""From integers to the real numbers that they stand for, and back: float32 throughout."""

from __future__ import annotations

import numpy as np

from edgec.ir.graph import Quantization, TensorType
from edgec.ir.reference.dispatch import Tensor

_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-(2**15), 2**15 - 1), "int32": (-(2**31), 2**31 - 1)}


def limits(dtype: str) -> tuple[int, int]:
    """The smallest and the largest integer of a dtype."""
    return _LIMITS[dtype]


def spread(
    values: tuple[float, ...] | tuple[int, ...], quantization: Quantization, rank: int, dtype: str
) -> np.ndarray:
    """Scales or zero points, shaped to broadcast along the quantization's axis."""
    array = np.array(values, dtype=dtype)
    if quantization.axis is None:
        return array.reshape(())
    return array.reshape([-1 if axis == quantization.axis else 1 for axis in range(rank)])


def centred(tensor: Tensor) -> np.ndarray:
    """Integers less their zero point, int64."""
    quantization = tensor.type.quantization
    assert quantization is not None
    zero_point = spread(quantization.zero_point, quantization, tensor.type.rank, "int64")
    return np.asarray(tensor.data.astype(np.int64) - zero_point)


def real(tensor: Tensor) -> np.ndarray:
    """float32(integer - zero_point) * scale, for a tensor with a quantization; any other tensor as it is."""
    quantization = tensor.type.quantization
    if quantization is None:
        return tensor.data
    scale = spread(quantization.scale, quantization, tensor.type.rank, "float32")
    return np.asarray(centred(tensor).astype(np.float32) * scale)


def stored(values: np.ndarray, of: TensorType) -> np.ndarray:
    """Real numbers (float32) as a tensor of the given type: round(value / scale) half to even, + zero point,
    saturated; of a type without a quantization only the dtype changes."""
    quantization = of.quantization
    if quantization is None:
        return values.astype(of.dtype, copy=False)
    scale = spread(quantization.scale, quantization, of.rank, "float32")
    with np.errstate(over="ignore"):  # infinity saturates like any large number
        return rounded(values.astype(np.float32, copy=False) / scale, of)


def rounded(steps: np.ndarray, of: TensorType) -> np.ndarray:
    """Numbers of quantization steps (float32) as integers: rounded half to even, + zero point, saturated. NaN becomes
    the lowest integer, as in ONNX Runtime."""
    quantization = of.quantization
    assert quantization is not None
    low, high = limits(of.dtype)
    zero_point = spread(quantization.zero_point, quantization, of.rank, "float64")
    with np.errstate(invalid="ignore"):
        integers = np.clip(np.rint(steps).astype(np.float64) + zero_point, low, high)
    return np.asarray(np.where(np.isnan(integers), low, integers).astype(of.dtype))


def whole(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """Floats as integers, toward zero. ONNX does not define what becomes of NaN and of what is out of range; this is,
    on any machine, what ONNX Runtime and numpy do on x86: int32 and int64 are then their lowest integer, and narrower
    or unsigned integers the low bits of the next wider signed one."""
    wide = np.int64 if np.dtype(dtype).itemsize == 8 or dtype == "uint32" else np.int32
    lowest = np.iinfo(wide).min
    inside = np.abs(numbers) < -float(lowest)
    return np.where(inside, np.where(inside, numbers, 0).astype(wide), lowest).astype(dtype)


def requantized(tensor: Tensor, of: TensorType) -> np.ndarray:
    """The elements of a tensor on the grid of another type: themselves where both grids are one."""
    if tensor.type.quantization == of.quantization and tensor.type.dtype == of.dtype:
        return tensor.data
    return stored(real(tensor), of)


def ratio(of: TensorType, to: TensorType) -> np.float32:
    """scale / scale', in float32: how many steps of one grid are a step of the other. Both are of the whole tensor."""
    assert of.quantization is not None and to.quantization is not None
    return np.float32(of.quantization.scale[0]) / np.float32(to.quantization.scale[0])
