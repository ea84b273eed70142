"""Keys that sign: from a file, from an environment variable, or in a PKCS#11 token that never gives them away.

    release.key                                   a file, PEM PKCS #8, perhaps with a passphrase
    env:RELEASE_KEY                               the same text in an environment variable, as CI systems keep secrets
    pkcs11:token=fleet;id=%02?module-path=LIB.so  a token, by its URI (RFC 7512)

Keys are Ed25519. Through PKCS#11 they are ECDSA on P-256, which is what securesystemslib signs with there; such keys in
files are taken too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgec.errors import OutputError, ToolMissing, UsageError

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

Ask = Callable[[str], str]
"""Asks a person for a secret; the text says for which."""

PASSPHRASE = "EDGEC_KEY_PASSPHRASE"
"""Environment variable: the passphrase of private keys."""
_FROM_ENVIRONMENT = "env:"
FROM_TOKEN = "pkcs11:"


def signer(reference: str, ask: Ask | None = None) -> Signer:
    """The key that `reference` names, ready to sign; `.public_key.keyid` is what people compare.

    ask: asks the user for a passphrase or PIN that the environment does not hold; None: nobody can be asked.

    Raises UsageError for a key that is missing, damaged, of another kind, or locked; ToolMissing.
    """
    if reference.startswith(FROM_TOKEN):
        need_securesystemslib()
        from edgec.shipping.signing.pkcs11 import open_token

        return open_token(reference, ask)
    if (content := from_environment(reference, "release.key")) is not None:
        return _from_pem(content, reference, ask)
    try:
        content = Path(reference).read_bytes()
    except OSError as error:
        raise UsageError(
            f"The key {reference} can't be read",
            f"The system says: {error.strerror}.",
            "Check the path, or make a key: edgec keygen NAME",
        ) from error
    return _from_pem(content, reference, ask)


def from_environment(reference: str, example: str) -> bytes | None:
    """The key that env:NAME stands for, in PEM; None for a reference of another kind.

    example: what a file with such a key is called. Raises UsageError where the variable holds nothing.
    """
    if not reference.startswith(_FROM_ENVIRONMENT):
        return None
    name = reference.removeprefix(_FROM_ENVIRONMENT)
    content = os.environ.get(name, "").encode()
    if not content.strip():
        raise UsageError(
            f"The environment variable {name} holds no key",
            "It is not set, or empty.",
            f'Put a key in PEM there: export {name}="$(cat {example})"',
        )
    return content


def public_pem(key: Signer) -> str:
    """The public half of a key, in PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    text: str = key.public_key.keyval["public"]
    if key.public_key.keytype != "ed25519":
        return text
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    return raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def generate(private: Path, public: Path, passphrase: bytes | None = None) -> Signer:
    """Make an Ed25519 key, and write its two halves; only the owner may read the private one.

    Raises OutputError, also where one of the files is there already: a key is never overwritten.
    """
    need_securesystemslib()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        KeySerializationEncryption,
        NoEncryption,
        PrivateFormat,
    )
    from securesystemslib.signer import CryptoSigner

    if public.exists():
        raise _there_already(public)
    key = Ed25519PrivateKey.generate()
    protection: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    _write_new(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection), 0o600)
    made = CryptoSigner(key)
    try:
        write_public(public, made)
    except OutputError:
        private.unlink()
        raise
    return made


def write_public(place: Path, key: Signer) -> None:
    """Write the public half of a key. Raises OutputError, also where the file is there already."""
    _write_new(place, public_pem(key).encode(), 0o644)


def readable_by_others(reference: str) -> bool:
    """Whether other users of this machine may read a private key's file."""
    if reference.startswith((_FROM_ENVIRONMENT, FROM_TOKEN)):
        return False
    return bool(Path(reference).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _from_pem(content: bytes, name: str, ask: Ask | None) -> Signer:
    need_securesystemslib()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    if b"PUBLIC KEY-----" in content:
        raise UsageError(
            f"{name} is a public key", "Only a private key can sign.", "Give the .key file that lies beside it."
        )
    locked = b"ENCRYPTED" in content[:200]
    passphrase = (
        secret(PASSPHRASE, f"Passphrase of {name}", f"The key {name} has a passphrase", ask) if locked else None
    )
    try:
        private = load_pem_private_key(content, passphrase.encode() if passphrase is not None else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if locked:
            raise UsageError(
                f"The passphrase does not open {name}",
                "It is another one, or the file is damaged.",
                f"Type it again, or correct {PASSPHRASE}.",
            ) from error
        raise UsageError(
            f"{name} holds no private key",
            "It is not a PEM file with a key in PKCS #8, or it is damaged.",
            "Make one with: edgec keygen NAME",
        ) from error
    if not isinstance(private, Ed25519PrivateKey) and not (
        isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1)
    ):
        raise UsageError(
            f"{name} is of a kind that edgec does not sign with",
            "Keys are Ed25519, or ECDSA on P-256.",
            "Make one with: edgec keygen NAME",
        )
    return CryptoSigner(private)


def secret(variable: str, prompt: str, needed: str, ask: Ask | None) -> str:
    """A secret from the environment variable, else from a person. Raises UsageError where there is neither."""
    if (value := os.environ.get(variable)) is not None:
        return value
    if ask is None:
        raise UsageError(
            needed, "Nobody can be asked for it: this is not a terminal.", f"Put it into the environment: {variable}"
        )
    return ask(prompt)


def _write_new(place: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise _there_already(place) from None
    except OSError as error:
        raise OutputError(
            f"{place} can't be written", f"The system says: {error.strerror}.", "Choose another place."
        ) from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def _there_already(place: Path) -> OutputError:
    return OutputError(
        f"{place} is there already",
        "A key is never overwritten: what it signed could not be told from forgeries any more.",
        "Choose another name, or move the file away.",
    )


def need_securesystemslib() -> None:
    try:
        import cryptography  # noqa: F401
        import securesystemslib  # noqa: F401
    except ImportError as error:
        raise ToolMissing(
            "Signing needs packages that are not installed", f"{error}.", "pip install 'edgec[ship]'"
        ) from error
