"""`edgec publish FILE... --oci REF`: artifacts to a registry for containers."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.cli.json_output import json_option, print_result
from edgec.cli.publish.options import artifacts_argument, demand_options, require_tuf


def is_asked_for(arguments: list[str]) -> bool:
    """Whether the words after `edgec publish` name a registry."""
    return any(word == "--oci" or word.startswith("--oci=") for word in arguments)


@click.command(name="oci", short_help="Publish artifacts to a registry: edgec publish FILE.edgec... --oci REF.")
@artifacts_argument
@click.option("--oci", "reference", required=True, metavar="REF", help="HOST/REPOSITORY[:TAG].  [tag: latest]")
@click.option("--release", "version", type=click.IntRange(1), metavar="N", help="The release's number.  [the next one]")
@demand_options
@click.option("--plain-http", is_flag=True, help="Without TLS, also where the registry is on another machine.")
@json_option
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
        print_result({"published": [each.to_json() for each in published]})
        return
    width = max(len(each.target) for each in published)
    for each in published:
        what = f"{size(each.bytes)}, {size(each.sent)} sent" if each.changed else "as before"
        signed = "signed" if each.signed else "not signed"
        click.echo(f"{each.model}@{each.version}  {each.target:<{width}}  {what}  {each.sha256[:12]}  {signed}")
        click.echo(f"  {each.reference}")
