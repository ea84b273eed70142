"""A numpy executor of the graph: what its operations compute, to the bit where they compute with integers.

`execute` runs a graph. Each kind is computed by a function of the module named as that of `edgec.ir.kinds` which
declares it. On float32 tensors the results are those of ONNX Runtime within rounding.

On quantized tensors this package is the specification; backends are held to it. `grid.py` states how real numbers
become integers, and each function states the order of its steps. In all of them

    real = (integer - zero_point) * scale            in float32
    integer = round(real / scale) + zero_point       in float32, half to even, then saturated

    products (Conv2D, TransposeConv2D, FullyConnected, BatchMatMul): `products.py`; exact sums of integers
    mean, sum, AveragePool2D, ResizeBilinear: `reductions.py`, `windows.py`; on integers less their zero point, which
        are scaled once
    Softmax, LogSoftmax: `normalization.py`; a table of exponentials and an exact sum
    Unary, LeakyRelu, Clip: `elementwise.py`; a table with an entry for every integer
    Binary, PRelu: real numbers in float32
    movement, MaxPool2D, ResizeNearest, maximum and minimum: integers as they are, requantized where the result has
        another quantization
"""

from edgec.ir.reference.executor import execute

__all__ = ["execute"]
