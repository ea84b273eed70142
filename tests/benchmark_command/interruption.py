"""Commands that Ctrl-C ends once they have got somewhere, however slow the machine is."""

from __future__ import annotations

import signal
import subprocess
import sys


def interrupted(*arguments, when):
    """edgec's exit code and standard output. It is interrupted when a line of its progress begins with `when`."""
    eager = "from edgec.cli import main, progress; progress._EVERY = 0; main()"
    command = [sys.executable, "-c", eager, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr:
            if line.startswith(when):
                break
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=120)
    return running.returncode, output
