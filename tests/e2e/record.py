"""Measure real models anew and write accuracy.toml: `python tests/e2e/record.py [MODEL...]`, all by default.

Run it after an improvement that a test reports, and look at the difference before committing it: a record may go down
only for a reason that the commit states.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "examples")]

from measurement import Measurement, Record, measure, read_records, write_records  # noqa: E402
from model_zoo.fetch import CASES  # noqa: E402


def main() -> None:
    records = read_records()
    for name in sys.argv[1:] or records:
        with tempfile.TemporaryDirectory() as output:
            measured = measure(CASES[name](), Path(output))
        if name in records:
            _show(name, records[name].measurement, measured)
            records[name] = replace(records[name], measurement=measured)
        else:
            print(f"{name}: {measured}\nnew: set its tolerance, and say why")
            records[name] = Record(measured, 0.0, "say why")
        write_records(records)


def _show(name: str, before: Measurement, after: Measurement) -> None:
    old = asdict(before)
    changes = [f"  {key}: {old[key]} -> {value}" for key, value in asdict(after).items() if value != old[key]]
    print("\n".join([f"{name}: {len(changes)} changes", *changes]))


if __name__ == "__main__":
    main()
