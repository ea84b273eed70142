"""Registries, and small artifacts that are signed."""

from __future__ import annotations

import pytest

from edgec.shipping.signing import keys
from tests.shipping.registry.registries import made_up_registry, real_registry


@pytest.fixture(scope="package")
def shared(tmp_path_factory):
    """A real registry, in which each test has repositories of its own."""
    with real_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture
def real(shared, request):
    """(registry, a reference in it that no other test has)."""
    return shared, f"{shared.address}/{abs(hash(request.node.nodeid))}/net:stable"


@pytest.fixture
def bad():
    """A registry that does what the test wants."""
    with made_up_registry() as made:
        yield made


@pytest.fixture(scope="package")
def key(tmp_path_factory):
    """(private key, public key), files."""
    folder = tmp_path_factory.mktemp("keys")
    keys.generate(folder / "maker", folder / "maker.pub")
    return folder / "maker", folder / "maker.pub"


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    """No test knows the passwords of whoever runs it."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))
