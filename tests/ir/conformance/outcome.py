"""What becomes of a node test on a route."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tests.ir.conformance.cases import Case
from tests.ir.conformance.routes import Route

ABSOLUTE = {"test_mish_expanded": 2e-6}
"""How far a result may be off, where that is more than the suite says: log(1 + exp(x)) written out is off by |x| times
the last bit of 1 + exp(x), so that it depends on how exp rounds."""

Outcome = Literal["passed", "refused", "not claimed"]


def run(case: Case, route: Route, refused_for: str | None) -> Outcome:
    """Run a case, and assert that what comes out is right: values, dtypes and shapes, or that it is refused.

    refused_for: a part of the reason for which it must be refused; None where it must pass.
    """
    if not case.claimed:
        return "not claimed"
    reasons = route.refused(case.model)
    if refused_for is not None:
        assert any(refused_for in reason for reason in reasons), f"it is to be refused, for {refused_for!r}: {reasons}"
        return "refused"
    assert not reasons, reasons
    inputs = {info.name for info in case.model.graph.input}
    fed = [{name: np.asarray(data) for name, data in feeds.items() if name in inputs} for feeds, _ in case.runs]
    for (_, expected), found in zip(case.runs, route.outputs(case.model, fed), strict=True):
        for name, data in expected.items():
            wanted = np.asarray(data)
            assert (found[name].dtype, found[name].shape) == (wanted.dtype, wanted.shape), name
            atol = ABSOLUTE.get(case.name, case.atol)
            np.testing.assert_allclose(found[name], wanted, rtol=case.rtol, atol=atol, err_msg=name)
    return "passed"
