"""Whether this machine can stand in for a target, and how.

It can when it has the target's architecture and every CPU feature that the artifact may rely on. A machine that can do
more than the target would compute the same payload with other kernels: on x86, `environment` holds the engines back to
what the target has, as far as they can be; on ARM nothing can, and an emulator is the better stand-in.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from edgec.targets import Target, host_features

NAME = "native"

_ONEDNN_ISA = (
    ("amx_int8", "AVX512_CORE_AMX"),
    ("avx512_vnni", "AVX512_CORE_VNNI"),
    ("avx512bw", "AVX512_CORE"),
    ("avx_vnni", "AVX2_VNNI"),
    ("avx2", "AVX2"),
    ("avx", "AVX"),
    ("sse4_2", "SSE41"),
)
"""CPU feature to the value of ONEDNN_MAX_CPU_ISA that admits it, the most capable first."""


_ARM_KERNELS = frozenset({"asimddp", "i8mm", "asimdhp", "bf16", "sve", "sve2"})
"""ARM features by which engines choose between kernels."""


@dataclass(frozen=True)
class Suitability:
    """Whether a target's artifact runs here; `reason` says why not, in words.

    beyond: features that this machine has and the target lacks.
    other_kernels: those of them for which engines here would take kernels that the target never runs.
    """

    runs: bool
    reason: str = ""
    beyond: tuple[str, ...] = ()
    other_kernels: tuple[str, ...] = ()


def suitability(target: Target) -> Suitability:
    """Compare `target` with this machine."""
    here = platform.machine()
    if target.arch != here:
        return Suitability(False, f"the target is {target.arch}, and this machine is {here}")
    features = set(host_features())
    if missing := [feature for feature in target.features if feature not in features]:
        return Suitability(False, f"this machine's CPU lacks {', '.join(missing)}, which the target has")
    beyond = features - set(target.features)
    other_kernels = beyond & _ARM_KERNELS if target.arch != "x86_64" else ()
    return Suitability(True, beyond=tuple(sorted(beyond)), other_kernels=tuple(sorted(other_kernels)))


def environment(target: Target) -> dict[str, str]:
    """Environment variables under which engines use no instructions that `target` lacks.

    oneDNN, which computes for OpenVINO, obeys ONEDNN_MAX_CPU_ISA. It must be set before the library is loaded.
    """
    if target.arch != "x86_64" or not suitability(target).beyond:
        return {}
    isa = next((value for feature, value in _ONEDNN_ISA if feature in target.features), None)
    return {} if isa is None else {"ONEDNN_MAX_CPU_ISA": isa}
