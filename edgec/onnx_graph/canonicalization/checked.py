"""Bring a stored model into its normal form, and believe the result only after it was checked and compared.

The passes are exact, and each is tested to be. But a model can be built so that rounding decides what it puts out, and
a pass can meet a graph that nobody thought of: what it did is compared with the model on made-up inputs. When they do
not agree, the first pass that breaks it is searched for by halving the list, and left out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from edgec import worker
from edgec.contract import Contract
from edgec.errors import EdgecError
from edgec.onnx_graph import cost
from edgec.onnx_graph.canonicalization.passes import PASSES, Canonical, PassFailed, canonical
from edgec.onnx_graph.graph import Graph
from edgec.onnx_graph.hollow import INLINE_LIMIT, WEIGHTS, Held, Weights, detach_held, graphs, write_model
from edgec.onnx_graph.made_up_inputs import Agreement, compare_models
from edgec.onnx_graph.operators import count_operators, default_opset
from edgec.onnx_graph.stored import open_stored
from edgec.stage import StageContext
from edgec.stages.canonicalize import CanonicalizeParams

_COMPARE_TIMEOUT = 900.0
_TITLES = {item.name: item.title for item in PASSES}


@dataclass
class _Work:
    """The model as it came, and what has been found out about passes that must not run on it.

    left_out: name of a pass to the reason.
    """

    source: Path
    model: onnx.ModelProto
    weights: Weights
    contract: Contract
    only_needed: bool
    left_out: dict[str, str]

    def canonical(self, without: tuple[str, ...] = ()) -> Canonical:
        """The model after all passes that may run; one that fails on it may not, from then on."""
        while True:
            try:
                skipped = (*self.left_out, *without)
                return canonical(self.model, self.weights, only_needed=self.only_needed, without=skipped)
            except PassFailed as failure:
                self.left_out[failure.name] = str(failure)

    def difference(self, found: Canonical, folder: Path) -> tuple[str, Agreement | None]:
        """Write a form of the model to `folder`: what is wrong with it ("" when nothing is), and how it compares."""
        try:
            _check(found.model)
        except Exception as error:
            return f"it makes a model that is not valid: {' '.join(str(error).split())[:300]}", None
        _write(self.source, found.model, self.weights, folder)
        try:
            agreement: Agreement = worker.call(
                compare_models,
                {
                    "first": self.source / "model.onnx",
                    "second": folder / "model.onnx",
                    "inputs": self.contract.inputs,
                    "blank": "bounded-mask" not in found.done,
                },
                timeout=_COMPARE_TIMEOUT,
            )
        except EdgecError as error:
            return f"what it makes can't be run: {' '.join(f'{error.what} {error.why}'.split())[:300]}", None
        return agreement.worst, agreement


def canonicalize(simplified: Path, params: CanonicalizeParams, context: StageContext) -> None:
    """Write the normal form of `simplified`/model.onnx, or the model itself, into `context.out`."""
    shutil.copyfile(simplified / "contract.json", context.out / "contract.json")
    with open_stored(simplified / "model.onnx") as (model, weights):
        needed = params.extent == "needed"
        work = _Work(simplified, model, weights, Contract.read(simplified), needed, {})
        found, agreement = (None, None) if params.extent == "none" else _settled(work, context)
        if found is None:
            for name in ("model.onnx", WEIGHTS):
                if (simplified / name).exists():
                    _share(simplified / name, context.out / name)
        for name, reason in work.left_out.items():
            context.warn(f"The rewrite {name!r} ({_TITLES[name]}) is left out for this model: {reason}")
        context.write_json("canonicalize.json", _report(model, found, agreement, work.left_out))


def _settled(work: _Work, context: StageContext) -> tuple[Canonical | None, Agreement | None]:
    """The normal form that was proven, now in `context.out`; None when there is nothing to rewrite."""
    while True:
        found = work.canonical()
        if not found.done:
            return None, None
        with tempfile.TemporaryDirectory(dir=context.out) as folder:
            wrong, agreement = work.difference(found, Path(folder))
            if not wrong and agreement is not None and not agreement.ran and not work.only_needed:
                context.warn(
                    f"The model fails on made-up inputs, so that its rewrites can't be compared with it: only those "
                    f"are done that quantization relies on. {agreement.failure}"
                )
                work.only_needed = True
                continue
            if not wrong:
                for file in Path(folder).iterdir():
                    file.rename(context.out / file.name)
                return found, agreement
        name, reason = _first_wrong(work, found, context.out)
        work.left_out[name] = reason or wrong


def _first_wrong(work: _Work, found: Canonical, scratch: Path) -> tuple[str, str]:
    """The first pass without which all before it is right, and what is wrong with it."""
    names = list(found.done)
    right, wrong, reason = 0, len(names), ""
    while wrong - right > 1:
        middle = (right + wrong) // 2
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            said, _ = work.difference(work.canonical(without=tuple(names[middle:])), Path(folder))
        if said:
            wrong, reason = middle, said
        else:
            right = middle
    return names[wrong - 1], reason


def _write(source: Path, model: onnx.ModelProto, weights: Weights, folder: Path) -> None:
    """Write a model and its weights; those of a large model that are the same are shared with `source`."""
    data = {item.name: weights[item.name] for item in model.graph.initializer if item.name in weights}
    detach_held(model, data)
    new = {name: held for name, held in data.items() if isinstance(held, Held)}
    if not (source / WEIGHTS).exists() or sum(held.length for held in new.values()) > INLINE_LIMIT // 2:
        write_model(model, data, folder)
        return
    for item in model.graph.initializer:
        if item.name in new:
            item.ClearField("data_location")
            del item.external_data[:]
            item.raw_data = new[item.name].read()
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    _share(source / WEIGHTS, folder / WEIGHTS)


def _check(model: onnx.ModelProto) -> None:
    """Raises what onnx.checker finds; large initializers count as inputs, as their data is not there."""
    light = onnx.ModelProto()
    light.CopyFrom(model)
    for index in reversed(range(len(light.graph.initializer))):
        item = light.graph.initializer[index]
        if item.data_location == TensorProto.EXTERNAL:
            light.graph.input.append(helper.make_tensor_value_info(item.name, item.data_type, list(item.dims)))
            del light.graph.initializer[index]
    onnx.checker.check_model(light, full_check=True)


def _report(
    model: onnx.ModelProto, found: Canonical | None, agreement: Agreement | None, left_out: dict[str, str]
) -> dict[str, Any]:
    after = model if found is None else found.model
    graph = Graph(after)
    done = {} if found is None else found.done
    return {
        "rewrites": [
            {
                "pass": name,
                "title": _TITLES[name],
                "count": item.count,
                "into": list(dict.fromkeys(item.into)),
                "nodes": item.nodes,
            }
            for name, item in done.items()
        ],
        "became": {} if found is None else found.became,
        "left_out": [{"pass": name, "title": _TITLES[name], "reason": reason} for name, reason in left_out.items()],
        "nodes_before": sum(len(item.node) for item in graphs(model)),
        "nodes_after": sum(len(item.node) for item in graphs(after)),
        "max_abs_diff": None if agreement is None or not agreement.ran else agreement.largest,
        "opset": default_opset(after),
        "ops": count_operators(after),
        "macs": sum(cost.macs(graph).values()),
        "parameters": cost.parameters(graph),
    }


def _share(source: Path, target: Path) -> None:
    """Copy a file; by a hard link where the file system allows it, so that large weights are stored once."""
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
