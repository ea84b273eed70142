"""The one claim that every pass makes: fewer nodes, the same results."""

import numpy as np
import onnx

from edgec.onnx_graph.canonicalization import PASSES, Canonical, canonical
from edgec.reference import Reference
from tests.quantization.tiny import random_feeds

F = np.float32


def only(*names):
    """All passes but these."""
    unknown = set(names) - {item.name for item in PASSES}
    assert not unknown
    return [item.name for item in PASSES if item.name not in names]


def same(model: onnx.ModelProto, *expected: str, passes=(), feeds=None, scale=1.0) -> Canonical:
    """The normal form has these ops and computes what the model computes, to float32 rounding.

    passes: the only ones to run; all when there are none.
    """
    found = canonical(model, without=only(*passes) if passes else ())
    onnx.checker.check_model(found.model, full_check=True)
    if expected:
        assert [node.op_type for node in found.model.graph.node] == list(expected)
    before, after = Reference(model.SerializeToString(), "none"), Reference(found.model.SerializeToString(), "none")
    for feed in feeds or random_feeds(model, 3):
        feed = {name: value * F(scale) if value.dtype == F else value for name, value in feed.items()}
        for name, value in before.run(feed).items():
            limit = 1e-5 * max(float(np.abs(value).max(initial=0)), 1.0)
            np.testing.assert_allclose(after.run(feed)[name], value, rtol=1e-4, atol=limit)
    return found
