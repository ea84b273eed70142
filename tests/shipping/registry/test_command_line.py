"""`edgec publish --oci` and `edgec fetch --oci`, as they are typed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edgec.cli import edgec
from edgec.errors import Unreachable, UsageError
from tests.shipping.small_artifacts import artifact, sign


@pytest.fixture
def net(tmp_path, key):
    return sign(artifact(tmp_path / "dist", weights=str(tmp_path).encode()), key[0])


def typed(*words):
    result = CliRunner().invoke(edgec, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("written", [["--oci", "{}"], ["--oci={}"]])
def test_what_is_typed_is_published_and_fetched(real, net, key, tmp_path, written):
    _, reference = real
    said = typed("publish", net, *(word.format(reference) for word in written), "--signed-by", key[1]).output
    assert "net@1  host" in said and "  signed" in said and "@sha256:" in said
    assert "as before" in typed("publish", net, "--oci", reference).output
    document = json.loads(typed("fetch", "--oci", reference, "-o", tmp_path, "--signed-by", key[1], "--json").output)
    assert document["fetched"][0]["version"] == 1
    assert (tmp_path / "net-host.edgec").read_bytes() == net.read_bytes()
    assert "not checked" in typed("fetch", "--oci", reference, "-o", tmp_path, "--unsigned").output


def test_whom_to_trust_has_to_be_said(real, key):
    _, reference = real
    with pytest.raises(UsageError, match="Nothing says whom to trust"):
        typed("fetch", "--oci", reference)
    with pytest.raises(UsageError, match="contradict each other"):
        typed("fetch", "--oci", reference, "--unsigned", "--signed-by", key[1])


def test_a_release_number_is_a_number(real, net):
    _, reference = real
    assert typed("publish", net, "--oci", reference, "--release", "0").exit_code == 2
    assert (
        json.loads(typed("publish", net, "--oci", reference, "--release", "5", "--json").output)["published"][0][
            "version"
        ]
        == 5
    )


def test_a_registry_that_is_not_there_is_named(net):
    with pytest.raises(Unreachable, match="no connection") as caught:
        typed("publish", net, "--oci", "127.0.0.1:1/models/net")
    assert caught.value.exit_code == 69


def test_help_says_how():
    assert "--oci HOST/REPOSITORY[:TAG]" in typed("publish", "--help").output
    assert "--release" in typed("publish", "--oci", "x", "--help").output
