"""C compilers and linkers for targets.

Zig, where the package `ziglang` is installed, compiles and links for every target and for the very glibc that the
target promises. Else the system's cross compiler for the target's triple does, or its own compiler for machines like
this one; these link for the glibc that they came with.

Equal sources give equal files: no path, time or build id goes in.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec import fit
from edgec.elf.reading import Unreadable, provided_glibc, read
from edgec.errors import InternalError, ToolMissing, UsageError
from edgec.store import cache_folder
from edgec.targets import TRIPLES, Target
from edgec.toml_schema import did_you_mean

_TIMEOUT = 600.0  # seconds: Zig builds its part of the C library before the first file for a target
_NOT_RUN = 126  # and above: exit codes of a shell or a loader that could not start the program
_DEBIAN = {"aarch64-linux-gnu": "gcc-aarch64-linux-gnu", "arm-linux-gnueabihf": "gcc-arm-linux-gnueabihf"}

_NAMES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "aarch64": {
        "asimddp": ("dotprod", "dotprod"),
        "asimdhp": ("fullfp16", "fp16"),
        "asimdfhm": ("fp16fml", "fp16fml"),
        "asimdrdm": ("rdm", "rdma"),
        "atomics": ("lse", "lse"),
        "bf16": ("bf16", "bf16"),
        "crc32": ("crc", "crc"),
        "i8mm": ("i8mm", "i8mm"),
        "lrcpc": ("rcpc", "rcpc"),
        "sve": ("sve", "sve"),
        "sve2": ("sve2", "sve2"),
    },
    "armv7l": {"idiva": ("hwdiv-arm", "idiv"), "neon": ("neon", "neon"), "vfpv4": ("vfp4", "vfpv4")},
    "x86_64": {
        "amx_int8": ("amx-int8", "amx-int8"),
        "avx512_vnni": ("avx512vnni", "avx512vnni"),
        "avx_vnni": ("avxvnni", "avxvnni"),
        "sse4_2": ("sse4.2", "sse4.2"),
        **{name: (name, name) for name in ("avx", "avx2", "avx512bw", "avx512f", "fma")},
    },
}
"""Feature to the names that LLVM and GCC have for it. Those that compilers do not use unasked are left out."""


@dataclass(frozen=True)
class Toolchain:
    """A compiler that also links.

    name: "zig", or that of the program. version: as it says itself. command: how it is called.
    triple: what it makes files for. glibc: the version that it links for; "" where the target's is taken.
    """

    name: str
    version: str
    command: tuple[str, ...]
    triple: str
    glibc: str = ""

    def compile(self, source: Path, out: Path, target: Target, flags: Sequence[str] = ()) -> None:
        """Compile a C file to an object file for `target`.

        flags: more of them, as GCC and Clang both take them ("-I...", "-D...").

        Raises UsageError for a core that the compiler does not know, InternalError when it refuses the source.
        """
        own = ("-c", "-O3", "-g0", "-fPIC", f"-ffile-prefix-map={source.parent.absolute()}=.")
        self._run((*self._machine(target), *own, *flags, str(source), "-o", str(out)), f"compile {source.name}", target)

    def link(
        self,
        objects: Sequence[Path],
        out: Path,
        target: Target,
        libraries: Sequence[str] = ("m",),
        complete: bool = True,
    ) -> None:
        """Link object files to a shared library for `target`, which then is what it promises to be.

        libraries: of the system, by the names that `-l` takes.
        complete: no symbol may be left open; False where the program that loads the library has some.

        Raises UsageError for a core that the linker does not know, InternalError when it does not link, DeviceError
        when the result needs what the target does not have.
        """
        own = (
            "-shared",
            "-s",
            "-Wl,--build-id=none",
            f"-Wl,-soname,{out.name}",
            *(["-Wl,-z,defs"] if complete else []),
        )
        files = (*map(str, objects), *(f"-l{name}" for name in libraries))
        self._run((*self._machine(target), *own, *files, "-o", str(out)), f"link {out.name}", target)
        self._require_runnable(out, target)

    def link_program(self, objects: Sequence[Path], out: Path, target: Target) -> None:
        """Link object files to a program for `target` that needs its C library only.

        Raises what `link` does.
        """
        own = ("-s", "-Wl,--build-id=none", *map(str, objects), "-lm")
        self._run((*self._machine(target), *own, "-o", str(out)), f"link {out.name}", target)
        self._require_runnable(out, target)

    def _require_runnable(self, out: Path, target: Target) -> None:
        """Raises DeviceError for what was linked and needs what the target does not have."""
        try:
            fit.require_runnable(out.name, read(out), target)
        except Unreadable as error:
            raise InternalError(
                f"What {self.name} linked can't be read", f"{error}.", "Please report it with `edgec doctor`."
            ) from error

    def combine(self, objects: Sequence[Path], out: Path, target: Target) -> None:
        """Combine object files into one, for a program to be linked with.

        Raises UsageError for a core that the linker does not know, InternalError when they do not fit together.
        """
        own = ("-r", "-s", "-nostdlib", "-Wl,--build-id=none")
        arguments = (*self._machine(target), *own, *map(str, objects), "-o", str(out))
        self._run(arguments, f"combine {out.name}", target)

    def _machine(self, target: Target) -> tuple[str, ...]:
        """The options that say what the code may rely on."""
        if self.name != "zig":
            return tuple(_gcc_options(target))
        version = f".{target.min_glibc}" if target.min_glibc else ""
        return "-target", f"{self.triple}{version}", f"-mcpu={_llvm_core(target)}"

    def _run(self, arguments: Sequence[str], task: str, target: Target) -> None:
        environment = {**os.environ, "LC_ALL": "C", **(_zig_environment() if self.name == "zig" else {})}
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            raise InternalError(
                f"{self.name} {self.version} did not {task} in {_TIMEOUT:.0f} s",
                f"It was to do so for {target.name} ({self.triple}).",
                "Try again on a machine that is less busy. If that does not help, report it with `edgec doctor`.",
            ) from error
        if done.returncode != 0:
            raise self._refusal(done.stderr.strip() or f"It ended with {done.returncode}.", task, target)

    def _refusal(self, said: str, task: str, target: Target) -> UsageError | InternalError:
        if re.search(r"unknown CPU|(?:unknown|bad|unrecognized) (?:value )?.*-m(?:cpu|arch)", said):
            known = {word.replace("_", "-") for word in re.findall(r"[\w.-]+", said)} - {target.cpu}
            return UsageError(
                f"{self.name} {self.version} does not know the core {target.cpu!r} of {target.name}",
                f"It can't compile for it.{did_you_mean(target.cpu, known)}",
                f'Correct cpu in targets/{target.name}.toml: LLVM\'s name of the core, or "generic".',
            )
        return InternalError(
            f"{self.name} {self.version} could not {task} for {target.name}",
            said[-2000:],
            "Please report it with the model if you may share it, and the output of `edgec doctor`.",
        )


def find(target: Target) -> Toolchain:
    """What compiles for `target`. Raises ToolMissing when nothing here does."""
    found = for_triple(without_vendor(target.triple))
    if found is None:
        raise ToolMissing(
            f"No compiler for {target.triple or target.arch} is installed",
            f"The payload for {target.name} is machine code, which has to be compiled and linked.",
            f"Install one: {install(without_vendor(target.triple))}.",
        )
    return found


def for_triple(triple: str) -> Toolchain | None:
    """What compiles for `triple` (without a vendor) on this machine, the one that is preferred; None for nothing.

    Raises ToolMissing for one that is there and does not run.
    """
    return _zig(triple) or _gcc(f"{triple}-gcc", triple) or (_gcc("gcc", triple) if triple == _own_triple() else None)


def install(triple: str) -> str:
    """How to get a compiler for `triple`."""
    package = "gcc" if triple == _own_triple() else _DEBIAN.get(triple)
    return "pip install 'edgec[cross]'" + (f", or apt-get install {package} (Debian, Ubuntu)" if package else "")


def without_vendor(triple: str) -> str:
    """ "aarch64-unknown-linux-gnu" as compilers' names have it: "aarch64-linux-gnu"."""
    parts = triple.split("-")
    return "-".join([parts[0], *parts[2:]]) if len(parts) == 4 else triple


