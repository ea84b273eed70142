"""What a reader must know first, in sentences: what came out, whether it holds, how fast, how small."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from edgec.report import formats
from edgec.report.inputs import ReportInputs
from edgec.runners.execution import described
from edgec.samples import held_out

Tone = Literal["good", "doubtful", "bad"]

_PRECISIONS = {
    "int8": "INT8",
    "mixed": "mixed precision (INT8 and float)",
    "int8-weights": "INT8 weights, float arithmetic",
    "fp16": "float16 weights, float arithmetic",
    "float": "float",
}


RANDOM_DOUBT = (
    "Random numbers stood in for data: that its results agree on them says little of how it does on real inputs."
)

_DOMAIN = "calibration-domain"
"""What the parity gate begins with when the original proves nothing on the data."""


@dataclass(frozen=True)
class Headline:
    """tone decides the colour, `word` says the same for those who do not see it."""

    tone: Tone
    word: str
    text: str
    lead: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """Why there is no artifact: the parts of the error.

    attempt: flags worth a try where INT8 was refused, or ""; attempt_words: which layers they leave in float.
    """

    what: str
    why: tuple[str, ...]
    fix: tuple[str, ...]
    attempt: str
    attempt_words: str


def model_name(inputs: ReportInputs) -> str:
    """What the artifact is called; without a name of its own the model's file name, without its suffix."""
    return formats.clean(inputs.model.get("name") or PurePath(str(inputs.model["path"])).stem) or "model"


def target_title(inputs: ReportInputs) -> str:
    return formats.clean(inputs.target.get("title") or inputs.build["target"])


def precision(inputs: ReportInputs) -> str:
    """The precision that was built, in words."""
    return _PRECISIONS.get(str(inputs.build["precision"]), str(inputs.build["precision"]))


def headline(inputs: ReportInputs) -> Headline:
    """The verdict, and at most five sentences that carry it."""
    name, target = model_name(inputs), formats.clean(inputs.build["target"])
    status = inputs.build["status"]
    if status == "refused" and _proves_nothing(inputs):
        return Headline("bad", "Nothing proven", f"{name} was not shipped to {target}", _refusal(inputs))
    if status == "refused":
        return Headline("bad", "Refused", f"{name} was not shipped to {target}", _refusal(inputs))
    if status != "ok":
        return Headline("bad", "Failed", f"{name} could not be built for {target}", _refusal(inputs))
    doubt = RANDOM_DOUBT if on_random(inputs) else ""
    lead = tuple(
        filter(
            None, [_holds(inputs), measured(inputs), doubt, _precision_share(inputs), _smaller(inputs), _faster(inputs)]
        )
    )
    if inputs.parity is not None and inputs.parity["runner"] == "none":
        return Headline("doubtful", "Not executed", f"{name} was built for {target}, but not run", lead)
    if doubt:
        return Headline(
            "doubtful", "Holds, on random numbers only", f"{name} passed on {target}, but not on real data", lead
        )
    if inputs.parity is not None and inputs.parity["warnings"]:
        return Headline("good", "Holds, with remarks", f"{name} holds on {target}", lead)
    return Headline("good", "Holds", f"{name} holds on {target}", lead)


def failure(inputs: ReportInputs) -> Failure | None:
    """The error of a build without an artifact."""
    error: Mapping[str, Any] | None = inputs.build.get("error")
    if error is None:
        return None
    if _proves_nothing(inputs):
        return _nothing_proven(inputs, error)
    details = error.get("details") or {}
    worst = [formats.clean(layer["node"]) for layer in details.get("worst_layers", ())[:2]]
    why = details.get("failures") or str(error["why"]).splitlines()
    return Failure(
        what=formats.clean(error["what"]),
        why=tuple(formats.clean(line).strip() for line in why if str(line).strip()),
        fix=tuple(formats.clean(text) for text in str(error["fix"]).splitlines() if text.strip()),
        attempt=" ".join(f"--keep-float {shlex.quote(node)}" for node in worst),
        attempt_words="the worst layer" if len(worst) == 1 else "the two worst layers",
    )


def _proves_nothing(inputs: ReportInputs) -> bool:
    """Whether the gate refused because there was nothing to compare, not because results differ."""
    failures = ((inputs.build.get("error") or {}).get("details") or {}).get("failures") or ()
    return bool(failures) and all(_DOMAIN in str(text) for text in failures)


