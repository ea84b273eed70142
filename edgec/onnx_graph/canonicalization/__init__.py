"""The normal form of a graph: operators that exporters took apart are whole again, constants are folded into layers.

Every node less is one rounding to int8 less, and work less in float. See `passes.PASSES` for what is done.
"""

from edgec.onnx_graph.canonicalization.passes import PASSES, Canonical, Done, Pass, canonical

__all__ = ["PASSES", "Canonical", "Done", "Pass", "canonical"]
