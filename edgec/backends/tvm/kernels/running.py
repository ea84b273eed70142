"""Running sums of 8-bit integers along an axis.

y = clamp(round(float32(sum of (x - zx)) * (sx / sy)) + zy), each operation in float32, the sum exact
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.backends.tvm.emitter import Emitter, broadcast, cast, integer
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Word, number, real_number, result_grid, split, steps_rounded
from edgec.backends.tvm.kernels.boxes import Box
from edgec.backends.tvm.kernels.lanes import store_one


@dataclass(frozen=True)
class CumSum:
    """kept: of x and y, each dimension but the channels and that which is summed along. along: (size, step of x, step
    of y) of that one; the steps are negative where it is summed from the end, and both operands begin there then.
    pixel: bytes of a pixel, each channel for itself; None where the sums run along the channels. exclusive: a sum is
    without the element at its place. far: steps may be beyond int32.
    """

    kept: Box
    along: tuple[int, int, int]
    pixel: int | None
    exclusive: bool
    far: bool = False

    @property
    def family(self) -> str:
        return "cum_sum"

    @property
    def units(self) -> int:
        """A unit is all sums of a pixel's channels."""
        return self.kept.count

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e = emitter
        x, constants, y = e.pointer("x", isa.stored), e.pointer("constants", "int32"), e.pointer("y", isa.stored)
        begin, end = e.scalar("begin"), e.scalar("end")
        size, x_step, y_step = self.along
        groups = split(self.pixel, isa.lanes) if self.pixel else [0]
        with e.loop(begin, end) as unit:
            source, goes = self.kept.at(e, unit)
            done = 0
            for group in groups:
                lanes = isa.lanes if group else 1
                sums = [e.register(lanes, "int32", broadcast(integer(0), lanes)) for _ in range(max(group, 1))]
                zero_point = broadcast(number(e, constants, Word.A_ZERO_POINT), lanes)
                factor = broadcast(real_number(e, constants, Word.FACTOR), lanes)
                with e.loop(0, size) as i:
                    at, to = source + i * x_step + done, goes + i * y_step + done
                    seen = isa.loaded(e, x, at, group) if group else [cast("int32", e.load(x, at))]
                    after = [
                        e.bind(total.get() + (item - zero_point), f"int32x{lanes}" if group else "int32")
                        for total, item in zip(sums, seen, strict=True)
                    ]
                    told = [total.get() for total in sums] if self.exclusive else after
                    steps = [cast(f"float32x{lanes}" if group else "float32", item) * factor for item in told]
                    if group:
                        rounded = [steps_rounded(e, isa, item, self.far) for item in steps]
                        isa.narrowed(e, rounded, result_grid(e, constants, False), y, to)
                    else:
                        store_one(e, isa, steps[0], self.far, constants, y, to)
                    for total, item in zip(sums, after, strict=True):
                        total.set(item)
                done += group * isa.lanes
