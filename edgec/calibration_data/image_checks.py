"""Signs that arrays hold images in another order than the input has: BGR for RGB, or reshaped where they should have
been transposed. Images that edgec decodes itself need no such checks.
"""

from __future__ import annotations

import numpy as np

from edgec.contract import TensorSpec
from edgec.runtime.layouts import height_and_width

_FEWEST = 16  # with fewer telling samples there is no verdict
_SHARE = 0.8  # of the telling samples must agree
_CLEAR = 0.03  # of the value range: what two channel means must differ by to tell anything
_ROUGHER = 1.6  # how much rougher the claimed reading of a tensor must be than the other one


class ImageChecks:
    """Votes of single samples about the channel order and the layout of a 3-channel input."""

    def __init__(self, spec: TensorSpec, layout: str) -> None:
        self._layout = layout
        self._height, self._width = height_and_width(layout, spec.shape)
        self._colored = "C" in layout and spec.shape[layout.index("C")] == 3
        self._red_first = 0
        self._blue_first = 0
        self._samples = 0
        self._misread = 0
        self._low, self._high = np.inf, -np.inf

    def add(self, tensor: np.ndarray) -> None:
        """tensor: float64 of the input's shape."""
        if not self._colored:
            return
        self._low, self._high = min(self._low, tensor.min()), max(self._high, tensor.max())
        axis = self._layout.index("C")
        if tensor.max() == tensor.min():
            return
        first, middle, last = tensor.mean(axis=tuple(i for i in range(tensor.ndim) if i != axis))
        clear = _CLEAR * (tensor.max() - tensor.min())
        if first > middle > last and first - last > clear:
            self._red_first += 1
        elif last > middle > first and last - first > clear:
            self._blue_first += 1
        self._samples += 1
        self._misread += self._looks_reshaped(tensor)

    def _looks_reshaped(self, tensor: np.ndarray) -> bool:
        """Whether the flat numbers make a much smoother image in the other layout than in the claimed one.

        Neighbours in an image are alike. Read in the wrong layout, neighbours along a row are different channels, and
        neighbours along a column lie a third of a row apart.
        """
        flat = tensor[0].reshape(-1) if tensor.ndim == 4 else tensor.reshape(-1)
        planar, interleaved = _roughness(flat, 1, self._width), _roughness(flat, 3, 3 * self._width)
        claimed, other = (
            (planar, interleaved) if self._layout.index("C") < self._layout.index("H") else (interleaved, planar)
        )
        return bool(claimed > _ROUGHER * other)

    def warnings(self) -> list[str]:
        found = []
        if self._samples >= _FEWEST and self._misread >= _SHARE * self._samples:
            other = "NHWC" if self._layout.index("C") < self._layout.index("H") else "NCHW"
            return [
                f"in {self._misread} of {self._samples} samples the numbers make a smooth image only when they are "
                f"read as {other}. They were probably reshaped where they should have been transposed: "
                f"x.transpose({'2, 0, 1' if other == 'NHWC' else '1, 2, 0'}) for a single image."
            ]
        telling = self._red_first + self._blue_first
        same_scale = self._low >= 0 or (self._low >= -1.01 and self._high <= 1.01)  # one scale for all channels
        if same_scale and telling >= _FEWEST and self._blue_first >= _SHARE * telling:
            found.append(
                f"in {self._blue_first} of {telling} colored samples the last channel is the strongest and the first "
                "the weakest; photographs are mostly the other way round. If the model wants RGB, these may be BGR "
                "(OpenCV's order): reverse the channels."
            )
        return found


def _roughness(flat: np.ndarray, right: int, down: int) -> float:
    """The mean difference of neighbours that lie `right` and `down` elements apart."""
    return float(np.abs(flat[right:] - flat[:-right]).mean() + np.abs(flat[down:] - flat[:-down]).mean())
