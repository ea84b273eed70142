"""Who vouches for an artifact: what is believed, and a message of its own for each thing that is not."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import textwrap

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from securesystemslib.dsse import Envelope

from edgec.runtime.agent.signatures import (
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    envelope_beside,
    provenance_of,
    public_keys,
    read_envelope,
    verify_envelope,
)
from edgec.runtime.errors import BundleError, InputError, Untrusted
from edgec.shipping.signing.envelope import sign
from edgec.shipping.signing.keys import generate, public_pem, signer
from tests.runtime.agent import small
from tests.shipping.small_artifacts import artifact


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Three keys by name; each has .signer and .pub, the file of its public half."""
    folder = tmp_path_factory.mktemp("keys")

    class Pair:
        def __init__(self, name):
            self.pub = folder / f"{name}.pub"
            self.signer = generate(folder / f"{name}.key", self.pub)
            self.id = self.signer.public_key.keyid

    return {name: Pair(name) for name in ("release", "second", "stranger")}


@pytest.fixture
def signed(tmp_path, keys):
    """An artifact that "release" signed."""
    path = artifact(tmp_path)
    sign(path, [keys["release"].signer])
    return path


def verify(path, *trusted, threshold=1):
    return verify_envelope(read_envelope(path), path, [key.pub for key in trusted], threshold)


def refused(path, *trusted, threshold=1):
    """What the refusal says, which ends with exit code 9."""
    with pytest.raises(Untrusted) as caught:
        verify(path, *trusted, threshold=threshold)
    assert caught.value.exit_code == 9
    assert caught.value.why and caught.value.fix
    return caught.value.what


