"""Counting executed instructions: exact, the same every time, by kind; and what is said where it can't be done."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from edgec import toolchain
from edgec.emulator import counting, qemu
from edgec.emulator.counting import Counts
from edgec.errors import InternalError, ToolMissing, WorkerTimedOut

MARK = "ldr x0, ={}\n ldr x1, ={}\n mov x8, #167\n svc #0\n".format(*counting.MARK)  # 167: prctl
EXIT = "mov x0, #{}\n mov x8, #93\n svc #0\n"
OF_A_MARK, OF_AN_EXIT = 4, 3

KINDS = {
    "multiply": [
        "mla v0.4s, v1.4s, v2.4s",
        "mls v0.8h, v1.8h, v2.h[1]",
        "mul v0.16b, v1.16b, v2.16b",
        "sdot v0.4s, v1.16b, v2.16b",
        "udot v0.4s, v1.16b, v2.4b[3]",
        "smlal v0.8h, v1.8b, v2.8b",
        "smull2 v0.8h, v1.16b, v2.16b",
        "umlal2 v0.4s, v1.8h, v2.h[7]",
        "sqrdmulh v0.4s, v1.4s, v2.4s",
        "sqrdmlah v0.4s, v1.4s, v2.4s",
        "fmla v0.4s, v1.4s, v2.4s",
        "fmul v0.4s, v1.4s, v2.s[0]",
        "fmla v0.8h, v1.8h, v2.8h",
    ],
    "vector": [
        "add v0.4s, v1.4s, v2.4s",
        "saddl v0.8h, v1.8b, v2.8b",
        "sadalp v0.4s, v1.8h",
        "addp v0.4s, v1.4s, v2.4s",
        "smax v0.4s, v1.4s, v2.4s",
        "sqxtn v0.8b, v1.8h",
        "sshll v0.8h, v1.8b, #0",
        "srshl v0.4s, v1.4s, v2.4s",
        "fadd v0.4s, v1.4s, v2.4s",
        "fadd v0.8h, v1.8h, v2.8h",
        "fcvtns v0.4s, v1.4s",
        "tbl v0.16b, {v1.16b}, v2.16b",
        "dup v0.4s, v1.s[0]",
        "movi v0.4s, #1",
        "fmadd s0, s1, s2, s3",
    ],
    "memory": [
        "ldr q0, [sp]",
        "ldp q0, q1, [sp]",
        "ld1 {v0.16b, v1.16b}, [x9]",
        "ld1r {v0.4s}, [x9]",
        "str x2, [sp, #-16]",
        "ldrb w2, [sp]",
        "prfm pldl1keep, [sp]",
    ],
    "branch": ["nop", "cbz xzr, 1f\n1:", "bl 1f\n1:"],
    "other": [
        "add x2, x3, x4",
        "mul x2, x3, x4",
        "mov x2, #1",
        "adr x2, .",
        "csel x2, x3, x4, eq",
        "ubfx x2, x3, #1, #2",
    ],
}
"""Instructions of a Cortex-A76, by the kind that each is to be counted as."""


@pytest.fixture(scope="module")
def emulator():
    """QEMU with plugins."""
    qemu.find_with_plugins.cache_clear()  # another test's PATH may be in it
    found = qemu.find_with_plugins("qemu-aarch64")
    if found is None and not os.environ.get("CI"):
        pytest.skip("there is no qemu-aarch64 with plugins")
    assert found is not None
    return found


@pytest.fixture
def assembled(tmp_path):
    """A program of instructions alone: without a C library, nothing else is executed."""
    pytest.importorskip("ziglang")

    def make(code):
        (tmp_path / "main.s").write_text(f".globl _start\n_start:\n mov x9, sp\n{code}\n")
        target = ["-target", "aarch64-linux-musl", "-mcpu=cortex_a76"]
        words = [sys.executable, "-m", "ziglang", "cc", *target, "-nostdlib", "-static", "main.s", "-o", "main"]
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
        return str(tmp_path / "main")

    return make


def counted(emulator, program, timeout=60):
    return counting.run(emulator, ["-cpu", "cortex-a76", program], {}, timeout)


def test_a_loop_is_counted_exactly_and_every_time(emulator, assembled):
    loops = 100_000
    loop = f"ldr x2, ={loops}\n0: sub x2, x2, #1\n cbnz x2, 0b\n"
    program = assembled(MARK + loop + MARK + EXIT.format(5))
    first = counted(emulator, program)
    assert first.code == 5
    before, after = first.marks
    assert before.total == 1 + OF_A_MARK
    assert (after - before).total == 1 + 2 * loops + OF_A_MARK
    assert (after - before).branch == loops + 1  # with the system call of the mark
    assert first.end.total == after.total + OF_AN_EXIT
    assert counted(emulator, program) == first


def test_instructions_are_told_apart_by_kind(emulator, assembled):
    groups = ["\n".join(instructions) + "\n" + MARK for instructions in KINDS.values()]
    marks = counted(emulator, assembled(MARK + "".join(groups) + EXIT.format(0))).marks
    of_a_mark = {"memory": 2, "branch": 1, "other": 1}  # two literals are loaded
    for kind, before, after in zip(KINDS, marks[:-1], marks[1:], strict=True):
        between = after - before
        assert getattr(between, kind) - of_a_mark.get(kind, 0) == len(KINDS[kind]), kind
        assert between.total == len(KINDS[kind]) + OF_A_MARK


def test_what_threads_execute_is_counted_too(emulator, tmp_path):
    pytest.importorskip("ziglang")
    (tmp_path / "main.c").write_text(
        "#include <pthread.h>\n#include <stdlib.h>\nstatic long loops;\n"
        'static void *work(void *n) { long k = loops; __asm__ volatile("0: sub %0, %0, #1\\n cbnz %0, 0b" : "+r"(k));'
        " return n; }\n"
        "int main(int n, char **a) { loops = atol(a[1]); pthread_t t[3];"
        " for (int i = 0; i < 3; i++) pthread_create(t + i, 0, work, a);"
        " for (int i = 0; i < 3; i++) pthread_join(t[i], 0); return 0; }\n"
    )
    words = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static", "main.c", "-o", "main"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    few, many = (
        counting.run(emulator, ["-cpu", "cortex-a76", str(tmp_path / "main"), str(loops)], {}, 60).end
        for loops in (1000, 101_000)
    )
    assert abs((many - few).total - 3 * 2 * 100_000) < 5000  # threads wait for each other, for more or less long


def test_a_program_that_a_signal_ends(emulator, assembled):
    found = counted(emulator, assembled(MARK + "udf #0\n"))
    assert found.code < 0
    assert len(found.marks) == 1


def test_a_program_that_does_not_end(emulator, assembled):
    with pytest.raises(WorkerTimedOut, match="did not end in 1 s"):
        counted(emulator, assembled("0: b 0b\n"), timeout=1)


def test_the_plugin_is_compiled_once(emulator, monkeypatch):
    made = counting.plugin(emulator)
    monkeypatch.setattr(toolchain.Toolchain, "compile", None)
    assert counting.plugin(emulator) == made
    assert counting.plugin(replace(emulator, version="7.2.1")) == made
    with pytest.raises(TypeError):  # for the interface's next version it would be compiled again
        counting.plugin(replace(emulator, version="9.0.0"))


def test_newer_emulators_are_given_the_version_that_they_take(emulator, assembled):
    """This one refuses it, as the newer ones refuse the older: told as what it is."""
    if not emulator.version.startswith(("7.", "8.")):
        pytest.skip("this QEMU takes it")
    with pytest.raises(ToolMissing) as caught:
        counting.run(replace(emulator, version="10.0.2"), ["-cpu", "cortex-a76", assembled(EXIT.format(0))], {}, 60)
    assert "qemu-aarch64 10.0.2 does not load the plugin" in caught.value.what
    assert "API version 2" in caught.value.why
    assert "apt-get install qemu-user" in caught.value.fix


def test_an_emulator_without_plugins(programs):
    programs.put_all()
    with pytest.raises(ToolMissing) as caught:
        qemu.require_with_plugins("qemu-aarch64")
    assert caught.value.what == "qemu-aarch64 can't count instructions: it has no plugins"
    assert "qemu-aarch64-static was built without them" in caught.value.why
    assert "apt-get install qemu-user (Debian 12" in caught.value.fix


def test_no_emulator(programs):
    with pytest.raises(ToolMissing, match="qemu-aarch64 is not installed"):
        qemu.require_with_plugins("qemu-aarch64")


def test_of_two_emulators_the_one_with_plugins_counts(programs):
    programs.put_all()
    plain = (programs.folder / "qemu-aarch64-static").read_text()
    able = programs.folder / "qemu-aarch64"
    able.write_text(
        plain.replace(
            "arguments = sys.argv[1:]",
            "arguments = sys.argv[1:]\nif arguments == ['--help']:\n    print('-plugin  QEMU_PLUGIN'); sys.exit()",
        )
    )
    able.chmod(0o755)
    assert qemu.find_with_plugins("qemu-aarch64").program == able
    assert qemu.find("qemu-aarch64").program.name == "qemu-aarch64-static"


def test_no_compiler_for_the_plugin(emulator, monkeypatch):
    monkeypatch.setattr(toolchain, "for_triple", lambda triple: None)
    with pytest.raises(ToolMissing) as caught:
        counting.plugin(emulator)
    assert "No compiler for this machine" in caught.value.what
    assert "pip install" in caught.value.fix


def test_a_program_without_its_marks_is_a_bug():
    counted = counting.Counted((Counts(),), Counts(), 0, b"", "")
    counting.require_counts(counted, 1, "x")
    with pytest.raises(InternalError, match="x made 1 marks, and 4 were due"):
        counting.require_counts(counted, 4, "x")
