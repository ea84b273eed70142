"""From the user's file to the one form of model that the rest of edgec knows.

The steps work on the structure alone, see edgec.onnx_graph.hollow; native passes run in workers of their own.
"""

from __future__ import annotations

import difflib
import tempfile
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from edgec import worker
from edgec.contract import Contract, TensorSpec
from edgec.errors import ModelRefused, UsageError, WorkerCrashed, WorkerTimedOut
from edgec.onnx_graph import cost
from edgec.onnx_graph.constants import constants_to_initializers, name_nodes, plain_initializers
from edgec.onnx_graph.conversion import OPSET, Settled, settle
from edgec.onnx_graph.dependence import varying
from edgec.onnx_graph.finite import check_finite
from edgec.onnx_graph.graph import Graph
from edgec.onnx_graph.hollow import WEIGHTS, Data, detach_held, detach_weights, graphs, hollow_bytes, write_model
from edgec.onnx_graph.made_up_inputs import COARSE, RELATIVE, Agreement, compare_models
from edgec.onnx_graph.operators import check_operators, check_versions, count_operators, default_opset
from edgec.onnx_graph.shapes import check_sizes, freeze_inputs, text
from edgec.onnx_graph.untrusted import OpenedModel, open_model
from edgec.onnx_graph.widening import dtypes_inside, in_float32
from edgec.stage import StageContext
from edgec.stages.ingest import IngestParams

_PASSES_TIMEOUT = 600.0
_RUN_TIMEOUT = 900.0
_METADATA_LIMIT = 1 << 16  # bytes of metadata that ingest.json keeps


def ingest(path: Path, params: IngestParams, context: StageContext) -> None:
    """Read the model at `path` into the folder `context.out`. Raises ModelRefused, UnsupportedOp, UsageError."""
    with open_model(path) as opened:
        model = _parsed(opened)
        metadata = _metadata(model, context)
        weights = detach_weights(model, opened)
        check_versions(model)
        _tidy(model, context)
        check_operators(model)
        before = default_opset(model)
        _one_form(model, weights)
        _check_interface(model)
        freeze_inputs(model, params.shapes, context.warn)
        settled = _settled(model)
        ready = onnx.ModelProto.FromString(settled.model)
        _one_form(ready, weights)
        _check_outputs_vary(ready)
        check_finite(ready, weights)
        check_sizes(ready)
        write_model(ready, weights, context.out)
        narrow = dtypes_inside(ready)
        relative = COARSE if "float16" in narrow else RELATIVE
        data = weights
        if narrow:
            ready, data, narrow, comparable = _in_float32(ready, weights, narrow, relative, context)
            if not comparable:
                settled = replace(settled, changed=False)
        agreement = _tried(model, ready, weights, settled, relative, context)
        contract = _contract(ready, agreement)
        if _set_output_shapes(ready, contract):
            write_model(ready, data, context.out)
        if params.digest and opened.files().digest != params.digest:
            raise ModelRefused(
                f"{path} changed while edgec read it",
                "Its bytes are no longer those that the build started with: another program is writing it.",
                "Wait until the export or the download is complete, then build again.",
            )
    _check_state(contract, params.state)
    graph = Graph(ready)
    context.write_json("contract.json", contract.to_json())
    context.write_json(
        "ingest.json",
        {
            "opset_before": before,
            "opset": default_opset(ready),
            "ir_version": ready.ir_version,
            "nodes": sum(len(graph.node) for graph in graphs(ready)),
            "parameters": cost.parameters(graph),
            "macs": sum(cost.macs(graph).values()),
            "ops": count_operators(ready),
            "metadata": metadata,
            "widened": list(narrow),
            "branches_resolved": settled.branches,
            "producer": f"{ready.producer_name} {ready.producer_version}".strip(),
        },
    )


