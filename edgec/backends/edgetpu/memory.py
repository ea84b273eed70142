"""Whether the parameters fit into the memory of the Edge TPU.

The chip has about 8 MB of SRAM (https://coral.ai/docs/edgetpu/compiler/#parameter-data-caching). The compiler first
takes what the model's own data needs, and caches parameters in the rest; those that don't fit are fetched from the
host at every inference. How it lays either out is not published, so that both numbers are ranges, taken from logs that
people have posted (https://github.com/google-coral/edgetpu/issues, by number; MiB cached + remaining + streamed):

    173  0.06 + 7.96 + 0       322  0.003 + 7.86 + 0.12    147  0.02 + 7.45 + 0.003     75  0.18 + 6.83 + 0
    356  3.21 + 3.78 + 0       671  6.02 + 1.02 + 0        512  6.89 + 0.001 + 0.17     60  6.86 + 0.008 + 1.22
    433  0.08 + 6.04 + 0       686  2.99 + 0.04 + 26.6 (images of 512 x 512)

Of those whose file is mostly parameters, cached and streamed bytes together are 0.97 to 1.16 times the file (512, 60,
671); a ResNet-18, 13.2 MiB of 11.2 MiB of weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgec.backends.edgetpu.network import Operator

MIB = 1 << 20
CACHE = (int(6.1 * MIB), int(8.0 * MIB))
"""What was left for parameters in the logs above, least and most; but for images of 512 x 512, which left 3.0 MiB."""

LAYOUT = (1.0, 1.2)
"""Bytes on the chip for each byte of parameters."""

LARGE_WORKING_SET = 4 * MIB
"""Operands and results of one operator that are more than this may leave parameters less room, or be what the compiler
refuses as "large activation tensors" (issues 439 and 449). A guess: no limit is published."""


@dataclass(frozen=True)
class Memory:
    """What the mapped operators keep on the chip, in bytes; pairs are the least and the most that is to be expected.

    parameters: of the mapped operators, as the file stores them. needed: as the chip stores them.
    cached: in the chip's memory. streamed: fetched from the host at every inference.
    working_set: operands and results of the operator that has the most of them.
    """

    parameters: int
    needed: tuple[int, int]
    cached: tuple[int, int]
    streamed: tuple[int, int]
    working_set: int

    @property
    def fits(self) -> bool | None:
        """Whether all parameters are cached; None where that can't be told."""
        if self.streamed[1] == 0:
            return True
        return None if self.streamed[0] == 0 else False

    @property
    def sentence(self) -> str:
        """What is to be expected, for people."""
        if not self.parameters:
            return "no weights are kept on the chip"
        needed = f"weights take {_mebibytes(self.needed)} on the chip"
        if self.fits:
            return f"{needed}, and fit"
        streamed = f"{_mebibytes(self.streamed)} fetched at every inference"
        if self.fits is None:
            return f"{needed}, and may not all fit: up to {streamed}"
        return f"{needed}, and do not fit: {streamed}"


def estimate(mapped: Iterable[Operator]) -> Memory:
    """The memory of the operators that are mapped. A constant that several of them read counts once."""
    constants: dict[int, int] = {}
    working_set = 0
    for operator in mapped:
        constants.update((tensor.index, tensor.nbytes) for tensor in operator.given if tensor.constant)
        working_set = max(working_set, sum(tensor.nbytes for tensor in operator.computed))
    parameters = sum(constants.values())
    least, most = (round(parameters * factor) for factor in LAYOUT)
    return Memory(
        parameters=parameters,
        needed=(least, most),
        cached=(min(least, CACHE[0]), min(most, CACHE[1])),
        streamed=(max(0, least - CACHE[1]), max(0, most - CACHE[0])),
        working_set=working_set,
    )


def _mebibytes(span: tuple[int, int]) -> str:
    """A range in words; of one that begins with nothing, its end."""
    if 0 < span[1] < 0.05 * MIB:
        return "less than 0.1 MiB"
    low, high = (f"{value / MIB:.1f}" for value in span)
    return f"{high} MiB" if low == high or span[0] == 0 else f"{low} to {high} MiB"