def replace_statement(path, key, change):
    """Sign another statement with a key that is trusted."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": path.name, "digest": {"sha256": small.digest(path)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": provenance_of(path)["predicate"],
    }
    envelope = Envelope(json.dumps(change(statement)).encode(), PAYLOAD_TYPE, {})
    envelope.sign(key.signer)
    envelope_beside(path).write_text(json.dumps(envelope.to_dict()))


def test_what_was_signed_is_told(signed, keys):
    found = verify(signed, keys["release"], keys["stranger"])
    assert found.signers == (keys["release"].id,)
    assert (found.artifact, found.sha256, found.target) == ("net.edgec", small.digest(signed), "host")


def test_another_name_of_the_same_file_changes_nothing(signed, keys, tmp_path):
    moved = tmp_path / "model.edgec"
    signed.rename(moved)
    envelope_beside(signed).rename(envelope_beside(moved))
    assert verify(moved, keys["release"]).artifact == "net.edgec"


def test_every_attack_has_a_message_of_its_own(signed, keys, tmp_path):
    release, second, stranger = keys["release"], keys["second"], keys["stranger"]
    envelope = envelope_beside(signed)
    good, whole = envelope.read_bytes(), signed.read_bytes()
    said = {
        "wrong key": refused(signed, stranger),
        "below threshold": refused(signed, release, second, threshold=2),
    }

    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    signed.write_bytes(changed)
    said["changed artifact"] = refused(signed, release)
    signed.write_bytes(whole)

    other = artifact(tmp_path / "other", weights=b"2")
    envelope_beside(other).write_bytes(good)
    said["signature of another file"] = refused(other, release)

    document = json.loads(good)
    payload = base64.b64decode(document["payload"])
    document["payload"] = base64.b64encode(payload.replace(b'"host"', b'"rpi4"')).decode()
    envelope.write_text(json.dumps(document))
    said["changed envelope"] = refused(signed, release)

    envelope.write_text(json.dumps({**json.loads(good), "signatures": []}))
    said["no signature in it"] = refused(signed, release)

    envelope.write_bytes(b"not an envelope")
    said["no envelope"] = refused(signed, release)

    replace_statement(signed, release, lambda statement: {**statement, "predicate": {"buildDefinition": {}}})
    said["another provenance"] = refused(signed, release)

    replace_statement(signed, release, lambda statement: {**statement, "subject": []})
    said["about nothing"] = refused(signed, release)

    envelope.unlink()
    said["unsigned"] = refused(signed, release)
    assert len(set(said.values())) == len(said), said


def test_a_missing_artifact_is_not_called_unsigned(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        read_envelope(tmp_path / "net.edgec")


def test_one_key_given_twice_counts_once(signed, keys):
    with pytest.raises(InputError, match="2 signatures can't be asked for"):
        verify(signed, keys["release"], keys["release"], threshold=2)


def test_a_threshold_is_met_by_different_keys(signed, keys):
    sign(signed, [keys["second"].signer])
    found = verify(signed, keys["release"], keys["second"], keys["stranger"], threshold=2)
    assert set(found.signers) == {keys["release"].id, keys["second"].id}


def test_a_signature_that_another_key_claims_is_no_signature(signed, keys):
    """Someone copies a good signature under the id of a second trusted key."""
    place = envelope_beside(signed)
    document = json.loads(place.read_text())
    document["signatures"].append({**document["signatures"][0], "keyid": keys["second"].id})
    place.write_text(json.dumps(document))
    assert "changed after it was signed" in refused(signed, keys["release"], keys["second"], threshold=2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"payload": "", "payloadType": "x", "signatures": [{"keyid": 1, "sig": "!"}]}',
        b'{"payload": {}, "payloadType": [], "signatures": []}',
        b'{"payload": "e30=", "payloadType": "text/plain", "signatures": [{"keyid": "a", "sig": "AA=="}]}',
        b'{"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": "none"}',
        b" " * ((4 << 20) + 1),
    ],
)
def test_what_is_no_envelope_is_refused(signed, keys, content):
    with pytest.raises(Untrusted, match="not a DSSE envelope"):
        verify_envelope(content, signed, [keys["release"].pub])


def test_no_changed_byte_of_an_envelope_is_believed(signed, keys):
    good = read_envelope(signed)
    known = verify_envelope(good, signed, [keys["release"].pub])
    step = max(1, len(good) // 150)
    refusals = 0
    for position in range(0, len(good), step):
        changed = bytearray(good)
        changed[position] ^= 0x04
        try:
            assert verify_envelope(bytes(changed), signed, [keys["release"].pub]) == known  # a blank between words
        except Untrusted:
            refusals += 1
    assert refusals > 100


@pytest.mark.parametrize(
    "change",
    [
        lambda statement: [statement],
        lambda statement: {**statement, "_type": "https://in-toto.io/Statement/v0.1"},
        lambda statement: {**statement, "predicateType": "https://cyclonedx.org/bom"},
        lambda statement: {**statement, "predicate": "none"},
        lambda statement: {**statement, "subject": statement["subject"] * 2},
        lambda statement: {**statement, "subject": [{"name": "net.edgec", "digest": {"sha256": "0"}}]},
    ],
)
def test_another_kind_of_statement_is_refused_whoever_signed_it(signed, keys, change):
    replace_statement(signed, keys["release"], change)
    assert refused(signed, keys["release"]) == "What was signed is not a statement about an artifact"


def test_a_signed_file_that_is_no_artifact_is_refused(tmp_path, keys, signed):
    other = tmp_path / "other.edgec"
    other.write_bytes(b"PK no artifact")
    subject = {"name": "other.edgec", "digest": {"sha256": small.digest(other)}}
    replace_statement(signed, keys["release"], lambda statement: {**statement, "subject": [subject]})
    with pytest.raises(BundleError):
        verify_envelope(read_envelope(signed), other, [keys["release"].pub])


def test_nothing_of_an_artifact_is_opened_before_its_digest_is_right(signed, keys, monkeypatch):
    from edgec.runtime.agent import signatures

    monkeypatch.setattr(signatures.Bundle, "open", lambda path: pytest.fail("it was opened"))
    signed.write_bytes(signed.read_bytes() + b"x")
    refused(signed, keys["release"])


# --- public keys ---


def test_a_key_has_the_id_that_its_signer_has(keys):
    assert [key.keyid for key in public_keys([pair.pub for pair in keys.values()])] == [
        pair.id for pair in keys.values()
    ]


def test_an_ecdsa_key_on_p256_is_taken(tmp_path, signed):
    private = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "ec.key").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key = signer(str(tmp_path / "ec.key"))
    sign(signed, [key])
    found = verify_envelope(read_envelope(signed), signed, [public_pem(key).encode()])
    assert found.signers == (key.public_key.keyid,)


def _pem(private):
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (b"", "holds no public key"),
        (b"-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----", "is damaged"),
        (_pem(rsa.generate_private_key(65537, 2048)), "of a kind that edgec does not use"),
        (_pem(ec.generate_private_key(ec.SECP384R1())), "of a kind that edgec does not use"),
    ],
)
def test_what_is_no_key_of_ours_is_refused(pem, said):
    with pytest.raises(InputError, match=said):
        public_keys([pem])


def test_a_private_key_in_place_of_a_public_one_is_told_so(keys):
    with pytest.raises(InputError) as caught:
        public_keys([keys["release"].pub.with_suffix(".key")])
    assert "private key" in caught.value.why


def test_a_device_without_package_cryptography_verifies_ed25519_and_says_what_ecdsa_needs(tmp_path, signed, keys):
    private = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "ec.key").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    sign(signed, [signer(str(tmp_path / "ec.key"))])
    (tmp_path / "ec.pub").write_bytes(_pem(private))
    changed = signed.with_name("changed.edgec")
    changed.write_bytes(signed.read_bytes().replace(b"model.bin", b"model.bim"))
    envelope_beside(changed).write_bytes(read_envelope(signed))
    program = f"""
        import sys
        sys.modules["cryptography"] = None
        from pathlib import Path
        from edgec.runtime.agent.signatures import read_envelope, verify_envelope
        from edgec.runtime.errors import ArtifactFailure

        def attempt(path, key):
            try:
                return verify_envelope(read_envelope(path), path, [key]).signers[0]
            except ArtifactFailure as failure:
                return f"{{failure.exit_code}} {{failure.what}}"

        signed, changed = Path({str(signed)!r}), Path({str(changed)!r})
        for path, key in ((signed, {str(keys["release"].pub)!r}), (changed, {str(keys["release"].pub)!r}),
                          (signed, {str(tmp_path / "ec.pub")!r}), (signed, {str(keys["stranger"].pub)!r})):
            print(attempt(path, Path(key)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert done == [
        keys["release"].id,
        "9 changed.edgec was changed after it was signed",
        "8 A signature of net.edgec can't be checked here",
        "9 net.edgec is signed, but by none of the trusted keys",
    ]
