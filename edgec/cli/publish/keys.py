"""`edgec publish init`, `delegate`, `rotate`, `sign-root`: who signs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgec.cli.json_output import json_option, print_result
from edgec.cli.publish.options import (
    Place,
    key_option,
    keys_option,
    now,
    repo_option,
    require_tuf,
    ring_of,
    signing_options,
)
from edgec.cli.secrets import asker
from edgec.errors import UsageError

if TYPE_CHECKING:
    from edgec.shipping.repository.roots import Rotated

_EXPIRES = click.option(
    "--expires",
    multiple=True,
    metavar="ROLE=TIME",
    help="How long a role's metadata holds: timestamp=12h; may be repeated.  [root=365d targets=90d snapshot=14d "
    "timestamp=2d]",
)


@click.command(name="init", short_help="Make keys and an empty repository.")
@click.option(
    "--root-key", multiple=True, metavar="KEY", help="Root key: private, or .pub where its holder signs later."
)
@click.option("--threshold", type=int, default=1, show_default=True, metavar="N", help="Signatures that a root needs.")
@click.option("--targets-key", multiple=True, metavar="KEY", help="Key that says which targets there are.  [a new one]")
@click.option("--snapshot-key", multiple=True, metavar="KEY", help="Key of the list of all metadata.  [a new one]")
@click.option(
    "--timestamp-key", multiple=True, metavar="KEY", help="Key of the timestamp, for refreshing.  [a new one]"
)
@_EXPIRES
@repo_option
@keys_option
@json_option
def init(
    root_key: tuple[str, ...],
    threshold: int,
    targets_key: tuple[str, ...],
    snapshot_key: tuple[str, ...],
    timestamp_key: tuple[str, ...],
    expires: tuple[str, ...],
    repo: Path,
    keys: Path | None,
    as_json: bool,
) -> None:
    """Make a repository without releases, and the keys that are not named.

    Keys that are not named are written to the folder of keys, for you alone to read. Several root keys, of which
    --threshold have to sign, keep one stolen or lost key from being the end: each of two holders then runs sign-root.

    \b
    edgec publish init --repo fleet
    edgec publish init --repo DIR --threshold 2 --root-key a.pub --root-key b.pub
    """
    require_tuf()
    from edgec.shipping.repository.creation import create

    named = {"root": root_key, "targets": targets_key, "snapshot": snapshot_key, "timestamp": timestamp_key}
    made = create(repo, keys, now(), keys=named, threshold=threshold, periods=_periods(expires), ask=asker())
    if as_json:
        print_result(
            {
                "repository": str(repo),
                "keys": str(made.keys),
                "generated": [str(path) for path in made.generated],
                "root": None if made.pending else str(repo / "metadata" / "1.root.json"),
            }
        )
        return
    if made.generated:
        click.echo(f"keys  {made.keys}: {', '.join(path.name for path in made.generated)}")
        if any(path.name.startswith("root") for path in made.generated):
            click.echo("      Keep root.key apart, offline, and a copy of it: without it no key can ever be replaced.")
    if made.pending:
        click.echo("root  waits for signatures: each holder runs edgec publish sign-root --repo DIR --key KEY")
    else:
        click.echo(f"root  {repo / 'metadata' / '1.root.json'}: what devices are set up with")
    click.echo(f"next  edgec publish FILE.edgec... --repo {repo}")


@click.command(name="delegate", short_help="Give a target a key of its own, before anything is published for it.")
@click.argument("target")
@click.option("--add", "added", multiple=True, metavar="KEY", help="Key of the target, .pub or private.  [a new one]")
@click.option("--threshold", type=int, default=1, show_default=True, metavar="N", help="Signatures that it needs.")
@signing_options
def delegate(
    target: str,
    added: tuple[str, ...],
    threshold: int,
    place: Place,
    as_json: bool,
) -> None:
    """Give TARGET a role and keys: whoever has these may publish for it, and for nothing else.

    As many of its keys as the threshold says have to be at hand, to sign that there is nothing yet.
    `edgec publish` does so by itself for a new target, with a new key, where the key of the role targets is at hand.
    """
    ring = place.ring()
    from edgec.shipping.repository import publishing
    from edgec.shipping.repository.keyring import key_of

    found = [key_of(reference, ring.ask)[0] for reference in added]
    ring.references = (*ring.references, *(each for each in added if not each.endswith(".pub")))
    generated = publishing.delegate(place.folder, ring, target, now(), found, threshold)
    if as_json:
        print_result({"target": target, "generated": [str(path) for path in generated]})
        return
    click.echo(f"{target} has a role of its own" + "".join(f", with the new key {path}" for path in generated))


@click.command(name="rotate", short_help="Replace keys, change thresholds, or how long metadata holds.")
@click.argument("role", required=False)
@click.option("--add", "added", multiple=True, metavar="KEY", help="New key of the role: .pub or private.")
@click.option(
    "--remove", multiple=True, metavar="ID", help="Key that is not trusted any more: its id, or how it begins."
)
@click.option("--threshold", type=int, metavar="N", help="Signatures that the role needs.")
@click.option("--compromised", is_flag=True, help="The replaced key is in wrong hands: it signs nothing any more.")
@_EXPIRES
@signing_options
def rotate(
    role: str | None,
    added: tuple[str, ...],
    remove: tuple[str, ...],
    threshold: int | None,
    compromised: bool,
    expires: tuple[str, ...],
    place: Place,
    as_json: bool,
) -> None:
    """Replace the keys of ROLE: root, targets, snapshot, timestamp, or a target.

    Without --add and --remove the only key is replaced by a new one. A target's key needs that of the role targets; the
    others need the root keys, and where these are with several people, the new root waits for sign-root.
    """
    if role is None and (added or remove or threshold is not None or compromised or not expires):
        raise UsageError(
            "It is not said whose keys are to change",
            "ROLE is missing; without it only --expires can be changed.",
            "For example: edgec publish rotate timestamp --repo DIR.",
        )
    ring = place.ring()
    from edgec.shipping.repository import rotation
    from edgec.shipping.repository.keyring import key_of

    found = [key_of(reference, ring.ask)[0] for reference in added]
    ring.references = (*ring.references, *(each for each in added if not each.endswith(".pub")))
    change = rotation.KeyChange(found, remove, threshold, compromised)
    _tell(rotation.rotate(place.folder, ring, now(), role, change, _periods(expires)), as_json)


@click.command(name="sign-root", short_help="Add your signature to a root that waits for it.")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--signed",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A copy that was signed elsewhere.",
)
@click.option("--discard", is_flag=True, help="Drop the root that waits.")
@click.option("--yes", is_flag=True, help="Do not ask; sign what is described.")
@click.option(
    "--repo",
    envvar="EDGEC_REPO",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The repository's folder; not with FILE.  [$EDGEC_REPO]",
)
@keys_option
@key_option
@json_option
def sign_root(
    file: Path | None,
    signed: Path | None,
    discard: bool,
    yes: bool,
    repo: Path | None,
    keys: Path | None,
    references: tuple[str, ...],
    as_json: bool,
) -> None:
    """Sign the root that waits in a repository; it is published as soon as enough have signed.

    Where the root key is on a machine of its own: copy DIR/.edgec/pending-root.json there, sign that FILE, and bring it
    back with --signed FILE. No repository is needed there.
    """
    require_tuf()
    from edgec.output_folder import write_whole
    from edgec.shipping.repository import roots
    from edgec.shipping.repository.keyring import Keyring
    from edgec.shipping.repository.state import pending_root

    source = click.get_current_context().get_parameter_source("repo")
    if file is not None and source is click.core.ParameterSource.ENVIRONMENT:
        repo = None
    if (file is None) == (repo is None):
        raise UsageError(
            "It is not said which root is to be signed",
            "Either --repo DIR names a repository, or FILE a copy of its pending-root.json.",
            "Name one of the two.",
        )
    if file is not None:
        root = roots.read_root(file)
        _confirm(roots.describe(None, root.signed), root.signed.version, yes, as_json)
        for keyid in roots.sign_copy(root, Keyring(keys, references, asker())):
            click.echo(f"note: {keyid[:16]} is no key of this root; it counts if the root before has it", err=True)
        write_whole(file, root.to_bytes())
        if as_json:
            print_result({"signed_by": sorted(root.signatures)})
        else:
            click.echo(f"{file} has {len(root.signatures)} signatures")
        return
    assert repo is not None
    ring = ring_of(repo, keys, references)
    if discard:
        roots.discard_root(repo, ring)
        if as_json:
            print_result({"discarded": True})
        else:
            click.echo("the root that waited is dropped; the one before it holds")
        return
    waiting = pending_root(repo)
    if waiting is not None and signed is None:
        lines = roots.describe(roots.previous_root(repo), waiting.signed)
        _confirm(lines, waiting.signed.version, yes, as_json)
    copy = roots.read_root(signed) if signed is not None else None
    _tell(roots.sign_root(repo, ring, now(), copy, shown=waiting if copy is None else None), as_json)


def _confirm(lines: Sequence[str], version: int, yes: bool, as_json: bool) -> None:
    """Show a person what they are about to sign."""
    click.echo(f"root version {version}" + ("" if lines else ": the same keys for a longer time"), err=True)
    for line in lines:
        click.echo(f"  {line}", err=True)
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise UsageError(
            "Nobody is there to look at the root", "Standard input is not a terminal.", "Say --yes to sign it unseen."
        )
    if not click.confirm("Sign it?", err=True):
        raise UsageError(
            "The root was not signed",
            "You said no. It still waits for signatures.",
            "Drop it with: edgec publish sign-root --repo DIR --discard, or sign it later.",
        )


def _tell(rotated: Rotated, as_json: bool) -> None:
    if as_json:
        print_result(rotated.to_json())
        return
    for line in rotated.changes:
        click.echo(line)
    for path in rotated.generated:
        click.echo(f"new key {path}")
    if rotated.waiting:
        click.echo(f"root version {rotated.root_version} waits: {rotated.waiting}. Until then the old keys hold.")
        click.echo("Each holder of a root key runs: edgec publish sign-root --repo DIR --key KEY")
    elif rotated.root_version is not None:
        click.echo(f"root version {rotated.root_version} is published")


def _periods(texts: Sequence[str]) -> dict[str, timedelta]:
    from edgec.shipping.repository.policy import parse_period

    found = {}
    for text in texts:
        role, equals, period = text.partition("=")
        if not equals:
            raise UsageError(f"--expires {text!r} has no '='", "It is a role and a time.", "For example timestamp=12h.")
        found[role] = parse_period(period)
    return found
