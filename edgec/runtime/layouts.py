"""Where height, width and channels lie in an image tensor, and how a shape is written.

Pure Python: a build asks before numpy is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

LAYOUTS = ("NCHW", "NHWC", "CHW", "HWC", "NHW", "HW")
"""The layouts that an image tensor may have; the ones without C are for gray images."""

_BY_RANK = {4: ("NCHW", "NHWC"), 3: ("CHW", "HWC"), 2: ("HW",)}


def find_layout(layout: str, channels: int, shape: Sequence[int]) -> str | None:
    """The layout of an image tensor of `shape` with `channels` channels, or None when it can't be one.

    layout: one of LAYOUTS, or "auto" to read it off the shape: the axis that has `channels` elements is the channel
        axis; where two could be, the first one is (NCHW, CHW).
    """
    candidates = _BY_RANK.get(len(shape), ()) if layout == "auto" else (layout,)
    for candidate in candidates:
        if len(candidate) != len(shape):
            continue
        if (shape[candidate.index("C")] if "C" in candidate else 1) == channels:
            return candidate
    return None


def height_and_width(layout: str, shape: Sequence[int]) -> tuple[int, int]:
    """The height and width of an image tensor of `shape`."""
    return shape[layout.index("H")], shape[layout.index("W")]


def by_x(shape: Sequence[int]) -> str:
    """A shape as the build prints it: 1x3x224x224."""
    return "x".join(map(str, shape)) or "scalar"
