"""`edgec publish FILE... --oci REF`: artifacts to a registry for containers."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.cli import completion
from edgec.cli.json_output import print_json


def is_asked_for(arguments: list[str]) -> bool:
    """Whether the words after `edgec publish` name a registry."""
    return any(word == "--oci" or word.startswith("--oci=") for word in arguments)


@click.command(name="oci", short_help="Publish artifacts to a registry: edgec publish FILE.edgec... --oci REF.")
@click.argument(
    "artifacts",
    nargs=-1,
    required=True,
    metavar="FILE.edgec...",
    type=click.Path(path_type=Path),
    shell_complete=completion.paths,
)
@click.option("--oci", "reference", required=True, metavar="REF", help="HOST/REPOSITORY[:TAG].  [tag: latest]")
@click.option("--release", "version", type=click.IntRange(1), metavar="N", help="The release's number.  [the next one]")
@click.option("--require-signed", is_flag=True, help="Refuse artifacts without a signature beside them.")
@click.option(
    "--signed-by",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="KEY.pub",
    help="Refuse artifacts that this key did not sign; where repeated, that none of these did.",
)
@click.option("--plain-http", is_flag=True, help="Without TLS, also where the registry is on another machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def oci(
    artifacts: tuple[Path, ...],
    reference: str,
    version: int | None,
    require_signed: bool,
    signed_by: tuple[Path, ...],
    plain_http: bool,
    as_json: bool,
) -> None:
    """Verify artifacts of one model, upload them, and let the tag lead each device to the one for its target.

    An artifact's signature (FILE.edgec.dsse.json beside it) goes along. What the tag leads to for other targets stays.
    Who you are: what `docker login` keeps in ~/.docker/config.json. A registry does not tell devices whether a tag is
    the newest there was; the repository of `edgec publish --repo` does (docs/oci.md).
    """
    from edgec.cli.publish_options import require_tuf

    require_tuf()
    from edgec.cli.sizes import size
    from edgec.shipping.registry.publishing import publish

    published = publish(
        artifacts,
        reference,
        version=version,
        signed_by=signed_by,
        require_signed=require_signed,
        plain_http=plain_http,
    )
    if as_json:
        print_json({"schema": 1, "published": [each.to_json() for each in published]})
        return
    width = max(len(each.target) for each in published)
    for each in published:
        what = f"{size(each.bytes)}, {size(each.sent)} sent" if each.changed else "as before"
        signed = "signed" if each.signed else "not signed"
        click.echo(f"{each.model}@{each.version}  {each.target:<{width}}  {what}  {each.sha256[:12]}  {signed}")
        click.echo(f"  {each.reference}")
