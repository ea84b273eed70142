"""How latencies are spread: the histograms of both sides, each around its own median."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgec.report.figures import svg

_TALL, _HEAD, _GAP = 64, 22, 14
_WIDEST = (0.5, 2.0)  # of the median: what the axis spans at most


@dataclass(frozen=True)
class Side:
    """edges: in milliseconds, one more than counts. median: in milliseconds. text: what stands at the right."""

    label: str
    text: str
    edges: Sequence[float]
    counts: Sequence[int]
    median: float
    style: str


def spread(sides: Sequence[Side], alternative: str) -> Markup:
    """Histograms below each other on one axis, which is the time as a share of the median of that side.

    So a side that is steadier is narrower, however fast it is. Heights are runs per time, each side's highest as high.
    The last bin of each, which reaches up to the slowest run, is left out where it is wider than others.
    """
    shown = [(side, _regular(side)) for side in sides]
    low = max(_WIDEST[0], min(edges[0] / side.median for side, (edges, _) in shown)) - 0.01
    high = min(_WIDEST[1], max(edges[-1] / side.median for side, (edges, _) in shown)) + 0.01
    scale = 100 / (high - low)
    parts: list[Markup] = []
    y = 0
    for side, (edges, counts) in shown:
        parts.append(
            Markup(
                '<text class="label" x="0" y="{0}">{1}</text>'
                '<text class="value" x="100%" y="{0}" text-anchor="end">{2}</text>'
            ).format(y + 13, side.label, side.text)
        )
        bottom = y + _HEAD + _TALL
        density = [count / (b - a or 1.0) for count, a, b in zip(counts, edges, edges[1:], strict=False)]
        top = max(density, default=0.0) or 1.0
        for value, a, b in zip(density, edges, edges[1:], strict=False):
            left, right = (min(max((edge / side.median - low) * scale, 0.0), 100.0) for edge in (a, b))
            if value and (right > left or a == b):
                tall = max(1.0, _TALL * value / top)
                parts.append(
                    Markup('<rect class="{}" x="{:.2f}%" y="{:.1f}" width="{:.2f}%" height="{:.1f}"/>').format(
                        side.style, left, bottom - tall, max(0.15, right - left - 0.08), tall
                    )
                )
        parts.append(Markup('<line class="rule" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(bottom))
        y = bottom + _GAP
    middle = (1 - low) * scale
    parts.append(
        Markup('<line class="median" x1="{0:.2f}%" x2="{0:.2f}%" y1="{1}" y2="{2}"/>').format(middle, _HEAD, y - _GAP)
    )
    ends = ((0.0, "start", low + 0.01), (100.0, "end", high - 0.01))
    for x, anchor, value in ends:
        if abs(x - middle) > 18:
            parts.append(
                Markup('<text class="tick" x="{:.2f}%" y="{}" text-anchor="{}">{:+.0f} %</text>').format(
                    x, y + 4, anchor, 100 * (value - 1)
                )
            )
    anchor = "start" if middle < 10 else "end" if middle > 90 else "middle"
    parts.append(
        Markup('<text class="tick" x="{:.2f}%" y="{}" text-anchor="{}">median</text>').format(middle, y + 4, anchor)
    )
    return svg(parts, y + 10, alternative)


def _regular(side: Side) -> tuple[Sequence[float], Sequence[int]]:
    """Edges and counts without the last bin, where that one gathers what is beyond the others."""
    if len(side.counts) > 2:
        widths = [b - a for a, b in zip(side.edges, side.edges[1:], strict=False)]
        if widths[-1] > 1.01 * widths[0]:
            return side.edges[:-1], side.counts[:-1]
    return side.edges, side.counts
