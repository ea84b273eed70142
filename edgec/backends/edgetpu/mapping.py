"""What the Edge TPU compiler would make of a file, as far as is published.

The prediction has never been held against the compiler itself: it is closed, and not to be had here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from edgec.backends.edgetpu import rules
from edgec.backends.edgetpu.macs import macs
from edgec.backends.edgetpu.memory import LARGE_WORKING_SET, MIB, Memory, estimate
from edgec.backends.edgetpu.network import Network, Operator
from edgec.backends.edgetpu.network import read as read_network
from edgec.backends.edgetpu.partition import subgraphs
from edgec.backends.edgetpu.statuses import Status

DISCLAIMER = "predicted; the predictor has not been validated against the compiler"

_BOUNDARY = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class Prediction:
    """One operator.

    operator: its name in the TensorFlow Lite schema. tensor: the name of its first result, mostly one of the ONNX
        model's.
    reason, remedy: why it is not mapped, and what would change that. caveat: what may yet keep a mapped one off.
    """

    index: int
    operator: str
    tensor: str
    version: int
    macs: int
    status: Status
    reason: str = ""
    remedy: str = ""
    caveat: str = ""


@dataclass(frozen=True)
class Remedy:
    """One change, and what would be mapped after it (and nothing else).

    operators: names of first results of the operators that it is about. what: the change, in words.
    mapped, macs_mapped: operators that would be mapped, and their share of all multiply-accumulates.
    gained: how many more than now.
    """

    operator: str
    operators: tuple[str, ...]
    reason: str
    what: str
    mapped: int
    gained: int
    macs_mapped: float


@dataclass(frozen=True)
class Mapping:
    """The prediction for a file.

    runtime: the version that the device has at least.
    end: the first operator that is left to the CPU though it needs the Edge TPU's results; None where there is none.
    remedies: the one that maps most multiply-accumulates first.
    warnings: what may make the compiler refuse the file as a whole.
    """

    runtime: int
    operators: tuple[Prediction, ...]
    end: str | None
    memory: Memory
    remedies: tuple[Remedy, ...]
    warnings: tuple[str, ...] = ()

    @property
    def mapped(self) -> int:
        """How many operators run on the Edge TPU."""
        return sum(item.status is Status.MAPPED for item in self.operators)

    @property
    def macs_mapped(self) -> float:
        """Their share of all multiply-accumulates; of a model without any, 1 where all operators are mapped."""
        return _share(self.operators, {item.index for item in self.operators if item.status is Status.MAPPED})

    def table(self) -> list[tuple[str, int, str]]:
        """(operator, count, status), as the compiler's log has it; by operator, most first."""
        counts: dict[tuple[str, str], int] = {}
        for item in self.operators:
            counts[item.operator, str(item.status)] = counts.get((item.operator, str(item.status)), 0) + 1
        return sorted(
            ((operator, count, status) for (operator, status), count in counts.items()),
            key=lambda row: (row[0], -row[1], row[2]),
        )

    def to_json(self) -> dict[str, Any]:
        """The document of a report."""
        return {
            "is": DISCLAIMER,
            "runtime": self.runtime,
            "operators": [asdict(item) for item in self.operators],
            "mapped": self.mapped,
            "macs_mapped": self.macs_mapped,
            "end": self.end,
            "memory": asdict(self.memory),
            "remedies": [asdict(item) for item in self.remedies],
            "warnings": list(self.warnings),
        }


def predict(file: bytes, runtime: int = rules.NEWEST_RUNTIME) -> Mapping:
    """The mapping of a .tflite file for devices whose Edge TPU runtime has version `runtime` or a later one.

    Raises ModelRefused for bytes that are no .tflite file.
    """
    return predict_network(read_network(file), runtime)


def predict_network(network: Network, runtime: int = rules.NEWEST_RUNTIME) -> Mapping:
    """The mapping of a network that is already read."""
    objections = {
        operator.index: found
        for operator in network.operators
        if (found := rules.objection(operator, runtime)) is not None
    }
    inside = _mapped(network, objections)
    predictions = tuple(_prediction(operator, objections.get(operator.index), inside) for operator in network.operators)
    memory = estimate(operator for operator in network.operators if operator.index in inside)
    return Mapping(
        runtime=runtime,
        operators=predictions,
        end=_end(network, inside),
        memory=memory,
        remedies=_remedies(network, predictions, objections, inside),
        warnings=tuple(_warnings(network, memory)),
    )


