"""Whether the judged data is of the kind that the model was calibrated on."""

from __future__ import annotations

from collections.abc import Mapping

from edgec.diagnosis.findings import Finding
from edgec.diagnosis.measure import Measured
from edgec.onnx_graph.graph import Graph
from edgec.quantization.statistics import TensorStatistics

BEYOND = 0.01
"""Share of an input's values beyond the calibrated range from which it is other data."""

FAR, FOREIGN = 0.05, 1.0
"""How far beyond it they lie at least, as a share of that range; from FOREIGN on, a single value tells."""

NARROW = 0.125
"""Share of the calibrated range that the judged data must use at least."""


def about_data(graph: Graph, measured: Measured, learned: Mapping[str, TensorStatistics]) -> list[Finding]:
    """A finding where an input's values do not lie in the range that was calibrated for it."""
    found = []
    for name in graph.inputs:
        seen = measured.ranges.get(name)
        if seen is None or not seen.count:
            continue
        known = learned.get(name)
        if known is not None:
            low, high = known.minimum, known.maximum
        elif seen.grid is not None:
            low, high = seen.grid.low, seen.grid.high
        else:
            continue
        if high <= low:
            continue
        share = (seen.high - seen.low) / (high - low)
        beyond = max(low - seen.low, seen.high - high, 0.0) / (high - low)
        evidence = {
            "input": name,
            "calibrated": [low, high],
            "judged": [seen.low, seen.high],
            "clipped_share": seen.clipped_share,
        }
        both = (
            f"the input {name!r} was calibrated on values from {low:.4g} to {high:.4g}, but is judged on values from "
            f"{seen.low:.4g} to {seen.high:.4g}"
        )
        if (seen.clipped_share > BEYOND and beyond > FAR) or beyond > FOREIGN:
            cut = f", and {100 * seen.clipped_share:.2g} % of them are cut off" if seen.clipped_share else ""
            text = f"{both}{cut}: another domain, or prepared otherwise"
            found.append(Finding("data-mismatch", None, text, evidence))
        elif share < NARROW:
            text = f"{both} only: {100 * share:.2g} % of the range, so most steps are never used"
            found.append(Finding("data-mismatch", None, text, evidence))
    return found
