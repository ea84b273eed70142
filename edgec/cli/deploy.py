"""`edgec deploy`: artifacts to boards over ssh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgec.cli.json_output import json_option, print_json
from edgec.errors import INTERRUPTED, UsageError

if TYPE_CHECKING:
    from edgec.shipping.boards.hosts import Host
    from edgec.shipping.boards.parallel import Work
    from edgec.shipping.boards.reports import BoardReport

_ARTIFACT = ".edgec"


def on_boards_options(function: Any) -> Any:
    """Options of every command that works on boards over ssh."""
    for option in (
        json_option,
        click.option(
            "--parallel",
            type=click.IntRange(1, 64),
            default=8,
            show_default=True,
            metavar="N",
            help="Boards that are served at once.",
        ),
        click.option(
            "--host-key",
            "host_key",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="The boards' own keys: a known_hosts file, or a host's .pub file. By default those that ssh knows.",
        ),
        click.option(
            "--hosts",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="More boards, one in each line.",
        ),
    ):
        function = option(function)
    return function


@click.command(name="deploy", short_help="Install artifacts on boards, over ssh.")
@click.argument("given", nargs=-1, metavar="HOST... FILE.edgec...")
@on_boards_options
@click.option(
    "--trust-key",
    "trust",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="KEY.pub",
    help="The key that artifacts are signed with, for boards that trust none yet. Repeat for several.",
)
@click.option("--replace-trust", is_flag=True, help="Let boards trust these keys from now on, and no others.")
@click.option("--unsigned", is_flag=True, help="Take artifacts without a signature, on boards that trust no key.")
@click.option("--retry", is_flag=True, help="Install also what failed on a board before.")
@click.option("--dry-run", is_flag=True, help="Tell what would happen; change nothing on the boards.")
@click.option("--status", is_flag=True, help="Show what the boards have; takes no artifacts.")
def command(
    given: tuple[str, ...],
    hosts: Path | None,
    host_key: Path | None,
    parallel: int,
    as_json: bool,
    trust: tuple[Path, ...],
    replace_trust: bool,
    unsigned: bool,
    retry: bool,
    dry_run: bool,
    status: bool,
) -> int:
    """Install artifacts on boards, over ssh.

    A HOST is [user@]host or ssh://[user@]host[:port][/path]; what ends in .edgec is an artifact. Of artifacts of one
    model for several targets each board gets the one that fits it. Each board verifies, tests and switches by itself,
    and goes back by itself where the new version fails.

    \b
    edgec deploy pi@camera-1 pi@camera-2 dist/*.edgec --trust-key release.pub
    edgec deploy --hosts boards.txt dist/*.edgec --dry-run
    edgec deploy --status --hosts boards.txt

    See docs/deploy.md.
    """
    files = [Path(each) for each in given if each.endswith(_ARTIFACT)]
    names = [each for each in given if not each.endswith(_ARTIFACT)]
    if status:
        if files or trust or replace_trust or unsigned or retry or dry_run:
            raise UsageError(
                "--status only looks",
                "It was given together with artifacts or options for deploying.",
                "Ask first what would happen with --dry-run, or name boards only.",
            )
        from edgec.shipping.boards.status import look

        return serve(names, hosts, host_key, parallel, look, as_json, looks=True)
    if not files:
        raise UsageError(
            "No artifact is named",
            f"Artifacts are files whose names end in {_ARTIFACT}.",
            "Name what `edgec build` wrote: edgec deploy HOST dist/model-rpi4.edgec. What boards have: --status",
        )
    if replace_trust and not trust:
        raise UsageError(
            "--replace-trust needs --trust-key", "It says whom boards trust from now on.", "Add --trust-key KEY.pub."
        )
    from edgec.shipping.agent_program import program
    from edgec.shipping.boards import deploy
    from edgec.shipping.boards.packages import read_packages

    keys = [_read_key(path) for path in trust]
    order = deploy.Order(read_packages(files, unsigned), program(), keys, replace_trust, unsigned, retry, dry_run)
    return serve(names, hosts, host_key, parallel, deploy.deploying(order), as_json, looks=dry_run)


def serve(
    names: list[str],
    file: Path | None,
    host_key: Path | None,
    parallel: int,
    work: Work,
    as_json: bool,
    looks: bool = False,
) -> int:
    """Do the work on the boards that are named, show what became of each, and return the exit code.

    looks: it changes nothing, and what the boards are is shown, too.
    """
    from edgec.cli.boards_table import listening, show
    from edgec.shipping.boards.hosts import hosts_of, known_hosts
    from edgec.shipping.boards.parallel import exit_code, on_boards
    from edgec.version import __version__

    hosts: list[Host] = hosts_of(names, file)
    keys = "" if host_key is None else known_hosts(host_key)
    with listening(hosts) as tell:
        reports: list[BoardReport]
        reports, interrupted = on_boards(hosts, work, parallel, tell, keys)
    code = INTERRUPTED if interrupted else exit_code(reports)
    if as_json:
        state = "interrupted" if interrupted else "failed" if code else "ok"
        document = {"edgec": __version__, "schema": 1, "status": state, "exit_code": code}
        print_json({**document, "boards": [report.to_json() for report in reports]})
    else:
        show(reports, looks)
    return code


def _read_key(path: Path) -> bytes:
    """A public key that can be read as one. Raises UsageError."""
    from edgec.bundle.errors import as_edgec_error
    from edgec.runtime.agent.signatures import public_keys
    from edgec.runtime.errors import ArtifactFailure

    try:
        public_keys([path])
        return path.read_bytes()
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
