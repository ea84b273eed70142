"""What a report says of a library: what it computes in integers, and what it takes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgec.backends.integer_facts import Declared, in_words, integer_facts
from edgec.backends.tvm.kernels.plain import Plain
from edgec.backends.tvm.lowering.graph import Lowered
from edgec.backends.tvm.program import Program, Step


def facts(lowered: Lowered, program: Program, library: Path, declared: Declared) -> dict[str, Any]:
    """Observations in JSON form; a function of the model and of what was made of it.

    fallback: names of nodes that are computed as their operator is defined, because no kernel was made for it.
    operators: how many steps there are of each family of kernels. kernels: how many different ones. arena_bytes,
    constant_bytes, library_bytes: what a run needs, what lies in the library, and the whole file.
    """
    in_float = lowered.in_float if declared.integer else ()
    return {
        **integer_facts(lowered.graph, lowered.in_float, declared),
        "fallback": without_kernel(program),
        "operators": dict(sorted(Counter(step.kernel.family for step in program.steps).items())),
        "steps": len(program.steps),
        "kernels": len(program.symbols()),
        "arena_bytes": program.plan().size,
        "constant_bytes": len(program.constants),
        "library_bytes": library.stat().st_size,
        "remarks": [*in_words(in_float), *_fallback_in_words(program)],
    }


def without_kernel(program: Program) -> list[str]:
    """Names of the nodes that are computed as their operator is defined."""
    return list(dict.fromkeys(node for step in _plain(program) for node in step.origin))


def _plain(program: Program) -> list[Step]:
    return [step for step in program.steps if isinstance(step.kernel, Plain)]


def _fallback_in_words(program: Program) -> list[str]:
    """What has no kernel of its own, in one sentence."""
    counts = Counter(step.kernel.family.removeprefix("plain_") for step in _plain(program))
    if not counts:
        return []
    kinds = ", ".join(f"{count} {label}" for label, count in counts.most_common())
    return [f"Computed by plain loops, without a kernel made for it: {kinds}."]