def _own_triple() -> str:
    return TRIPLES.get(platform.machine(), "")


def _zig(triple: str) -> Toolchain | None:
    if triple not in TRIPLES.values() or importlib.util.find_spec("ziglang") is None:
        return None
    return Toolchain(
        name="zig",
        version=importlib.metadata.version("ziglang"),
        command=(sys.executable, "-m", "ziglang", "cc"),
        triple=triple,
    )


def _zig_environment() -> dict[str, str]:
    """Where Zig keeps what it builds of the C library: in edgec's cache, unless the user has chosen a place."""
    return {
        name: os.environ.get(name) or str(cache_folder() / "zig")
        for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")
    }


def _gcc(name: str, triple: str) -> Toolchain | None:
    if (program := shutil.which(name)) is None:
        return None
    library = Path(_said(program, "-print-file-name=libc.so.6"))
    try:
        glibc = provided_glibc(library) if library.is_absolute() else ()
    except (OSError, Unreadable):
        glibc = ()
    if not glibc:  # a compiler without a C library can't link
        return None
    return Toolchain(name, _said(program, "-dumpfullversion"), (program,), triple, fit.version_text(glibc))


def _said(program: str, *arguments: str) -> str:
    """What a compiler says of itself. Raises ToolMissing for one that does not run."""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, errors="replace", timeout=60)
    except subprocess.TimeoutExpired:
        why = "It did not answer within 60 seconds."
    except OSError as error:
        why = f"The system says: {error.strerror}."
    else:
        if 0 <= done.returncode < _NOT_RUN:
            return done.stdout.strip()
        why = done.stderr.strip()[-1000:] or f"It ended with {done.returncode}."
    raise ToolMissing(
        f"The compiler {program} is there and does not run",
        why,
        "Install it again, or take it out of PATH. Zig is looked for first: pip install 'edgec[cross]'.",
    )


