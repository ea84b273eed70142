"""Artifacts by hand for installing: whole and signed, with a program in the place of a model and its runtime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgec.bundle import write
from edgec.runtime.agent.signatures import PREDICATE_TYPE, STATEMENT_TYPE
from edgec.shipping.signing import envelope, keys
from tests.runtime.agent import small

_MAIN = """
import json, sys
failed = sys.argv[1] == "selftest" and {failing!r}
error = {{"what": "The self-test failed", "why": "y is too far off", "fix": "build it for this CPU"}}
print(json.dumps({{"status": "failed", "error": error}} if failed else {{"status": "ok"}}))
sys.exit(6 if failed else 0)
"""
_PROVENANCE = {
    "predicateType": PREDICATE_TYPE,
    "predicate": {"buildDefinition": {"externalParameters": {"target": "host"}}, "runDetails": {"builder": {"id": ""}}},
}


def artifact(folder: Path, weights: bytes = b"1", failing: bool = False, **manifest: object) -> Path:
    """An artifact that this machine can run, FOLDER/net.edgec. failing: its self-test does."""
    statement = {"_type": STATEMENT_TYPE, "subject": [], **_PROVENANCE}
    files = {"payload/model.bin": weights, "golden.npz": b"", "parity.json": b"{}"}
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "net.edgec"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "_MAIN", _MAIN.format(failing=failing))
        patch.setattr(write, "runtime_sources", dict)
        files |= {"provenance.json": json.dumps(statement).encode()}
        write.write_bundle(place, small.manifest(**manifest), files)
    return place


def sign(path: Path, key: Path) -> Path:
    """Sign an artifact with the private key in a file; returns the artifact."""
    envelope.sign(path, [keys.signer(str(key))])
    return path
