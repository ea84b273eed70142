"""From machine code to a shared library with a plain C interface: shell/edgec_model.h.

The shell around the kernels is C: shell/model.c and shell/pool.c (or, without threads, shell/alone.c), the same for
every model, and model_steps.h, which is written here: a function for each step that calls its kernel with addresses,
the table of those functions, and the description of the model. Kernels are declared hidden, so that the library shows
nothing but its interface.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from edgec import toolchain
from edgec.backends.tvm.dividing import is_divided
from edgec.backends.tvm.planning import Plan
from edgec.backends.tvm.program import Border, Place, Program, Step
from edgec.backends.tvm.storage import ALIGNMENT
from edgec.targets import Target

SHELL = Path(__file__).parent / "shell"
HEADER = "edgec_model.h"
_THREADS = ("model.c", "pool.c")
_ALONE = ("model.c", "alone.c")
_LIBRARIES = ("m", "pthread")
_NO_TABLES = ("-fno-unwind-tables", "-fno-asynchronous-unwind-tables")  # which name functions of the compiler's own
_SECTIONS = ("-ffunction-sections", "-fdata-sections")  # so that a linker may leave out what a program does not call


def link(program: Program, kernels: bytes, target: Target, out: Path) -> None:
    """Write the shared library of a program at `out`. kernels: the object file.

    Raises ToolMissing without a compiler for the target, and what `toolchain` raises.
    """
    tool = toolchain.find(target)
    with tempfile.TemporaryDirectory() as name:
        objects = _compiled(program, kernels, tool, target, Path(name), _THREADS, ["-fvisibility=hidden"])
        tool.link(objects, out, target, _LIBRARIES)


def combine(program: Program, kernels: bytes, target: Target, out: Path) -> None:
    """Write the program as one object file at `out`, for C programs to be linked with: the same kernels and constants
    behind the same interface, without threads, so that it needs no operating system.

    Raises what `link` does.
    """
    tool = toolchain.find(target)
    with tempfile.TemporaryDirectory() as name:
        tool.combine(
            _compiled(program, kernels, tool, target, Path(name), _ALONE, [*_NO_TABLES, *_SECTIONS]), out, target
        )


def _compiled(
    program: Program,
    kernels: bytes,
    tool: toolchain.Toolchain,
    target: Target,
    folder: Path,
    sources: Sequence[str],
    flags: Sequence[str],
) -> list[Path]:
    """The object files of a program, in `folder`: its kernels, and the shell around them."""
    (folder / "kernels.o").write_bytes(kernels)
    (folder / "constants.bin").write_bytes(program.constants)
    (folder / "model_steps.h").write_text(steps_header(program))
    objects = [folder / "kernels.o"]
    for source in sources:
        copy = folder / source  # beside what it includes, and with no path of this machine's
        copy.write_text((SHELL / source).read_text())
        made = copy.with_suffix(".o")
        tool.compile(copy, made, target, [f"-I{SHELL}", f"-I{folder}", f"-Wa,-I{folder}", *flags])
        objects.append(made)
    return objects


def steps_header(program: Program) -> str:
    """The part of the shell that is the model's own."""
    plan, symbols = program.plan(), program.symbols()
    lines = [f"#define ARENA_ALIGNMENT {ALIGNMENT}", ""]
    declared: set[str] = set()
    for step in program.steps:
        symbol = symbols[step.kernel]
        if symbol not in declared:
            declared.add(symbol)
            operands = ["const void *"] * (len(step.operands) - step.written) + ["void *"] * step.written
            ahead = ["const void *", "int32_t"] if step.ahead else []
            types = ", ".join([*operands, "int32_t", "int32_t", *ahead])
            lines.append(f'extern void {symbol}({types}) __attribute__((visibility("hidden")));')
    lines.append("")
    for number, step in enumerate(program.steps):
        lines += _call(number, step, symbols[step.kernel], plan)
    lines += ["const struct edgec_step edgec_steps[] = {"]
    for number, step in enumerate(program.steps):
        lines.append(f"    {{step_{number}, {step.kernel.units}, {int(is_divided(step, program))}}},")
    lines += [
        "};",
        "",
        *_names(program.steps),
        *_tensors("inputs", program.inputs),
        *_tensors("outputs", program.outputs),
    ]
    sizes = f"{plan.size}, ARENA_ALIGNMENT, {len(program.constants)}, {len(program.steps)}"
    lines += [
        "static const struct edgec_model description = {",
        f"    {len(program.inputs)}, inputs, {len(program.outputs)}, outputs, {sizes}}};",
    ]
    return "\n".join(lines) + "\n"


def _call(number: int, step: Step, symbol: str, plan: Plan) -> list[str]:
    ahead = [_address(step.ahead.place, plan), str(step.ahead.lines)] if step.ahead else []
    arguments = ", ".join([*(_address(place, plan) for place in step.operands), "begin", "end", *ahead])
    return [
        f"static void step_{number}(const void *context, int32_t begin, int32_t end) {{",
        "    const struct run *run = context;",
        *(["    (void)run;"] if "run->" not in arguments else []),
        f"    {symbol}({arguments});",
        "}",
        "",
    ]


def _address(place: Place, plan: Plan) -> str:
    if place.memory == "arena":
        return f"run->arena + {plan.offsets[place.value] + place.offset}"
    if place.memory == "constants":
        return f"edgec_constants + {place.offset}"
    kind = "const uint8_t" if place.memory == "input" else "uint8_t"
    array = f"run->{place.memory}s[{place.index}]"
    return f"({kind} *){array} + {place.offset}" if place.offset else array


def _names(steps: Sequence[Step]) -> list[str]:
    """What `edgec_model_step` answers: all texts in one array, and where each begins, so that there is no address in
    them that the loader would have to write."""
    texts = [step_label(step) for step in steps]
    begins = [0, *accumulate(len(text.encode()) + 1 for text in texts)][:-1]
    return [
        f"static const uint32_t step_name_at[] = {{{', '.join(map(str, begins))}}};",
        "static const char step_names[] =",
        *(f'    {_quoted(text)} "\\0"' for text in texts),
        "    ;",
        "",
    ]


def step_label(step: Step) -> str:
    """The kernel, and the nodes that a step computes or else the tensor that it makes, one a line. A name that breaks
    lines itself has spaces there."""
    return "\n".join(" ".join(name.splitlines()) for name in (step.kernel.family, *(step.origin or (step.result,))))


def _tensors(side: str, borders: Sequence[Border]) -> list[str]:
    """The description of inputs or outputs. Names go in as escaped UTF-8."""
    lines, items = [], []
    for number, border in enumerate(borders):
        shape = ", ".join(map(str, border.shape)) or "1"
        lines.append(f"static const size_t {side}_{number}[] = {{{shape}}};")
        size = border.nbytes
        items.append(f'    {{{_quoted(border.name)}, "{border.dtype}", {len(border.shape)}, {side}_{number}, {size}}},')
    return [*lines, f"static const struct edgec_tensor {side}[] = {{", *items, "};", ""]


def _quoted(text: str) -> str:
    """A C string. Octal escapes of three digits end by themselves, whatever follows."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'
