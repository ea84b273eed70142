"""`edgec publish refresh`, `prune`, `status`, `check`: keeping a repository alive, and looking at it."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.cli.json_output import json_option, print_result
from edgec.cli.publish.options import (
    Place,
    keys_option,
    now,
    repo_option,
    require_tuf,
    ring_of,
    signing_options,
)


@click.command(name="refresh", short_help="Sign the timestamp again, before it expires: for a cron job.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="Sign this role again, too; may be repeated.")
@signing_options
def refresh(roles: tuple[str, ...], place: Place, as_json: bool) -> None:
    """Sign the timestamp again, and the snapshot when half of its time is over: only their keys are needed.

    Warns on standard error when other roles will soon have to be signed again by a person, and changes nothing, with
    an error, when root or targets have expired.
    """
    ring = place.ring()
    from edgec.shipping.repository.upkeep import refresh as sign

    done = sign(place.folder, ring, now(), roles)
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        print_result(done.to_json())
        return
    click.echo(f"signed {', '.join(done.roles)}; the timestamp holds until {done.timestamp_expires:%Y-%m-%d %H:%M} UTC")
    if done.waiting:
        click.echo(f"root waits for signatures: {done.waiting} (edgec publish sign-root)")


@click.command(name="prune", short_help="Remove old releases, and files that nothing names any more.")
@click.option(
    "--keep", type=int, metavar="N", help="Keep each model's newest N releases, and those in channels.  [all]"
)
@signing_options
def prune(keep: int | None, place: Place, as_json: bool) -> None:
    """Remove old releases, and files that nothing names any more.

    Files go when an earlier prune has found them unused at least a day ago: devices may be in the middle of them. So
    let a cron job do this once in a while.
    """
    ring = place.ring()
    from edgec.cli.sizes import size
    from edgec.shipping.repository.upkeep import prune as remove

    pruned = remove(place.folder, ring, now(), keep)
    if as_json:
        print_result(pruned.to_json())
        return
    for release in pruned.releases:
        click.echo(f"{release} is gone")
    click.echo(
        f"{pruned.files} files removed, {size(pruned.bytes)}"
        + (f"; {pruned.waiting} more are unused, and go a day after that was first found" if pruned.waiting else "")
    )


@click.command(name="status", short_help="Show releases, channels, keys, and when what expires.")
@repo_option
@keys_option
@json_option
def status(repo: Path, keys: Path | None, as_json: bool) -> None:
    """Show what is published, who signs it, and when it expires."""
    ring = ring_of(repo, keys)
    from edgec.cli.publish.text import status_lines
    from edgec.shipping.repository.inspection import status as look

    document = look(repo, ring, now())
    if as_json:
        print_result(document)
        return
    for line in status_lines(document):
        click.echo(line)


@click.command(name="check", short_help="Verify everything as a device does, from the first root on.")
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
        print_result(found.to_json())
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