def _nothing_proven(inputs: ReportInputs, error: Mapping[str, Any]) -> Failure:
    """The error in the words of its cause: the data, not INT8."""
    failures = error["details"]["failures"]
    outputs = (
        (inputs.parity or {}).get("quantization", {}).get("outputs") or (inputs.quantize or {}).get("outputs") or ()
    )
    count = int((inputs.build.get("calibration") or {}).get("samples") or (inputs.inputs or {}).get("samples") or 0)
    alone = any("single sample" in str(text) for text in failures)
    fix = []
    if 0 < count < 4 or alone:
        fix.append("Give at least 4 samples, better 64: half of so few are held out to compare the results on.")
    if on_random(inputs):
        fix.append("Give data of real use with --calib: random numbers seldom make a model say anything.")
    elif not fix or any("single sample" not in str(item.get("degenerate") or "single sample") for item in outputs):
        fix.append("Give data of the kind that the model was made for, on which it finds something.")
        fix.append("See below whether the data reached the model as it expects it; --preprocess names a recipe.")
    fix.append("--precision float builds without INT8, for a look at what the model itself gives.")
    return Failure(
        what="The results could not be compared: "
        + ("there is a single sample" if alone else "the original model says nothing on this data"),
        why=tuple(formats.clean(text) for text in failures),
        fix=tuple(fix),
        attempt="",
        attempt_words="",
    )


def on_random(inputs: ReportInputs) -> bool:
    """Whether random numbers stood in for calibration data."""
    return bool((inputs.build.get("calibration") or {}).get("kind") == "random")


def calibration(inputs: ReportInputs) -> str:
    """How many samples of which source were used for what; "" when there were none, or nobody noted it."""
    given = inputs.build.get("calibration")
    if not given:
        return ""
    source = {"random": "random numbers, not from data", "arrays": "arrays"}.get(
        given["kind"], formats.clean(given["source"])
    )
    count = int(given["samples"])
    seen, compared = (len(part) for part in held_out(count))
    if inputs.inputs is None and inputs.quantize is None:
        return f"{formats.counted(compared, 'sample')} to compare on, from {source}"
    if seen == count == compared:
        return f"{formats.counted(count, 'sample')} for calibration, none held out, from {source}"
    return f"{formats.counted(seen, 'sample')} for calibration, {compared} held out, from {source}"


def asked(inputs: ReportInputs) -> list[tuple[str, str]]:
    """What was asked for, term by term."""
    model = inputs.model
    rows = [
        ("Model", formats.clean(model["path"])),
        (
            "Work",
            f"{formats.count(model['parameters'])} parameters, "
            f"{formats.count(model['macs'])} multiply-accumulates a run",
        ),
        ("Target", f"{target_title(inputs)} ({formats.clean(inputs.build['target'])})"),
    ]
    features = inputs.target.get("features") or ()
    machine = str(inputs.target.get("arch", ""))
    rows.append(("Processor", formats.clean(f"{machine} with {', '.join(features)}" if features else machine)))
    rows.append(("Backend", formats.clean(inputs.build["backend"])))
    rows.append(("Precision", precision(inputs)))
    if given := calibration(inputs):
        rows.append(("Samples", given))
    if inputs.recipe is not None:
        rows.append(("Preprocessing", formats.clean(inputs.recipe.get("name", "own recipe"))))
    if inputs.quantize is not None:
        rows.append(("Profile", formats.clean(inputs.quantize["profile"])))
    return rows


def built(inputs: ReportInputs) -> str:
    """What was asked for, in a line."""
    backend = formats.clean(inputs.build["backend"])
    return " · ".join((formats.clean(inputs.model["path"]), target_title(inputs), precision(inputs), backend))


def original_bytes(inputs: ReportInputs) -> int:
    """The size of the original; four bytes a parameter where the file's size was not noted."""
    return int(inputs.model.get("bytes") or 4 * inputs.model["parameters"])


def _refusal(inputs: ReportInputs) -> tuple[str, ...]:
    failed = failure(inputs)
    if failed is None:
        return ("There is no artifact.",)
    return (failed.what + ("" if failed.what.endswith(".") else "."), "There is no artifact.")


def executed(inputs: ReportInputs) -> str:
    """Where the artifact was executed, and on how many samples; "" where the build did not come that far."""
    return "" if inputs.parity is None else formats.clean(described(inputs.parity))


