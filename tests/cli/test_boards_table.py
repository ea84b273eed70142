"""What `edgec deploy` and `edgec rollback` print of boards, and what they refuse before any board is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgec import cli
from edgec.cli import boards_table
from edgec.errors import DeviceError, UsageError
from edgec.shipping.boards import parallel
from edgec.shipping.boards.hosts import Host
from edgec.shipping.boards.reports import BoardReport, ModelReport, Step

_DEVICE = {
    "arch": "aarch64",
    "cpu_features": ["asimd"],
    "glibc": "2.36",
    "memory_bytes": 4_000_000_000,
    "python": "3.11.2",
    "target": None,
    "free_bytes": 12_000_000_000,
}


def release(sha256, version=None):
    return {"model": "net", "version": version, "sha256": sha256 * 64}


def board(name, *models, **fields):
    return BoardReport(Host(name), "/var/lib/edgec", {"before": "1.0", "after": "1.0"}, _DEVICE, list(models), **fields)


INSTALLED = ModelReport("net", Path("net.edgec"), release("a", 3), release("b"), "installed", 10, 4.25, ["a note"])
DOWN = DeviceError("camera-2 can't be reached", "Connection refused.", "Switch it on.")


def test_what_became_of_boards(capsys):
    boards_table.show([board("camera-1", INSTALLED), BoardReport(Host("camera-2"), seconds=0.2, error=DOWN)], False)
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "host      model  before            after         seconds  result",
        "camera-1  net    3 (aaaaaaaaaaaa)  bbbbbbbbbbbb      4.2  installed",
        "camera-2  -                                          0.2  failed",
        "note: camera-1: net: a note",
        "1 of 2 boards without an error",
    ]
    assert told.err.splitlines()[0] == "error: camera-2 can't be reached"


def test_what_boards_have(capsys):
    found = {
        "current": release("b"),
        "installed": [release("a", 3), release("b"), release("c")],
        "failed": {"c" * 64: ""},
    }
    model = ModelReport("net", None, release("b"), release("b"), "runs")
    boards_table.show([board("camera-1", model, installed={"net": found})], True)
    assert capsys.readouterr().out.splitlines() == [
        "camera-1: aarch64, glibc 2.36, Python 3.11.2, 4.00 GB of memory, agent 1.0, 12.00 GB free in /var/lib/edgec",
        "",
        "host      model  version           state",
        "camera-1  net    bbbbbbbbbbbb      runs",
        "camera-1  net    3 (aaaaaaaaaaaa)  to go back to",
        "camera-1  net    cccccccccccc      failed",
    ]


def test_names_from_boards_do_not_command_the_terminal(capsys):
    error = DeviceError("\x1b]0;title\x07", "\x1b[2J", "")
    boards_table.show([board("camera-1", ModelReport("net\x1b[2J", None, None), error=error)], False)
    told = capsys.readouterr()
    assert "\x1b]" not in told.out + told.err and "\x1b[2J" not in told.out + told.err


def test_steps_are_lines_where_there_is_no_terminal(capsys):
    host = Host("camera-1")
    with boards_table.listening([host]) as tell:
        for step in (
            Step(host, "connecting"),
            Step(host, "sending net", 1, 2000),
            Step(host, "sending net", 2000, 2000),
        ):
            tell(step)
        tell(Step(host, "", ended=BoardReport(host, seconds=1.5)))
    assert capsys.readouterr().err.splitlines() == [
        "camera-1: connecting",
        "camera-1: sending net (2.0 KB)",
        "camera-1: done (1.5 s)",
    ]


def failed(code):
    error = DeviceError("what")
    error.exit_code = code
    return BoardReport(Host("board"), error=error)


@pytest.mark.parametrize(("codes", "code"), [((), 0), ((6,), 6), ((75, 75), 75), ((6, 9), parallel.MIXED)])
def test_exit_codes(codes, code):
    assert parallel.exit_code([BoardReport(Host("board")), *map(failed, codes)]) == code


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["edgec", *words, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["deploy", "board"], "No artifact is named"),
        (["deploy", "--status"], "No board is named"),
        (["deploy", "--status", "board", "net.edgec"], "--status only looks"),
        (["deploy", "board", "net.edgec", "--replace-trust"], "--replace-trust needs --trust-key"),
        (["deploy", "board", "nothing.edgec"], "nothing.edgec can't be read"),
        (["rollback", "board", "--list", "--to", "3"], "--list shows all models"),
        (["rollback"], "No board is named"),
    ],
)
def test_what_is_refused_at_once(monkeypatch, capsys, words, what):
    code, document = run(monkeypatch, capsys, *words)
    assert (code, document["error"]["what"]) == (UsageError.exit_code, what)
    assert document["error"]["why"] and document["error"]["fix"]


def test_a_document_of_boards(monkeypatch, capsys):
    def boards(hosts, work, parallel, tell, host_keys):
        assert (hosts, parallel) == ([Host("camera-1"), Host("camera-2")], 3)
        return [board("camera-1", INSTALLED), BoardReport(hosts[1], error=DOWN)], False

    monkeypatch.setattr(parallel, "on_boards", boards)
    code, document = run(monkeypatch, capsys, "deploy", "--status", "camera-1", "camera-2", "--parallel", "3")
    assert (code, document["status"], document["exit_code"]) == (10, "failed", 10)
    first, second = document["boards"]
    assert first["models"][0]["sent_bytes"] == 10 and first["models"][0]["after"]["sha256"] == "b" * 64
    assert second["error"]["what"] == DOWN.what
