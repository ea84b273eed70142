"""`edgec publish`: artifacts to where devices fetch them from: a repository (TUF), or a registry for containers.

add        artifacts to a repository
oci        artifacts to a registry
releases   what becomes of releases: rollout, pause, resume, promote, revoke
keys       who signs: init, delegate, rotate, sign-root
upkeep     what keeps a repository alive, and what looks at it: refresh, prune, status, check
options    what these have in common
text       what they say of a repository
"""

from __future__ import annotations

from pathlib import Path

import click

from edgec.cli.publish import add, keys, oci, releases, upkeep

_SETTINGS = {"help_option_names": ["-h", "--help"]}

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
            args = ["oci" if oci.is_asked_for(args) else "add", *args]
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
    edgec publish init --repo fleet            once: keys, an empty repository
    edgec publish dist/*.edgec --repo fleet    to all devices
    edgec publish dist/*.edgec --repo fleet --rollout 10%
    edgec publish rollout net 100% --repo fleet
    edgec publish refresh --repo fleet         from cron, several times a day

    Any web server, bucket or CDN can serve DIR. `edgec publish add --help` shows the options of the first form.
    """


for _each in (
    *(add.add, oci.oci),
    *(releases.rollout, releases.pause, releases.resume, releases.promote, releases.revoke),
    *(keys.init, keys.delegate, keys.rotate, keys.sign_root),
    *(upkeep.refresh, upkeep.prune, upkeep.status, upkeep.check),
):
    command.add_command(_each)
