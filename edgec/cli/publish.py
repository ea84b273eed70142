"""`edgec publish`: a TUF repository of artifacts; the commands about releases. Those about keys: publish_keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgec.cli import completion, publish_oci
from edgec.cli.json_output import print_json
from edgec.cli.publish_keys import delegate, init, refresh, rotate, sign_root
from edgec.cli.publish_options import json_option, keys_option, now, repo_option, require_tuf, ring_of, signing_options
from edgec.errors import UsageError

if TYPE_CHECKING:
    from edgec.shipping.repository.releases import Document

F = TypeVar("F", bound=Callable[..., Any])

_SETTINGS = {"help_option_names": ["-h", "--help"]}
_PERCENT = re.compile(r"([0-9]{1,3}(\.[0-9]{1,6})?)%")

_ORDER = (
    *("init", "add", "rollout", "pause", "resume", "promote", "revoke", "status", "check"),
    *("refresh", "prune", "rotate", "sign-root", "delegate", "oci"),
)
"""Commands as help lists them: as they are needed in the life of a repository."""


class _Publish(click.Group):
    """A group whose first word may also be an artifact: `edgec publish dist/*.edgec` is `edgec publish add ...`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            self._refuse_misspelt(ctx, args[0])
            args = ["oci" if publish_oci.is_asked_for(args) else "add", *args]
        return super().parse_args(ctx, args)

    def _refuse_misspelt(self, ctx: click.Context, word: str) -> None:
        if word.startswith("-") or "." in word or Path(word).exists():
            return
        from edgec.toml_schema import did_you_mean

        ctx.fail(f"There is no file and no command {word!r}.{did_you_mean(word, self.commands)}")

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "FILE.edgec... --repo DIR [OPTIONS]")
        formatter.write_usage(ctx.command_path, "COMMAND --repo DIR [OPTIONS]", prefix="       ")
        formatter.write_usage(ctx.command_path, "FILE.edgec... --oci HOST/REPOSITORY[:TAG]", prefix="       ")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=_ORDER.index)


@click.group(name="publish", cls=_Publish, context_settings=_SETTINGS)
def command() -> None:
    """Publish artifacts to a repository that devices update from: static files, signed (TUF).

    \b
    edgec publish init --repo fleet                     once: keys, and an empty repository
    edgec publish dist/*.edgec --repo fleet             to all devices
    edgec publish dist/*.edgec --repo fleet --rollout 10%
    edgec publish rollout net 100% --repo fleet
    edgec publish refresh --repo fleet                  from a cron job, several times a day

    Any web server, bucket or CDN can serve DIR. `edgec publish add --help` shows the options of the first form.
    """


def target_option(function: F) -> F:
    """--target, where a command is about all targets of a model unless told otherwise."""
    return click.option(
        "--target",
        "-t",
        "targets",
        multiple=True,
        metavar="NAME",
        help="Only this target; may be repeated.  [all that have the model]",
        shell_complete=completion.targets,
    )(function)


def channel_option(function: F) -> F:
    """--channel of a command about one channel."""
    return click.option("--channel", default="stable", show_default=True, metavar="NAME", help="Channel of devices.")(
        function
    )


def read_share(text: str | None) -> float | None:
    """ "10%" as 0.1. Raises UsageError for what is not a percentage from 0 to 100."""
    if text is None:
        return None
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


