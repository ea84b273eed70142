"""Shrinking: the shortest run of consecutive layers whose quantization alone makes the model's outputs fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def smallest_run(layers: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> list[int]:
    """The shortest stretch of `layers` found that still fails; empty when all of them together do not.

    First the shortest beginning that fails, then what it can do without at its front, then at both ends one by one.
    Errors do not add up in networks, so this is a shortest run in the sense that no layer can be taken off its ends.
    Calls `fails` about 2 log2(n) times, and once or twice more for each layer that the last step takes off.
    """
    if not layers or not fails(layers):
        return []
    end = _least(1, len(layers), lambda count: fails(layers[:count]))
    run = list(layers[:end])
    start = len(run) - _least(1, len(run), lambda count: fails(run[len(run) - count :]))
    run = run[start:]
    shrinking = True
    while shrinking and len(run) > 1:
        shrinking = False
        for shorter in (run[1:], run[:-1]):
            if fails(shorter):
                run, shrinking = shorter, True
                break
    return run


def _least(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number in [low, high] for which `holds`, which it does for `high`, as far as it is monotone."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return high
