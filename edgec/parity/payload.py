"""The payload in its engine, loaded by the code that loads it on the device: from a stage's folder, or out of an
artifact; here, or on an emulated device."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgec.bundle.errors import as_edgec_error
from edgec.errors import CalibrationDataError
from edgec.runtime.bundle import Bundle
from edgec.runtime.engines import open_engine
from edgec.runtime.errors import ArtifactFailure, InputError
from edgec.samples import Feeds

if TYPE_CHECKING:
    from edgec.emulator.machine import Machine

Runner = Callable[[Feeds], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Payload:
    """What an engine loads; see `edgec.runtime.engines.open_engine`."""

    engine: str
    files: Mapping[str, bytes]
    options: Mapping[str, Any]

    @classmethod
    def of_artifact(cls, path: Path) -> Payload:
        """The payload of an .edgec file. Raises ArtifactError for a damaged one."""
        with _as_edgec_errors():
            bundle = Bundle.open(path)
            engine = bundle.manifest["engine"]
            return cls(engine["name"], bundle.payload(), engine["options"])

    @classmethod
    def of_lowered(cls, folder: Path) -> Payload:
        """What the stage `lower` left."""
        made = json.loads((folder / "lower.json").read_text(encoding="utf-8"))
        files = {name: (folder / "payload" / name).read_bytes() for name in made["files"]}
        return cls(made["engine"], files, made["options"])


@dataclass(frozen=True)
class Loaded:
    """A payload that runs. version: of its engine, with what it computes on besides the processor."""

    run: Runner
    version: str

    @property
    def accelerated(self) -> bool:
        """Whether a chip beside the processor takes part."""
        return ", with " in self.version and ", on the CPU" not in self.version


@contextlib.contextmanager
def loaded(payload: Payload, machine: Machine | None, scratch: Path, macs: int) -> Iterator[Loaded]:
    """`payload` on one thread of this machine, or of the emulated `machine`, until the block ends.

    scratch: a folder that is there meanwhile. macs: multiply-accumulates of a run, for how long to wait for it.

    Raises what the runtime raises as edgec's own errors, and what `edgec.runners.emulated.running` raises.
    """
    if machine is None:
        with _as_edgec_errors():
            engine = open_engine(payload.engine, payload.files, payload.options, threads=1)
        yield Loaded(_translated(engine.run), engine.version)
        return
    from edgec.runners.emulated import patience, running

    with contextlib.ExitStack() as stack:
        with _as_edgec_errors():
            guest = stack.enter_context(
                running(machine, payload.engine, payload.files, payload.options, scratch, patience(macs))
            )
        yield Loaded(_translated(guest), guest.version)


def _translated(run: Runner) -> Runner:
    def translated(feeds: Feeds) -> dict[str, np.ndarray]:
        with _as_edgec_errors():
            return run(feeds)

    return translated


@contextlib.contextmanager
def _as_edgec_errors() -> Iterator[None]:
    """The runtime has errors of its own, since a device has no edgec."""
    try:
        yield
    except ArtifactFailure as failure:
        if failure.exit_code == InputError.exit_code:
            raise CalibrationDataError(failure.what, failure.why, failure.fix) from failure
        raise as_edgec_error(failure) from failure
