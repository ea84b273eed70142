"""The same work on several boards at once: one that fails does not stop the others."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from edgec.errors import ConnectionLost, DeviceError, EdgecError, unexpected
from edgec.shipping.boards.agent import AgentOnBoard, agent_on
from edgec.shipping.boards.hosts import Host
from edgec.shipping.boards.reports import BoardReport, Step, Tell

MIXED = 10
"""The exit code where boards failed for different reasons."""


class Sessions:
    """The sessions that are open, so that Ctrl-C ends them. host_keys: see `agent_on`."""

    def __init__(self, host_keys: str = "") -> None:
        self._host_keys = host_keys
        self._open: set[AgentOnBoard] = set()
        self._lock = threading.Lock()
        self.interrupted = False

    @contextlib.contextmanager
    def open(self, host: Host, making: bool) -> Iterator[AgentOnBoard]:
        """As `agent_on`. Raises ConnectionLost after an interruption."""
        with agent_on(host, making, self._host_keys) as agent:
            with self._lock:
                self._open.add(agent)
                if self.interrupted:
                    raise ConnectionLost("Interrupted")
            try:
                yield agent
            finally:
                with self._lock:
                    self._open.discard(agent)

    def interrupt(self) -> None:
        """End all of them, and those that are about to begin."""
        with self._lock:
            self.interrupted = True
            for agent in self._open:
                agent.board.hang_up()


Work = Callable[[Host, Sessions, Tell, BoardReport], None]
"""What is done on a board; it fills the report as far as it gets, and raises EdgecError for the board as a whole."""


def on_boards(
    hosts: Sequence[Host], work: Work, parallel: int, tell: Tell, host_keys: str = ""
) -> tuple[list[BoardReport], bool]:
    """Do `work` on all boards, on `parallel` of them at once; the reports in the order of the hosts, and whether it was
    interrupted (Ctrl-C): then those that had not ended say so."""
    sessions = Sessions(host_keys)
    reports = [BoardReport(host) for host in hosts]
    lock = threading.Lock()

    def tell_in_turn(step: Step) -> None:
        with lock:
            tell(step)

    def one(report: BoardReport) -> None:
        begun = time.monotonic()
        if sessions.interrupted:
            report.error = _interrupted(report)
            return
        try:
            work(report.host, sessions, tell_in_turn, report)
        except EdgecError as error:
            report.error = _interrupted(report) if sessions.interrupted else error
        except Exception as error:
            report.error = unexpected(error, traceback.format_exc())
        report.seconds = time.monotonic() - begun
        tell_in_turn(Step(report.host, "", ended=report))

    with ThreadPoolExecutor(parallel, thread_name_prefix="board") as pool:
        futures = [pool.submit(one, report) for report in reports]
        try:
            wait(futures)
        except KeyboardInterrupt:
            sessions.interrupt()
            wait(futures)
    return reports, sessions.interrupted


def _interrupted(report: BoardReport) -> EdgecError:
    for model in report.models:
        if model.result == "connection lost":
            model.result = "interrupted"
    return DeviceError(
        f"Interrupted before {report.host.name} was done",
        "An installation that the board has begun goes on there, and is taken back there if it fails.",
        f"See what became of it: edgec deploy --status {report.host.name}",
    )


def exit_code(reports: Sequence[BoardReport]) -> int:
    """0 where nothing failed; the code of the failures where they are all alike; else MIXED."""
    codes = {error.exit_code for report in reports for error in report.errors}
    return 0 if not codes else codes.pop() if len(codes) == 1 else MIXED
