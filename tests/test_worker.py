"""A worker runs one function in a process of its own; whatever happens there, the parent gets an answer."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from edgec import worker
from edgec.errors import InternalError, ModelRefused, OutputError, WorkerCrashed, WorkerTimedOut
from edgec.events import Progress
from tests.processes import ends


def add(a, b):
    return a + b


def process_id():
    return os.getpid()


def count_to(total, emit):
    for done in range(total):
        emit(Progress("count", done + 1, total, "numbers"))
    return total


def refuse():
    raise ModelRefused("no", "because", "do", {"node": "n"})


def divide():
    return 1 / 0


def fill_the_disk():
    raise OSError(28, os.strerror(28), "/full/file")


def segfault():
    print("last words", flush=True)
    ctypes.string_at(0)


def hang():
    time.sleep(600)


def hang_with_child(pid_file):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(pid_file).write_text(str(child.pid))
    time.sleep(600)


def big_result(mib):
    return bytes(mib << 20)


def test_returns_what_the_function_returns():
    assert worker.call(add, {"a": 2, "b": 3}) == 5


def test_runs_in_another_process():
    assert worker.call(process_id, {}) != os.getpid()


def test_numpy_computes_on_one_thread_whatever_the_environment_says(monkeypatch):
    """Else equal inputs would not give equal bytes on another machine."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    assert worker.call(os.getenv, {"key": "OPENBLAS_NUM_THREADS"}) == "1"


def test_passes_events_on_in_order():
    heard = []
    assert worker.call(count_to, {"total": 100}, emit_as="emit", listener=heard.append) == 100
    assert [event.done for event in heard] == list(range(1, 101))


def test_results_larger_than_a_pipe_arrive_whole():
    assert len(worker.call(big_result, {"mib": 8})) == 8 << 20


def test_errors_of_the_product_arrive_as_they_were_raised():
    with pytest.raises(ModelRefused) as caught:
        worker.call(refuse, {})
    assert (caught.value.what, caught.value.why, caught.value.fix) == ("no", "because", "do")
    assert caught.value.details == {"node": "n"}


def test_other_exceptions_are_bugs_with_a_traceback():
    with pytest.raises(InternalError) as caught:
        worker.call(divide, {})
    assert "ZeroDivisionError" in caught.value.what
    assert "return 1 / 0" in caught.value.details["traceback"]


def test_a_full_disk_is_told_as_such():
    with pytest.raises(OutputError) as caught:
        worker.call(fill_the_disk, {})
    assert "/full/file" in caught.value.what
    assert "disk is full" in caught.value.what


def test_a_segfault_is_an_error_with_the_last_words():
    with pytest.raises(WorkerCrashed) as caught:
        worker.call(segfault, {})
    assert "SIGSEGV" in caught.value.what
    assert "last words" in caught.value.why


def test_a_hanging_worker_is_ended_with_its_children(tmp_path):
    pid_file = tmp_path / "pid"
    with pytest.raises(WorkerTimedOut):
        worker.call(hang_with_child, {"pid_file": str(pid_file)}, timeout=3)
    assert ends(int(pid_file.read_text()))


def test_a_worker_does_not_outlive_its_parent(tmp_path):
    pid_file = tmp_path / "pid"
    script = textwrap.dedent(
        """
        import sys
        from edgec import worker
        from tests.test_worker import report_and_hang
        worker.call(report_and_hang, {"pid_file": sys.argv[1]})
        """
    )
    root = Path(__file__).parents[1]
    parent = subprocess.Popen([sys.executable, "-c", script, str(pid_file)], cwd=root)
    deadline = time.monotonic() + 20
    while not pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(pid_file.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert ends(child)


def report_and_hang(pid_file):
    part = Path(pid_file).with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.rename(pid_file)
    hang()


def test_one_worker_takes_several_calls():
    with worker.Worker() as one:
        first = one.call(process_id, {})
        assert one.call(add, {"a": 2, "b": 3}) == 5
        assert one.call(process_id, {}) == first
    assert ends(first)


def test_an_error_leaves_the_worker_alive_and_a_crash_gets_a_fresh_one():
    with worker.Worker() as one:
        first = one.call(process_id, {})
        with pytest.raises(ModelRefused):
            one.call(refuse, {})
        assert one.call(process_id, {}) == first
        with pytest.raises(WorkerCrashed) as caught:
            one.call(segfault, {})
        assert "last words" in caught.value.why
        second = one.call(process_id, {})
        assert second != first
        with pytest.raises(WorkerTimedOut):
            one.call(hang, {}, timeout=1)
        assert one.call(add, {"a": 2, "b": 3}) == 5
    assert ends(first) and ends(second)
