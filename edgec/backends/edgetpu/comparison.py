"""What was predicted beside what the compiler said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgec.backends.edgetpu.log import Log
from edgec.backends.edgetpu.mapping import Mapping


@dataclass(frozen=True)
class Difference:
    """Operators of one kind whose count with one status is not the predicted one."""

    operator: str
    status: str
    predicted: int
    actual: int


@dataclass(frozen=True)
class Comparison:
    """differences: empty where the compiler's table is the predicted one, line for line.

    mapped: (predicted, actual) numbers of operators on the Edge TPU; None where the log has no table.
    cached, streamed: whether the bytes in the log lie within the predicted range; None where the log has none.
    """

    compiler: str | None
    differences: tuple[Difference, ...]
    mapped: tuple[int, int] | None
    cached: bool | None
    streamed: bool | None

    @property
    def agrees(self) -> bool | None:
        """Whether the table is as predicted; None where the log has none."""
        return None if self.mapped is None else not self.differences

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "agrees": self.agrees}


def compare(mapping: Mapping, log: Log) -> Comparison:
    """Hold a prediction against the compiler's log of the same file."""
    actual: dict[tuple[str, str], int] = {}
    for row in log.rows:
        actual[row.operator, row.status] = actual.get((row.operator, row.status), 0) + row.count
    predicted = {(operator, status): count for operator, count, status in mapping.table()}
    differences: list[Difference] = []
    mapped = None
    if log.rows:
        for operator, status in sorted(predicted.keys() | actual.keys()):
            pair = predicted.get((operator, status), 0), actual.get((operator, status), 0)
            if pair[0] != pair[1]:
                differences.append(Difference(operator, status, *pair))
        mapped = mapping.mapped, sum(count for (_, status), count in actual.items() if status == "Mapped to Edge TPU")
    memory = mapping.memory
    return Comparison(
        compiler=log.version,
        differences=tuple(differences),
        mapped=mapped,
        cached=_within(log.cached, memory.cached),
        streamed=_within(log.streamed, memory.streamed),
    )


def _within(actual: int | None, predicted: tuple[int, int]) -> bool | None:
    return None if actual is None else predicted[0] <= actual <= predicted[1]
