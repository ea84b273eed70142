"""What the backend made of the model: operators, transposes and floats that are left, what an accelerator takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.report import formats
from edgec.report.inputs import ReportInputs


@dataclass(frozen=True)
class InFloat:
    """An operation of a quantized model that computes in float."""

    operation: str
    result: str
    reason: str


@dataclass(frozen=True)
class TransposeLeft:
    """Bytes that are moved to another order at every inference; `size` in words."""

    value: str
    size: str
    why: str


@dataclass(frozen=True)
class MappedOperators:
    """Operators of one kind with one status in an accelerator's mapping."""

    operator: str
    count: int
    status: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class AcceleratorMapping:
    """What would run on an Edge TPU.

    label: "compiled" or "uncompiled". lead: what the table shows, in sentences. remedies: changes that would map more.
    """

    label: str
    lead: tuple[str, ...]
    rows: tuple[MappedOperators, ...]
    remedies: tuple[str, ...]


def in_float(inputs: ReportInputs) -> list[InFloat]:
    """Operations that stayed in float inside of a quantized payload, in its order."""
    return [
        InFloat(*(formats.clean(item[key]) for key in ("operation", "result", "reason")))
        for item in _facts(inputs).get("float_operations") or ()
    ]


def transposes(inputs: ReportInputs) -> list[TransposeLeft]:
    """Transposes that could not be had for free, the largest first."""
    found = sorted(_facts(inputs).get("transposes") or (), key=lambda item: -int(item["bytes"]))
    return [
        TransposeLeft(formats.clean(item["value"]), formats.size(item["bytes"]), formats.clean(item["why"]))
        for item in found
    ]


def payload_operators(inputs: ReportInputs) -> list[tuple[str, int]]:
    """Operators of the payload, by the engine's names, most first; empty where the backend counts none one by one."""
    counts = _facts(inputs).get("operators") or {}
    plain = [(formats.clean(name), count) for name, count in counts.items() if isinstance(count, int)]
    return sorted(plain, key=lambda item: (-item[1], item[0]))


def accelerator(inputs: ReportInputs) -> AcceleratorMapping | None:
    """The Edge TPU's part; None for payloads without one."""
    facts = _facts(inputs).get("edgetpu")
    if not facts:
        return None
    predicted = facts["predicted"]
    operators = predicted["operators"]
    lead = [
        f"{predicted['mapped']} of {formats.counted(len(operators), 'operation')} with "
        f"{formats.percent(predicted['macs_mapped'])} of the multiplications would run on the Edge TPU "
        f"({predicted['is']})."
    ]
    if predicted["end"] is not None:
        lead.append(f"Its part ends at {formats.clean(predicted['end'])}; the processor computes what comes after.")
    memory = formats.clean(predicted["memory"]["sentence"])
    lead.append(f"{memory[:1].upper()}{memory[1:]}.")
    lead += [f"{formats.clean(text)}." for text in predicted["warnings"]]
    compared = facts.get("comparison")
    if compared and compared["mapped"] is not None:
        lead.append(f"The compiler mapped {compared['mapped'][1]} operations, {compared['mapped'][0]} were predicted.")
    remedies = tuple(
        f"{formats.clean(item['operator'])}: {formats.clean(item['what'])} Then {item['mapped']} of "
        f"{formats.counted(len(operators), 'operation')} would be mapped."
        for item in predicted["remedies"]
    )
    return AcceleratorMapping(facts["label"], tuple(lead), _by_status(operators), remedies)


def _by_status(operators: Sequence[Mapping[str, Any]]) -> tuple[MappedOperators, ...]:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in operators:
        groups.setdefault((item["operator"], item["status"]), []).append(item)
    rows = []
    for (operator, status), items in sorted(groups.items()):
        reasons = dict.fromkeys(formats.clean(item["reason"]) for item in items if item["reason"])
        rows.append(MappedOperators(formats.clean(operator), len(items), formats.clean(status), tuple(reasons)))
    return tuple(rows)


def _facts(inputs: ReportInputs) -> Mapping[str, Any]:
    return (inputs.lower or {}).get("facts") or {}
