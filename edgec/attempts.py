"""The ways to an artifact for a target: through which backend, and where it will be executed.

All that can be known of them before any work is done is found out here.
"""

from __future__ import annotations

import os
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
from edgec.candidates import label
from edgec.cost import require_energy
from edgec.errors import EdgecError, UsageError
from edgec.quantization.profiles import of_family
from edgec.runners import native
from edgec.runners.execution import Execution, choose
from edgec.spec import MAX_FLOAT_MACS, BuildSpec, Precision, Profile
from edgec.targets import Target, load_target


@dataclass(frozen=True)
class Attempt:
    """One way to an artifact: the specification with its backend named, and where that is executed, or why it can't be
    tried.

    Of a search, the specification names precision, profile and number of threads, too.
    """

    spec: BuildSpec
    where: Execution | EdgecError

    @property
    def name(self) -> str:
        """How it is called among the others of a search."""
        spec = self.spec
        return label(spec.backend, spec.precision, profile_of(spec), spec.threads, is_tuned(spec))


def attempts(spec: BuildSpec, target: Target) -> tuple[Attempt, ...]:
    """Every way to build for `target`: one, or one for each of its backends that may do where the user named none.

    A backend that is not installed, or can't do what is asked, is left out where another one can; so is one whose
    artifact can't be executed here, and is not proven therefore, where another one's can, or could with an emulator.
    Where nothing can be executed there is nothing to compare: the target's first it is.

    Of a search, all of them: those that can't be tried come last, with the reason.
    """
    if (against := _untimed(spec, target)) is not None:
        return (Attempt(spec, against),)
    if spec.search:
        return _searched(spec, target)
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


def _searched(spec: BuildSpec, target: Target) -> tuple[Attempt, ...]:
    """Every combination of precision, backend, profile, searched tiles or not, and number of threads.

    Precisions in the order of PRECISIONS, the fewest threads first.
    """
    able: list[Attempt] = []
    unable: list[Attempt] = []
    for precision in spec.search:
        for backend in target.backends if spec.backend == "auto" else (spec.backend,):
            for variant in _variants(spec, precision, backend):
                try:
                    _require_meant(spec, variant)
                    require_able(variant, target)
                    where = choose(target, load_backend(backend).against_emulation, spec.emulate)
                except EdgecError as error:
                    unable.append(Attempt(variant, error))
                    continue
                able += [Attempt(replace(variant, threads=count), where) for count in _threads(spec, target, where)]
    if proven := [each for each in able if isinstance(each.where, Execution) and each.where.executes]:
        for each in (each for each in able if each not in proven):
            reason = each.where.reason if isinstance(each.where, Execution) else str(each.where)
            why = f"Its artifact could not be executed, and others' can: {reason}"
            unable.append(Attempt(each.spec, UsageError("It would not be proven", why)))
        able = proven
    return (*able, *unable)


def _variants(spec: BuildSpec, precision: Precision, backend: str) -> list[BuildSpec]:
    """The specifications of one precision through one backend; what only INT8 has is left out of the others."""
    if precision != "int8":
        float_only = replace(
            spec,
            precision=precision,
            backend=backend,
            search=(precision,),
            profile="auto",
            keep_float=spec.keep_float if precision == "int8-weights" else (),
            force=(),
            forbid=(),
            search_seconds=None,
            max_float_macs=MAX_FLOAT_MACS,
            min_int8_macs=0.0,
            tune_seconds=None,
            tune_on=None,
            tuning=None,
            interface="auto" if spec.interface in ("int8", "uint8") else spec.interface,
        )
        return [float_only]
    named = replace(spec, precision=precision, backend=backend)
    families: tuple[Profile, ...] = ("strict", "islands") if spec.profile == "auto" else (spec.profile,)
    offered = [family for family in families if of_family(load_backend(backend).profiles, family)]
    found = []
    for family in offered or [spec.profile]:
        found.append(replace(named, profile=family, tune_seconds=None, tune_on=None, tuning=None))
        if is_tuned(spec) and load_backend(backend).searches_tiles:
            found.append(replace(named, profile=family))
    return found


def _require_meant(asked: BuildSpec, variant: BuildSpec) -> None:
    """UsageError for a variant that is not what was asked for: without data, without INT8 that is wanted."""
    if variant.precision == "int8" and asked.calibration is None:
        raise UsageError("INT8 needs calibration data, and none was given", "", "Add --calib PATH.")
    if variant.precision != "int8" and asked.min_int8_macs > 0:
        raise UsageError("It computes in float, and --min-int8-macs asks for INT8", "", "Leave that out.")
    if variant.precision != "int8" and asked.interface in ("int8", "uint8"):
        raise UsageError(f"It computes in float, and --io {asked.interface} asks for integers", "", "Leave that out.")


def _threads(spec: BuildSpec, target: Target, where: Execution) -> list[int | None]:
    """The numbers of threads to try: powers of two up to what the target has, and that.

    One only where it was named, or where it could not be measured what they are worth.
    """
    if spec.threads is not None or target.accelerator is not None or not native.suitability(target).runs:
        return [spec.threads]
    here = len(os.sched_getaffinity(0))
    most = min(target.threads or here, here)
    return [*sorted({2**power for power in range(most.bit_length())} | {most})]


def _untimed(spec: BuildSpec, target: Target) -> UsageError | None:
    """Why what is asked of the time of an artifact can't be answered here; None where it can, or nothing is asked."""
    if spec.optimize == "energy":
        try:
            require_energy(described_as(spec, target))
        except UsageError as error:
            return error
    if spec.max_latency is None and spec.optimize != "energy":
        return None
    here = native.suitability(target)
    if here.runs and target.accelerator is None:
        return None
    flag = "--optimize energy" if spec.max_latency is None else f"--max-latency {spec.max_latency:g}ms"
    why = here.reason or f"the model is to run on its {target.accelerator.title if target.accelerator else ''}"
    return UsageError(
        f"{flag} can't be judged for {target.name} on this machine",
        f"It takes a time that was measured on the device, and {why}.",
        f"Leave it out, and measure there: python3 {spec.artifact_name}-{target.name}.edgec bench. "
        "Or build on such a device.",
    )


def described_as(spec: BuildSpec, target: Target) -> str:
    """How the target was asked for: its name, or the path of its file."""
    return next(
        (asked for asked in spec.targets if asked.endswith(".toml") and load_target(asked) == target), target.name
    )


def profile_of(spec: BuildSpec) -> str:
    """The one profile that an INT8 build was asked for; "" for all others."""
    return "" if spec.precision != "int8" or spec.profile == "auto" else spec.profile


def is_tuned(spec: BuildSpec) -> bool:
    """Whether it was asked for searched tiles."""
    return spec.tune_seconds is not None or spec.tuning is not None


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
        require_tile_search(name, target, measured=spec.tune_seconds is not None, board=spec.tune_on)
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
