"""What a reader should know besides the verdict: every warning of a build, each said once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgec.parity.thresholds import Gate
from edgec.report import formats
from edgec.report.inputs import ReportInputs
from edgec.samples import held_out, samples_for

_CHANNELS = re.compile(r"output (.+): its channels could not be judged one by one: too few samples")
_DECISIONS = re.compile(r"output (.+): only \d+ confident decisions could be compared: .*more samples would prove more")

_CHANNEL_VALUES = 16  # what the parity gate wants to have seen of a channel
_Z_SQUARED = 1.2816**2  # the gate's confidence: 90 %, one-sided
_NOT_RUN = "The artifact was not executed: "
_NOT_TESTED = "The artifact did not test itself: "
_MOST_NAMES = 6
_ROUND = 8
_MOST_HELD_OUT = len(held_out(10_000)[1])


def warnings(inputs: ReportInputs) -> list[str]:
    """Everything that a stage warned of, each once, in the order of the stages."""
    said: dict[str, None] = {}
    for note in inputs.build.get("notes") or ():
        if note.get("level") == "warning":
            said[formats.clean(note["text"])] = None
    for document in (inputs.inputs, inputs.quantize, inputs.parity):
        for text in (document or {}).get("warnings") or ():
            said[formats.clean(text)] = None
    for document in (inputs.parity, _measured(inputs)):
        note = formats.clean((document or {}).get("note") or "")
        if note and not any(text in note for text in said):
            said[note] = None
    unrun = next((text for text in said if text.startswith(_NOT_RUN)), "").removeprefix(_NOT_RUN)
    return _merged([text for text in said if not _follows(text, unrun)], _compared(inputs))


def _follows(text: str, unrun: str) -> bool:
    """Whether `text` says no more than that what was not executed could not test itself either."""
    return bool(unrun) and text.startswith(_NOT_TESTED) and unrun.startswith(text.removeprefix(_NOT_TESTED))


def _measured(inputs: ReportInputs) -> Mapping[str, Any] | None:
    """Why nothing was measured is said in place of the figures."""
    return inputs.latency if inputs.latency and inputs.latency.get("artifact") else None


def _compared(inputs: ReportInputs) -> list[Mapping[str, Any]]:
    """The comparisons that the warnings are about, the most final ones first."""
    parity = inputs.parity or {}
    sections = [parity.get("total"), parity.get("quantization"), inputs.quantize]
    return next((list(section["outputs"]) for section in sections if section and section.get("outputs")), [])


def _merged(texts: Sequence[str], outputs: Iterable[Mapping[str, Any]]) -> list[str]:
    """All warnings of too few samples as one, in the place of the first."""
    by_name = {repr(formats.clean(item["name"])): item for item in outputs}
    needed: dict[str, int] = {}
    kept: list[str] = []
    first: int | None = None
    for text in texts:
        found = _CHANNELS.fullmatch(text) or _DECISIONS.fullmatch(text)
        item = by_name.get(found[1]) if found else None
        count = None if found is None or item is None else _enough(item, decisions=found.re is _DECISIONS)
        if found is None or count is None:
            kept.append(text)
            continue
        first = len(kept) if first is None else first
        needed[found[1]] = max(count, needed.get(found[1], 0))
    if first is not None:
        kept.insert(first, _too_few(needed))
    return kept


def _enough(item: Mapping[str, Any], *, decisions: bool) -> int | None:
    """How many outputs would have to be compared; None when that is not what is missing."""
    steps = int(item["steps"])
    if not steps:
        return None
    if decisions:
        if not item["decisions"]:
            return None
        flips, compared = int(item["flips"]), int(item["decisions"])
        return math.ceil(steps * decisions_wanted(flips / compared) / compared)
    # a channel has at least one value in each output; with more of them it would not have come to this warning so soon
    return _CHANNEL_VALUES if steps < _CHANNEL_VALUES and item["channels"] else None


def decisions_wanted(rate: float) -> int:
    """Confident decisions after which the gate no longer warns, if `rate` of them goes on changing.

    It warns while the upper end of Wilson's score interval is above twice the limit; this is that condition solved for
    the number of decisions.
    """
    limit = 2 * Gate().confident_flips
    return math.ceil(_Z_SQUARED * limit * (1 - limit) / (limit - rate) ** 2)


def _too_few(needed: Mapping[str, int]) -> str:
    names = list(needed)
    listed = ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else "")
    what = "output" if len(names) == 1 else "outputs"
    text = f"Too few samples were held out to judge {what} {listed} in full."
    most = -(-max(needed.values()) // _ROUND) * _ROUND  # how many decisions are confident is only an estimate
    if most <= _MOST_HELD_OUT:
        count = samples_for(most)
        return f"{text} About {count} samples should be enough: {len(held_out(count)[1])} of them are held out."
    return (
        f"{text} {samples_for(_MOST_HELD_OUT)} samples would tell most: never more than {_MOST_HELD_OUT} are held out."
    )
