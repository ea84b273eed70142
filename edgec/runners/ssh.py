"""A board that OpenSSH reaches: send files there, run programs there, read what they leave.

    with connect("pi@board", room=size) as board:
        board.put({"model.edgec": path})
        done = board.run(["python3", "model.edgec", "selftest", "--json"], seconds=60)
        log = board.get("log.txt")

The user's own `ssh` is called, and nothing else: names of hosts, keys, agents and jump hosts are those of
~/.ssh/config, and whether a host's key is trusted is ssh's to say. It never asks for anything (BatchMode). All sessions
share one connection: the user's, where one is open (ControlMaster), else one that this module opens.

Everything on the board happens in one new folder. A shell there, the *keeper*, makes it, waits until its standard input
ends, ends what still runs in the folder, and removes it. So nothing is left when this process is killed or the
connection breaks: sshd then closes that input. What shall stay on the board has a *root* there, and then the new folder
is in ROOT/incoming: a file gets from there to its place without being copied.

The board needs a POSIX shell, mktemp, df and tar, as BusyBox has them, too. What a login shell of another kind reads
are words of letters, digits and `/._-` only; everything else goes to `sh` as its input.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

from edgec.errors import ConnectionLost, DeviceError, ToolMissing, UsageError
from edgec.runners.board_facts import Facts, facts_from
from edgec.runners.ssh_refusals import disk_full, mib, no_session, tail

CONNECT_SECONDS = 10
"""For a connection, where the user's configuration does not say."""

_OPEN_SECONDS = 60.0  # for connection, login (somebody may have to touch a security key) and the keeper's answer
_CHECK_SECONDS = 10.0  # a process at this machine is asked, not the board
_CLOSE_SECONDS = 10.0
_OVER_SECONDS = 1.0
_ALIVE_SECONDS = 5  # after three questions without an answer, the connection counts as lost
_SSH_FAILED = 255  # the exit code of ssh itself; programs' own are kept below it
_FOLDER_GONE = 254
_HIGHEST = 253
_SIGNALLED = 128  # a shell adds it to the number of the signal that ended a program
_MARK = "edgec-output"
_SLACK = 1 << 20  # bytes that are left free on a board
_UNSAFE = re.compile(
    r"""[\s'"`$\\;&<>|(){}\x00-\x1f\x7f]"""
)  # in names of users and hosts, as ssh itself has it since 9.6
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

_KEEPER = r"""
umask 077
need=%(kib)d
folder=
clean() {
    trap '' HUP INT TERM
    cd /
    for each in "$folder"/*.pid; do
        [ -f "$each" ] && read -r pid <"$each" || continue
        case $(readlink "/proc/$pid/cwd") in "$folder"*) kill -9 "-$pid" || kill -9 "$pid" ;; esac
    done 2>/dev/null
    [ -n "$folder" ] && rm -rf "$folder"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM
echo
echo %(mark)s
root=
for each in %(roots)s; do
    case $each in '~/'*) each=$HOME/${each#??} ;; esac
    above=$each
    while [ -n "$above" ] && [ ! -e "$above" ]; do above=${above%%/*}; done
    if [ -d "${above:-/}" ] && [ -w "${above:-/}" ]; then root=$each; break; fi
    echo "unwritable $each"
done
incoming=
if [ -n "$root" ]; then
    echo "root $root"
    if [ %(make)d = 1 ] && (umask 022 && mkdir -p "$root" && umask 077 && mkdir -p "$root/incoming"); then
        incoming=$root/incoming
        for each in "$incoming"/edgec.*; do
            [ -f "$each/.keeper" ] && read -r pid <"$each/.keeper" || continue
            [ -d "/proc/$pid" ] || rm -rf "$each"
        done
    fi 2>/dev/null
fi
for place in ${incoming:+"$incoming"} "${TMPDIR:-/tmp}" /tmp /var/tmp "$HOME"; do
    case $place in *[!A-Za-z0-9/._-]* | [!/]*) continue ;; esac
    folder=$(mktemp -d "$place/edgec.XXXXXXXX" 2>/dev/null) || folder=
    if [ -z "$folder" ]; then echo "tried $place can't be written"; continue; fi
    set -- $(df -Pk "$folder" | tail -n 1)
    { printf '#!/bin/sh\nexit 0\n' >"$folder/try" && chmod 700 "$folder/try"; } 2>/dev/null
    if [ "${4:-0}" -lt "$need" ]; then echo "tried $place has ${4:-0} KiB free"
    elif ! "$folder/try" 2>/dev/null; then echo "tried $place lets no program run"
    else break; fi
    rm -rf "$folder"
    folder=
done
if [ -n "$folder" ]; then
    rm -f "$folder/try"
    [ "$folder" = "$incoming/${folder##*/}" ] && echo $$ >"$folder/.keeper"
    echo "folder $folder"
    echo "free ${4:-0}"
fi
echo "machine $(uname -m)"
echo "bits $(getconf LONG_BIT 2>/dev/null)"
echo "libc $(getconf GNU_LIBC_VERSION 2>/dev/null)"
echo "python $(command -v python3)"
echo cpuinfo
cat /proc/cpuinfo 2>/dev/null
echo
echo %(mark)s
[ -n "$folder" ] && cat >/dev/null
exit 0
"""

