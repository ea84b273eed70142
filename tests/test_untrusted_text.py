"""Names are whatever their makers wrote, and terminals act on some of it."""

from __future__ import annotations

import io

from rich.console import Console

from edgec.cli.markup import escape
from edgec.cli.progress import listening
from edgec.cli.report_error import report_error
from edgec.errors import EdgecError
from edgec.events import Note
from edgec.untrusted_text import clean

HOSTILE = "\x1b]0;title\x07 \x1b[2J \x9b2J \r \x08 \u202e"


def printable(text: str) -> bool:
    return all(letter.isprintable() or letter in "\n\t" for letter in text)


def test_what_terminals_act_on_is_marked_and_all_else_stays():
    assert printable(clean(HOSTILE)) and clean(HOSTILE).count("\ufffd") == 7
    assert clean("Größe/α [bold] 1×3\n\tb") == "Größe/α [bold] 1×3\n\tb"


def test_names_do_nothing_on_a_console():
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system=None).print(f"a {escape(HOSTILE + '[bold]b[/]')}")
    assert printable(out.getvalue()) and "[bold]b[/]" in out.getvalue()


def test_names_do_nothing_in_errors_and_notes(capsys):
    report_error(EdgecError(HOSTILE, HOSTILE, HOSTILE, {"traceback": HOSTILE}), HOSTILE)
    with listening(quiet=False, verbose=True) as listener:
        listener(Note("load", HOSTILE, "warning", HOSTILE))
    assert printable(capsys.readouterr().err)
