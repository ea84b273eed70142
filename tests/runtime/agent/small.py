"""Artifacts of a few kilobytes, whole in every respect but that nothing runs them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from unittest import mock

from edgec.bundle import write
from edgec.runtime.agent.release import Release
from edgec.runtime.agent.slot_folder import release_of
from edgec.runtime.device import architecture

_TENSOR = {"name": "x", "dtype": "float32", "shape": [1]}


def manifest(name: str = "net", **fields) -> dict:
    """A manifest for this machine, of a payload that needs no package."""
    return {
        "name": name,
        "target": "host",
        "arch": architecture(),
        "cpu_features": [],
        "threads": 1,
        "backend": "tvm",
        "precision": "float",
        "engine": {"name": "tvm", "distribution": "", "minimum_version": "", "options": {}},
        "inputs": [_TENSOR],
        "outputs": [_TENSOR],
        "state": {},
        "payload": ["payload/model.bin"],
        "selftest": {"tolerances": {}},
        **fields,
    }


def write_small(place: Path, content: str, **fields) -> Release:
    """Write an artifact whose payload is `content`; returns its release."""
    files = {
        "payload/model.bin": content.encode(),
        "golden.npz": b"",
        "parity.json": b"{}",
        "provenance.json": b"{}",
    }
    with mock.patch.object(write, "runtime_sources", dict):
        write.write_bundle(place, manifest(**fields), files)
    return release_of(place, "file")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