def _holds(inputs: ReportInputs) -> str:
    parity = inputs.parity
    if parity is None:
        return ""
    count = formats.counted(int(parity["samples"]), "held-out sample")
    if parity["runner"] == "none":
        outputs = parity["quantization"]["outputs"]
        compared = f"Its quantized reference was compared on {count}." if outputs else "Nothing was compared."
        return f"It was not executed: {formats.clean(parity['not_executed'])}. {compared}"
    ran = f"The shipped bytes ran on {_on_executed(parity)}"
    judged = [item for item in _judged(parity) if item["kind"] != "integer"]
    integers = [item for item in _judged(parity) if item["kind"] == "integer"]
    decisions = sum(item["decisions"] or 0 for item in judged)
    flips = sum(item["flips"] or 0 for item in judged)
    if decisions:
        changed = "none" if flips == 0 else str(flips)
        return f"{ran}: of {decisions:,} confident decisions, {changed} changed."
    worst = min((item["sqnr_db"] for item in judged), default=None)
    equal = min((item["exact_share"] or 0.0 for item in integers), default=None)
    if worst is None and equal is None:
        return f"{ran}."
    if worst is None or (worst >= formats.CAP_DB and equal is not None and equal < 1):
        return f"{ran}: {formats.percent(equal or 0.0)} of their integers are equal."
    if worst >= formats.CAP_DB:
        return f"{ran} and gave the original's outputs exactly."
    return f"{ran}; the output that differs most keeps {worst:.1f} dB."


def _on_executed(parity: Mapping[str, Any]) -> str:
    """The samples that the payload ran on, and what stood in for the device."""
    count, all_of_them = int(parity["executed_samples"]), int(parity["samples"])
    of = f"{count} of {formats.counted(all_of_them, 'held-out sample')}"
    text = of if count < all_of_them else formats.counted(count, "held-out sample")
    emulator = parity["emulator"]
    if emulator is not None:
        text += f" as an emulated {formats.clean(emulator['core'])}"
    idle = parity["idle_accelerator"]
    return f"{text}, without the {formats.clean(idle)}" if idle else text


def measured(inputs: ReportInputs) -> str:
    """What the user's own metric says, or ""."""
    metric = (inputs.parity or {}).get("metric")
    if not metric:
        return ""
    name = formats.clean(metric["name"])
    after = metric["reference"] if metric["artifact"] is None else metric["artifact"]
    count = formats.counted(int(metric["samples"]), "sample")
    part = _measured_in_part(metric)
    if after is None:
        return f"Your metric {name} is {metric['original']:.6g} for the original on {count}.{part}"
    who = "the artifact" if metric["artifact"] is not None else "its quantized reference"
    limit = "" if metric["max_drop"] is None else f" It may fall by {metric['max_drop']:g}."
    both = f"{metric['original']:.6g} for the original, {after:.6g} for {who}"
    return f"Your metric {name}, on {count}: {both}.{part}{limit}"


def _measured_in_part(metric: Mapping[str, Any]) -> str:
    """The metric where the artifact was executed on some of its samples only."""
    part = metric["executed"]
    if not part:
        return ""
    base = part["original"] if part["reference"] is None else part["reference"]
    who = "original" if part["reference"] is None else "reference"
    count = formats.counted(int(part["samples"]), "sample")
    return (
        f" On the {count} that the artifact was executed on: {base:.6g} for the {who}, {part['artifact']:.6g} for it."
    )