def llvm_features(target: Target) -> list[str]:
    """The target's features by LLVM's names ("dotprod", "sse4.2"), those that compilers use unasked."""
    names = _NAMES.get(target.arch, {})
    return [names[feature][0] for feature in target.features if feature in names]


def _llvm_core(target: Target) -> str:
    """As Zig writes it: "cortex_a72", "generic+dotprod"."""
    features = [re.sub("[-.]", "_", name) for name in llvm_features(target)]
    core = target.cpu.replace("-", "_")
    if target.arch == "armv7l":
        return _armv7(target)[0] if core in ("", "generic") else core
    return "+".join((core or ("x86_64" if target.arch == "x86_64" else "generic"), *features))


def _gcc_options(target: Target) -> list[str]:
    names = _NAMES.get(target.arch, {})
    features = [names[feature][1] for feature in target.features if feature in names]
    core = "" if target.cpu == "generic" else target.cpu
    if target.arch == "x86_64":
        return [f"-march={core or 'x86-64'}", *(f"-m{name}" for name in features)]
    if target.arch == "armv7l":
        return [f"-mcpu={core}" if core else f"-march=armv7-a+{_armv7(target)[1]}"]
    return ["+".join((f"-mcpu={core}" if core else "-march=armv8-a", *features))]


def _armv7(target: Target) -> tuple[str, str]:
    """LLVM's processor, and GCC's extension, for any core of ARMv7 with the target's features.

    VFPv3 with 16 registers is what the hard-float ABI takes for granted; LLVM gives every core NEON and 32 of them.
    """
    return {
        (False, False): ("generic+v7a-neon-d32-vfp3+vfp3d16", "fp"),
        (False, True): ("generic+v7a-neon-d32-vfp3+vfp4d16", "vfpv4-d16"),
        (True, False): ("generic+v7a+neon", "simd"),
        (True, True): ("generic+v7a+neon+vfp4", "neon-vfpv4"),
    }["neon" in target.features, "vfpv4" in target.features]