def _parsed(opened: OpenedModel) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(hollow_bytes(opened))
    except Exception as error:  # DecodeError, in whichever implementation of protobuf is installed
        raise ModelRefused(
            f"{opened.model.path} is not a valid ONNX model",
            f"protobuf says: {error}.",
            "Download or export the model again, and compare its size and checksum with the source's.",
        ) from error


def _metadata(model: onnx.ModelProto, context: StageContext) -> dict[str, str]:
    """The model's own notes (class names, strides), as far as they are small."""
    metadata = {item.key: item.value for item in model.metadata_props}
    if sum(len(key) + len(value) for key, value in metadata.items()) > _METADATA_LIMIT:
        large = sorted(metadata, key=lambda key: len(metadata[key]))[-1]
        context.info(f"The model's metadata is large ({large!r} most of all); entries above 1 KiB are not kept.")
        metadata = {key: value for key, value in metadata.items() if len(value) <= 1024}
    return metadata


def _tidy(model: onnx.ModelProto, context: StageContext) -> None:
    """Drop what has no part in inference: training graphs, comments, stack traces of exporters."""
    if model.training_info:
        context.info("The model carries a training graph, which edgec leaves out.")
    for name in ("training_info", "metadata_props", "doc_string", "configuration"):
        model.ClearField(name)
    for graph in graphs(model):
        if graph.sparse_initializer:
            raise ModelRefused(
                f"The model holds {len(graph.sparse_initializer)} sparse initializers",
                f"The first is {graph.sparse_initializer[0].values.name!r}. No backend of edgec takes sparse tensors.",
                "Export the model with dense weights.",
            )
        for name in ("doc_string", "metadata_props", "quantization_annotation"):
            graph.ClearField(name)
        for item in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
            item.ClearField("doc_string")
            item.ClearField("metadata_props")
        for node in graph.node:
            node.ClearField("device_configurations")
            if node.domain == "ai.onnx":
                node.domain = ""


def _one_form(model: onnx.ModelProto, weights: dict[str, Data]) -> None:
    """Constants as initializers with raw data, large ones kept outside; a name for every node."""
    constants_to_initializers(model)
    plain_initializers(model)
    name_nodes(model)
    detach_held(model, weights)


def _check_interface(model: onnx.ModelProto) -> None:
    """Raises ModelRefused unless the model computes something, from tensors of numbers to tensors of numbers."""
    graph = model.graph
    if not graph.node:
        raise ModelRefused("The model has no nodes", "There is nothing to compile.", "Export the model again.")
    if not graph.output:
        raise ModelRefused("The model has no outputs", "Its results would go nowhere.", "Export the model again.")
    if not graph.input:
        raise ModelRefused(
            "The model has no inputs", "It would compute the same result every time.", "Export the model again."
        )
    for item, role in [(item, "input") for item in graph.input] + [(item, "output") for item in graph.output]:
        kind = item.type.WhichOneof("value")
        if kind not in ("tensor_type", None) or item.type.tensor_type.elem_type == TensorProto.STRING:
            what = "holds strings" if kind == "tensor_type" else f"is a {(kind or '').removesuffix('_type')}"
            raise ModelRefused(
                f"The {role} {item.name!r} {what}",
                "An artifact takes and gives tensors of numbers.",
                "Cut that part off the graph (`onnx.utils.extract_model`), and do it outside of the artifact.",
            )


def _check_outputs_vary(model: onnx.ModelProto) -> None:
    """Raises ModelRefused for a model (of static shapes) of which no output depends on an input."""
    depending = varying(model.graph)
    names = [item.name for item in model.graph.output]
    if depending.isdisjoint(names):
        raise ModelRefused(
            f"No output of the model depends on an input: {', '.join(map(repr, names))}",
            "They are computed from constants and shapes alone, and would be the same every time.",
            "If the export has put constants where inputs should be, export again with what is to vary as arguments.",
            {"outputs": names},
        )


