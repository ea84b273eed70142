"""Counts of the ONNX node tests by operator, as a Markdown table: `python -m tests.ir.conformance.report [ROUTE]`."""

from __future__ import annotations

import sys
from collections import Counter

from tests.ir.conformance.cases import all_cases, claimed_operators
from tests.ir.conformance.outcome import Outcome, run
from tests.ir.conformance.refusals import refusal
from tests.ir.conformance.routes import ROUTES, Route, route_called


def counts(route: Route) -> tuple[Counter[Outcome], dict[str, Counter[Outcome]]]:
    """Of all cases, and of the cases of one operator by operator. Raises AssertionError for a case that fails."""
    total: Counter[Outcome] = Counter()
    by_operator: dict[str, Counter[Outcome]] = {}
    for case in all_cases():
        outcome = run(case, route, refusal(case, route.name) if case.claimed else None)
        total[outcome] += 1
        if len(case.operators) == 1:
            (operator,) = case.operators
            by_operator.setdefault(operator, Counter())[outcome] += 1
    return total, by_operator


def table(route: Route) -> str:
    """The report."""
    total, by_operator = counts(route)
    lines = [
        f"{total['passed']} ONNX node tests pass, {total['refused']} are refused with a reason, "
        f"{total['not claimed']} need an operator that is not claimed.",
        "",
        "| operator | passed | refused |",
        "|---|---|---|",
    ]
    for operator in sorted(claimed_operators()):
        found = by_operator.get(operator, Counter())
        lines.append(f"| {operator} | {found['passed']} | {found['refused']} |")
    missing = sorted(set(by_operator) - claimed_operators())
    return "\n".join([*lines, "", f"Not claimed: {', '.join(missing)}."])


def main(arguments: list[str]) -> int:
    wanted = arguments[0] if arguments else "reference"
    if wanted not in ROUTES:
        print(f"There is no route {wanted!r}: {', '.join(ROUTES)}", file=sys.stderr)
        return 2
    print(table(route_called(wanted)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
