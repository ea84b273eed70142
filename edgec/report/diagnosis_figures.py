"""The plots of a diagnosis: error along the graph, and what values make of their grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgec.report.figures import svg

_TOP_DB, _BOTTOM_DB = 60.0, -10.0
_HEIGHT = 240
_PLOT = 200  # of the height; ticks below


@dataclass(frozen=True)
class Point:
    """One layer: its number, what it is called, SQNR in dB; None where there is none. blamed: it harms the outputs."""

    number: int
    label: str
    accumulated: float
    isolated: float | None
    blamed: bool


def along_the_graph(points: Sequence[Point], alternative: str) -> Markup:
    """Accumulated error as a line, isolated error as hollow marks, over the layers in their order."""
    count = max(1, len(points))
    parts = []
    for level in range(0, int(_TOP_DB) + 1, 20):
        y = _y(level)
        text = f"{level}+ dB" if level == int(_TOP_DB) else f"{level} dB"
        parts.append(
            Markup(
                '<line class="rule" x1="0" x2="100%" y1="{}" y2="{}"/><text class="tick" x="0" y="{}">{}</text>'
            ).format(y, y, y - 4, text)
        )
    line = " ".join(f"{_x(i, count):.2f},{_y(point.accumulated):.1f}" for i, point in enumerate(points))
    parts.append(
        Markup(
            '<svg x="0" y="0" width="100%" height="{}" viewBox="0 0 100 {}" preserveAspectRatio="none">'
            '<polyline class="trace" points="{}" vector-effect="non-scaling-stroke"/></svg>'
        ).format(_PLOT, _PLOT, line)
    )
    radius = 4 if count <= 60 else 2.5
    for i, point in enumerate(points):
        across = f"{_x(i, count):.2f}%"
        title = Markup("<title>{} {}: accumulated {:.1f} dB{}</title>").format(
            point.number,
            point.label,
            point.accumulated,
            "" if point.isolated is None else f", isolated {point.isolated:.1f} dB",
        )
        if point.isolated is not None:
            style = "hollow blamed" if point.blamed else "hollow"
            parts.append(
                Markup('<circle class="{}" cx="{}" cy="{:.1f}" r="{}">{}</circle>').format(
                    style, across, _y(point.isolated), radius + (2 if point.blamed else 0), title
                )
            )
        parts.append(
            Markup('<circle class="full" cx="{}" cy="{:.1f}" r="{}">{}</circle>').format(
                across, _y(point.accumulated), radius * 0.6, title
            )
        )
    for number in sorted({1, (count + 1) // 2, count}):
        anchor = "start" if number == 1 else "end" if number == count else "middle"
        x = 0.0 if number == 1 else 100.0 if number == count else _x(number - 1, count)
        parts.append(
            Markup('<text class="tick" x="{:.2f}%" y="{}" text-anchor="{}">layer {}</text>').format(
                x, _PLOT + 24, anchor, number
            )
        )
    return svg(parts, _HEIGHT, alternative)


def _x(index: int, count: int) -> float:
    return 8 + 90 * (index / (count - 1) if count > 1 else 0.5)


def _y(level: float) -> float:
    return _PLOT - 8 - (_PLOT - 24) * (min(max(level, _BOTTOM_DB), _TOP_DB) - _BOTTOM_DB) / (_TOP_DB - _BOTTOM_DB)


def on_its_grid(
    counts: Sequence[int], axis: tuple[float, float], grid: tuple[float, float], ends: tuple[str, str], alternative: str
) -> Markup:
    """A histogram (heights by square root), what the grid holds shaded, its ends drawn.

    axis: where the first column begins and the last one ends. grid: the least and the greatest value it can hold.
    ends: the ends of the grid as text.
    """
    low, high = axis
    width = (high - low) or 1.0
    left, right = (min(100.0, max(0.0, 100 * (value - low) / width)) for value in grid)
    top = max(counts, default=0) or 1
    parts = [
        Markup('<rect class="held" x="{:.2f}%" y="0" width="{:.2f}%" height="60" rx="2"/>').format(left, right - left)
    ]
    each = 100 / max(1, len(counts))
    for index, count in enumerate(counts):
        if count:
            height = max(1.0, 56 * (count / top) ** 0.5)
            middle = low + width * (index + 0.5) / len(counts)
            style = "bar" if grid[0] <= middle <= grid[1] else "bar cut"
            parts.append(
                Markup('<rect class="{}" x="{:.2f}%" y="{:.1f}" width="{:.2f}%" height="{:.1f}"/>').format(
                    style, index * each, 60 - height, each * 0.86, height
                )
            )
    for place in (left, right):
        parts.append(Markup('<line class="edge" x1="{:.2f}%" x2="{:.2f}%" y1="0" y2="66"/>').format(place, place))
    close = right - left < 30
    anchors = ("end" if left > 50 else "start", "start" if close and left <= 50 else "end")
    parts.append(
        Markup('<text class="tick" x="{:.2f}%" y="80" text-anchor="{}">{}</text>').format(
            left, anchors[0], f"{ends[0]} to {ends[1]}" if close else ends[0]
        )
    )
    if not close:
        parts.append(
            Markup('<text class="tick" x="{:.2f}%" y="80" text-anchor="{}">{}</text>').format(
                right, anchors[1], ends[1]
            )
        )
    return svg(parts, 86, alternative)