def _settled(model: onnx.ModelProto) -> Settled:
    try:
        settled: Settled = worker.call(
            settle, {"model": model.SerializeToString(deterministic=True)}, timeout=_PASSES_TIMEOUT
        )
    except (WorkerCrashed, WorkerTimedOut) as error:
        raise ModelRefused(
            "The onnx library fails on this model",
            f"{error.what}. {error.why}",
            "Export the model again with a current exporter and opset 17 or newer.",
        ) from error
    return settled


def _tried(
    model: onnx.ModelProto,
    ready: onnx.ModelProto,
    weights: dict[str, Data],
    settled: Settled,
    relative: float,
    context: StageContext,
) -> Agreement | None:
    """Run the model that was written; if a pass rewrote its nodes, compare it with what it was.

    relative: the largest difference that is no fault, see `compare_models`.
    None for a model too large to be run just for that.
    """
    if (context.out / WEIGHTS).exists():
        if settled.doubt:
            raise ModelRefused("The shapes of the model contradict each other", settled.doubt, _SIZES)
        if settled.changed:
            context.warn(
                f"The model was raised from opset {default_opset(model)} to {default_opset(ready)}, or arithmetic on "
                "shapes was folded; it is too large to be run twice to see that it still computes the same."
            )
        return None
    with tempfile.TemporaryDirectory(dir=context.out) as folder:
        first, second = context.out / "model.onnx", None
        if settled.changed:
            first, second = Path(folder) / "model.onnx", first
            model.ir_version = max(model.ir_version, ready.ir_version)
            write_model(model, weights, Path(folder))
        try:
            found: Agreement = worker.call(
                compare_models,
                {"first": first, "second": second, "inputs": _inputs(ready), "relative": relative},
                timeout=_RUN_TIMEOUT,
            )
        except (WorkerCrashed, WorkerTimedOut) as error:
            raise ModelRefused(
                "ONNX Runtime fails on this model",
                f"{error.what}. {error.why}",
                "edgec needs it to run the model as the reference. Check the sizes given with --shape.",
            ) from error
    if not found.loaded or (settled.doubt and not found.ran):
        raise ModelRefused("ONNX Runtime can't run the model", found.failure or settled.doubt, _SIZES)
    if settled.doubt:
        context.info(f"The model runs, though shape inference finds a contradiction in it: {settled.doubt}")
    if not found.ran:
        context.warn(f"The model fails on made-up inputs, so nothing but its structure was checked: {found.failure}")
    if found.worst:
        raise ModelRefused(
            f"Bringing the model from opset {default_opset(model)} to {default_opset(ready)} changes what it computes",
            f"On made-up inputs, {found.worst}. The passes of the onnx package are at fault, or those of edgec.",
            f"Export the model with `opset_version={OPSET}` or newer.",
        )
    return found


def _in_float32(
    plain: onnx.ModelProto, weights: dict[str, Data], narrow: tuple[str, ...], relative: float, context: StageContext
) -> tuple[onnx.ModelProto, dict[str, Data], tuple[str, ...], bool]:
    """The model in float32, its weights, `narrow`, and whether `plain` could be run to compare the two.

    It is written to `context.out`, where `plain` was written before. `plain` itself, and no dtypes, where the two do
    not compute the same: float64 can mean what it says.
    """
    wide, data = in_float32(plain, weights)
    kinds = " and ".join(narrow)
    comparable = True
    if (context.out / WEIGHTS).exists():
        context.warn(
            f"The model is too large to be run twice to see that it computes the same in float32 as in {kinds}."
        )
    else:
        with tempfile.TemporaryDirectory(dir=context.out) as folder:
            write_model(wide, data, Path(folder))
            first, second = context.out / "model.onnx", Path(folder) / "model.onnx"
            job = {"first": first, "second": second, "inputs": _inputs(plain), "relative": relative}
            try:
                found: Agreement = worker.call(compare_models, job, timeout=_RUN_TIMEOUT)
                comparable, wrong = found.loaded, found.worst
            except (WorkerCrashed, WorkerTimedOut) as error:
                wrong = f"{error.what}. {error.why}"
        if wrong:
            context.warn(
                f"The model computes in {kinds}, and not the same in float32, so it is left as it is: INT8 will not "
                f"reach those layers. On made-up inputs, {wrong}."
            )
            return plain, weights, (), True
    write_model(wide, data, context.out)
    context.info(
        f"The model computes in {kinds}; edgec computes it in float32 instead"
        + ("." if comparable else f" (ONNX Runtime can't run it in {kinds}, so the two were not compared).")
    )
    return wide, data, narrow, comparable


