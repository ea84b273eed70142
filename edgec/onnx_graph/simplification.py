"""Simplify with onnxsim, and believe the result only after it was checked and compared.

onnxsim folds constants, fuses BatchNormalization into Conv and removes what has no effect. It is native code that has
crashed on valid models and produced invalid ones, so it runs in a worker, its result must pass the checker, keep inputs
and outputs, use standard ops only, and compute on made-up inputs what the model computed before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx

from edgec import worker
from edgec.contract import Contract
from edgec.errors import EdgecError
from edgec.onnx_graph import cost
from edgec.onnx_graph.constants import constants_to_initializers, name_nodes, plain_initializers
from edgec.onnx_graph.graph import Graph
from edgec.onnx_graph.hollow import INLINE_LIMIT, WEIGHTS, graphs, write_model
from edgec.onnx_graph.made_up_inputs import Agreement, compare_models
from edgec.onnx_graph.operators import STANDARD, count_operators
from edgec.stage import StageContext
from edgec.stages.simplify import SimplifyParams

_COMPARE_TIMEOUT = 900.0
_NO_FUSION_INTO = ["fuse_attention"]  # makes ops of the domain com.microsoft


class _Unusable(Exception):
    """Why a simplified model is not used."""


def simplify(ingested: Path, params: SimplifyParams, context: StageContext) -> None:
    """Write the simplified form of `ingested`/model.onnx, or the model itself, into `context.out`."""
    shutil.copyfile(ingested / "contract.json", context.out / "contract.json")
    contract = Contract.read(ingested)
    status, reason, difference = "off", "switched off", None
    if params.enabled:
        try:
            difference = _simplified(ingested, params, contract, context)
            status, reason = "simplified", ""
        except _Unusable as unusable:
            status, reason = "kept", str(unusable)
            context.warn(f"The model is used as it is, not simplified: {reason}")
    if status != "simplified":
        for name in ("model.onnx", WEIGHTS):
            if (ingested / name).exists():
                _share(ingested / name, context.out / name)
    before = onnx.load(str(ingested / "model.onnx"), load_external_data=False)
    after = onnx.load(str(context.out / "model.onnx"), load_external_data=False)
    graph = Graph(after)
    context.write_json(
        "simplify.json",
        {
            "status": status,
            "reason": reason,
            "nodes_before": _nodes(before),
            "nodes_after": _nodes(after),
            "max_abs_diff": difference,
            "ops": count_operators(after),
            "macs": sum(cost.macs(graph).values()),
            "parameters": cost.parameters(graph),
        },
    )


def _simplified(ingested: Path, params: SimplifyParams, contract: Contract, context: StageContext) -> float:
    """Write the simplified model; returns how far its outputs are from the original's. Raises _Unusable."""
    source = ingested / "model.onnx"
    if (ingested / WEIGHTS).exists():
        raise _Unusable(f"it is larger than {INLINE_LIMIT / 1e9:.1f} GB, which the simplifier can't take")
    with tempfile.TemporaryDirectory(dir=context.out) as folder:
        raw, final = Path(folder) / "raw.onnx", Path(folder) / "model.onnx"
        try:
            job = {"simplifier": run_onnxsim, "source": source, "result": raw, "folder": Path(folder)}
            worker.call(simplified_form, job, timeout=params.timeout)
            found: Agreement = worker.call(
                compare_models,
                {"first": source, "second": final, "inputs": contract.inputs},
                timeout=_COMPARE_TIMEOUT,
            )
        except EdgecError as error:
            raise _Unusable(_in_one_line(error)) from error
        if not found.ran:
            raise _Unusable(f"the original fails on made-up inputs, so nothing can be compared: {found.failure}")
        if found.worst:
            raise _Unusable(f"the simplified model does not compute the same: {found.worst}")
        if (Path(folder) / WEIGHTS).exists():
            raise _Unusable(f"simplified, it would grow beyond {INLINE_LIMIT / 1e9:.1f} GB")
        final.rename(context.out / "model.onnx")
    return found.largest


def simplified_form(simplifier: Callable[[Path, Path], None], source: Path, result: Path, folder: Path) -> None:
    """Simplify `source` into `result`, and that into the model of `folder`. Runs in a worker."""
    simplifier(source, result)
    finish(result, folder, source)


def run_onnxsim(source: Path, result: Path) -> None:
    """Simplify one file into another. It may crash, hang, or raise anything."""
    import onnxsim

    try:
        simplified, _ = onnxsim.simplify(
            onnx.load(str(source)), skipped_optimizers=_NO_FUSION_INTO, certify=False, include_subgraph=True
        )
    except Exception as error:
        raise EdgecError(f"the simplifier refused it: {' '.join(str(error).split())[:300]}") from error
    onnx.save(simplified, str(result))


def finish(result: Path, folder: Path, original: Path) -> None:
    """Bring the simplifier's result into the form that ingest gives models, and check it."""
    model, before = onnx.load(str(result)), onnx.load(str(original), load_external_data=False)
    foreign = sorted({node.domain for graph in graphs(model) for node in graph.node} - {*STANDARD})
    if foreign or model.functions:
        raise EdgecError(f"the simplifier wrote ops of the domains {foreign} or functions")
    for name in ("metadata_props", "doc_string"):
        model.ClearField(name)
    for graph in graphs(model):
        for item in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
            item.ClearField("doc_string")
            item.ClearField("metadata_props")
    del model.opset_import[:]
    model.opset_import.extend(item for item in before.opset_import if item.domain in STANDARD)
    model.ir_version = max(model.ir_version, before.ir_version)
    constants_to_initializers(model)
    plain_initializers(model)
    name_nodes(model)
    del model.graph.value_info[:]
    for kind in ("input", "output"):
        old, new = ([item.name for item in getattr(each.graph, kind)] for each in (before, model))
        if old != new:
            raise EdgecError(f"the simplifier changed the {kind}s from {old} to {new}")
        del getattr(model.graph, kind)[:]
        getattr(model.graph, kind).extend(getattr(before.graph, kind))
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise EdgecError(f"the simplified model is not valid: {' '.join(str(error).split())[:300]}") from error
    write_model(model, {}, folder)


def _nodes(model: onnx.ModelProto) -> int:
    return sum(len(graph.node) for graph in graphs(model))


def _in_one_line(error: EdgecError) -> str:
    return " ".join(f"{error.what} {error.why}".split())[:400]


def _share(source: Path, target: Path) -> None:
    """Copy a file; by a hard link where the file system allows it, so that large weights are stored once."""
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
