"""`edgec sign`: vouching for artifacts."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.cli.json_output import json_option, print_result


@click.command(name="sign", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.edgec...")
@click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    metavar="KEY",
    help="Private key: a file, env:NAME, or a pkcs11: URI; may be repeated.",
)
@json_option
def command(files: tuple[Path, ...], keys: tuple[str, ...], as_json: bool) -> None:
    """Sign artifacts: write FILE.edgec.dsse.json beside each, for `edgec verify` and for devices.

    What is signed is the file's SHA-256 and its provenance: model, calibration data, target, tools. Signing again with
    another key adds a signature. A passphrase is asked for, or taken from EDGEC_KEY_PASSPHRASE; the PIN of a token
    likewise, or from EDGEC_PKCS11_PIN.

    \b
    edgec keygen release
    edgec sign dist/*.edgec --key release.key
    edgec sign model.edgec --key "pkcs11:token=fleet;id=%02?module-path=LIB.so"
    """
    from edgec.cli.secrets import asker, warn_of_open_keys
    from edgec.runtime.agent.signatures import short
    from edgec.shipping.signing.envelope import sign
    from edgec.shipping.signing.keys import signer

    signers = [signer(reference, asker()) for reference in keys]
    warn_of_open_keys(keys)
    made = []
    for file in files:
        signing = sign(file, signers)
        made.append(
            {
                "path": str(file),
                "envelope": str(signing.envelope),
                "sha256": signing.sha256,
                "keys": list(signing.keys),
                "replaced": signing.replaced,
            }
        )
        if as_json:
            continue
        if signing.replaced:
            click.echo(f"{signing.envelope.name} was of another build of {file.name}, and is replaced", err=True)
        click.echo(f"{signing.envelope}  signed by {', '.join(map(short, signing.keys))}")
    if as_json:
        print_result({"files": made})
