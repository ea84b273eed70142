"""`edgec verify`: who vouches for artifacts, and for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgec.cli.json_output import json_option, print_result
from edgec.cli.report_error import report_error
from edgec.errors import EdgecError
from edgec.untrusted_text import clean


@click.command(name="verify", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.edgec...")
@click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    metavar="KEY.pub",
    help="Public key that you trust: a file, or env:NAME; may be repeated.",
)
@click.option(
    "--threshold",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="How many of them must have signed.",
)
@json_option
def command(files: tuple[Path, ...], keys: tuple[str, ...], threshold: int, as_json: bool) -> int:
    """Check the signatures beside artifacts, offline, and tell what was signed.

    FILE.edgec.dsse.json has to lie beside each artifact. Checked are the signatures, that they are of this very file,
    and that its provenance is the one that was signed. Exit code 9 where anything is not as it was signed.

    \b
    edgec verify model-host.edgec --key release.pub
    edgec verify dist/*.edgec --key ann.pub --key bo.pub --threshold 2
    """
    from edgec.bundle.errors import as_edgec_error
    from edgec.runtime.agent.signatures import public_keys, read_envelope, verify_envelope
    from edgec.runtime.errors import ArtifactFailure
    from edgec.shipping.signing.keys import from_environment

    try:
        trusted = [from_environment(key, "release.pub") or Path(key) for key in keys]
        names = {public_keys([key])[0].keyid: reference for key, reference in zip(trusted, keys, strict=True)}
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    documents: list[dict[str, Any]] = []
    status = 0
    for file in files:
        try:
            signed = verify_envelope(read_envelope(file), file, trusted, threshold)
        except ArtifactFailure as failure:
            error = as_edgec_error(failure)
            documents.append({"path": str(file), "verified": False, "error": error.to_json()})
            status = max(status, error.exit_code)
            if not as_json:
                _refuse(file, error)
        else:
            facts = signed.to_json()
            documents.append({"path": str(file), "verified": True, **facts})
            if not as_json:
                _tell(file, facts, [names[key] for key in signed.signers])
    if as_json:
        print_result({"files": documents})
    return status


def _refuse(file: Path, error: EdgecError) -> None:
    click.echo(f"{clean(str(file))}  {click.style('not verified', fg='red', bold=True)}")
    report_error(error)


def _tell(file: Path, facts: Mapping[str, Any], signers: Sequence[str]) -> None:
    """What was signed; all of it is what the signers say."""
    click.echo(f"{clean(str(file))}  {click.style('verified', fg='green', bold=True)}")
    rows = {
        "signed by": ", ".join(signers),
        "as": facts["artifact"],
        "sha256": facts["sha256"],
        "target": f"{facts['target']}, {facts['precision']}",
        "model": facts["model_sha256"],
        "calibration": facts["calibration_sha256"] or "none",
        "built by": f"edgec {facts['builder_version']} ({facts['builder']})",
    }
    for title, text in rows.items():
        click.echo(f"  {title:<12} {clean(str(text))}")
