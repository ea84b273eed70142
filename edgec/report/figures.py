"""Plots as inline SVG: horizontal, sized in per cent, so that they fit a phone and a page of paper.

Colours come from the style sheet's classes. Each figure has a title and a description that say the same in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_ROW = 46
_SLIM = 30


@dataclass(frozen=True)
class Bar:
    """One bar: its label, the text at its end, its value (>= 0), and a class for its colour.

    spread: two values between which a thin line is drawn (quartiles).
    """

    label: str
    text: str
    value: float
    style: str = "bar"
    spread: tuple[float, float] | None = None


def bars(rows: Sequence[Bar], alternative: str, largest: float | None = None) -> Markup:
    """Bars below each other, the label above each, the longest filling the width."""
    ends = [max(row.value, row.spread[1] if row.spread else 0.0) for row in rows]
    top = largest or max(ends, default=0.0) or 1.0
    parts = []
    for index, row in enumerate(rows):
        y = index * _ROW
        width = _share(row.value, top)
        parts.append(
            Markup(
                '<text class="label" x="0" y="{}">{}</text>'
                '<text class="value" x="100%" y="{}" text-anchor="end">{}</text>'
                '<rect class="track" x="0" y="{}" width="100%" height="14" rx="3"/>'
                '<rect class="{}" x="0" y="{}" width="{}%" height="14" rx="3"/>'
            ).format(y + 13, row.label, y + 13, row.text, y + 20, row.style, y + 20, width)
        )
        if row.spread is not None:
            low, high = (_share(value, top) for value in row.spread)
            parts.append(
                Markup('<line class="spread" x1="{}%" x2="{}%" y1="{}" y2="{}"/>').format(low, high, y + 27, y + 27)
            )
    return svg(parts, len(rows) * _ROW - 8, alternative)


@dataclass(frozen=True)
class Span:
    """One stage on a timeline: seconds from the start to the end, its text at the right; style: a class."""

    label: str
    text: str
    start: float
    end: float
    style: str = "bar"


def timeline(rows: Sequence[Span], alternative: str) -> Markup:
    """Spans below each other, each at its place in time: label, bar, text."""
    top = max((row.end for row in rows), default=0.0) or 1.0
    parts = []
    for index, row in enumerate(rows):
        y = index * _SLIM
        left, width = (0.56 * 100 * value / top for value in (row.start, row.end - row.start))
        parts.append(
            Markup(
                '<text class="label" x="0" y="{0}">{1}</text>'
                '<rect class="{2}" x="{3:.2f}%" y="{4}" width="{5:.2f}%" height="10" rx="3"/>'
                '<text class="value" x="100%" y="{0}" text-anchor="end">{6}</text>'
            ).format(y + 15, row.label, row.style, 24 + left, y + 6, max(0.5, width), row.text)
        )
    return svg(parts, len(rows) * _SLIM - 6, alternative)


def columns(
    counts: Sequence[int],
    edges: tuple[float, float],
    shown: tuple[float, float],
    ends: tuple[str, str],
    alternative: str,
) -> Markup:
    """A histogram: columns of equal width, heights by the square root of the counts, so that tails can be seen.

    edges: where the first column begins and the last one ends. shown: the part of it that the axis spans (the first and
    last column are cut there); ends: the same as text.
    """
    top = max(counts, default=0) or 1
    if not edges[0] <= shown[0] < shown[1] <= edges[1]:
        shown = edges
    width = (edges[1] - edges[0]) / max(1, len(counts))
    scale = 100 / (shown[1] - shown[0])
    parts = []
    for index, count in enumerate(counts):
        height = 44 * (count / top) ** 0.5
        left = (edges[0] + index * width - shown[0]) * scale
        right = left + width * scale * 0.86
        left, right = max(0.0, left), min(100.0, right)
        if count and right > left:
            parts.append(
                Markup('<rect class="bar" x="{:.2f}%" y="{:.1f}" width="{:.2f}%" height="{:.1f}"/>').format(
                    left, 46 - max(1.0, height), right - left, max(1.0, height)
                )
            )
    parts.append(Markup('<text class="tick" x="0" y="62">{}</text>').format(ends[0]))
    parts.append(Markup('<text class="tick" x="100%" y="62" text-anchor="end">{}</text>').format(ends[1]))
    return svg(parts, 66, alternative)


@dataclass(frozen=True)
class Levels:
    """One output on a dB scale: where quantization alone leaves it, and where the artifact does."""

    label: str
    quantized: float | None
    artifact: float | None


def levels(rows: Sequence[Levels], alternative: str, top: float = 60.0) -> Markup:
    """For each row a line from 0 to `top` dB: a hollow mark for the INT8 reference, a full one for the artifact."""
    parts = []
    for index, row in enumerate(rows):
        y = index * _ROW
        parts.append(
            Markup(
                '<text class="label" x="0" y="{}">{}</text><line class="axis" x1="0" x2="100%" y1="{}" y2="{}"/>'
            ).format(y + 13, row.label, y + 28, y + 28)
        )
        if row.quantized is not None and row.artifact is not None:
            a, b = sorted((_share(row.quantized, top), _share(row.artifact, top)))
            parts.append(Markup('<line class="gap" x1="{}%" x2="{}%" y1="{}" y2="{}"/>').format(a, b, y + 28, y + 28))
        for value, style in ((row.quantized, "hollow"), (row.artifact, "full")):
            if value is not None:
                parts.append(
                    Markup('<circle class="{}" cx="{}%" cy="{}" r="6"/>').format(style, _share(value, top), y + 28)
                )
    bottom = len(rows) * _ROW
    for tick in range(0, int(top) + 1, 20):
        anchor = "start" if tick == 0 else "end" if tick == int(top) else "middle"
        text = f"{tick}+ dB" if tick == int(top) else f"{tick} dB"
        parts.append(
            Markup('<text class="tick" x="{}%" y="{}" text-anchor="{}">{}</text>').format(
                _share(tick, top, 0), bottom + 8, anchor, text
            )
        )
    return svg(parts, bottom + 14, alternative)


def _share(value: float, top: float, least: float = 0.6) -> str:
    """Per cent of the width, at least a sliver so that nothing vanishes."""
    return f"{min(100.0, max(least, 100 * value / top)):.2f}"


def svg(parts: Sequence[Markup], height: int, alternative: str) -> Markup:
    """A figure. alternative: what it shows, in words; its first sentence is the title."""
    title, _, rest = alternative.partition(". ")
    return Markup(
        '<svg class="figure" role="img" width="100%" height="{}"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(height, title.rstrip("."), rest or title, Markup("").join(parts))
