"""Signing: what is written beside an artifact, and what is refused before."""

from __future__ import annotations

import base64
import json

import pytest

from edgec.errors import ArtifactError, UsageError
from edgec.runtime.agent.signatures import envelope_beside
from edgec.shipping.signing.envelope import sign
from edgec.shipping.signing.keys import generate
from tests.shipping.small_artifacts import artifact


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return [generate(folder / f"{name}.key", folder / f"{name}.pub") for name in "ab"]


def signatures(path):
    return [item["keyid"] for item in json.loads(envelope_beside(path).read_text())["signatures"]]


def test_the_statement_is_an_in_toto_statement_about_the_file(tmp_path, keys):
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    path = artifact(tmp_path)
    signing = sign(path, keys[:1])
    envelope = json.loads(signing.envelope.read_text())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(envelope["payload"]))
    Statement.copy_from_pb(json_format.ParseDict(statement, statement_pb2.Statement())).validate()
    assert statement["subject"] == [{"name": "net.edgec", "digest": {"sha256": signing.sha256}}]


def test_signing_again_with_another_key_adds_a_signature(tmp_path, keys):
    path = artifact(tmp_path)
    assert not sign(path, keys[:1]).replaced
    again = sign(path, keys[1:])
    assert not again.replaced
    assert set(signatures(path)) == set(again.keys) == {key.public_key.keyid for key in keys}


def test_signing_again_with_the_same_key_changes_nothing(tmp_path, keys):
    path = artifact(tmp_path)
    sign(path, keys)
    before = envelope_beside(path).read_bytes()
    sign(path, keys[:1])
    assert envelope_beside(path).read_bytes() == before


def test_signatures_of_an_earlier_build_go(tmp_path, keys):
    path = artifact(tmp_path)
    sign(path, keys[:1])
    artifact(tmp_path, weights=b"another build")
    assert sign(path, keys[1:]).replaced
    assert signatures(path) == [keys[1].public_key.keyid]


def test_a_file_in_the_place_of_the_envelope_is_not_overwritten(tmp_path, keys):
    path = artifact(tmp_path)
    envelope_beside(path).write_text("my notes")
    with pytest.raises(UsageError, match="is there already"):
        sign(path, keys)
    assert envelope_beside(path).read_text() == "my notes"


def test_a_damaged_artifact_is_not_signed(tmp_path, keys):
    path = artifact(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        sign(path, keys)
    assert not envelope_beside(path).exists()


def test_an_artifact_without_provenance_is_not_signed(tmp_path, keys):
    from tests.runtime.agent.small import write_small

    write_small(tmp_path / "old.edgec", "weights")
    with pytest.raises(ArtifactError, match="does not tell how it was made"):
        sign(tmp_path / "old.edgec", keys)