_SIZES = "Check the sizes given with --shape (many models need multiples of 32), and that the model runs elsewhere."


def _contract(model: onnx.ModelProto, agreement: Agreement | None) -> Contract:
    """Inputs and outputs; output shapes as they were when the model ran, else as they were inferred.

    Raises ModelRefused for an output whose shape is not known or depends on values.
    """
    seen = agreement.shapes if agreement is not None else {}
    outputs = []
    for item in model.graph.output:
        shape = seen.get(item.name, _static(item))
        if shape is None:
            raise _no_fixed_shape(item.name, model)
        outputs.append(_spec(item, shape))
    return Contract(_inputs(model), tuple(outputs))


def _inputs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    return tuple(_spec(item, _static(item) or ()) for item in model.graph.input)


def _static(item: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape of an input or output; None when it is not known or not static."""
    kind = item.type.tensor_type
    if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        return None
    return tuple(dim.dim_value for dim in kind.shape.dim)


def _spec(item: onnx.ValueInfoProto, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(item.name, str(helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)), shape)


def _no_fixed_shape(name: str, model: onnx.ModelProto) -> ModelRefused:
    dynamic = ("NonMaxSuppression", "NonZero", "Unique", "Compress", "Loop", "StringSplit")
    nodes = [f"{node.name} ({node.op_type})" for node in model.graph.node if node.op_type in dynamic]
    why = (
        f"The nodes that make it so may be: {', '.join(nodes[:5])}." if nodes else "It depends on values of the input."
    )
    return ModelRefused(
        f"The output {name!r} has no fixed shape",
        f"{why} An artifact needs static shapes.",
        "Cut the graph before that part (`onnx.utils.extract_model`), and do it outside of the artifact.",
        {"output": name},
    )


def _set_output_shapes(model: onnx.ModelProto, contract: Contract) -> bool:
    """Write the outputs' shapes into the model; returns whether that changed anything."""
    changed = False
    for item, spec in zip(model.graph.output, contract.outputs, strict=True):
        if _static(item) != spec.shape:
            changed = True
            shape = item.type.tensor_type.shape
            shape.SetInParent()
            del shape.dim[:]
            for size in spec.shape:
                shape.dim.add(dim_value=size)
    return changed


def _check_state(contract: Contract, state: tuple[tuple[str, str], ...]) -> None:
    """Raises UsageError unless each pair names an output and an input of one shape and dtype."""
    inputs = {spec.name: spec for spec in contract.inputs}
    outputs = {spec.name: spec for spec in contract.outputs}
    for source, into in state:
        for name, known, role in ((source, outputs, "output"), (into, inputs, "input")):
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                raise UsageError(
                    f"The model has no {role} {name!r}, which --state {source}:{into} names",
                    f"Its {role}s are: {', '.join(known)}.",
                    f"Did you mean {close[0]}?" if close else "Write --state OUTPUT:INPUT.",
                )
        left, right = outputs[source], inputs[into]
        if (left.shape, left.dtype) != (right.shape, right.dtype):
            raise UsageError(
                f"--state {source}:{into} does not fit the model",
                f"The output {source} is {left.dtype} {text(left.shape)}, the input {into} is {right.dtype} "
                f"{text(right.shape)}.",
                "A state must have one shape and type; check the sizes given with --shape.",
            )
