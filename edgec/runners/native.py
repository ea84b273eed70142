"""Whether this machine can stand in for a target, and how.

It can when it has the target's architecture and every CPU feature that the artifact may rely on. A machine that can do
more than the target would compute the same payload with other kernels: `environment` holds the engines back to what the
target has, as far as they can be.
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


@dataclass(frozen=True)
class Suitability:
    """Whether a target's artifact runs here; `reason` says why not, in words.

    beyond: features that matter for INT8 which this machine has and the target lacks.
    """

    runs: bool
    reason: str = ""
    beyond: tuple[str, ...] = ()


def suitability(target: Target) -> Suitability:
    """Compare `target` with this machine."""
    here = platform.machine()
    if target.arch != here:
        return Suitability(False, f"the target is {target.arch}, and this machine is {here}")
    features = set(host_features())
    if missing := [feature for feature in target.features if feature not in features]:
        return Suitability(False, f"this machine's CPU lacks {', '.join(missing)}, which the target has")
    return Suitability(True, beyond=tuple(sorted(features - set(target.features))))


def environment(target: Target) -> dict[str, str]:
    """Environment variables under which engines use no instructions that `target` lacks.

    oneDNN, which computes for OpenVINO, obeys ONEDNN_MAX_CPU_ISA. It must be set before the library is loaded.
    """
    if target.arch != "x86_64" or not suitability(target).beyond:
        return {}
    isa = next((value for feature, value in _ONEDNN_ISA if feature in target.features), None)
    return {} if isa is None else {"ONEDNN_MAX_CPU_ISA": isa}
