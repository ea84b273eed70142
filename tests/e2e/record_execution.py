"""Build models for every built-in target, and record where the artifacts were executed: executed.toml.

    python tests/e2e/record_execution.py [TARGET...]    measures, writes executed.toml and the README's table
    python tests/e2e/record_execution.py --backend tvm  measures one backend only
    python tests/e2e/record_execution.py --table        measures nothing, writes the table anew

Emulators and roots must be there: `edgec emulator setup --all`. All builds share one store, so that a model is
calibrated once; it is made in .cache/executions and may be removed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

from execution import MODELS, execute, pairs, read_records, table, with_table, write_records
from model_zoo.fetch import CASES

from edgec.backends import BACKENDS
from edgec.emulator import roots

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all that are built in")
    parser.add_argument("--backend", choices=BACKENDS, help="default: each that the targets list")
    parser.add_argument("--table", action="store_true", help="write the README's table, and measure nothing")
    arguments = parser.parse_args()
    known = {name for name, _ in pairs()}
    if unknown := set(arguments.targets) - known:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    records = read_records()
    if not arguments.table:
        os.environ["EDGEC_ROOTS_DIR"] = str(roots.folder())
        os.environ["EDGEC_CACHE_DIR"] = str(ROOT / ".cache" / "executions")
        for model in MODELS:
            case = CASES[model](seed=0)
            for name, backend in pairs():
                if name in (arguments.targets or known) and backend == (arguments.backend or backend):
                    with tempfile.TemporaryDirectory() as output:
                        execution = execute(case, name, backend, Path(output))
                    print(f"{model} {name} {backend}: {execution}", flush=True)
                    records.setdefault((name, backend), {})[model] = execution
                    write_records(records)
    README.write_text(with_table(README.read_text(encoding="utf-8"), table(records)), encoding="utf-8")
    print(table(records))


if __name__ == "__main__":
    main()
