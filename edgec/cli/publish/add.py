"""`edgec publish FILE... --repo DIR`: artifacts to a repository."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.cli.json_output import print_result
from edgec.cli.publish.options import Place, artifacts_argument, channel_option, demand_options, now, signing_options
from edgec.cli.publish.releases import read_share


@click.command(name="add", short_help="Publish artifacts (the word `add` may be left out).")
@artifacts_argument
@channel_option
@click.option("--rollout", metavar="PERCENT", help="Share of the channel's devices that get it, as 10%.  [100%]")
@demand_options
@signing_options
def add(
    artifacts: tuple[Path, ...],
    channel: str,
    rollout: str | None,
    require_signed: bool,
    signed_by: tuple[Path, ...],
    place: Place,
    as_json: bool,
) -> None:
    """Verify artifacts, and offer them to the devices of a channel: all of them, or none.

    Each gets the next version of its model. What is published already keeps its version, and nothing changes.
    """
    share = None if rollout is None else read_share(rollout)
    ring = place.ring()
    from edgec.cli.publish.text import share_of
    from edgec.cli.sizes import size
    from edgec.shipping.repository.publishing import publish

    published = publish(
        place.folder,
        ring,
        artifacts,
        now(),
        channel=channel,
        share=share,
        signed_by=signed_by,
        require_signed=require_signed,
    )
    if as_json:
        print_result({"published": [each.to_json() for each in published]})
        return
    names = [f"{each.model}@{each.version}" for each in published]
    for name, each in zip(names, published, strict=True):
        share_text = share_of(each.model, each.rollout, each.before)
        what = f"{each.channel} {share_text}" if each.changed else f"as before: {share_text}"
        if not each.is_new and each.changed:
            what += ", not a new file"
        signed = "signed" if each.signed else "not signed"
        click.echo(
            f"{name:<{max(map(len, names))}}  {each.target:<{max(len(other.target) for other in published)}}  "
            f"{what}  {size(each.bytes)}  {each.sha256[:12]}  {signed}"
        )
