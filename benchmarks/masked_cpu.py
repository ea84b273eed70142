"""Run a command on this x86 machine as if its processor had only what a target has.

    python benchmarks/masked_cpu.py x86-64-v3 -- python benchmarks/tvm_peers.py --target x86-64-v3

Engines choose their kernels when they are loaded, by what the instruction `cpuid` says. oneDNN (in OpenVINO) can be
told otherwise (ONEDNN_MAX_CPU_ISA); MLAS (in ONNX Runtime) and XNNPACK with cpuinfo (in LiteRT) can not. So those
packages are copied, with every `cpuid` in their libraries replaced by an instruction that no processor has, and a
library is loaded before all others whose signal handler does what `cpuid` would, without those of AVX-512, VNNI and AMX
that the target lacks. Nothing else of them is changed, and kernels are as fast as ever.

Not masked: the C library (copies of memory may use longer vectors), NumPy, Python.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from elftools.elf.elffile import ELFFile

from edgec import toolchain
from edgec.runners.native import environment
from edgec.targets import Target, load_target

PACKAGES = ("onnxruntime", "ai_edge_litert")
_CPUID, _UNKNOWN = bytes.fromhex("0fa2"), bytes.fromhex("0f0b")

_HANDLER = r"""
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <ucontext.h>

/* Bits of EBX, ECX, EDX of leaf 7, and of EAX and EDX of its first subleaf */
#define AVX512_B (1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31)
#define AVX512_C (1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14)
#define AVX512_D (1u << 2 | 1u << 3 | 1u << 8 | 1u << 23)
#define AMX_D (1u << 22 | 1u << 24 | 1u << 25)
#define AVX512_A1 (1u << 5)
#define VNNI_A1 (1u << 4 | 1u << 23)
#define VNNI_D1 (1u << 4 | 1u << 5 | 1u << 10 | 1u << 19)

static void do_cpuid(int signal_number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)registers[REG_RIP];
    (void)info;
    if (code[0] != 0x0f || code[1] != 0x0b) {
        signal(signal_number, SIG_DFL); /* comes again, and ends the process */
        return;
    }
    uint32_t leaf = registers[REG_RAX], sub = registers[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, sub, a, b, c, d);
    if (leaf == 7 && sub == 0 && NO_AVX512) b &= ~AVX512_B, c &= ~AVX512_C, d &= ~AVX512_D;
    if (leaf == 7 && sub == 0) d &= ~AMX_D;
    if (leaf == 7 && sub == 1 && NO_AVX512) a &= ~AVX512_A1;
    if (leaf == 7 && sub == 1 && NO_VNNI) a &= ~VNNI_A1, d &= ~VNNI_D1;
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action = {.sa_sigaction = do_cpuid, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &action, 0);
}
"""


def masked(library: Path) -> int:
    """Replace every `cpuid` of a library. How many there were."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(library)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    addresses = [int(found, 16) for found in re.findall(r"^\s*([0-9a-f]+):\s+cpuid\s*$", said, re.M)]
    if not addresses:
        return 0
    with library.open("rb") as file:
        segments = [item.header for item in ELFFile(file).iter_segments("PT_LOAD")]
    content = bytearray(library.read_bytes())
    for address in addresses:
        segment = next(s for s in segments if s.p_vaddr <= address < s.p_vaddr + s.p_filesz)
        at = address - segment.p_vaddr + segment.p_offset
        assert content[at : at + 2] == _CPUID, f"{library.name} at {address:x}"
        content[at : at + 2] = _UNKNOWN
    library.write_bytes(content)
    return len(addresses)


def handler(target: Target, folder: Path) -> Path:
    """The library that is loaded first."""
    source, made = folder / "cpuid.c", folder / "cpuid.so"
    source.write_text(_HANDLER)
    lacks = {
        "NO_AVX512": not {"avx512f", "avx512_vnni"} & set(target.features),
        "NO_VNNI": "avx_vnni" not in target.features,
    }
    tool = toolchain.find(target)
    tool.compile(source, made.with_suffix(".o"), target, [f"-D{name}={int(value)}" for name, value in lacks.items()])
    tool.link([made.with_suffix(".o")], made, target)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="behind --")
    arguments = parser.parse_args()
    target = load_target(arguments.target)
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for package in PACKAGES:
            if (spec := importlib.util.find_spec(package)) is None or spec.origin is None:
                continue
            shutil.copytree(Path(spec.origin).parent, folder / package)
            libraries = [path for path in (folder / package).rglob("*.so*") if path.is_file() and not path.is_symlink()]
            count = sum(map(masked, libraries))
            print(f"{package}: {count} places where the processor is asked", file=sys.stderr)
        paths = os.pathsep.join(filter(None, [name, os.environ.get("PYTHONPATH", "")]))
        variables = {"PYTHONPATH": paths, "LD_PRELOAD": str(handler(target, folder)), **environment(target)}
        return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
