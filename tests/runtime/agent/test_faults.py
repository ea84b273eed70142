"""Whatever ends an installation, and wherever: what ran before runs, or the new version does, and both are whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.runtime.agent import small

_ROOT = Path(__file__).parents[3]
_SCENARIOS = ("first", "update", "unhealthy", "rollback", "boot loop", "confirm", "recover")
_PLAYED = [
    *((scenario, "powercut") for scenario in _SCENARIOS),
    ("rollback", "kill"),
    *((scenario, "ENOSPC") for scenario in ("first", "update", "boot loop", "rollback")),
    *((scenario, "EROFS") for scenario in ("rollback", "boot loop")),
    *((scenario, "EIO") for scenario in ("update", "rollback")),
]
_FEWEST = {"first": 20, "update": 40, "unhealthy": 40, "rollback": 10, "boot loop": 10, "confirm": 5, "recover": 40}
"""Calls that write in each scenario, at least: fewer would mean that the harness does not see them any more."""


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """A folder for each scenario, as it is before it is played. In memory where that can be: fsync is slow on disks."""
    memory = Path("/dev/shm")
    base = tmp_path_factory.mktemp("faults")
    if os.access(memory, os.W_OK):
        base = Path(tempfile.mkdtemp(prefix="edgec-faults-", dir=memory))
    code = "import sys; from pathlib import Path; from tests.runtime.agent import scenarios\n"
    code += "for each in sys.argv[2:]: scenarios.prepare(Path(sys.argv[1]) / each, each)"
    for scenario in _SCENARIOS:
        (base / scenario / "root").mkdir(parents=True)
        for number in (1, 2, 3):
            small.write_small(base / scenario / f"{number}.edgec", f"version {number}")
    subprocess.run([sys.executable, "-c", code, base, *_SCENARIOS], check=True, cwd=_ROOT, env=os.environ)
    yield base
    shutil.rmtree(base)


@pytest.mark.parametrize(("scenario", "kind"), _PLAYED)
def test_a_fault_at_every_call_leaves_a_model_that_loads(templates, scenario, kind):
    command = [sys.executable, "-m", "tests.runtime.agent.faults", templates, scenario, kind]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["wrong"] == [], done.stderr
    assert result["points"] >= _FEWEST[scenario]
