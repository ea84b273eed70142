"""The names of the recovery passes. Pure data: the command line checks them before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from edgec.errors import UsageError
from edgec.toml_schema import did_you_mean

PassName = Literal[
    "normalizations-in-float",
    "range-method",
    "useful-range",
    "bias-correction",
    "gptq",
    "rescale",
    "tensor-ranges",
    "16-bit",
    "float-layers",
]

PASS_NAMES: tuple[PassName, ...] = get_args(PassName)
"""In the order in which the search tries them."""


def check_passes(force: Sequence[str], forbid: Sequence[str]) -> None:
    """Refuse names of passes that do not exist, and passes that are both forced and forbidden (UsageError)."""
    for flag, names in (("--force", force), ("--forbid", forbid)):
        for name in names:
            if name not in PASS_NAMES:
                raise UsageError(
                    f"There is no recovery pass called {name!r}.{did_you_mean(name, PASS_NAMES)}",
                    f"The passes are: {', '.join(PASS_NAMES)}.",
                    f"Correct {flag}; docs/accuracy.md says what each of them does.",
                )
    if both := sorted(set(force) & set(forbid)):
        raise UsageError(
            f"The recovery pass {both[0]!r} is both forced and forbidden",
            "A quantization either has it or does without.",
            "Leave out --force or --forbid of it.",
        )
