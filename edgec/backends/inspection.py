"""Looking into a payload while its engine runs it: what a backend may have, for `edgec diagnose`.

A backend whose engine shows inner tensors has a module `inspection`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Wanted:
    """A tensor of the ONNX model that was lowered.

    integers: it is what a QuantizeLinear writes; the real numbers that it stands for are asked for.
    """

    name: str
    shape: tuple[int, ...]
    integers: bool = False


@dataclass(frozen=True)
class Watched:
    """The tensors that an engine shows.

    names: the ones of those wanted that the payload has.
    run: from the model's inputs to the tensors' values: float32, in the model's order of dimensions.
    steps: of those that the payload holds as integers, what one integer stands for (1 LSB).
    """

    names: tuple[str, ...]
    run: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
    steps: Mapping[str, float] = field(default_factory=dict)


class Inspection(Protocol):
    """What the module offers."""

    CAVEAT: str
    """What whoever reads the figures must know."""

    AS_SHIPPED: bool
    """Whether what is seen are the kernels that a run without an onlooker uses."""

    AT_ONCE: int
    """Tensors that may be asked for at a time."""

    def watch(self, folder: Path, options: Mapping[str, Any], wanted: Sequence[Wanted]) -> Watched:
        """Load the payload in `folder` so that it shows its inner tensors."""
        ...


def load_inspection(engine: str) -> Inspection | None:
    """The inspection of the backend that writes for an engine; None where there is none."""
    module = f"edgec.backends.{engine}.inspection"
    return None if find_spec(module) is None else cast("Inspection", import_module(module))
