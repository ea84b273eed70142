"""Numbers as people read them."""

from __future__ import annotations

from edgec.untrusted_text import clean

__all__ = [
    "CAP_DB",
    "clean",
    "count",
    "counted",
    "decibel",
    "milliseconds",
    "percent",
    "seconds",
    "shortened",
    "significant",
    "size",
    "times",
]

_UNITS = ("bytes", "kB", "MB", "GB")

CAP_DB = 119.9
"""dB figures from here on stand for no error at all."""


def size(count: float) -> str:
    """Bytes in decimal units: 18.6 MB."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} bytes" if unit == 0 else f"{significant(value)} {_UNITS[unit]}"


def count(value: float) -> str:
    """A large number in short: 4.65 M."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{significant(value / limit)} {letter}"
    return f"{value:.0f}"


def milliseconds(value: float) -> str:
    """A latency: 2.31 ms, 0.084 ms."""
    return f"{significant(value)} ms"


def seconds(value: float) -> str:
    """A duration: 0.4 s, 12 s, 3 min 20 s."""
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 99.5:
        return f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


def percent(share: float) -> str:
    """A share: 98.2 %; never 100 % or 0 % unless it is exactly that."""
    value = 100 * share
    if 99.95 <= value < 100:
        return "> 99.9 %"
    if 0 < value < 0.05:
        return "< 0.1 %"
    return f"{value:.1f}".removesuffix(".0") + " %"


def decibel(value: float | None) -> str:
    """An SQNR: 22.7 dB; "exact" where there is no error, a dash where there is no figure."""
    if value is None:
        return "–"
    return "exact" if value >= CAP_DB else f"{value:.1f} dB"


def times(ratio: float) -> str:
    """A factor: 2.6×."""
    return f"{significant(ratio, 2 if ratio < 10 else 3)}×"


def significant(value: float, digits: int = 3) -> str:
    """`digits` significant digits without an exponent, where that is readable."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e" in text else text


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """'1 sample', '3 samples'."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def shortened(text: str, most: int = 34) -> str:
    """`text` with its middle left out where it is longer than `most` characters; what is left fits a phone."""
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[head + 1 - most :]}"
