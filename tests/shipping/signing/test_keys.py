"""Keys that sign: where they come from, and who may read them."""

from __future__ import annotations

import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgec.errors import OutputError, UsageError
from edgec.runtime.agent.signatures import public_keys
from edgec.shipping.signing.keys import PASSPHRASE, generate, public_pem, readable_by_others, signer


@pytest.fixture
def made(tmp_path):
    """A key in FOLDER/a.key and a.pub."""
    return generate(tmp_path / "a.key", tmp_path / "a.pub")


def test_only_its_owner_may_read_a_new_private_key(tmp_path):
    before = os.umask(0)
    try:
        generate(tmp_path / "a.key", tmp_path / "a.pub")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    assert not readable_by_others(str(tmp_path / "a.key"))
    (tmp_path / "a.key").chmod(0o640)
    assert readable_by_others(str(tmp_path / "a.key"))


@pytest.mark.parametrize("there", ["a.key", "a.pub"])
def test_a_key_is_never_overwritten(tmp_path, there):
    (tmp_path / there).write_text("precious")
    with pytest.raises(OutputError, match="is there already"):
        generate(tmp_path / "a.key", tmp_path / "a.pub")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_a_key_is_the_same_from_a_file_and_from_the_environment(tmp_path, made, monkeypatch):
    monkeypatch.setenv("RELEASE_KEY", (tmp_path / "a.key").read_text())
    ids = {signer(reference).public_key.keyid for reference in (str(tmp_path / "a.key"), "env:RELEASE_KEY")}
    assert ids == {made.public_key.keyid}
    assert public_keys([tmp_path / "a.pub", public_pem(made).encode()])[0].keyid == made.public_key.keyid


def test_a_passphrase_opens_a_key_from_the_environment_or_a_person(tmp_path, monkeypatch):
    made = generate(tmp_path / "a.key", tmp_path / "a.pub", b"correct horse")
    reference = str(tmp_path / "a.key")
    assert signer(reference, lambda prompt: "correct horse").public_key == made.public_key
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    assert signer(reference).public_key == made.public_key
    monkeypatch.setenv(PASSPHRASE, "wrong")
    with pytest.raises(UsageError, match="does not open"):
        signer(reference)
    monkeypatch.delenv(PASSPHRASE)
    with pytest.raises(UsageError, match="has a passphrase"):
        signer(reference)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no private key"),
        (
            rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "of a kind that edgec does not sign with",
        ),
    ],
)
def test_what_is_no_key_of_ours_is_refused(tmp_path, content, said):
    (tmp_path / "k").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        signer(str(tmp_path / "k"))


def test_a_public_key_does_not_sign(tmp_path, made):
    with pytest.raises(UsageError, match="is a public key"):
        signer(str(tmp_path / "a.pub"))


@pytest.mark.parametrize("reference", ["no-such.key", "env:NO_SUCH_KEY"])
def test_a_missing_key_is_named(reference):
    with pytest.raises(UsageError) as caught:
        signer(reference)
    assert reference.removeprefix("env:") in caught.value.what


def test_other_tools_read_what_was_made(tmp_path, made):
    """The files are plain PKCS #8 and SubjectPublicKeyInfo, for any other tool."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    private = load_pem_private_key((tmp_path / "a.key").read_bytes(), None)
    public = load_pem_public_key((tmp_path / "a.pub").read_bytes())
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    assert private.public_key() == public
