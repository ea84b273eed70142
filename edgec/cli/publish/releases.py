"""`edgec publish rollout`, `pause`, `resume`, `promote`, `revoke`: what becomes of releases."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from edgec.cli.json_output import print_result
from edgec.cli.publish.options import Place, channel_option, now, require_tuf, signing_options, target_option
from edgec.errors import UsageError

if TYPE_CHECKING:
    from edgec.shipping.repository.releases import Document

_PERCENT = re.compile(r"([0-9]{1,3}(\.[0-9]{1,6})?)%")


def read_share(text: str) -> float:
    """ "10%" as 0.1. Raises UsageError for what is not a percentage from 0 to 100."""
    match = _PERCENT.fullmatch(text.strip())
    if match is None or float(match[1]) > 100:
        raise UsageError(
            f"{text!r} is not a share of devices",
            "A share is a percentage from 0% to 100%.",
            f"Write it with the sign, as in {text.strip()}%."
            if text.strip().isdigit()
            else "For example 10%, or 0.5%.",
        )
    return float(match[1]) / 100


def read_release(text: str) -> tuple[str, int | None]:
    """ "net@3" as ("net", 3), "net" as ("net", None). Raises UsageError."""
    model, at, version = text.partition("@")
    if at and not (version.isascii() and version.isdigit()):
        raise UsageError(
            f"{text!r} is not a release", "A version is a whole number.", f"For example {model or 'net'}@3."
        )
    return model, int(version) if at else None


@click.command(name="rollout", short_help="Change the share of devices that get a channel's newest release.")
@click.argument("model")
@click.argument("share", metavar="PERCENT")
@channel_option
@target_option
@signing_options
def rollout(
    model: str,
    share: str,
    channel: str,
    targets: tuple[str, ...],
    place: Place,
    as_json: bool,
) -> None:
    """Give the newest release of MODEL in a channel to PERCENT of its devices.

    Which devices those are is decided by each one's id: whoever is in the first 1% is in the first 10% too. With a
    smaller share fewer begin to install it; who has it keeps it, and `revoke` takes it back.
    """
    require_tuf()
    from edgec.shipping.repository import releases

    wanted = read_share(share)
    _change(
        model,
        lambda document: releases.set_share(document, model, channel, wanted),
        targets,
        releases.in_channel(channel),
        place,
        as_json,
    )


@click.command(name="pause", short_help="Stop a rollout: nobody else begins to install the release.")
@click.argument("model")
@channel_option
@target_option
@signing_options
def pause(
    model: str,
    channel: str,
    targets: tuple[str, ...],
    place: Place,
    as_json: bool,
) -> None:
    """Stop the rollout of MODEL in a channel. Who has the release keeps it; `revoke` takes it back."""
    _set_paused(True, model, channel, targets, place, as_json)


@click.command(name="resume", short_help="Let a paused rollout go on.")
@click.argument("model")
@channel_option
@target_option
@signing_options
def resume(
    model: str,
    channel: str,
    targets: tuple[str, ...],
    place: Place,
    as_json: bool,
) -> None:
    """Let a paused rollout of MODEL go on."""
    _set_paused(False, model, channel, targets, place, as_json)


@click.command(name="promote", short_help="Bring a release from one channel to another.")
@click.argument("release", metavar="MODEL[@VERSION]")
@click.option("--from", "source", default="canary", show_default=True, metavar="NAME", help="Channel to take it from.")
@click.option("--to", "channel", default="stable", show_default=True, metavar="NAME", help="Channel to bring it to.")
@click.option("--rollout", metavar="PERCENT", help="Share of the channel's devices that get it, as 10%.  [100%]")
@target_option
@signing_options
def promote(
    release: str,
    source: str,
    channel: str,
    rollout: str | None,
    targets: tuple[str, ...],
    place: Place,
    as_json: bool,
) -> None:
    """Bring the release of MODEL in one channel to another: the same bytes, nothing is published anew.

    With a VERSION, that release is brought there, also an older one than the channel has.
    """
    model, version = read_release(release)
    share = None if rollout is None else read_share(rollout)
    require_tuf()
    from edgec.shipping.repository import layout, releases

    layout.check_channel(channel)
    _change(
        model,
        lambda document: releases.promote(document, model, version, source, channel, share),
        targets,
        releases.in_channel(source) if version is None else releases.has(version),
        place,
        as_json,
    )


@click.command(name="revoke", short_help="Take a release back: devices leave it.")
@click.argument("release", metavar="MODEL@VERSION")
@click.option("--reason", required=True, metavar="TEXT", help="Why; devices log it.")
@click.option("--to", type=int, metavar="VERSION", help="What takes its place.  [what each channel had before]")
@click.option("--leave-empty", is_flag=True, help="Leave channels without a release that had none before.")
@target_option
@signing_options
def revoke(
    release: str,
    reason: str,
    to: int | None,
    leave_empty: bool,
    targets: tuple[str, ...],
    place: Place,
    as_json: bool,
) -> None:
    """Take a release back for good: nobody installs it any more, and devices that have it leave it."""
    model, version = read_release(release)
    if version is None:
        raise UsageError(
            f"{release} does not say which version", "One release is revoked at a time.", f"For example {release}@3."
        )
    require_tuf()
    from edgec.shipping.repository import releases

    _change(
        model,
        lambda document: releases.revoke(document, model, version, reason, to=to, leave_empty=leave_empty),
        targets,
        releases.ever_had(version),
        place,
        as_json,
    )


def _set_paused(paused: bool, model: str, channel: str, targets: tuple[str, ...], place: Place, as_json: bool) -> None:
    require_tuf()
    from edgec.shipping.repository import releases

    _change(
        model,
        lambda document: releases.set_paused(document, model, channel, paused),
        targets,
        releases.in_channel(channel),
        place,
        as_json,
    )


def _change(
    model: str,
    edit: Callable[[Document], Document],
    targets: Sequence[str],
    fits: Callable[[Document], bool],
    place: Place,
    as_json: bool,
) -> None:
    """Make a change to a model's releases, and tell of it."""
    ring = place.ring()
    from edgec.shipping.repository.publishing import change

    changes = change(place.folder, ring, now(), model, edit, targets, fits)
    if as_json:
        print_result({"changes": [each.to_json() for each in changes]})
        return
    for each in changes:
        before, after = _said(each.model, each.before), _said(each.model, each.after)
        click.echo(f"{each.target} {each.model} {each.channel}: {before} -> {after}")
    if not changes:
        click.echo("no channel changed")


def _said(model: str, entry: Document | None) -> str:
    """A channel's entry in words."""
    from edgec.cli.publish.text import share_of

    if entry is None:
        return "nothing"
    text = f"{model}@{entry['version']}"
    if entry["rollout"] < 1:
        text += f" {share_of(model, entry['rollout'], entry['before'])}"
    return f"{text} (paused)" if entry["paused"] else text