@command.command(name="add", short_help="Publish artifacts (the word `add` may be left out).")
@click.argument(
    "artifacts",
    nargs=-1,
    required=True,
    metavar="FILE.edgec...",
    type=click.Path(path_type=Path),
    shell_complete=completion.paths,
)
@channel_option
@click.option("--rollout", metavar="PERCENT", help="Share of the channel's devices that get it, as 10%.  [100%]")
@click.option("--require-signed", is_flag=True, help="Refuse artifacts without a signature beside them.")
@click.option(
    "--signed-by",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="KEY.pub",
    help="Refuse artifacts that this key did not sign; where repeated, that none of these did.",
)
@signing_options
def add(
    artifacts: tuple[Path, ...],
    channel: str,
    rollout: str | None,
    require_signed: bool,
    signed_by: tuple[Path, ...],
    repo: Path,
    keys: Path | None,
    references: tuple[str, ...],
    as_json: bool,
) -> None:
    """Verify artifacts, and offer them to the devices of a channel: all of them, or none.

    Each gets the next version of its model. What is published already keeps its version, and nothing changes.
    """
    share = read_share(rollout)
    ring = ring_of(repo, keys, references)
    from edgec.cli.publish_text import share_of
    from edgec.cli.sizes import size
    from edgec.shipping.repository.publishing import publish

    published = publish(
        repo, ring, artifacts, now(), channel=channel, share=share, signed_by=signed_by, require_signed=require_signed
    )
    if as_json:
        print_json({"schema": 1, "published": [each.to_json() for each in published]})
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


@command.command(name="rollout", short_help="Change the share of devices that get a channel's newest release.")
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
    repo: Path,
    keys: Path | None,
    references: tuple[str, ...],
    as_json: bool,
) -> None:
    """Give the newest release of MODEL in a channel to PERCENT of its devices.

    Which devices those are is decided by each one's id: whoever is in the first 1% is in the first 10% too. With a
    smaller share fewer begin to install it; who has it keeps it, and `revoke` takes it back.
    """
    require_tuf()
    from edgec.shipping.repository import releases

    wanted = read_share(share)
    assert wanted is not None
    _change(
        model,
        lambda document: releases.set_share(document, model, channel, wanted),
        targets,
        releases.in_channel(channel),
        repo,
        keys,
        references,
        as_json,
    )


@command.command(name="pause", short_help="Stop a rollout: nobody else begins to install the release.")
@click.argument("model")
@channel_option
@target_option
@signing_options
def pause(
    model: str,
    channel: str,
    targets: tuple[str, ...],
    repo: Path,
    keys: Path | None,
    references: tuple[str, ...],
    as_json: bool,
) -> None:
    """Stop the rollout of MODEL in a channel. Who has the release keeps it; `revoke` takes it back."""
    require_tuf()
    from edgec.shipping.repository import releases

    _change(
        model,
        lambda document: releases.set_paused(document, model, channel, True),
        targets,
        releases.in_channel(channel),
        repo,
        keys,
        references,
        as_json,
    )


