"""`edgec keygen`: a key to sign artifacts and repositories with."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgec.cli.json_output import json_option, print_result
from edgec.errors import UsageError


@click.command(name="keygen", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--passphrase", is_flag=True, help="Protect the private key: asked for, or from EDGEC_KEY_PASSPHRASE.")
@click.option(
    "--public-of",
    metavar="KEY",
    help="Make no key; write the public half of this one: a file, env:NAME, or a pkcs11: URI.",
)
@json_option
def command(name: Path, passphrase: bool, public_of: str | None, as_json: bool) -> None:
    """Make an Ed25519 key: NAME.key, which signs and stays with you, and NAME.pub, which devices get.

    Files that are there are never overwritten. Whoever has NAME.key can sign for you, and without it nobody can: keep
    it where few can read it, and a copy of it offline.

    \b
    edgec keygen release --passphrase
    edgec keygen fleet --public-of "pkcs11:token=fleet;id=%02?module-path=LIB.so"
    """
    from edgec.cli.secrets import asker
    from edgec.shipping.signing.keys import generate, signer, write_public

    stem = name.with_suffix("") if name.suffix in (".key", ".pub") else name
    private, public = (stem.with_name(stem.name + suffix) for suffix in (".key", ".pub"))
    if public_of is not None:
        if passphrase:
            raise UsageError(
                "--passphrase protects a new private key, and --public-of makes none",
                "A public key is for everybody.",
                "Leave one of them out.",
            )
        key = signer(public_of, asker())
        write_public(public, key)
    else:
        key = generate(private, public, _passphrase() if passphrase else None)
    if as_json:
        made = {"private": None if public_of is not None else str(private), "public": str(public)}
        print_result({"key": key.public_key.keyid, **made})
        return
    click.echo(f"key {key.public_key.keyid}")
    if public_of is None:
        click.echo(f"  private  {private}  (keep it: edgec sign FILE.edgec --key {private})")
    click.echo(f"  public   {public}  (give it to those who verify: edgec verify FILE.edgec --key {public})")


def _passphrase() -> bytes:
    from edgec.cli.secrets import asker
    from edgec.shipping.signing.keys import PASSPHRASE, secret

    given = os.environ.get(PASSPHRASE)
    text = secret(PASSPHRASE, "Passphrase", "A passphrase is needed", asker())
    if given is None and text != secret(PASSPHRASE, "The same again", "A passphrase is needed", asker()):
        raise UsageError("The two passphrases differ", "No key was made.", "Type it twice alike.")
    if not text:
        raise UsageError("The passphrase is empty", "It would protect nothing.", f"Type one, or set {PASSPHRASE}.")
    return text.encode()
