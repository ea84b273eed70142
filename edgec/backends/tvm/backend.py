"""Lowering through kernels of our own and TVM's LLVM to a shared library."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec import worker
from edgec.backends.base import Availability, Interface, LowerJob, OpVerdict, Payload, Precision
from edgec.backends.tvm.isa import NEEDED, name_for
from edgec.errors import UsageError
from edgec.quantization.profiles import Profile

if TYPE_CHECKING:
    from edgec.targets import Target

_FILE = "model.so"
_OBJECT = "model.o"
_HEADER = "edgec_model.h"
_SHELL = Path(__file__).parent / "shell"
_TIMEOUT = 600.0
"""Seconds for one model; efficientnet_lite0 takes 10."""

_PACKAGES = ("apache-tvm", "apache-tvm-ffi", "ziglang")


@dataclass(frozen=True)
class TVM:
    """ONNX to model.so, edgec_model.h and, where it is wanted, model.o."""

    name: str = "tvm"
    tools: tuple[str, ...] = _PACKAGES
    precisions: tuple[Precision, ...] = ("int8", "mixed", "float")
    profiles: tuple[Profile, ...] = ("strict", "islands")
    activation_bits: tuple[int, ...] = (8,)
    against_16_bits: str = "the backend computes with activations of 8 bits only"
    against_emulation: str = ""
    interfaces: tuple[Interface, ...] = ("float",)
    c_objects: bool = True
    searches_tiles: bool = True
    per_tensor_weights: frozenset[str] = frozenset()

    def availability(self) -> Availability:
        try:
            versions = [importlib.metadata.version(name) for name in _PACKAGES]
        except importlib.metadata.PackageNotFoundError as error:
            return Availability(False, reason=f"{error.name} is not installed.", install="pip install 'edgec[tvm]'")
        return Availability(True, versions[0])

    def against_products_of_activations(self, interface: Interface, target: Target) -> str:
        """Never. They take a third of float32's time with VNNI, half of it with AVX2, half of its instructions with dot
        products and on ARMv7; on AArch64 without those a tenth more, but three tensors less are converted."""
        return ""

    def saturates(self, target: Target) -> bool:
        """Never: sums are 32 bits wide on every instruction set."""
        return False

    def supports(self, model: Path, target: Target) -> Sequence[OpVerdict]:
        """Every node: whether it can be imported."""
        from edgec.backends.tvm.verdicts import verdicts

        _instruction_set(target)
        return verdicts(model)

    def lower(self, job: LowerJob) -> Payload:
        """Make the library in a process of its own.

        Raises UsageError for a target without kernels, UnsupportedOp naming what there is no kernel for, ToolMissing
        without a linker, WorkerCrashed and WorkerTimedOut.
        """
        from edgec.backends.tvm.tuning.database import tile_from

        isa = _instruction_set(job.target)
        call = {
            "model": job.model,
            "precision": job.precision,
            "isa": isa,
            "target": job.target,
            "out": job.out / _FILE,
            "c_object": job.out / _OBJECT if job.c_object else None,
            "tiles": {kernel: tile_from(tile) for kernel, tile in job.tiles.items()},
        }
        facts = worker.call(_build, call, timeout=_TIMEOUT)
        shutil.copyfile(_SHELL / _HEADER, job.out / _HEADER)
        files = (_FILE, _HEADER, _OBJECT) if job.c_object else (_FILE, _HEADER)
        return Payload(engine="tvm", files=files, facts=facts)


def _build(**job: Any) -> dict[str, Any]:
    """`building.build`, which imports TVM: in the worker alone, not also where that is waited for."""
    from edgec.backends.tvm.building import build

    return build(**job)


def _instruction_set(target: Target) -> str:
    found = name_for(target)
    if found is None:
        wanted = "; ".join(f"{arch} with {', '.join(sorted(features))}" for arch, features in NEEDED.values())
        raise UsageError(
            f"The backend tvm has no kernels for {target.name}",
            f"It has kernels for {wanted}. The target is {target.arch} with {', '.join(target.features) or 'nothing'}.",
            "Choose another --backend, where the target lists one.",
        )
    return found


BACKEND = TVM()
