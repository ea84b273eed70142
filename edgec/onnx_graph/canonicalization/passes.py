"""The passes, in their order, and how they are run: over and over, until none finds anything.

A pass is a function of one node: it looks whether that node is the last one of what it knows, and says what to write
instead. All are exact up to float32 rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import onnx
from onnx import NodeProto

from edgec.onnx_graph.canonicalization import (
    activations,
    affine,
    equal_nodes,
    no_effect,
    normal_forms,
    normalizations,
    softmax,
)
from edgec.onnx_graph.canonicalization.workpiece import Rewrite, Workpiece
from edgec.onnx_graph.constants import name_nodes
from edgec.onnx_graph.hollow import Weights

Matcher = Callable[[Workpiece, NodeProto], Rewrite | None]

ROUNDS = 20
"""How often the list is gone through at most. Every pass leaves less to do; this ends a pair that undo each other."""


@dataclass(frozen=True)
class Pass:
    """name: for canonicalize.json. title: a sentence for the user. matchers: tried in this order on every node.

    needed: whether quantization relies on it, so that it runs on models that shall not be simplified, too.
    """

    name: str
    title: str
    matchers: tuple[Matcher, ...]
    needed: bool = False


PASSES: tuple[Pass, ...] = (
    Pass("no-effect", "Nodes without effect left out", (no_effect.without_effect,)),
    Pass("equal-nodes", "Nodes that compute the same merged", (equal_nodes.equal_nodes,)),
    Pass("layout", "Chains of Reshape and Transpose made one", (no_effect.arranged, no_effect.order_only)),
    Pass("gemm", "Alpha, beta and transA of Gemm moved into its operands", (normal_forms.plain_gemm,), needed=True),
    Pass(
        "arithmetic",
        "Division by and subtraction of constants written as multiplication and addition",
        (normal_forms.plain_arithmetic,),
        needed=True,
    ),
    Pass(
        "batch-normalization",
        "BatchNormalization written as a layer",
        (normal_forms.plain_batch_normalization,),
        needed=True,
    ),
    Pass("limits", "Min and Max with constants written as Clip or Relu", (normal_forms.plain_limits,)),
    Pass("layer-normalization", "Decomposed normalizations made whole", (normalizations.layer_normalization,)),
    Pass("normalization-gain", "Gain and shift moved into the normalization", (normalizations.gain_and_shift,)),
    Pass("softmax", "Softmax made whole", (softmax.softmax, softmax.shifted_softmax)),
    Pass("bounded-mask", "Masks before a Softmax bounded to -100", (softmax.bounded_mask,)),
    Pass("sigmoid", "Sigmoid and Softplus made whole", (activations.sigmoid, activations.softplus)),
    Pass("hard-swish", "HardSwish made whole", (activations.hard_swish,)),
    Pass("hard-sigmoid", "HardSigmoid made whole", (activations.hard_sigmoid,)),
    Pass("gelu", "GELU made whole", (activations.gelu,)),
    Pass(
        "folded-affine",
        "Constant factors and shifts folded into the layer before",
        (affine.into_layer_before,),
        needed=True,
    ),
    Pass("attention-scale", "The scale of an attention folded into a projection", (affine.scaled_scores,)),
    Pass("merged-constants", "Constant after constant made one", (affine.merged_constants,)),
    Pass(
        "folded-into-next",
        "Constant factors and shifts folded into the layers behind",
        (affine.into_layers_behind, affine.factor_last),
    ),
)


class PassFailed(Exception):
    """A pass raised an error; `name` is the pass."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(f"it failed with {type(error).__name__}: {error}")
        self.name = name


@dataclass
class Done:
    """What a pass did: into which nodes, and which nodes are gone (one of both for each rewrite)."""

    count: int = 0
    into: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)


@dataclass
class Canonical:
    """A model in normal form.

    done: by the name of the pass, in the order of PASSES; passes that found nothing are not in it. became: for every
    node that is gone, the name of the node it went into.
    """

    model: onnx.ModelProto
    done: dict[str, Done]
    became: dict[str, str]


def canonical(
    model: onnx.ModelProto,
    weights: Weights | None = None,
    *,
    only_needed: bool = False,
    without: Collection[str] = (),
) -> Canonical:
    """The normal form of `model`, which is not changed.

    weights: the data of initializers that are not in it. only_needed: run those passes only that quantization relies
    on. without: names of passes to leave out. Raises PassFailed.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    name_nodes(result)
    work = Workpiece(result, weights)
    passes = [item for item in PASSES if item.name not in without and (item.needed or not only_needed)]
    done: dict[str, Done] = {}
    became: dict[str, str] = {}
    for _ in range(ROUNDS):
        found = [_run(work, item, done, became) for item in passes]
        if not any(found):
            break
    work.finish()
    del result.graph.value_info[:]
    standing = {node.name for node in result.graph.node}
    done = {item.name: done[item.name] for item in passes if item.name in done}
    return Canonical(result, done, {old: _end(new, became, standing) for old, new in became.items()})


def _run(work: Workpiece, item: Pass, done: dict[str, Done], became: dict[str, str]) -> bool:
    """Run one pass until it finds nothing; whether it found something."""
    changed = False
    for _ in range(ROUNDS):
        again = False
        for node in list(work.nodes):
            if not work.holds(node):
                continue
            for matcher in item.matchers:
                try:
                    rewrite = matcher(work, node)
                except Exception as error:
                    raise PassFailed(item.name, error) from error
                if rewrite is None:
                    continue
                work.apply(rewrite)
                record = done.setdefault(item.name, Done())
                record.count += 1
                record.into.append(rewrite.into)
                record.nodes += rewrite.gone
                became.update(dict.fromkeys(rewrite.gone, rewrite.into))
                again = changed = True
                break
        if not again:
            break
    return changed


def _end(name: str, became: dict[str, str], standing: Collection[str]) -> str:
    """Where a node went in the end."""
    seen: set[str] = set()
    while name not in standing and name in became and name not in seen:
        seen.add(name)
        name = became[name]
    return name
