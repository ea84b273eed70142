"""How far the artifact sizes that an analysis expects are from those that builds then made.

    python benchmarks/expected_sizes.py dist/*.report.json

Each INT8 build's report holds both: what was expected before the build, and the artifact's bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(paths: list[str]) -> int:
    rows = []
    for path in paths:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        build, analysis = report["build"], report.get("analysis") or {}
        expected = (analysis.get("expected_bytes") or {}).get(build["backend"])
        if build["artifact"] is None or expected is None or build["precision"] not in ("int8", "mixed"):
            print(f"{path}: no INT8 artifact with an expected size", file=sys.stderr)
            continue
        rows.append((Path(build["artifact"]["path"]).name, build["backend"], expected, build["artifact"]["bytes"]))
    if not rows:
        print("usage: python benchmarks/expected_sizes.py REPORT.json...", file=sys.stderr)
        return 2
    print(f"{'artifact':<44}{'backend':<11}{'expected':>11}{'real':>11}{'error':>9}")
    for name, backend, expected, real in rows:
        print(f"{name:<44}{backend:<11}{expected:>11,}{real:>11,}{expected / real - 1:>+9.1%}")
    worst = max(abs(expected / real - 1) for _, _, expected, real in rows)
    mean = sum(abs(expected / real - 1) for _, _, expected, real in rows) / len(rows)
    print(f"{len(rows)} artifacts: off by {mean:.1%} on average, by {worst:.1%} at most")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
