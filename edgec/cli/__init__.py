"""The command line: one module a verb, imported only when it is called. It parses and renders; it decides nothing."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from operator import itemgetter
from typing import Any, NoReturn

import click

from edgec.cli.json_output import failure, print_json
from edgec.cli.report_error import report_error
from edgec.errors import INTERRUPTED, EdgecError, UsageError, as_edgec_errors, unexpected
from edgec.version import __version__

SECTIONS = {
    "Compile": {
        "build": "Compile a model into verified artifacts.",
        "inspect": "Tell what a device would make of a model, before a build.",
        "diagnose": "Find out why a quantized model is wrong, layer by layer.",
    },
    "Measure": {
        "bench": "Measure artifacts, beside each other and the original model.",
        "compare": "Show artifacts side by side, and which are on the Pareto front.",
        "report": "Show many builds on one page, or one in another form.",
    },
    "Ship": {
        "keygen": "Make a key to sign artifacts and repositories with.",
        "sign": "Sign artifacts, with what is known of how they were made.",
        "verify": "Check who signed artifacts, and what they say of them.",
        "deploy": "Install artifacts on boards, over ssh.",
        "rollback": "Let boards go back to a version that they have.",
        "publish": "Publish artifacts to a repository that devices update from.",
        "fetch": "Fetch published artifacts, verified, into a folder.",
        "runtime": "Let a candidate run in the shadow of an artifact, and compare them.",
        "device-agent": "Write edgec-device, the program that looks after a device's models.",
    },
    "Look after": {
        "targets": "List the devices that edgec can build for.",
        "recipes": "List the preprocessing recipes.",
        "doctor": "Show what is installed, and what is missing for what.",
        "cache": "Look after stored results of stages.",
        "emulator": "Look after emulated devices, on which a build runs its artifacts.",
        "completion": "Print what makes your shell complete edgec's words.",
    },
}
VERBS = {name: text for section in SECTIONS.values() for name, text in section.items()}


class _Verbs(click.Group):
    """Knows all verbs by name, so that `edgec --help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = import_module(f"edgec.cli.{name.replace('-', '_')}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in VERBS:
            from edgec.toml_schema import did_you_mean

            ctx.fail(f"There is no command {args[0]!r}.{did_you_mean(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, VERBS)) + 2
        for title, verbs in filter(itemgetter(1), SECTIONS.items()):
            with formatter.section(title):
                formatter.write_dl([(f"{name:{width}}", text) for name, text in verbs.items()], col_spacing=0)


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`edgec COMMAND --help` tells more. A first build: edgec build model.onnx --calib photos/ "
    "--preprocess imagenet",
)
@click.version_option(__version__, "-V", "--version", message="edgec %(version)s")
def edgec() -> None:
    """Compile ONNX models into artifacts that run fast on edge devices, with proof that they are right."""


def main() -> None:
    """The console script: run a command, tell what went wrong, exit with its code."""
    for stream in (sys.stdout, sys.stderr):  # a path may hold what the terminal's encoding can't say
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    as_json = "--json" in sys.argv
    try:
        with as_edgec_errors():
            status = edgec(prog_name="edgec", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        if as_json:
            what = UsageError(error.format_message(), "The command line can't be understood.", "See `--help`.")
            print_json(failure(None, what))
        else:
            error.show()
        sys.exit(error.exit_code)
    except EdgecError as error:
        _tell(error, as_json)
    except (KeyboardInterrupt, click.Abort):
        click.echo("edgec: interrupted; results of finished stages are kept", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `edgec targets | head`
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        import traceback

        _tell(unexpected(error, traceback.format_exc()), as_json)


def _tell(error: EdgecError, as_json: bool) -> NoReturn:
    if as_json:
        print_json(failure(None, error))
    else:
        report_error(error)
    sys.exit(error.exit_code)
