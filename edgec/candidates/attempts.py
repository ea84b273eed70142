"""The ways to an artifact for a target: through which backend, and where it will be executed.

All that can be known of them before any work is done is found out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgec.backends import load_backend
from edgec.candidates.asked import described_as, require_able
from edgec.candidates.attempt import Attempt
from edgec.candidates.combinations import combinations
from edgec.cost import require_energy
from edgec.errors import EdgecError, UsageError
from edgec.runners import native
from edgec.runners.execution import Execution, choose
from edgec.spec import BuildSpec
from edgec.targets import Target


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
        return combinations(spec, target)
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
