"""What the tests of a repository look at it with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgec.shipping.repository.reading import reference_client


class Device:
    """A client that keeps what it has seen: TUF's own."""

    def __init__(self, folder, root, cache):
        self.folder, self.root, self.cache = folder, root, cache
        cache.mkdir(parents=True, exist_ok=True)

    def releases(self, target="rpi4"):
        """What a device of `target` is told, verified."""
        return json.loads(self.fetch(f"{target}/releases.json"))

    def fetch(self, path):
        """A payload's verified bytes."""
        client = reference_client(self.folder, self.root, self.cache)
        client.refresh()
        info = client.get_targetinfo(path)
        assert info is not None, path
        return Path(client.download_target(info)).read_bytes()

    def version(self, channel="stable", model="net", target="rpi4"):
        return self.releases(target)["models"][model]["channels"][channel]["version"]


@pytest.fixture
def device(tmp_path):
    """Makes devices, each with a memory of its own."""
    count = 0

    def make(repository, root=None):
        nonlocal count
        count += 1
        return Device(repository.folder, root or repository.root, tmp_path / f"device-{count}")

    return make


@pytest.fixture(autouse=True)
def disk_that_does_not_wait(monkeypatch):
    """What is written outlives a killed process without fsync, which takes most of these tests' time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
