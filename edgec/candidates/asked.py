"""What a specification asks for on one target, and whether that can be had at all."""

from __future__ import annotations

from pathlib import Path

from edgec.backends import load_backend
from edgec.backends.support import (
    interface_of,
    profiles_of,
    require_backend,
    require_c_object,
    require_precision,
    require_tile_search,
)
from edgec.backends.tvm.tuning import database
from edgec.errors import UsageError
from edgec.runners.execution import Execution, choose
from edgec.spec import BuildSpec
from edgec.targets import Target, load_target


def backend_of(spec: BuildSpec, target: Target) -> str:
    """The backend that was asked for, or the target's first. UsageError for one that the target does not list."""
    if spec.backend == "auto":
        return target.backends[0]
    load_backend(spec.backend)
    if spec.backend not in target.backends:
        raise UsageError(
            f"Target {target.name!r} does not list the backend {spec.backend!r}",
            f"It lists: {', '.join(target.backends)}.",
            "Choose one of those with --backend, or leave it out.",
        )
    return spec.backend


def require_able(spec: BuildSpec, target: Target) -> None:
    """Raises what is known of a backend before any work is done: UsageError when the target does not list it or it
    can't do what is asked for, ToolMissing when it is not installed."""
    name = backend_of(spec, target)
    require_backend(name)
    require_precision(name, spec.precision)
    interface_of(name, spec.interface)
    profiles_of(name, spec.profile)
    if spec.c_object:
        require_c_object(name)
    if spec.tune_seconds is not None or spec.tuning is not None:
        require_tile_search(name, target, measured=spec.tune_seconds is not None, board=spec.tune_on)
        known_tiles(spec, target)


def place(spec: BuildSpec, target: Target) -> Execution:
    """Where the artifact for `target` will be executed.

    Raises what `require_able` does, and ToolMissing when an emulator is needed and not there.
    """
    require_able(spec, target)
    return choose(target, load_backend(backend_of(spec, target)).against_emulation, spec.emulate)


def profile_of(spec: BuildSpec) -> str:
    """The one profile that an INT8 build was asked for; "" for all others."""
    return "" if spec.precision != "int8" or spec.profile == "auto" else spec.profile


def is_tuned(spec: BuildSpec) -> bool:
    """Whether it was asked for searched tiles."""
    return spec.tune_seconds is not None or spec.tuning is not None


def tuning_place(spec: BuildSpec, target: Target) -> Path:
    """Where the database of tiles for `target` is."""
    return spec.tuning or spec.output / f"{spec.artifact_name}-{target.name}.tuning.json"


def known_tiles(spec: BuildSpec, target: Target) -> database.Database:
    """What that database has; none is needed where tiles are searched for. Raises UsageError for a file that can't be
    read."""
    place = tuning_place(spec, target)
    return database.Database() if spec.tune_seconds is not None and not place.exists() else database.read(place)


def described_as(spec: BuildSpec, target: Target) -> str:
    """How the target was asked for: its name, or the path of its file."""
    return next(
        (asked for asked in spec.targets if asked.endswith(".toml") and load_target(asked) == target), target.name
    )
