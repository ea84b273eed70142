"""What is in assembly as LLVM writes it: functions, and the loops that have no loop within."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FUNCTION = re.compile(r"^(edgec_\w+):")
_LABEL = re.compile(r"^(\.LBB\w+):")
_JUMP = re.compile(r"^(?:b|bl[a-z]|b[a-z]{2}|b\.[a-z]+|cbn?z\s.*,|tbn?z\s.*,|j[a-z]+)\s+(\.LBB\w+)$")


@dataclass(frozen=True)
class Function:
    """instructions: as they are written, one a string. loops: those of each innermost loop."""

    instructions: list[str]
    loops: list[list[str]]

    def loop_of(self, pattern: str) -> list[str]:
        """The innermost loop with most instructions that match."""
        return max(self.loops, key=lambda loop: count(loop, pattern))


def count(instructions: list[str], pattern: str) -> int:
    """How many instructions match at their beginning."""
    return sum(bool(re.match(pattern, item)) for item in instructions)


def functions(text: str) -> dict[str, Function]:
    """All kernels by their symbols."""
    found: dict[str, tuple[list[str], dict[str, int]]] = {}
    name = ""
    for line in text.splitlines():
        if match := _FUNCTION.match(line):
            name = match[1]
            found[name] = [], {}
        elif name and (match := _LABEL.match(line)):
            found[name][1][match[1]] = len(found[name][0])
        elif name and (match := re.match(r"^\t((?:\{vex\})?[a-z\t][^/@#]*)", line)):
            found[name][0].append(" ".join(match[1].split()))
    return {name: Function(code, _innermost(code, labels)) for name, (code, labels) in found.items()}


def _innermost(code: list[str], labels: dict[str, int]) -> list[list[str]]:
    spans = []
    for end, instruction in enumerate(code):
        match = _JUMP.match(instruction)
        if match and labels[match[1]] <= end:
            spans.append((labels[match[1]], end + 1))
    inner = [a for a in spans if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    return [code[start:end] for start, end in inner]
