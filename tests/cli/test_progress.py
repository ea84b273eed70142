"""Progress: bars on a terminal, plain lines elsewhere; results never share a stream with either."""

import io

from edgec.cli import progress
from edgec.events import Note, Progress, StageFinished, StageStarted

EVENTS = (
    StageStarted("calibrate", "host"),
    Progress("calibrate", 3, 64, "samples", "host"),
    Note("calibrate", "the data is [odd]", "warning", "host"),
    Note("calibrate", "a detail", "info", "host"),
    StageFinished("calibrate", 1.25, False, "host"),
    StageFinished("quantize", 9.0, True, "host"),
)


def shown(capsys, **options):
    with progress.listening(**{"quiet": False, "verbose": False, **options}) as listener:
        for event in EVENTS:
            listener(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_elsewhere_than_on_a_terminal_there_are_plain_lines(capsys):
    lines = shown(capsys).splitlines()
    assert lines == [
        "calibrate for host ...",
        "warning: calibrate for host: the data is [odd]",
        "calibrate for host: done in 1.2 s",
        "quantize for host: found in the store",
    ]


def test_quiet_leaves_warnings_and_verbose_adds_details(capsys):
    assert shown(capsys, quiet=True) == "warning: calibrate for host: the data is [odd]\n"
    assert "info: calibrate for host: a detail" in shown(capsys, verbose=True)


def test_a_long_stage_says_now_and_then_how_long_it_still_takes(capsys, monkeypatch):
    now = iter([0.0, 0.0, 5.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with progress.listening(quiet=False, verbose=False) as listener:
        listener(StageStarted("calibrate"))
        listener(Progress("calibrate", 1, 4, "samples"))
        listener(Progress("calibrate", 2, 4, "samples"))
    assert capsys.readouterr().err.splitlines()[1:] == ["calibrate: 2 of 4 samples, 20 s left"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_there_are_bars_and_a_line_for_each_stage(monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with progress.listening(quiet=False, verbose=False) as listener:
        for event in EVENTS:
            listener(event)
    text = terminal.getvalue()
    assert "the data is [odd]" in text, "square brackets are no markup"
    assert "calibrate for host" in text
    assert "found in the store" in text
    assert "a detail" not in text
