"""What runs on a device: numpy and one engine, nothing else.

    import edgec.runtime
    model = edgec.runtime.load("model-host.edgec")
    outputs = model.run({"image": array})

Every artifact carries this package as `edgec_runtime`, so a device needs no edgec. It works on Python 3.9 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .loading import Place
    from .model import Model
    from .monitoring.monitor import Monitor
    from .shadow import Shadow
    from .slot import hold_updates

__all__ = ["Monitor", "Shadow", "hold_updates", "load"]

_PLACES = {"Monitor": ".monitoring.monitor", "Shadow": ".shadow", "hold_updates": ".slot"}


def load(path: Place | Sequence[Place], threads: int | None = None, *, selftest: bool = False) -> Model:
    """The model in an artifact, verified and ready to run.

    path: an artifact; a slot, the folder in which edgec-device keeps the versions of a model: the current version is
        loaded, or the previous one where that fails; or a list of such paths: the first that this device can run. What
        was not taken is logged (logger "edgec.runtime") and kept in `model.fallbacks`.
    threads: how many the engine shall use; None takes what the target says, 0 leaves it to the engine.
    selftest: replay the build's golden samples first, and refuse an artifact whose outputs differ too much here.

    Raises BundleError for a damaged artifact, DeviceUnfit when this machine can't run it, EngineMissing when its engine
    is not installed, InputError when there is no such file, SelftestFailed; NothingLoads, which lists all reasons, when
    none of several can be loaded.
    """
    from .loading import load_first

    return load_first(path, threads, selftest)


def __getattr__(name: str) -> Any:
    """Names that are looked up only when they are used: numpy and all else is imported then."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name], __name__), name)
