"""Points of two figures each, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgec.report.figures import svg

_PLOT = 220  # px


@dataclass(frozen=True)
class Mark:
    """label: in words, to hover over. x, y: at least 0. style: a class for its colour. text: what stands beside it."""

    label: str
    x: float
    y: float
    style: str
    text: str = ""


def scatter(marks: Sequence[Mark], x_unit: str, y_unit: str, alternative: str) -> Markup:
    """Marks on linear axes that begin at 0."""
    right, top = (1.12 * max(values) or 1.0 for values in ([m.x for m in marks], [m.y for m in marks]))
    parts: list[Markup] = []
    for value in ticks(right):
        parts.append(
            Markup(
                '<line class="rule" x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="{1}"/>'
                '<text class="tick" x="{0:.2f}%" y="{2}" text-anchor="{3}">{4:g}</text>'
            ).format(
                100 * value / right,
                _PLOT,
                _PLOT + 16,
                "start" if not value else "end" if value > 0.96 * right else "middle",
                value,
            )
        )
    for value in ticks(top)[1:]:
        y = _PLOT - _PLOT * value / top
        parts.append(
            Markup(
                '<line class="rule" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>'
                '<text class="tick" x="0" y="{1:.1f}">{2:g} {3}</text>'
            ).format(y, y - 4, value, y_unit)
        )
    for mark in sorted(marks, key=lambda mark: mark.style == "kept"):
        x, y = 100 * mark.x / right, _PLOT - _PLOT * mark.y / top
        parts.append(
            Markup('<circle class="mark {}" cx="{:.2f}%" cy="{:.1f}" r="7"><title>{}</title></circle>').format(
                mark.style, x, y, mark.label
            )
        )
        if mark.text:
            parts.append(
                Markup('<text class="label" x="{:.2f}%" y="{:.1f}" dx="{}" text-anchor="{}">{}</text>').format(
                    x, y + 22 if y < 30 else y - 12, 0, "start" if x < 30 else "end" if x > 70 else "middle", mark.text
                )
            )
    parts.append(Markup('<text class="tick" x="50%" y="{}" text-anchor="middle">{}</text>').format(_PLOT + 34, x_unit))
    return svg(parts, _PLOT + 40, alternative)


def ticks(top: float) -> list[float]:
    """0 and three to five round values below `top`."""
    magnitude = 10.0 ** math.floor(math.log10(top))
    step = next(step * magnitude for step in (0.1, 0.2, 0.5, 1, 2) if top / (step * magnitude) < 5.5)
    return [round(index * step, 12) for index in range(int(top / step) + 1)]
