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

IN_FLOAT = "computation in float"
"""What a remedy calls everything between a DEQUANTIZE and a QUANTIZE inside of the network."""

_QUANTIZE_THEM = (
    "Replace what these compute by operators that have an INT8 form, or leave them to the CPU at the end of the model."
)


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
    """One change, and what would be mapped after it and those before it.

    operator: of which kind the operators are that it is about; operators: the names of their first results.
    what: the change, in words. reason: of the first of them.
    mapped, macs_mapped: operators that would be mapped, and their share of all multiply-accumulates.
    gained: how many more than before this change.
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
    remedies: changes in the order in which each brings most; after all of them everything is mapped, but for what
        makes integers of float inputs, and float outputs of integers.
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
            "memory": {**asdict(self.memory), "sentence": self.memory.sentence},
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
    predictions = tuple(
        _prediction(operator, objections.get(operator.index), inside, _at_the_border(operator, network))
        for operator in network.operators
    )
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


def _prediction(
    operator: Operator, objection: rules.Objection | None, inside: set[int], at_the_border: bool
) -> Prediction:
    status, reason, remedy, caveat = Status.MAPPED, "", "", ""
    if objection is not None:
        status, reason, remedy = objection.status, objection.reason, objection.remedy
        if operator.name in ("QUANTIZE", "DEQUANTIZE") and not at_the_border:
            remedy = _QUANTIZE_THEM
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
        reads_it = operator.index not in inside and any(tensor.index in written for tensor in operator.given)
        if reads_it and not _at_the_border(operator, network):
            return operator.label
    return None


def _remedies(
    network: Network, predictions: tuple[Prediction, ...], objections: dict[int, rules.Objection], inside: set[int]
) -> tuple[Remedy, ...]:
    """Operators of one kind with one remedy change together. Next is always the change that maps most
    multiply-accumulates, then operators; where none brings anything alone, the one that is in the way first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for operator in network.operators:
        found = objections.get(operator.index)
        if found is None or _at_the_border(operator, network):
            continue
        key = (IN_FLOAT, _QUANTIZE_THEM) if in_float(operator, network) else (operator.name, found.remedy)
        groups.setdefault(key, []).append(operator.index)
    remedies: list[Remedy] = []
    left = dict(objections)
    now = set(inside)
    while groups:
        trials = {key: _mapped(network, left.keys() - set(members)) for key, members in groups.items()}
        key = max(groups, key=lambda key: (_share(predictions, trials[key]), len(trials[key]), -groups[key][0]))
        members, after = groups.pop(key), trials[key]
        remedies.append(
            Remedy(
                operator=key[0],
                operators=tuple(predictions[index].tensor for index in members),
                reason=objections[members[0]].reason,
                what=key[1],
                mapped=len(after),
                gained=len(after) - len(now),
                macs_mapped=_share(predictions, after),
            )
        )
        for index in members:
            del left[index]
        now = after
    return tuple(remedies)


def _at_the_border(operator: Operator, network: Network) -> bool:
    """Whether it makes integers of a float input, or a float output of integers."""
    if operator.name == "QUANTIZE":
        return operator.given[0] in network.inputs
    return operator.name == "DEQUANTIZE" and operator.outputs[0] in network.outputs


def in_float(operator: Operator, network: Network) -> bool:
    """Whether it has float operands or results, inside of the network."""
    has_float = any(tensor.dtype in ("float16", "float32") for tensor in operator.computed)
    return has_float and not _at_the_border(operator, network)


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
