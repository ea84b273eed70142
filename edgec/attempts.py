"""The ways to an artifact for a target: through which backend, and where it will be executed.

All that can be known of them before any work is done is found out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from edgec.errors import EdgecError, UsageError
from edgec.runners.execution import Execution, choose
from edgec.spec import BuildSpec
from edgec.targets import Target


@dataclass(frozen=True)
class Attempt:
    """One way to an artifact: the specification with its backend named, and where that is executed, or why it can't be
    tried."""

    spec: BuildSpec
    where: Execution | EdgecError


def attempts(spec: BuildSpec, target: Target) -> tuple[Attempt, ...]:
    """Every way to build for `target`: one, or one for each of its backends that may do where the user named none.

    A backend that is not installed, or can't do what is asked, is left out where another one can; so is one whose
    artifact can't be executed here, and is not proven therefore, where another one's can, or could with an emulator.
    Where nothing can be executed there is nothing to compare: the target's first it is.
    """
    able, unable = [], []
    for name in target.backends if spec.backend == "auto" else (spec.backend,):
        named = replace(spec, backend=name)
        try:
            require_able(named, target)
        except EdgecError as error:
            unable.append(Attempt(named, error))
            continue
        try:
            able.append(Attempt(named, choose(target, load_backend(name).against_emulation, spec.emulate)))
        except EdgecError as error:
            able.append(Attempt(named, error))
    proven = [each for each in able if isinstance(each.where, Execution) and each.where.executes]
    lacking = [each for each in able if isinstance(each.where, EdgecError)]
    return tuple(proven or (lacking or able or unable)[:1])


def ways(spec: BuildSpec, targets: Sequence[Target]) -> dict[str, tuple[Attempt, ...]]:
    """The same for all of them; the first reason is raised where no target is left to build."""
    found = {target.name: attempts(spec, target) for target in targets}
    errors = [each[0].where for each in found.values() if isinstance(each[0].where, EdgecError)]
    if len(errors) == len(targets):
        raise errors[0]
    return found


def place(spec: BuildSpec, target: Target) -> Execution:
    """Where the artifact for `target` will be executed.

    Raises what `require_able` does, and ToolMissing when an emulator is needed and not there.
    """
    require_able(spec, target)
    return choose(target, load_backend(backend_of(spec, target)).against_emulation, spec.emulate)


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
        require_tile_search(name, target, measured=spec.tune_seconds is not None)
        known_tiles(spec, target)


def tuning_place(spec: BuildSpec, target: Target) -> Path:
    """Where the database of tiles for `target` is."""
    return spec.tuning or spec.output / f"{spec.artifact_name}-{target.name}.tuning.json"


def known_tiles(spec: BuildSpec, target: Target) -> database.Database:
    """What that database has; none is needed where tiles are searched for. Raises UsageError for a file that can't be
    read."""
    place = tuning_place(spec, target)
    return database.Database() if spec.tune_seconds is not None and not place.exists() else database.read(place)


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
