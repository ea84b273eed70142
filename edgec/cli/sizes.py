"""Numbers of bytes as people read them."""

from __future__ import annotations


def size(count: int) -> str:
    """ "5.6 MB", in powers of 1000."""
    amount = float(count)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.2f} GB"
