"""`edgec-device`: what keeps the models of a device up to date.

Each command is a module in `verbs/` with `add_arguments(parser)`, `run(options) -> document`, which raises an
ArtifactFailure where it can't do what was asked, and `text(document) -> str`, what a person reads. `--json` prints the
document instead: one for each command, also of one that failed.

The exit code is that of the failure; an error's class decides it (edgec/runtime/errors.py).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ArtifactFailure, StorageFailed
from .version import VERSION

VERBS: Mapping[str, str] = {
    "init": "Make the device's folder, its configuration, and whom it trusts.",
    "status": "Show which versions are there, which one runs, and which failed.",
    "check": "Tell what this device is, and whether artifacts fit it.",
    "update": "Bring the models up to date from the repository.",
    "fetch": "Download what `update` would install.",
    "install": "Install an artifact from a file.",
    "rollback": "Go back to the version before.",
    "confirm": "Say that the version on trial is good.",
    "boot": "Bring everything in order after a start, and count the start of a version on trial.",
    "hold": "Run a command, and let no update switch versions while it runs.",
    "prune": "Remove versions and leftovers that are not needed.",
    "log": "Show what happened to a model's versions.",
}
"""The commands: a module in verbs/, named alike, and its help."""

DEFAULT_ROOT = Path("/var/lib/edgec")
_INTERRUPTED = 130
_CODES = (
    "Exit codes: 0 ok, 2 command line or configuration, 6 the version failed (the one before runs), 8 engine or "
    "package missing, 9 untrusted or damaged, 10 not for this device, 69 server not reached, 73 storage, 75 busy: try "
    "later, 130 interrupted."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(given).parse_args(given)
    _log_to_stderr(options.quiet)
    verb = import_module(f".verbs.{options.verb}", __package__)
    try:
        document: dict[str, Any] = verb.run(options)
        print(json.dumps(document, indent=2) if options.json else verb.text(document))
        sys.stdout.flush()
    except ArtifactFailure as failure:
        return _report(failure, options.json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        place = error.filename or options.root
        unread = StorageFailed(f"{place} can't be read", f"The system says: {error.strerror}.", "Check the storage.")
        return _report(unread, options.json)
    return 0


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgec-device",
        description="Keeps a device's models up to date: installs what is signed and fits, tests it, and takes it back "
        "when it fails.",
        epilog=_CODES,
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {VERSION}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="verb")
    for name, text in VERBS.items():
        each = verbs.add_parser(name, help=text, description=text)
        each.add_argument(
            "--root",
            type=Path,
            metavar="DIR",
            default=Path(os.environ.get("EDGEC_DEVICE_DIR") or DEFAULT_ROOT),
            help=f"the device's folder (default: $EDGEC_DEVICE_DIR, else {DEFAULT_ROOT})",
        )
        each.add_argument("--json", action="store_true", help="print one JSON document on standard output")
        each.add_argument("--quiet", action="store_true", help="tell nothing but errors on standard error")
        if name in given:
            import_module(f".verbs.{name}", __package__).add_arguments(each)
    return parser


class _Line(logging.Formatter):
    """One line for each record; under systemd with the priority that its journal keeps (sd-daemon(3))."""

    def __init__(self, journal: bool) -> None:
        super().__init__("%(message)s")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        line = " ".join(super().format(record).splitlines())
        if not self._journal:
            return line
        priority = 3 if record.levelno >= logging.ERROR else 4 if record.levelno >= logging.WARNING else 6
        return f"<{priority}>{line}"


def _log_to_stderr(quiet: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line("JOURNAL_STREAM" in os.environ))
    logger = logging.getLogger("edgec")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    logger.propagate = False


def _report(failure: ArtifactFailure, as_json: bool) -> int:
    if as_json:
        error = {"kind": type(failure).__name__, "what": failure.what, "why": failure.why, "fix": failure.fix}
        document = {"status": "failed", "exit_code": failure.exit_code, "error": error, **failure.details}
        print(json.dumps(document, indent=2))
    print(f"error: {failure.what}", file=sys.stderr)
    for title, text in (("why", failure.why), ("fix", failure.fix)):
        for number, line in enumerate(text.splitlines()):
            print(f"  {title + ':' if number == 0 else '    '} {line}", file=sys.stderr)
    return failure.exit_code
