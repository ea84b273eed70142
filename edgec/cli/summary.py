"""The end of a build on the terminal: what was made, whether it holds, where to look."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.table import Table

from edgec.cli.candidates_table import is_search, print_candidates
from edgec.cli.markup import escape
from edgec.cli.report_error import report_error
from edgec.cli.sizes import size
from edgec.cost import price_text
from edgec.result import ArtifactFile, BuildResult, StageRecord, TargetBuild
from edgec.runners.execution import described
from edgec.spec import BuildSpec

_WORDS = {"int8-weights": "INT8 weights, float arithmetic,", "fp16": "float16 weights, float arithmetic,"}
PART_OF_THE_START = ("useful-range", "bias-correction")
"""Passes that every search begins with."""

_EXACT_DB = 119.0  # comparisons end at 120 dB


def print_results(results: Sequence[BuildResult], asked: Mapping[str, str] = MappingProxyType({})) -> None:
    """A block for each artifact on standard output, then the errors on standard error.

    asked: how targets were asked for, by their names, where that is a path.
    """
    console = Console(highlight=False, soft_wrap=True)
    for result in results:
        for built in result.builds:
            if built.artifact is not None:
                console.print(_block(built, built.artifact, asked.get(built.target, built.target)))
            if built.choice is not None and is_search(built.choice):
                print_candidates(built.choice, Console(highlight=False))
    for built in (built for result in results for built in result.builds if built.error is not None):
        assert built.error is not None
        report_error(built.error, prefix=f"{built.target}: ")
        if built.report is not None:
            Console(stderr=True, highlight=False, soft_wrap=True).print(f"  report {escape(str(built.report))}")


def _block(built: TargetBuild, artifact: ArtifactFile, target: str) -> str:
    kind = _WORDS.get(built.precision, built.precision)
    lines = [
        f"[bold]{escape(str(artifact.path))}[/]",
        f"  {'what':<9}{kind} through {built.backend}, {size(artifact.bytes)}{_share(built)}",
        f"  {'parity':<9}{_parity(built)}",
    ]
    if built.parity is not None:
        lines.append(f"  {'executed':<9}{escape(described(built.parity))}")
    if recovered := _recovered(built.quantization or {}):
        lines.append(f"  {'recovery':<9}{recovered}")
    if built.parity and built.parity.get("metric"):
        lines.append(f"  {'metric':<9}{_metric(built.parity['metric'])}")
    if built.latency and built.latency["artifact"]:
        lines.append(f"  {'latency':<9}{_latency(built.latency)}")
    if built.cost is not None:
        lines.append(f"  {'cost':<9}{escape(_cost(built.cost))}")
    if built.choice is not None:
        searched = is_search(built.choice)
        lines.append(f"  {'search':<9}{_why(built.choice)}" if searched else f"  {'backends':<9}{_tried(built.choice)}")
    if edgetpu := (built.lowered or {}).get("facts", {}).get("edgetpu"):
        lines.append(f"  {'edge tpu':<9}{_mapped(edgetpu)}")
    lines += [
        f"  {'sha256':<9}{artifact.sha256}",
        f"  {'report':<9}{escape(str(built.report))}",
        *([f"  {'graph':<9}{escape(str(built.graph))}"] if built.graph is not None else []),
        f"  {_trial(built, artifact.path, target)}",
    ]
    return "\n".join(lines)


def _trial(built: TargetBuild, artifact: Path, target: str) -> str:
    """The command that tries an artifact, quoted for a shell: here, on the emulated device, or on the device itself."""
    path = escape(shlex.quote(str(artifact)))
    if built.parity is not None and built.parity["runner"] == "native":
        return f"{'try it':<9}python3 {path} selftest"
    if built.parity is not None and built.parity["runner"] != "none":
        return f"{'try it':<9}edgec emulator run {escape(shlex.quote(target))} {path} selftest"
    return f"{'try it':<9}on the device: python3 {escape(shlex.quote(artifact.name))} selftest"


def _share(built: TargetBuild) -> str:
    if built.compression is not None:
        before, after = built.compression["bytes_before"], built.compression["bytes_after"]
        return f", weights {size(before)} in float32, {size(after)} now"
    if built.precision == "float":
        return ""
    floats = len(built.float_nodes)
    kept = f", {floats} {'node' if floats == 1 else 'nodes'} in float" if floats else ""
    return f", {built.int8_mac_fraction:.1%} of multiply-accumulates in INT8{kept}"


def _parity(built: TargetBuild) -> str:
    """The worst SQNR over the outputs of what was executed."""
    parity = built.parity
    if parity is None or (parity["runner"] == "none" and not parity["quantization"]["outputs"]):
        return "nothing was compared"
    if parity["runner"] == "none":
        return f"its quantized reference passed on {parity['samples']} samples"
    values = [
        output["sqnr_db"]
        for output in parity["total"]["outputs"]
        if output["degenerate"] is None and output["kind"] not in ("state", "integer")
    ]
    worst = f", {min(values):.1f} dB to the original at the worst output" if values else ""
    if values and min(values) >= _EXACT_DB:
        worst = ", equal to the original to the last bits of a float"
    on = " of random numbers, which say nothing about real data" if built.calibration_is_random else ""
    part = parity["executed_samples"]
    executed = f", the artifact on {part} of them" if part < parity["samples"] else ""
    return f"passed on {parity['samples']} samples{on}{executed}{worst}"


def _recovered(quantization: Mapping[str, Any]) -> str:
    """What the recovery passes have won, and which of them; "" where none was needed."""
    kept = [step for step in quantization.get("recovery") or () if step["status"] in ("accepted", "forced")]
    kept = [step for step in kept if step["pass"] not in PART_OF_THE_START and step["sqnr_before_db"] is not None]
    if not kept:
        return ""
    names = ", ".join(step["pass"] for step in kept)
    return f"{kept[0]['sqnr_before_db']:.1f} -> {kept[-1]['sqnr_after_db']:.1f} dB in the search, by {names}"


def _metric(metric: Mapping[str, Any]) -> str:
    """The user's own measure, before and after; on few samples beside its reference, where only those were executed."""
    after = metric["reference"] if metric["artifact"] is None else metric["artifact"]
    of = " (quantized reference)" if metric["artifact"] is None and after is not None else ""
    limit = "" if metric["max_drop"] is None else f", at most {metric['max_drop']:g} lower"
    reached = "not measured" if after is None else f"{after:.6g}{of}"
    text = f"{metric['name']} {metric['original']:.6g} -> {reached} on {metric['samples']} samples{limit}"
    if part := metric["executed"]:
        base = part["original"] if part["reference"] is None else part["reference"]
        text += f"; executed on {part['samples']}: {base:.6g} -> {part['artifact']:.6g}"
    return escape(text)


