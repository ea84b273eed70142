"""`edgec fetch`: published artifacts, verified, in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgec.cli import completion, fetch_oci
from edgec.cli.json_output import json_option, print_result
from edgec.cli.publish.oci import is_asked_for
from edgec.errors import UsageError

if TYPE_CHECKING:
    from edgec.shipping.repository.fetching import Wanted


class _Fetch(click.Command):
    """Fetches from a repository; where the words name a registry, it is fetch_oci's command."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if is_asked_for(args):
            return fetch_oci.command.make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(name="fetch", cls=_Fetch, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("releases", nargs=-1, metavar="[MODEL[@VERSION|@CHANNEL]]...")
@click.option(
    "--repo",
    required=True,
    envvar="EDGEC_REPO",
    metavar="URL",
    help="Where the repository is served, or its folder.  [$EDGEC_REPO]",
)
@click.option(
    "--trust-root",
    "root",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The root.json that devices are set up with: trust begins there.",
)
@click.option(
    "--target",
    "-t",
    required=True,
    metavar="NAME",
    help="For which device.",
    shell_complete=completion.targets,
)
@click.option("--output", "-o", default=".", type=click.Path(path_type=Path), metavar="DIR", help="Where to.  [.]")
@click.option(
    "--signed-by",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="KEY.pub",
    help="Refuse artifacts that this key did not sign; where repeated, that none of these did.",
)
@json_option
def command(
    releases: tuple[str, ...],
    repo: str,
    root: Path,
    target: str,
    output: Path,
    signed_by: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Fetch published artifacts, verified as a device does it: signatures, versions, expiry, digests.

    MODEL is the release that channel stable has, without any MODEL that of each model. What comes from a registry for
    containers: edgec fetch --oci REF (edgec fetch --oci REF --help).

    \b
    edgec fetch --repo https://example.org/fleet --trust-root root.json -t rpi4
    edgec fetch net@canary --repo fleet --trust-root root.json -t rpi4 -o dist
    """
    from edgec.cli.publish.options import require_tuf

    require_tuf()
    from edgec.cli.sizes import size
    from edgec.shipping.repository.fetching import fetch
    from edgec.shipping.repository.releases import percent

    fetched, warnings = fetch(repo, root, target, [_wanted(each) for each in releases], output, signed_by)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        print_result({"fetched": [each.to_json() for each in fetched]})
        return
    for each in fetched:
        came = f"{size(each.received)} received" if each.received else "was there already"
        signed = "signed" if each.signed else "not signed"
        share = f", rolled out to {percent(each.rollout)}" if each.rollout is not None and each.rollout < 1 else ""
        click.echo(f"{each.path}  {each.model}@{each.version}{share}  {each.sha256[:12]}  {signed}  ({came})")


def _wanted(text: str) -> Wanted:
    """ "net", "net@3", "net@canary"."""
    from edgec.shipping.repository.fetching import Wanted

    model, at, rest = text.partition("@")
    if not model or (at and not rest):
        raise UsageError(
            f"{text!r} is not a release",
            "It is a model, with a version or a channel.",
            "For example net@3 or net@canary.",
        )
    if rest.isascii() and rest.isdigit():
        return Wanted(model, int(rest), "")
    return Wanted(model, None, rest or "stable")
