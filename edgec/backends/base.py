"""What a backend is. One package a backend; `tests/contract` is the suite that each must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edgec.quantization.profiles import Profile

if TYPE_CHECKING:
    from edgec.targets import Target

Precision = Literal["int8", "mixed", "int8-weights", "fp16", "float"]

Interface = Literal["float", "int8", "uint8"]
"""What a payload takes and gives where the model takes and gives float32: the same, or the integers of its quantized
inputs and outputs. The artifact takes and gives float32 in any case; only who loads the payload alone sees it."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend can be used here; if not, why, and what to install. remark: what it would do better with."""

    installed: bool
    version: str | None = None
    reason: str = ""
    install: str = ""
    remark: str = ""


@dataclass(frozen=True)
class OpVerdict:
    """Whether one node can be lowered; if not, why, and what the user may do."""

    node: str
    op: str
    supported: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class LowerJob:
    """What to lower.

    model: the QDQ reference (int8 or mixed), the model with smaller weights (int8-weights, fp16) or the plain model
        (float), as ONNX.
    precision: what the artifact claims to be; a backend must refuse to ship an "int8" payload that computes in float,
        and an "int8-weights" or "fp16" payload whose weights take more room than in `model`.
    out: an empty folder for the payload's files.
    interface: what the payload itself is to take and give; one of the backend's own.
    recipe: how images become the model's input, in JSON form; None where nobody said.
    c_object: put in the model as an object file for C programs, too.
    tiles: of kernels, that were searched for, as tiles.json has them; the backend's own rules choose the others.
    """

    model: Path
    target: Target
    precision: Precision
    out: Path
    interface: Interface = "float"
    recipe: Mapping[str, Any] | None = None
    c_object: bool = False
    tiles: Mapping[str, Mapping[str, int | str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Payload:
    """What a backend made.

    engine: the module in `edgec.runtime.engines` that loads it on the device.
    files: names relative to the job's `out`; the first is what the engine opens. Their bytes are a function of the job.
    options: engine options that belong to the artifact ("inference_precision": "f32").
    facts: JSON-able observations for the report ("int8_primitives": 50, "float_primitives": 3, "operators": {...}).
        Of a quantized model they hold "int8_mac_fraction_executed", the share of all multiply-accumulates that INT8
        kernels compute, and "lost_int8", the nodes that are INT8 in the model and float in the payload. "remarks" are
        sentences for the user: what the payload holds that was not asked for, and why.
    """

    engine: str
    files: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Backend(Protocol):
    """Lowers one ONNX model to one payload."""

    name: str
    tools: tuple[str, ...]
    """Distributions, and programs on PATH, whose versions are part of a payload's identity."""

    precisions: tuple[Precision, ...]
    """What it can make. A build that asks for another is refused before any work."""

    profiles: tuple[Profile, ...]
    """The ways to place quantization that it can lower, the one that suits it best first."""

    activation_bits: tuple[int, ...]
    """Widths of the integer activations that its kernels multiply with int8 weights: (8,), or (8, 16)."""

    against_16_bits: str
    """Why the search for accuracy does not choose 16-bit activations of itself; "" where it may."""

    against_emulation: str
    """Why its engine can't run on an emulated device; "" where it can."""

    interfaces: tuple[Interface, ...]
    """What its payloads can take and give, the usual one first."""

    c_objects: bool
    """Whether a payload can hold the model as an object file for C programs."""

    searches_tiles: bool
    """Whether tiles of its kernels can be searched for by measuring them."""

    per_tensor_weights: frozenset[str]
    """ONNX operators whose weights its kernels take with one scale only, not with one for each output channel."""

    def availability(self) -> Availability:
        """Answers without importing the heavy package."""
        ...

    def against_products_of_activations(self, interface: Interface, target: Target) -> str:
        """Why a product of two activations is better computed in float; "" where INT8 is worth it."""
        ...

    def saturates(self, target: Target) -> bool:
        """Whether its kernels, on this target, add pairs of products in 16 bits: weights then keep to 7 bits."""
        ...

    def supports(self, model: Path, target: Target) -> Sequence[OpVerdict]:
        """Every node of an ONNX file, supported or why not; called before any work is done, in a worker."""
        ...

    def lower(self, job: LowerJob) -> Payload:
        """Make the payload. Runs in a worker process, so it may crash without harm."""
        ...
