"""What runs on a device: numpy and one engine, nothing else.

    import edgec.runtime
    model = edgec.runtime.load("model-host.edgec")
    outputs = model.run({"image": array})

Every artifact carries this package as `edgec_runtime`, so a device needs no edgec. It works on Python 3.9 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from .model import Model

__all__ = ["load"]


def load(path: str | os.PathLike[str], threads: int | None = None) -> Model:
    """The model in an artifact, verified and ready to run.

    threads: how many the engine shall use; None takes what the target says, 0 leaves it to the engine.

    Raises BundleError for a damaged artifact, DeviceUnfit when this machine can't run it, EngineMissing when its engine
    is not installed, InputError when there is no such file.
    """
    from pathlib import Path

    from .bundle import Bundle
    from .device import check_device

    bundle = Bundle.open(Path(path))
    check_device(bundle.manifest)  # before numpy is imported, which has machine code too
    from .model import Model

    return Model.load(bundle, threads)