_RUN = """
cd {folder} || exit {gone}
echo $$ >{name}.pid
echo
echo {mark}
{command}
status=$?
rm -f {name}.pid
[ $status -gt {highest} ] && status={highest}
exit $status
"""


@dataclass(frozen=True)
class Done:
    """A program that has ended on a board. output, said: its standard output, and its standard error, decoded.

    code: 128 and a signal's number where a signal ended it.
    """

    code: int
    output: bytes
    said: str

    def document(self) -> Any:
        """The JSON document that the program printed; None where it printed none."""
        try:
            return json.loads(self.output)
        except ValueError:
            return None


class TooLate(DeviceError):
    """A program on a board did not end in its time, and was ended."""


class Board:
    """An open session. Everything it does is in one folder on the board, which is gone afterwards.

    host: as the user named it. folder: on the board. free: bytes there when the session began. facts: of the board.
    root: what shall stay there is below it; "" where none was asked for, or none can be written.
    """

    def __init__(
        self,
        host: str,
        options: Sequence[str],
        keeper: subprocess.Popen[bytes],
        folder: str,
        free: int,
        facts: Facts,
        root: str = "",
    ) -> None:
        self.host, self.folder, self.free, self.facts, self.root = host, folder, free, facts, root
        self._options = options
        self._keeper = keeper
        self._putting: subprocess.Popen[bytes] | None = None
        self._runs = 0
        self._sizes: dict[str, int] = {}

    def put(self, files: Mapping[str, Path | bytes], listen: Callable[[int], None] | None = None) -> None:
        """Write files into the folder, under plain names; contents that are bytes may be run.

        listen: gets the number of bytes that were handed to ssh, as they grow.

        Raises DeviceError when they do not fit there, ConnectionLost.
        """
        for name in files:
            _require_plain(name)
        sizes = {name: len(each) if isinstance(each, bytes) else each.stat().st_size for name, each in files.items()}
        size = sum(sizes.values())
        free = self.free - sum(each for name, each in self._sizes.items() if name not in sizes)
        if size + _SLACK > free:
            raise disk_full(self.host, self.folder, f"{mib(size)} are to be written, and {mib(free)} are free.")
        with tempfile.TemporaryFile() as said:
            process = self._start(f"exec tar -xf - -C {self.folder}", stdout=subprocess.DEVNULL, stderr=said)
            self._putting = process
            assert process.stdin is not None
            try:
                with contextlib.suppress(BrokenPipeError), process.stdin:  # why is told by how it ended
                    _write_tar(process.stdin, files, listen)
                process.wait()
            finally:
                process.kill()
                process.wait()
            said.seek(0)
            text = said.read().decode(errors="replace")
        if process.returncode == _SSH_FAILED or process.returncode < 0:
            raise self._lost(text)
        if process.returncode != 0:
            if self._is_over():  # and ssh has opened another connection by itself
                raise self._lost("")
            if "space" in text.lower() or "quota" in text.lower():
                raise disk_full(self.host, self.folder, f"The board says: {tail(text)}")
            raise DeviceError(
                f"Files could not be written on {self.host}",
                f"The board says: {tail(text) or f'tar ended with {process.returncode}.'}",
                f"Look at {self.folder.rpartition('/')[0]} there. `tar` has to be installed (BusyBox's does).",
            )
        self._sizes |= sizes

    def run(
        self, words: Sequence[str], *, seconds: float | None = None, listen: Callable[[str], None] | None = None
    ) -> Done:
        """Run a program in the folder, without input, and wait for its end.

        words: its name, looked for as a shell does ("./program" for one that was put there), and its arguments.
        seconds: after which it is ended. listen: gets each line of its standard error as it comes.

        Raises TooLate, ConnectionLost.
        """
        self._runs += 1
        name = f"run-{self._runs}"
        script = _RUN.format(
            folder=self.folder,
            name=name,
            mark=_MARK,
            command=f"{shlex.join(words)} </dev/null",
            gone=_FOLDER_GONE,
            highest=_HIGHEST,
        )
        process = self._start("exec sh", stdout=subprocess.PIPE)
        try:
            output, said = _conversation(process, script.encode(), seconds, listen)
        except subprocess.TimeoutExpired as late:
            self._end(name)
            raise TooLate(
                f"{words[0]} did not end in {seconds:.0f} s on {self.host}, and was ended",
                "The board may be busy, or much slower than what was thought of.",
                "Look at what else runs there, and try again.",
            ) from late
        except BaseException:
            self._end(name)
            raise
        finally:
            process.kill()
            process.wait()
        if process.returncode in (_SSH_FAILED, _FOLDER_GONE):
            raise self._lost(said)
        return Done(process.returncode, output.partition(f"\n{_MARK}\n".encode())[2], said)

    def talk(self, words: Sequence[str]) -> Talk:
        """Start a program in the folder that reads lines and answers with lines. Raises ConnectionLost."""
        self._runs += 1
        name = f"run-{self._runs}"
        script = _RUN.format(
            folder=self.folder, name=name, mark=_MARK, command=shlex.join(words), gone=_FOLDER_GONE, highest=_HIGHEST
        )
        self.put({f"{name}.sh": script.encode()})
        return Talk(self, name, self._start(f"exec sh {self.folder}/{name}.sh", stdout=subprocess.PIPE))

    def get(self, name: str) -> bytes:
        """A file of the folder. Raises DeviceError where there is none, ConnectionLost."""
        _require_plain(name)
        done = self.run(["cat", name])
        if done.code != 0:
            raise DeviceError(
                f"{name} can't be read on {self.host}", f"The board says: {tail(done.said)}", "Please report it."
            )
        return done.output

    def hang_up(self) -> None:
        """End the session from another thread: what it waits for raises ConnectionLost."""
        with contextlib.suppress(OSError, ValueError):
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
        if self._putting is not None:
            self._putting.kill()

    def _start(self, command: str, **streams: Any) -> subprocess.Popen[bytes]:
        if self._keeper.poll() is not None:
            raise self._lost("")
        return _ssh(
            self.host, self._options, command, **{"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        )

    def _is_over(self) -> bool:
        """Whether the session has ended, or does so at this moment."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._keeper.wait(_OVER_SECONDS)
        return self._keeper.poll() is not None

    def _end(self, name: str) -> None:
        """End a program on the board, as far as the board can be reached; else its keeper will."""
        with contextlib.suppress(DeviceError, subprocess.TimeoutExpired):
            process = self._start("exec sh", stdout=subprocess.DEVNULL)
            end = f"read -r pid <{name}.pid && rm {name}.pid && {{ kill -9 -$pid || kill -9 $pid; }}"
            script = f"cd {self.folder} && {end}\n"
            try:
                process.communicate(script.encode(), timeout=_CLOSE_SECONDS)
            finally:
                process.kill()
                process.wait()

    def _lost(self, said: str) -> ConnectionLost:
        return ConnectionLost(
            f"The connection to {self.host} was lost",
            tail(said) or "The board ended the session, was switched off, or can't be reached any more.",
            "See whether the board is still on and reachable, and repeat the command.",
        )


class Talk:
    """A program on a board that answers line by line."""

    def __init__(self, board: Board, name: str, process: subprocess.Popen[bytes]) -> None:
        self._board, self._name, self._process = board, name, process
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._said: list[bytes] = []
        assert process.stdout is not None and process.stderr is not None
        out, error = process.stdout, process.stderr

        def hear() -> None:
            for line in out:
                self._lines.put(line)
            self._lines.put(b"")

        self._errors = threading.Thread(target=lambda: self._said.append(error.read()), daemon=True)
        self._errors.start()
        threading.Thread(target=hear, daemon=True).start()
        self._begun = False

    def send(self, line: str) -> None:
        """Give it a line. One that has ended is noticed by `receive`."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def receive(self, seconds: float) -> str | None:
        """The next line that it printed; None where it has ended, or did not answer in time. Raises ConnectionLost."""
        deadline = time.monotonic() + seconds
        try:
            while line := _next(self._lines, deadline):
                if self._begun:
                    return line.decode(errors="replace")
                self._begun = line.strip() == _MARK.encode()
        except subprocess.TimeoutExpired:
            return None
        code, said = self.ended()
        if code in (_SSH_FAILED, _FOLDER_GONE):
            raise self._board._lost(said)
        return None

    def ended(self) -> tuple[int, str]:
        """The exit code of one that has ended, and its standard error."""
        self._errors.join()
        return self._process.wait(), b"".join(self._said).decode(errors="replace")

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._board._end(self._name)
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def connect(
    host: str, room: int = 0, *, roots: Sequence[str] = (), make: bool = False, more: Mapping[str, str] | None = None
) -> Iterator[Board]:
    """Open a session on `host`: "[user@]host", a name in ~/.ssh/config, or "ssh://[user@]host:port".

    room: bytes that will be needed there. roots: folders for what shall stay there, plain paths that may begin with
    "~/"; the board's root is the first that can be written. make: make it, and let the session's folder be in it.
    more: options of ssh itself, stronger than the user's configuration.

    Raises UsageError for what can't be a host, ToolMissing without ssh, DeviceError for a board that can't be reached,
    refuses, or has no place for a folder.
    """
    check_host(host)
    if shutil.which("ssh") is None:
        raise ToolMissing(
            "There is no `ssh`",
            f"{host} is reached through OpenSSH's programs.",
            "Install it: apt-get install openssh-client (Debian, Ubuntu).",
        )
    options = _options(host, more or {})
    # A path of a socket has at most 100 letters or so. The shell removes the folder even when this process is killed.
    sockets = tempfile.mkdtemp(prefix="edgec-ssh-", dir="/tmp" if len(tempfile.gettempdir()) > 50 else None)
    shared = (*options, *_shared(host, sockets, options, "UserKnownHostsFile" in (more or {})))
    keeper = _ssh(
        host,
        [*shared, "-o", "ControlMaster=auto"],
        "exec sh",
        around=("sh", "-c", 'folder=$1; shift; "$@"; status=$?; rm -rf "$folder"; exit $status', "sh", sockets),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        words = {"kib": -(-(room + _SLACK) // 1024), "mark": _MARK, "make": make, "roots": shlex.join(roots)}
        told = _asked(host, keeper, _KEEPER % words)
        free = int(told["free"]) * 1024
        yield Board(host, shared, keeper, told["folder"], free, facts_from(told), told.get("root", ""))
    finally:
        _close(keeper)


@cache
def facts_of(host: str) -> Facts:
    """What a board tells of itself; asked once. Raises what `connect` does."""
    with connect(host) as board:
        return board.facts


def check_host(host: str) -> None:
    """Refuse what ssh, or a shell that it starts for a ProxyCommand, could take for something else than a host.

    Raises UsageError.
    """
    user, _, name = host.removeprefix("ssh://").rpartition("@")
    if not name or user.startswith("-") or name.startswith("-") or _UNSAFE.search(host):
        raise UsageError(
            f"{host!r} can't be a host",
            "It is empty, begins with a dash, or holds blanks, quotes or other letters that a shell would act on.",
            "Write [user@]host, ssh://[user@]host:port, or a name that your ~/.ssh/config knows.",
        )


def _options(host: str, more: Mapping[str, str]) -> list[str]:
    """What edgec wants of ssh whatever the user's configuration says, and what that does not say."""
    asked = subprocess.run(
        ["ssh", "-G", "--", host], capture_output=True, text=True, errors="replace", env=_environment()
    )
    if asked.returncode != 0:
        raise DeviceError(
            f"ssh refuses {host}", tail(asked.stderr), f"Correct ~/.ssh/config, until `ssh {host}` works."
        )
    configured = dict(line.partition(" ")[::2] for line in asked.stdout.splitlines())
    options = {
        "BatchMode": "yes",
        "ClearAllForwardings": "yes",
        "ControlPersist": "no",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "RequestTTY": "no",
        **more,
    }
    if configured.get("connecttimeout", "none") in ("none", "0"):
        options["ConnectTimeout"] = str(CONNECT_SECONDS)
    if configured.get("serveraliveinterval", "0") == "0":
        options |= {"ServerAliveInterval": str(_ALIVE_SECONDS), "ServerAliveCountMax": "3"}
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _shared(host: str, sockets: str, options: Sequence[str], own: bool) -> list[str]:
    """How sessions share a connection: the user's, where it is open, else one of our own.

    own: the user's may be to a host whose key is not the one that is asked for.
    """
    ours = ["-o", f"ControlPath={sockets}/%C"]
    if own:
        return ours
    command = ["ssh", *options, "-O", "check", "--", host]
    try:
        check = subprocess.run(command, capture_output=True, env=_environment(), timeout=_CHECK_SECONDS)
    except subprocess.TimeoutExpired:  # whoever holds the user's connection does not answer, and would carry no session
        return ours
    return [] if check.returncode == 0 else ours


def _ssh(
    host: str, options: Sequence[str], command: str, around: Sequence[str] = (), **streams: Any
) -> subprocess.Popen[bytes]:
    """Start ssh. Its own session keeps the terminal's Ctrl-C from it: what runs on the board is to be ended first."""
    words = [*around, "ssh", *options, "--", host, command]
    return subprocess.Popen(words, env=_environment(), start_new_session=True, **streams)


def _environment() -> dict[str, str]:
    """ssh is to say what is wrong in words that can be told apart; it may hand them on to the board."""
    return {**os.environ, "LC_ALL": "C"}


def _asked(host: str, keeper: subprocess.Popen[bytes], script: str) -> dict[str, str]:
    """What the keeper says of the board, by its first words. Raises DeviceError."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        _close(keeper, patience=0)

    timer = threading.Timer(_OPEN_SECONDS, give_up)
    timer.start()
    try:
        assert keeper.stdin is not None and keeper.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            keeper.stdin.write(script.encode())
            keeper.stdin.flush()
        lines = list(_between_marks(keeper.stdout))
    finally:
        timer.cancel()
    if lines and lines[-1] == _MARK:
        at = lines.index("cpuinfo")
        told = [line.partition(" ")[::2] for line in lines[:at]]
        tried = [text for word, text in told if word == "tried"]
        if not any(word == "folder" for word, _ in told):
            raise DeviceError(
                f"{host} has no place for the files that have to go there",
                "; ".join(tried) + "." if tried else "Neither /tmp nor the home folder of the user there can be used.",
                f"Free some space there (`ssh {host} df -h` shows where), or log in as a user who has some.",
            )
        return {**dict(told), "cpuinfo": "\n".join(lines[at + 1 : -1])}
    assert keeper.stderr is not None
    raise no_session(host, "" if late.is_set() else keeper.stderr.read().decode(errors="replace"), late.is_set())


def _between_marks(stream: IO[bytes]) -> Iterator[str]:
    """Lines after the first mark, with the second one; what a login shell prints comes before."""
    begun = False
    for line in iter(stream.readline, b""):
        text = line.decode(errors="replace").rstrip("\r\n")
        if begun:
            yield text
        if text == _MARK:
            if begun:
                return
            begun = True


def _conversation(
    process: subprocess.Popen[bytes], script: bytes, seconds: float | None, listen: Callable[[str], None] | None
) -> tuple[bytes, str]:
    """Standard output and error of a program that gets `script`. Raises subprocess.TimeoutExpired.

    The ends of both pipes may be held by the process that shares its connection: ending `process` does not close them.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    outputs: list[bytes] = []
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    out, error = process.stdout, process.stderr

    def hear() -> None:
        for line in error:
            lines.put(line)
        lines.put(b"")

    threading.Thread(target=hear, daemon=True).start()
    reader = threading.Thread(target=lambda: outputs.append(out.read()), daemon=True)
    reader.start()
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(script)
    heard = []
    while line := _next(lines, deadline):
        heard.append(line.decode(errors="replace"))
        if listen is not None:
            listen(heard[-1].rstrip("\n"))
    reader.join()
    process.wait()
    return b"".join(outputs), "".join(heard)


def _next(lines: queue.SimpleQueue[bytes], deadline: float | None) -> bytes:
    try:
        return lines.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise subprocess.TimeoutExpired("ssh", 0.0) from None


class _Counted:
    """A stream that tells how much was written to it."""

    def __init__(self, stream: IO[bytes], listen: Callable[[int], None]) -> None:
        self._stream, self._listen, self._written = stream, listen, 0

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._written += len(data)
        self._listen(self._written)
        return len(data)


def _write_tar(stream: IO[bytes], files: Mapping[str, Path | bytes], listen: Callable[[int], None] | None) -> None:
    counted = cast("IO[bytes]", stream if listen is None else _Counted(stream, listen))
    with tarfile.open(fileobj=counted, mode="w|") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mtime = int(time.time())
            member.mode = 0o700 if isinstance(content, bytes) else 0o600
            with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source:
                member.size = source.seek(0, os.SEEK_END)
                source.seek(0)
                archive.addfile(member, source)


def _close(keeper: subprocess.Popen[bytes], patience: float = _CLOSE_SECONDS) -> None:
    """End the session: the keeper sees the end of its input, removes the folder and ends."""
    with contextlib.suppress(OSError, ValueError):
        assert keeper.stdin is not None
        keeper.stdin.close()
    try:
        keeper.wait(patience)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(keeper.pid, 15)  # ssh, and not the shell around it alone
        keeper.wait()
    finally:
        for stream in (keeper.stdout, keeper.stderr):
            if stream is not None and not stream.closed and patience:
                stream.close()


def _require_plain(name: str) -> None:
    assert _PLAIN.fullmatch(name), f"{name!r}: files on a board get plain names"
