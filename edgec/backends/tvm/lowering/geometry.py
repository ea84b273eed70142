"""Where a product reads and writes, whatever it multiplies."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.backends.tvm.storage import Steps


@dataclass(frozen=True)
class Geometry:
    """shape: images, rows, columns of the result. x, y: from one of its pixels to the next, where the window starts and
    where the result goes. taps: between those of the window."""

    shape: tuple[int, int, int]
    x: Steps
    y: Steps
    taps: Steps

    @property
    def turned(self) -> Geometry:
        """With rows for columns."""
        images, rows, columns = self.shape
        return Geometry((images, columns, rows), self.x.turned, self.y.turned, self.taps.turned)
