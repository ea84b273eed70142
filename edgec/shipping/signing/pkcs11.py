"""Keys in PKCS#11 tokens: hardware that signs, and never gives the key away.

Built on securesystemslib's HSMSigner, which knows ECDSA there and not Ed25519.
"""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, unquote_to_bytes

from securesystemslib.signer import HSMSigner, Signature

from edgec.errors import ToolMissing, UsageError
from edgec.shipping.signing.keys import FROM_TOKEN, Ask, secret

PIN = "EDGEC_PKCS11_PIN"
"""Environment variable: the PIN of the token."""

_LIBRARY = "PYKCS11LIB"
"""Environment variable from which PyKCS11 takes the library that speaks to the token."""

_FIELDS = {"token": "label", "serial": "serialNumber", "manufacturer": "manufacturerID", "model": "model"}
"""Attribute of RFC 7512 to PKCS#11's field of a token, by which securesystemslib finds it."""


class TokenKey(HSMSigner):
    """A key in a token. Asks for the PIN once, when it first signs."""

    uri = ""

    def sign(self, payload: bytes) -> Signature:
        """Raises UsageError where the token refuses: another PIN, the token is gone, no private half of the key."""
        from PyKCS11 import PyKCS11Error

        try:
            return super().sign(payload)
        except (ValueError, PyKCS11Error) as error:
            raise UsageError(
                "The token did not sign",
                f"It says: {_said(error)}. Asked was for {self.uri}",
                f"Check the PIN ({PIN}; tokens lock after some wrong ones), and that it holds the private key.",
            ) from error


def open_token(uri: str, ask: Ask | None) -> TokenKey:
    """The key on P-256 that a PKCS#11 URI (RFC 7512) names: its id, one byte, and what the token must be.

    Raises UsageError where there is none, ToolMissing without PyKCS11.
    """
    key_id, fields, library = _parse(uri)
    try:
        from PyKCS11 import PyKCS11Error
    except ImportError as error:
        raise ToolMissing(
            "Keys in PKCS#11 tokens need package PyKCS11", f"{error}.", "pip install 'edgec[hsm]'"
        ) from error
    if library is not None:
        os.environ[_LIBRARY] = library
    if _LIBRARY not in os.environ:
        raise UsageError(
            "It is not known which library speaks to the token",
            f"Neither {uri} nor the environment variable {_LIBRARY} names one.",
            "Append ?module-path=/usr/lib/softhsm/libsofthsm2.so, or your token's own library.",
        )
    known: list[str] = []

    def pin(_: str) -> str:
        if not known:
            known.append(secret(PIN, f"PIN of {fields.get('label', 'the token')}", "The token wants its PIN", ask))
        return known[0]

    try:
        named, public = TokenKey.import_(key_id, fields or None)
        key = TokenKey.from_priv_key_uri(named, public, pin)
    except (ValueError, PyKCS11Error) as error:
        raise UsageError(
            f"The token has no key that {uri} names",
            f"{_said(error)}. Looked for is an ECDSA key on P-256, private and public half.",
            "See what is there: pkcs11-tool --module LIB.so --list-token-slots --list-objects",
        ) from error
    if public.scheme != "ecdsa-sha2-nistp256":
        raise UsageError(
            f"The key of {uri} is of a kind that edgec does not sign with",
            f"It is {public.scheme}; devices check ECDSA on P-256.",
            "Make one on P-256 in the token: pkcs11-tool --keypairgen --key-type EC:prime256v1",
        )
    assert isinstance(key, TokenKey)  # what a class method of HSMSigner makes of this class
    key.uri = uri
    return key


def _parse(uri: str) -> tuple[int, dict[str, str], str | None]:
    """The key's id, what the token's fields must be, and the path of the library."""
    path, _, query = uri.removeprefix(FROM_TOKEN).partition("?")
    attributes = dict(item.partition("=")[::2] for item in path.split(";") if item)
    asked = dict(parse_qsl(query))
    library = asked.pop("module-path", None)
    unknown = (set(attributes) - {*_FIELDS, "id", "type"}) | set(asked)
    identifier = unquote_to_bytes(attributes.get("id", ""))
    if unknown or len(identifier) != 1:
        strange = f"{', '.join(sorted(unknown))} can't be given. " if unknown else ""
        raise UsageError(
            f"{uri} does not name a key",
            f"{strange}A key is found by its id, which is one byte, and by its token.",
            f"Write pkcs11:token=LABEL;id=%02?module-path=LIB.so; the PIN is asked for, or taken from {PIN}.",
        )
    fields = {
        _FIELDS[name]: unquote_to_bytes(value).decode("utf-8", "replace")
        for name, value in attributes.items()
        if name in _FIELDS
    }
    return identifier[0], fields, library


def _said(error: Exception) -> str:
    return str(error).removesuffix(".")
