"""The ways that a search goes: every combination of what a specification leaves open."""

from __future__ import annotations

import os
from dataclasses import replace

from edgec.backends import load_backend
from edgec.candidates.asked import is_tuned, require_able
from edgec.candidates.attempt import Attempt
from edgec.errors import EdgecError, UsageError
from edgec.quantization.profiles import of_family
from edgec.runners import native
from edgec.runners.execution import Execution, choose
from edgec.spec import MAX_FLOAT_MACS, BuildSpec, Precision, Profile
from edgec.targets import Target


def combinations(spec: BuildSpec, target: Target) -> tuple[Attempt, ...]:
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