def _mapped(edgetpu: Mapping[str, Any]) -> str:
    """How much of a payload the Edge TPU takes, and who says so."""
    predicted = edgetpu["predicted"]
    text = f"{edgetpu['label']}; {predicted['mapped']} of {len(predicted['operators'])} operations predicted to map"
    compared = edgetpu["comparison"]
    return f"{text}, {compared['mapped'][1]} did" if compared and compared["mapped"] is not None else text


def _latency(latency: Mapping[str, Any]) -> str:
    ratio = 1 / latency["ratio_of_medians"]
    speed = f"{ratio:.2f}x as fast as" if ratio >= 1 else f"slower, {ratio:.2f}x the speed of"
    threads = "one thread" if latency["threads"] == 1 else f"{latency['threads']} threads"
    return f"{latency['artifact']['p50']:.3g} ms on this machine with {threads}, {speed} the original in ONNX Runtime"


def _cost(cost: Mapping[str, Any]) -> str:
    """What an inference costs, and what is saved."""
    after = cost["after"]
    if after is None:
        return str(cost["note"])
    price = (
        None
        if after["per_1000"] is None
        else f"{price_text(after['per_1000'])} {cost['currency']} for 1,000 inferences"
    )
    energy = None if after["joules"] is None else f"{after['joules']:.3g} J for each"
    saved = cost["saved"]
    change = "" if saved is None else f", {abs(saved):.0%} {'less' if saved >= 0 else 'more'} than the original"
    return f"{', '.join(filter(None, (price, energy)))}{change} (estimate)"


def _why(choice: Mapping[str, Any]) -> str:
    tried = sum(item["not_tried"] is None for item in choice["candidates"])
    return escape(f"{tried} of {len(choice['candidates'])} candidates built, this one kept. {choice['why']}")


def _tried(choice: Mapping[str, Any]) -> str:
    """What became of the backends that were tried."""

    def one(item: Mapping[str, Any]) -> str:
        ratio, count = item["ratio_of_medians"], item["instructions"]
        figure = f"{1 / ratio:.2f}x" if ratio else f"{count / 1000:,.0f} thousand instructions" if count else ""
        outcome = item["status"] if item["error"] else figure
        return f"{item['backend']} {outcome}".rstrip()

    return escape(f"{', '.join(map(one, choice['candidates']))}. {choice['why']}")


def print_plan(
    spec: BuildSpec,
    records: Sequence[StageRecord],
    candidates: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> None:
    """What `--dry-run` shows. candidates: of a search, by target, as in `pipeline.Plan`."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{escape(str(spec.model))}[/] for {', '.join(spec.targets)}, into {escape(str(spec.output))}/")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("stage", "what", "now"):
        table.add_column(title)
    for record in records:
        now = f"in the store (took {record.seconds:.1f} s)" if record.cached else "to be done"
        table.add_row(record.name, record.detail or "", now)
    console.print(table)
    for target, found in (candidates or {}).items():
        able = [escape(name) for name, reason in found if not reason]
        console.print(f"\n[bold]{len(able)} candidates[/] for {escape(target)}:")
        for name in able:
            console.print(f"  {name}")
        for name, reason in found:
            if reason:
                console.print(f"  left out: {escape(name)}: {escape(reason)}", style="dim")
