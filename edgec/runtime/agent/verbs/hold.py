"""`edgec-device hold -- COMMAND`: no update switches versions while the command runs.

The command replaces this process and inherits the locks, so they last as long as it, or anything it leaves running,
does: nothing has to be released, and a killed command holds nothing.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from typing import Any, NoReturn

from ...durations import seconds_of
from ...errors import Busy, InputError
from ..folder import check_device_folder, models_of
from ..locks import held
from ..slots import Slots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="hold updates of this model off (default: of all)")
    parser.add_argument("--wait", default="30s", metavar="TIME", help="for an update that is at it (default: 30s)")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run")


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_device_folder(options.root)
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise InputError("No command was given", "", "Write it behind two dashes: edgec-device hold -- COMMAND")
    wait = seconds_of(options.wait, "--wait")
    with ExitStack() as locks:
        for model in models_of(options.root, options.model):
            slots = Slots(options.root, model)
            busy = Busy(
                f"An update of {model} is switching versions",
                f"It holds {slots.use_lock}, and still did after {options.wait}.",
                "Try again, or with a longer --wait.",
            )
            os.set_inheritable(locks.enter_context(held(slots.use_lock, wait, busy, shared=True)), True)
        _become(words)


def _become(words: list[str]) -> NoReturn:
    try:
        os.execvp(words[0], words)
    except OSError as error:
        raise InputError(f"{words[0]} can't be run", f"The system says: {error.strerror}.", "Check it.") from error


def text(document: dict[str, Any]) -> str:
    raise AssertionError("a command runs in this one's place, or it failed")
