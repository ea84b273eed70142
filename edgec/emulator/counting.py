"""Executed instructions of emulated programs, by counting.c: exact, and the same whatever else the machine does.

It is a measure of work: the fewer instructions, the less there is to do. It knows nothing of caches, of waiting for
memory, or of how many instructions a core does at once.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgec import toolchain
from edgec.digest import digest_of
from edgec.emulator import qemu as programs
from edgec.emulator.machine import Machine
from edgec.emulator.qemu import Qemu
from edgec.errors import InternalError, ToolMissing, WorkerTimedOut
from edgec.store import cache_folder
from edgec.targets import load_target

MARK = (0x45444745, 0x4D41524B)
"""Arguments of prctl(2) that mark a moment: no option of it has the first as its number."""

_SOURCE = Path(__file__).with_name("counting.c")
_LIBRARY = "counting.so"
_SCOREBOARDS = 9  # QEMU from this version on refuses plugins that were written for version 1 of the interface
_ADDR_NO_RANDOMIZE = 0x0040000  # personality(2)
_FIXED = {"PYTHONHASHSEED": "0"}


@dataclass(frozen=True)
class Counts:
    """Instructions by kind.

    multiply: of vectors, with or without adding. vector: other ones of vectors and of floating point. memory: loads and
    stores, those of vectors too. branch: with calls and system calls. other: integers and addresses.

    For 32-bit ARM all are `other`: its two encodings (A32, T32) are not told apart.
    """

    multiply: int = 0
    vector: int = 0
    memory: int = 0
    branch: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return self.multiply + self.vector + self.memory + self.branch + self.other

    def __sub__(self, before: Counts) -> Counts:
        return Counts(
            self.multiply - before.multiply,
            self.vector - before.vector,
            self.memory - before.memory,
            self.branch - before.branch,
            self.other - before.other,
        )


@dataclass(frozen=True)
class Counted:
    """A program that ended. marks: what was executed up to each mark. end: in all.

    code: as `subprocess` gives it. output, said: what it wrote on its standard output and on its error output.
    """

    marks: tuple[Counts, ...]
    end: Counts
    code: int
    output: bytes
    said: str


def counting(machine: Machine) -> Machine:
    """`machine` by an emulator with plugins. Raises ToolMissing where there is none, or it does not know the core."""
    qemu = programs.require_with_plugins(machine.qemu.name)
    qemu.require_core(machine.core)
    return replace(machine, qemu=qemu)


def run(qemu: Qemu, arguments: Sequence[str], environment: Mapping[str, str], timeout: float) -> Counted:
    """Run a program and count.

    qemu: one with plugins. arguments: of the emulator, the program's name among them. timeout: seconds.

    What makes two runs differ is switched off where it can be: the addresses of libraries and of memory, the random
    bytes that the kernel gives a program, the seed of Python's hashes.

    Raises ToolMissing when the plugin can't be compiled or loaded, WorkerTimedOut.
    """
    library = plugin(qemu)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "counts"
        options = f"{_escaped(library)},out={_escaped(out)}"
        try:
            ran = subprocess.run(
                [str(qemu.program), "-seed", "0", "-plugin", options, *arguments],
                capture_output=True,
                env={**environment, **_FIXED},
                timeout=timeout,
                preexec_fn=_fix_addresses,
            )
        except subprocess.TimeoutExpired as error:
            raise WorkerTimedOut(
                f"The program on {qemu.name} did not end in {timeout:.0f} s",
                "An emulated program that is counted takes many times as long as one on a device.",
                "Try again when this machine is less busy, or count fewer inferences.",
            ) from error
        said = ran.stderr.decode(errors="replace")
        if "Could not load plugin" in said or not out.exists():
            raise ToolMissing(
                f"{qemu.name} {qemu.version} does not load the plugin that counts instructions",
                said.strip() or "It says nothing.",
                f"Install another version: {programs.INSTALL_WITH_PLUGINS}.",
            )
        lines = [line.split() for line in out.read_text().splitlines()]
    sums = [(moment, Counts(*map(int, values))) for moment, *values in lines]
    marks = tuple(counts for moment, counts in sums if moment == "mark")
    # a program that a signal ended has no end of its own
    end = next((counts for moment, counts in sums if moment == "end"), marks[-1] if marks else Counts())
    return Counted(marks, end, ran.returncode, ran.stdout, said)


def plugin(qemu: Qemu) -> Path:
    """The plugin for an emulator, compiled when it is not there. Raises ToolMissing without a compiler."""
    host = load_target("host")
    tools = toolchain.for_triple(toolchain.without_vendor(host.triple)) if host.triple else None
    if tools is None:
        raise ToolMissing(
            "No compiler for this machine is installed",
            "What counts instructions is a plugin of QEMU's in C, which is compiled before its first use.",
            f"Install one: {toolchain.install(toolchain.without_vendor(host.triple))}.",
        )
    version = 1 if int(qemu.version.partition(".")[0]) < _SCOREBOARDS else 2
    defined = [
        f"-DEDGEC_PLUGIN_VERSION={version}",
        *(f"-DEDGEC_MARK_{place}={value:#x}" for place, value in enumerate(MARK, 1)),
    ]
    key = digest_of([_SOURCE.read_text(encoding="utf-8"), defined, tools.name, tools.version, tools.triple])[:16]
    place = cache_folder() / "emulator" / "plugins" / key
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
        try:
            made = making / "counting.o"
            tools.compile(_SOURCE, made, host, ["-fvisibility=hidden", *defined])
            tools.link([made], making / _LIBRARY, host, libraries=(), complete=False)
            made.unlink()
            making.rename(place)
        except OSError:
            if not place.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return place / _LIBRARY


def require_counts(counted: Counted, expected: int, program: str) -> None:
    """Raises InternalError for a program that ended well and did not make the marks that were expected of it."""
    if len(counted.marks) != expected:
        raise InternalError(
            f"{program} made {len(counted.marks)} marks, and {expected} were due",
            counted.said.strip()[-2000:] or "It said nothing.",
            "Please report it with the output of `edgec doctor`.",
        )


def _escaped(path: Path) -> str:
    """A path among QEMU's options, which are separated by commas."""
    return str(path).replace(",", ",,")


def _fix_addresses() -> None:
    """Lay out memory the same way every time; some containers forbid it, and counts then differ a little."""
    ctypes.CDLL(None).personality(_ADDR_NO_RANDOMIZE)