def _judged(parity: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [item for item in parity["total"]["outputs"] if item["degenerate"] is None and item["kind"] != "state"]


def _precision_share(inputs: ReportInputs) -> str:
    if inputs.compress is not None:
        before, after = (int(inputs.compress[key]) for key in ("bytes_before", "bytes_after"))
        kind = {"int8-weights": "INT8", "fp16": "float16"}[str(inputs.compress["precision"])]
        smaller = formats.times(before / max(after, 1))
        return f"Its weights are {kind}, {smaller} smaller than in float32; it computes in float throughout."
    if inputs.quantize is None:
        return "It computes in float throughout."
    share = float(inputs.quantize["int8_mac_fraction"])
    return f"{formats.percent(share)} of its multiply-accumulates run in INT8."


def _smaller(inputs: ReportInputs) -> str:
    artifact = inputs.build.get("artifact")
    if not artifact:
        return ""
    before, after = original_bytes(inputs), int(artifact["bytes"])
    if after <= 0 or before <= 0:
        return ""
    ratio = before / after
    if ratio >= 1.05:
        return f"It is {formats.times(ratio)} smaller."
    return f"It is {formats.times(1 / ratio)} as large." if ratio <= 0.95 else "Its size is the original's."


def _faster(inputs: ReportInputs) -> str:
    latency = inputs.latency
    if not latency:
        return ""
    if latency.get("ratio_of_medians") is None:
        return "Its latency was not measured."
    ratio = 1 / float(latency["ratio_of_medians"])
    where = "as ONNX Runtime with the original, side by side on this machine"
    doubt = " (the machine was busy: a rough figure)" if latency.get("noisy") else ""
    if 0.97 <= ratio <= 1.03:
        return f"It is as fast as ONNX Runtime with the original on this machine{doubt}."
    if ratio > 1:
        return f"It is {formats.times(ratio)} as fast {where}{doubt}."
    return f"It is slower, at {formats.times(ratio)} the speed of ONNX Runtime with the original{doubt}."


LAYERS_NOTE = (
    "What each layer alone would cost: the signal to noise of the model's worst output with only that layer in INT8. "
    "A longer bar is a greater loss."
)

TABLE_NOTE = (
    "SQNR is signal to noise: 20 dB is an error of a tenth, 40 dB of a hundredth. LSB is one step of the output's own "
    "quantization. A channel is dead when it holds more noise than signal."
)


def outputs_note(inputs: ReportInputs) -> str:
    """On what the outputs were compared, and what the two kinds of error are."""
    parity = inputs.parity
    if parity is None:
        held_out = int((inputs.quantize or {}).get("held_out") or 0)
        return f"The INT8 reference, compared on {formats.counted(held_out, 'held-out sample')}; no artifact was made."
    where = "the shipped bytes were not run"
    if parity["runner"] != "none":
        where = "the shipped bytes were run"
        part = int(parity["executed_samples"])
        if part < int(parity["samples"]):
            where = (
                f"the shipped bytes were run on {part} of them, which is where lowering and the artifact are measured, "
                "and what the figure shows"
            )
    if inputs.compress is not None:
        return (
            f"Compared on {formats.counted(int(parity['samples']), 'sample')}; {where}. Quantization error is what "
            "smaller weights cost; lowering error is what this engine's float arithmetic adds to it."
        )
    return (
        f"Compared on {formats.counted(int(parity['samples']), 'sample')} that calibration did not see; {where}. "
        "Quantization error is what INT8 itself costs, on any engine; lowering error is what this engine adds to it."
    )


def latency_note(inputs: ReportInputs) -> str:
    """How the latency was measured."""
    latency = inputs.latency
    if not latency or not latency.get("artifact"):
        return ""
    threads = formats.counted(int(latency["threads"]), "thread")
    note = (
        f"Medians of {latency['runs']} runs on {threads}, in turns, measured on this machine; the thin line spans "
        "the quartiles."
    )
    return note + (" The machine was busy meanwhile: take it as rough." if latency.get("noisy") else "")


def not_measured(inputs: ReportInputs) -> str:
    """Why there are no figures of latency although the build came that far, or ""."""
    latency = inputs.latency
    if not latency or latency.get("artifact"):
        return ""
    reason = formats.clean(latency.get("note") or "").removeprefix("Not measured: ")
    return reason or "This machine can't run the artifact."


def int8_note(inputs: ReportInputs) -> str:
    """The outcome of quantization in one sentence."""
    quantize = inputs.quantize
    if quantize is None:
        return ""
    nodes = quantize["nodes"]
    return (
        f"{formats.percent(float(quantize['int8_mac_fraction']))} of the multiply-accumulates run in INT8: "
        f"{formats.counted(int(nodes['int8']), 'node')} in INT8, {int(nodes['float'])} in float."
    )


def float_note(inputs: ReportInputs) -> str:
    nodes = (inputs.quantize or {}).get("float_nodes") or ()
    return f"{formats.counted(len(nodes), 'node')} in float, and why"


def stages_note(records: Sequence[Mapping[str, Any]]) -> str:
    """The sum, and how much of it was spared."""
    spent = sum(float(item["seconds"]) for item in records if not item["cached"])
    spared = sum(float(item["seconds"]) for item in records if item["cached"])
    text = f"{formats.seconds(spent)} of work in this build"
    return text + (f"; {formats.seconds(spared)} spared by results in the store." if spared else ".")
