"""Which operators become the one that runs on the Edge TPU.

The compiler is a TensorFlow Lite delegate, and partitions as those do (tensorflow/lite/graph_info.cc,
PartitionGraphIntoIndependentNodeSubsets): starting with what the first operator is, it takes in all operators of that
kind (supported, or not) that need nothing of the other kind; then all of the other kind that need nothing but those;
and so on. It keeps the first subset of supported ones, and says of all later ones "More than one subgraph is not
supported" (https://github.com/google-coral/edgetpu/issues/461).
"""

from __future__ import annotations

from collections.abc import Collection

from edgec.backends.edgetpu.network import Network


def subgraphs(network: Network, supported: Collection[int]) -> list[list[int]]:
    """The subsets of supported operators, by index, in the order in which they run."""
    written_by = {tensor.index: operator.index for operator in network.operators for tensor in operator.outputs}
    needs = {
        operator.index: {written_by[tensor.index] for tensor in operator.given if tensor.index in written_by}
        for operator in network.operators
    }
    left = [operator.index for operator in network.operators]
    done: set[int] = set()
    found: list[list[int]] = []
    while left:
        first = next((index for index in left if needs[index] <= done), None)
        if first is None:
            break  # a cycle, which no interpreter would run
        kind = first in supported
        taken: list[int] = []
        for index in left:  # operators are stored in an order in which they can run: one walk finds them all
            if (index in supported) == kind and needs[index] <= done:
                done.add(index)
                taken.append(index)
        left = [index for index in left if index not in done]
        if kind:
            found.append(taken)
    return found
