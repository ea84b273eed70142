"""What the Edge TPU compiler prints, read.

Its output has no published grammar. What is read here is what people have posted of versions 2.1 to 16.0
(https://github.com/google-coral/edgetpu/issues 60, 356, 433, 439, 671); lines that are not known are passed over:

    Edge TPU Compiler version 16.0.384591198
    Started a compilation timeout timer of 180 seconds.           (16.0 only)

    Model compiled successfully in 96 ms.

    Input model: model.tflite
    Input size: 7.02MiB
    Output model: model_edgetpu.tflite
    Output size: 7.14MiB
    On-chip memory used for caching model parameters: 80.00KiB
    On-chip memory remaining for caching model parameters: 6.04MiB
    Off-chip memory used for streaming uncached model parameters: 0.00B
    Number of Edge TPU subgraphs: 1
    Total number of operations: 191
    Operation log: model_edgetpu.log

    Number of operations that will run on Edge TPU: 1             (only where some run on the CPU)
    Number of operations that will run on CPU: 190

    Operator                       Count      Status              (with -s; and in the file model_edgetpu.log)

    MEAN                           2          More than one subgraph is not supported
    QUANTIZE                       1          Mapped to Edge TPU
    Compilation child process completed within timeout period.    (16.0 only)
    Compilation succeeded!
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = r"(\d+(?:\.\d+)?)(B|KiB|MiB|GiB)"
_FIELDS = {
    "version": re.compile(r"Edge TPU Compiler version (\S+)"),
    "milliseconds": re.compile(r"Model compiled successfully in (\d+) ms"),
    "cached": re.compile(rf"On-chip memory used for caching model parameters: {_SIZE}"),
    "remaining": re.compile(rf"On-chip memory remaining for caching model parameters: {_SIZE}"),
    "streamed": re.compile(rf"Off-chip memory used for streaming uncached model parameters: {_SIZE}"),
    "subgraphs": re.compile(r"Number of Edge TPU subgraphs: (\d+)"),
    "operations": re.compile(r"Total number of operations: (\d+)"),
    "on_edgetpu": re.compile(r"Number of operations that will run on Edge TPU: (\d+)"),
    "on_cpu": re.compile(r"Number of operations that will run on CPU: (\d+)"),
}
_HEAD = re.compile(r"Operator\s+Count\s+Status\s*$")
_ROW = re.compile(r"(\S+)\s+(\d+)\s+(\S.*)$")
_END = re.compile(
    r"Compilation child process completed|Compilation succeeded|Compilation failed|Edge TPU Compiler version"
)
_COMPLAINT = re.compile(
    r"ERROR:|Invalid model:|Model not quantized|Model could not be parsed|Internal compiler error|Compilation failed:"
)


@dataclass(frozen=True)
class Row:
    """One line of the table: so many operators of one kind have this status, in the compiler's words."""

    operator: str
    count: int
    status: str


@dataclass(frozen=True)
class Log:
    """What was printed; None where a line is missing. Sizes are in bytes, as exact as two decimals of a MiB are.

    Where several models or attempts were printed (with -n or -d), it is the last one.
    complaints: lines that say that something went wrong.
    """

    version: str | None
    milliseconds: int | None
    cached: int | None
    remaining: int | None
    streamed: int | None
    subgraphs: int | None
    operations: int | None
    on_edgetpu: int | None
    on_cpu: int | None
    rows: tuple[Row, ...]
    complaints: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """Whether it says that a model was compiled."""
        return self.milliseconds is not None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parse(text: str) -> Log:
    """Read what the compiler printed, or the file NAME_edgetpu.log that it writes. Never raises: what is not there
    is None, what is not known is passed over."""
    found: dict[str, Any] = dict.fromkeys(_FIELDS)
    rows: list[Row] = []
    complaints: list[str] = []
    in_table = False
    for line in text.splitlines():
        line = line.strip()
        if _HEAD.match(line):
            in_table, rows = True, []
        elif _END.match(line):
            in_table = False
        elif in_table and (row := _ROW.match(line)):
            rows.append(Row(row[1], int(row[2]), row[3].strip()))
        if _COMPLAINT.match(line):
            complaints.append(line)
        for name, pattern in _FIELDS.items():
            if match := pattern.match(line):
                found[name] = _value(name, match)
    return Log(**found, rows=tuple(rows), complaints=tuple(complaints))


def _value(name: str, match: re.Match[str]) -> Any:
    if name == "version":
        return match[1]
    return int(match[1]) if match.re.groups == 1 else round(float(match[1]) * _UNITS[match[2]])
