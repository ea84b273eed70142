"""The Markdown report: what fits a pull request or a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from edgec.report import backends, evidence, formats, payload, remarks, story
from edgec.report.inputs import ReportInputs
from edgec.untrusted_text import markdown
from edgec.version import __version__

_MOST_NODES = 10


def render_markdown(inputs: ReportInputs) -> str:
    """The report as Markdown. Names from the model can't break out of their place."""
    headline = story.headline(inputs)
    lines = [f"# {markdown(headline.word)}: {markdown(headline.text)}", ""]
    lines += [markdown(sentence) + "  " for sentence in headline.lead]
    if (failure := story.failure(inputs)) is not None:
        lines += ["", "## Why there is no artifact", *_items(failure.why)]
        attempt = (f"Leave {failure.attempt_words} in float: {failure.attempt}",) if failure.attempt else ()
        if failure.fix or attempt:
            lines += ["", "## What to do", *_items((*failure.fix, *attempt))]
    if warnings := remarks.warnings(inputs):
        lines += ["", "## Worth knowing", *_items(warnings)]
    lines += _figures(inputs)
    if rows := backends.tried(inputs):
        tried = table(backends.TITLES, [backends.cells(row) for row in rows])
        lines += ["", "## What was tried", "", markdown(backends.why(inputs)), "", *tried]
    if outputs := evidence.output_rows(inputs):
        cells = [
            (row.name, f"proves nothing: {row.degenerate}", "", "", "")
            if row.degenerate
            else (
                *(row.name, row.quantization, _with(row.lowering, row.lowering_detail)),
                *(_with(row.total, row.total_detail), row.decisions),
            )
            for row in outputs
        ]
        titles = ("Output", "Quantization", "Lowering adds", "Artifact", "Decisions")
        lines += ["", "## Outputs", "", markdown(story.outputs_note(inputs)), "", *table(titles, cells)]
    if layers := evidence.worst_layers(inputs):
        losses = [(layer["node"], layer["op"], layer["level"], layer["cause"] or "–") for layer in layers]
        lines += ["", "## The weakest layers", "", *table(("Node", "Op", "SQNR", "Likely cause"), losses)]
    more = _float_nodes(inputs) + _accelerator(inputs)
    more += ["", "### Build", "", *table(("", ""), [*story.asked(inputs), *evidence.provenance(inputs)])]
    lines += ["", "<details><summary>More of this build</summary>", *more, "", "</details>"]
    lines += ["", f"Written by edgec {__version__}; all figures are in the HTML report."]
    return "\n".join(lines) + "\n"


def _float_nodes(inputs: ReportInputs) -> list[str]:
    nodes = evidence.float_nodes(inputs)
    if not nodes:
        return []
    reasons = [(node["name"], node["op"], node["reason"]) for node in nodes[:_MOST_NODES]]
    lines = ["", f"### {story.float_note(inputs)}", "", *table(("Node", "Op", "Why"), reasons)]
    return [*lines, "", f"and {len(nodes) - _MOST_NODES} more."] if nodes[_MOST_NODES:] else lines


def _figures(inputs: ReportInputs) -> list[str]:
    rows: list[tuple[str, ...]] = []
    if (agreement := evidence.agreement(inputs)) is not None:
        rows.append(("Agreement", "–", agreement.big))
    if artifact := inputs.build.get("artifact"):
        rows.append(("Size", formats.size(story.original_bytes(inputs)), formats.size(artifact["bytes"])))
    latency = inputs.latency
    if latency and latency.get("artifact") and latency.get("baseline"):
        before, after = latency["baseline"]["p50"], latency["artifact"]["p50"]
        rows.append(("Median latency", formats.milliseconds(before), formats.milliseconds(after)))
    elif reason := story.not_measured(inputs):
        rows.append(("Median latency", "not measured", f"not measured: {reason}"))
    return ["", *table(("", "Original", "Artifact"), rows)] if rows else []


def _accelerator(inputs: ReportInputs) -> list[str]:
    mapping = payload.accelerator(inputs)
    if mapping is None:
        return []
    rows = [(row.operator, str(row.count), row.status, "; ".join(row.reasons)) for row in mapping.rows]
    lines = [
        "",
        f"### On the Edge TPU: {markdown(mapping.label)}",
        "",
        *(markdown(sentence) + "  " for sentence in mapping.lead),
    ]
    lines += ["", *table(("Operator", "Count", "Status", "Why"), rows)]
    return [*lines, "", "#### What would map more", *_items(mapping.remedies)] if mapping.remedies else lines


def _with(text: str, detail: str) -> str:
    return f"{text} ({detail})" if detail else text


def _items(texts: Sequence[str]) -> list[str]:
    return ["", *(f"- {markdown(text)}" for text in texts)]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *([markdown(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]
