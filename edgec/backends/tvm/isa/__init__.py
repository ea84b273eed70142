"""Instruction sets: one class a file. What a target names as its features decides, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgec.backends.tvm.isa.base import InstructionSet
    from edgec.targets import Target

NEEDED = {
    "avx512_vnni": ("x86_64", frozenset({"avx512f", "avx512bw", "avx512_vnni"})),
    "avx_vnni": ("x86_64", frozenset({"avx2", "avx_vnni"})),
    "avx2": ("x86_64", frozenset({"avx2"})),
    "neon_dotprod": ("aarch64", frozenset({"asimd", "asimddp"})),
    "neon": ("aarch64", frozenset({"asimd"})),
    "neon32": ("armv7l", frozenset({"neon"})),
}
"""Instruction sets, the best of an architecture first: the architecture, and the features that a target must have."""


def name_for(target: Target) -> str | None:
    """The best instruction set of a target that there are kernels for; None where there is none. Imports nothing."""
    for name, (arch, features) in NEEDED.items():
        if target.arch == arch and features <= set(target.features):
            return name
    return None


def named(name: str) -> InstructionSet:
    """The instruction set called `name`. Imports TVM: call it in a worker."""
    from edgec.backends.tvm.isa.avx2 import AVX2
    from edgec.backends.tvm.isa.avx512_vnni import AVX512_VNNI
    from edgec.backends.tvm.isa.avx_vnni import AVX_VNNI
    from edgec.backends.tvm.isa.neon import Neon
    from edgec.backends.tvm.isa.neon32 import Neon32
    from edgec.backends.tvm.isa.neon_dotprod import NeonDotprod

    found: tuple[InstructionSet, ...] = (AVX512_VNNI, AVX_VNNI, AVX2, NeonDotprod(), Neon(), Neon32())
    return {item.name: item for item in found}[name]
