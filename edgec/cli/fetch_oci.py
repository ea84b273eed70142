"""`edgec fetch --oci REF`: an artifact from a registry for containers."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.cli import completion
from edgec.cli.json_output import json_option, print_result
from edgec.errors import UsageError


@click.command(name="fetch", short_help="Fetch a published artifact.")
@click.option("--oci", "reference", required=True, metavar="REF", help="HOST/REPOSITORY[:TAG][@sha256:DIGEST].")
@click.option(
    "--target",
    "-t",
    metavar="NAME",
    help="For which device.  [the only one that is there]",
    shell_complete=completion.targets,
)
@click.option(
    "--output",
    "-o",
    default=".",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where to.  [.]",
)
@click.option(
    "--signed-by",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="KEY.pub",
    help="Who has to have signed it; where repeated, one of these.",
)
@click.option("--unsigned", is_flag=True, help="Ask for no signature: whoever may write to the registry is trusted.")
@click.option("--plain-http", is_flag=True, help="Without TLS, also where the registry is on another machine.")
@json_option
def command(
    reference: str,
    target: str | None,
    output: Path,
    keys: tuple[Path, ...],
    unsigned: bool,
    plain_http: bool,
    as_json: bool,
) -> None:
    """Fetch an artifact and its signature from a registry, every size and digest checked here.

    \b
    edgec fetch --oci registry.example/net:stable -t rpi4 --signed-by release.pub
    """
    if bool(keys) == unsigned:
        raise UsageError(
            "Nothing says whom to trust" if not keys else "--signed-by and --unsigned contradict each other",
            "A digest tells that a file is whole, and a signature who made it.",
            "Give the maker's key with --signed-by KEY.pub; or --unsigned, to trust the registry.",
        )
    from edgec.cli.publish.options import require_tuf

    require_tuf()
    from edgec.shipping.registry.fetching import fetch

    fetched = fetch(reference, output, target=target, keys=keys, plain_http=plain_http)
    if as_json:
        print_result({"fetched": [fetched.to_json()]})
        return
    signed = f"signed by {', '.join(each[:16] for each in fetched.signers)}" if fetched.signers else "not checked"
    click.echo(f"{fetched.path}  {fetched.model}@{fetched.version}  {fetched.target}  {fetched.sha256[:12]}  {signed}")
    click.echo(f"  {fetched.reference}")
