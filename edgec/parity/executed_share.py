"""Whether an engine computes in INT8 what the quantized reference declares as INT8.

A layer that falls back to float gives the right numbers, so no comparison of outputs sees it: only what the backend
found in the compiled payload does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgec.parity.gates import Verdict
from edgec.parity.thresholds import Gate


def executed_int8_share(facts: Mapping[str, Any]) -> float | None:
    """The share, 0 to 1, of the multiply-accumulates declared as INT8 that INT8 kernels compute.

    facts: of a payload, as in lower.json. None where nothing is declared, or the backend does not tell.
    """
    declared, executed = (facts.get(f"int8_mac_fraction_{what}") for what in ("declared", "executed"))
    return min(1.0, float(executed) / float(declared)) if declared and executed is not None else None


def judge_executed_share(share: float | None, gate: Gate) -> Verdict:
    """A failure below `gate.executed_int8`; the lower stage has warned of every lost layer by name."""
    if share is None or share >= gate.executed_int8:
        return Verdict(True, (), ())
    return Verdict(
        False,
        (
            f"only {100 * share:.3g} % of the multiply-accumulates declared as INT8 run in INT8 on this engine "
            f"(at least {100 * gate.executed_int8:.3g} %): it would be a float model in disguise",
        ),
        (),
    )