def _mapped(network: Network, objections: Collection[int]) -> set[int]:
    supported = {operator.index for operator in network.operators} - set(objections)
    return set(next(iter(subgraphs(network, supported)), []))


def _prediction(operator: Operator, objection: rules.Objection | None, inside: set[int]) -> Prediction:
    status, reason, remedy, caveat = Status.MAPPED, "", "", ""
    if objection is not None:
        status, reason, remedy = objection.status, objection.reason, objection.remedy
    elif operator.index not in inside:
        status, reason = Status.SUBGRAPH, "it needs the result of an operation that is not mapped"
    else:
        caveat = rules.caveat(operator) or ""
    return Prediction(
        operator.index, operator.name, operator.label, operator.version, macs(operator), status, reason, remedy, caveat
    )


def _end(network: Network, inside: set[int]) -> str | None:
    """The first operator outside that reads what an operator inside writes, but for the boundary's Dequantize."""
    written = {
        tensor.index for operator in network.operators if operator.index in inside for tensor in operator.outputs
    }
    for operator in network.operators:
        if operator.index not in inside and any(tensor.index in written for tensor in operator.given):
            if operator.name == "DEQUANTIZE" and all(tensor in network.outputs for tensor in operator.outputs):
                continue
            return operator.label
    return None


def _remedies(
    network: Network, predictions: tuple[Prediction, ...], objections: dict[int, rules.Objection], inside: set[int]
) -> tuple[Remedy, ...]:
    """What each kind of objection costs: operators of one kind with one remedy are taken together."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, found in objections.items():
        operator = predictions[index]
        if operator.operator not in _BOUNDARY:
            groups.setdefault((operator.operator, found.remedy), []).append(index)
    if len(groups) > 1:
        everything = [index for members in groups.values() for index in members]
    remedies = []
    for (name, what), members in groups.items():
        remedies.append(_remedy(network, predictions, objections, inside, name, what, members))
    if len(groups) > 1:
        remedies.append(
            _remedy(network, predictions, objections, inside, "all of these", "Change all of these.", everything)
        )
    return tuple(sorted(remedies, key=lambda item: (-item.macs_mapped, -item.mapped, item.operators)))


def _remedy(
    network: Network,
    predictions: tuple[Prediction, ...],
    objections: dict[int, rules.Objection],
    inside: set[int],
    name: str,
    what: str,
    members: list[int],
) -> Remedy:
    after = _mapped(network, [index for index in objections if index not in members])
    return Remedy(
        operator=name,
        operators=tuple(predictions[index].tensor for index in members),
        reason=objections[members[0]].reason if len(members) == 1 else "",
        what=what,
        mapped=len(after),
        gained=len(after) - len(inside),
        macs_mapped=_share(predictions, after),
    )


def _warnings(network: Network, memory: Memory) -> Iterable[str]:
    for operator in network.operators:
        rule = rules.RULES.get(operator.name)
        if rule is not None and operator.version > rule.version:
            yield (
                f"Didn't find op for builtin opcode '{operator.name}' version '{operator.version}': with these words "
                "the compiler refuses a whole file for one operator that is newer than it"
            )
            break
    if network.subgraphs > 1:
        yield f"The file has {network.subgraphs} subgraphs; only the first one is looked at"
    if memory.working_set > LARGE_WORKING_SET:
        yield (
            f"One operator reads and writes {memory.working_set / MIB:.1f} MiB: the compiler may refuse the file "
            "('Compilation failed due to large activation tensors in model'), or leave parameters less room"
        )


def _share(predictions: tuple[Prediction, ...], inside: Collection[int]) -> float:
    whole = sum(item.macs for item in predictions)
    if not whole:
        return float(len(inside) == len(predictions))
    return sum(item.macs for item in predictions if item.index in inside) / whole