@command.command(name="resume", short_help="Let a paused rollout go on.")
@click.argument("model")
@channel_option
@target_option
@signing_options
def resume(
    model: str,
    channel: str,
    targets: tuple[str, ...],
    repo: Path,
    keys: Path | None,
    references: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let a paused rollout of MODEL go on."""
    require_tuf()
    from edgec.shipping.repository import releases

    _change(
        model,
        lambda document: releases.set_paused(document, model, channel, False),
        targets,
        releases.in_channel(channel),
        repo,
        keys,
        references,
        as_json,
    )


@command.command(name="promote", short_help="Bring a release from one channel to another.")
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
    repo: Path,
    keys: Path | None,
    references: tuple[str, ...],
    as_json: bool,
) -> None:
    """Bring the release of MODEL in one channel to another: the same bytes, nothing is published anew.

    With a VERSION, that release is brought there, also an older one than the channel has.
    """
    model, version = read_release(release)
    share = read_share(rollout)
    require_tuf()
    from edgec.shipping.repository import layout, releases

    layout.check_channel(channel)
    _change(
        model,
        lambda document: releases.promote(document, model, version, source, channel, share),
        targets,
        releases.in_channel(source) if version is None else releases.has(version),
        repo,
        keys,
        references,
        as_json,
    )


@command.command(name="revoke", short_help="Take a release back: devices leave it.")
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
    repo: Path,
    keys: Path | None,
    references: tuple[str, ...],
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
        repo,
        keys,
        references,
        as_json,
    )


def _change(
    model: str,
    edit: Callable[[Document], Document],
    targets: Sequence[str],
    fits: Callable[[Document], bool],
    repo: Path,
    keys: Path | None,
    references: Sequence[str],
    as_json: bool,
) -> None:
    """Make a change to a model's releases, and tell of it."""
    ring = ring_of(repo, keys, references)
    from edgec.shipping.repository.publishing import change

    changes = change(repo, ring, now(), model, edit, targets, fits)
    if as_json:
        print_json({"schema": 1, "changes": [each.to_json() for each in changes]})
        return
    for each in changes:
        before, after = _said(each.model, each.before), _said(each.model, each.after)
        click.echo(f"{each.target} {each.model} {each.channel}: {before} -> {after}")
    if not changes:
        click.echo("no channel changed")


def _said(model: str, entry: Document | None) -> str:
    """A channel's entry in words."""
    from edgec.cli.publish_text import share_of

    if entry is None:
        return "nothing"
    text = f"{model}@{entry['version']}"
    if entry["rollout"] < 1:
        text += f" {share_of(model, entry['rollout'], entry['before'])}"
    return f"{text} (paused)" if entry["paused"] else text


@command.command(name="status", short_help="Show releases, channels, keys, and when what expires.")
@repo_option
@keys_option
@json_option
def status(repo: Path, keys: Path | None, as_json: bool) -> None:
    """Show what is published, who signs it, and when it expires."""
    ring = ring_of(repo, keys)
    from edgec.cli.publish_text import status_lines
    from edgec.shipping.repository.inspection import status as look

    document = look(repo, ring, now())
    if as_json:
        print_json(document)
        return
    for line in status_lines(document):
        click.echo(line)


@command.command(name="check", short_help="Verify everything as a device does, from the first root on.")
@repo_option
@json_option
def check(repo: Path, as_json: bool) -> int:
    """Verify all metadata with TUF's own client, from the first root on, and every file against its digest.

    Exits with 9 when a device would refuse something.
    """
    require_tuf()
    from edgec.cli.sizes import size
    from edgec.shipping.repository.inspection import check as verify

    found = verify(repo, now())
    if as_json:
        print_json({"schema": 1, **found.to_json()})
        return 9 if found.problems else 0
    for problem in found.problems:
        click.echo(f"problem: {problem}")
    for warning in found.warnings:
        click.echo(f"warning: {warning}")
    click.echo(
        f"{'not sound' if found.problems else 'sound'}: root version {found.roots}, {found.files} files, "
        f"{size(found.bytes)}" + (f"; {found.unreferenced} files that nothing names" if found.unreferenced else "")
    )
    return 9 if found.problems else 0


@command.command(name="prune", short_help="Remove old releases, and files that nothing names any more.")
@click.option(
    "--keep", type=int, metavar="N", help="Keep each model's newest N releases, and those in channels.  [all]"
)
@signing_options
def prune(keep: int | None, repo: Path, keys: Path | None, references: tuple[str, ...], as_json: bool) -> None:
    """Remove old releases, and files that nothing names any more.

    Files go when an earlier prune has found them unused at least a day ago: devices may be in the middle of them. So
    let a cron job do this once in a while.
    """
    ring = ring_of(repo, keys, references)
    from edgec.cli.sizes import size
    from edgec.shipping.repository.upkeep import prune as remove

    pruned = remove(repo, ring, now(), keep)
    if as_json:
        print_json({"schema": 1, **pruned.to_json()})
        return
    for release in pruned.releases:
        click.echo(f"{release} is gone")
    click.echo(
        f"{pruned.files} files removed, {size(pruned.bytes)}"
        + (f"; {pruned.waiting} more are unused, and go a day after that was first found" if pruned.waiting else "")
    )


for _each in (init, delegate, refresh, rotate, sign_root, publish_oci.oci):
    command.add_command(_each)
