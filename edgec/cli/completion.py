"""`edgec completion`: what makes a shell complete edgec's words, and the words it can't know from the flags alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem, get_completion_class

from edgec import resources
from edgec.backends import BACKENDS

SHELLS = ("bash", "zsh", "fish")

_PROGRAM = "edgec"
_VARIABLE = "_EDGEC_COMPLETE"
"""click's name for it: the script calls the program with this variable set, and the program answers with words."""

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command(name="completion", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete commands, flags, targets, recipes, backends and files.

    \b
    bash   echo 'eval "$(edgec completion bash)"' >> ~/.bashrc
    zsh    echo 'eval "$(edgec completion zsh)"' >> ~/.zshrc
    fish   edgec completion fish > ~/.config/fish/completions/edgec.fish

    It holds from the next shell on. bash has to be 4.4 or newer.
    """
    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(click.Command(_PROGRAM), {}, _PROGRAM, _VARIABLE).source().rstrip())


def _names(known: Callable[[], Iterable[str]], *, or_files: bool = False) -> Completer:
    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for name in sorted(known()) if name.startswith(begun)]
        return found or ([CompletionItem(begun, type="file")] if or_files else [])

    return complete


targets = _names(lambda: resources.declared("targets"), or_files=True)
"""Devices: built-in ones and those in ./targets by name, others by the path of their description."""

recipes = _names(lambda: resources.declared("calibration"), or_files=True)
"""Preprocessing recipes, in the same way."""

backends = _names(lambda: ("auto", *BACKENDS))


def paths(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Files and folders, for flags that take some other words too."""
    return [CompletionItem(begun, type="file")]
