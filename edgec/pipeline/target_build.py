"""One target: every way to an artifact for it that is worth following, the best one, and what is published of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgec.candidates.asked import described_as, is_tuned, profile_of
from edgec.candidates.attempt import Attempt
from edgec.candidates.candidate import Candidate
from edgec.candidates.choice import keep
from edgec.candidates.pruning import reason_among, reason_before
from edgec.cost import figures_of
from edgec.errors import EdgecError, as_edgec_errors
from edgec.graph_files import SUFFIX as GRAPH
from edgec.graph_files import graph_of, publish_graph
from edgec.outcome import Outcome
from edgec.output_folder import describe_file, publish, write_whole
from edgec.pipeline.analysis import activation_bytes, analyzed_if_possible
from edgec.pipeline.front import Front
from edgec.pipeline.target_path import TargetPath
from edgec.result import ArtifactFile, TargetBuild
from edgec.runners.execution import Execution
from edgec.stage_runner import StageRunner
from edgec.stages import pack
from edgec.store import Entry
from edgec.targets import Target

FRONT = ".front"
"""What the folder is called beside an artifact that holds the others of its Pareto front."""


def build_target(target: Target, front: Front, ways: Sequence[Attempt]) -> TargetBuild:
    """All stages of one target, its artifact and its report; errors become part of the result.

    Of several ways, the artifact and the report of the one that is kept; of a search, also the others of its Pareto
    front, in a folder of their own.
    """
    spec = ways[0].spec
    runner = front.runner.for_target(target.name)
    analysis = analyzed_if_possible(front, target, runner)
    tried = _tried(ways, target, front, runner, analysis)
    outcomes = [outcome for _, outcome in tried]
    chosen = keep([candidate for candidate, _ in tried], spec.optimize, spec.limits)
    kept = outcomes[chosen.kept]
    assert kept is not None, "what was not tried is not kept"
    outcome = replace(kept, choice=chosen if len(ways) > 1 else None)
    if chosen.error is not None:
        outcome = replace(outcome, artifact=None, error=chosen.error)
    report = spec.output / f"{spec.artifact_name}-{target.name}.report.html"
    outcome, graph = graph_of(outcome, front.runner) if spec.graph else (outcome, None)
    built = outcome.result(report)
    with as_edgec_errors():  # the artifact last: where its report can't be made, nothing is shipped
        texts = outcome.reports(built)
        for suffix, text in texts.items():
            write_whole(report.with_suffix(f".{suffix}"), text.encode("utf-8", "backslashreplace"))
        if graph is not None:
            place = spec.output / f"{spec.artifact_name}-{target.name}{GRAPH}"
            built = replace(built, graph=publish_graph(graph, place))
        if spec.search and chosen.error is None:
            others = {number: outcomes[number] for number in chosen.front if number != chosen.kept}
            _publish_front({chosen.candidates[number].name: each for number, each in others.items() if each}, built)
        if outcome.artifact is not None and outcome.packed is not None:
            publish(outcome.packed.path / outcome.artifact.path.name, outcome.artifact.path)
    return built


def _publish_front(others: Mapping[str, Outcome], kept: TargetBuild) -> None:
    """Put the artifacts of a Pareto front, with what their builds recorded, into the folder of the front.

    What a former search left there goes. others: by name, without the one that is `kept`.
    """
    assert kept.artifact is not None
    folder = kept.artifact.path.with_suffix(FRONT)
    if not others and not folder.is_dir():
        return
    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("*.edgec"), *folder.glob("*.report.json")):
        old.unlink()
    for name, outcome in others.items():
        assert outcome.artifact is not None and outcome.packed is not None
        place = folder / f"{kept.artifact.path.stem}-{'-'.join(name.replace(',', '').split())}.edgec"
        shown = replace(outcome, artifact=replace(outcome.artifact, path=place))
        record = shown.record(shown.result(place.with_suffix(".report.json")))
        write_whole(place.with_suffix(".report.json"), record.encode("utf-8", "backslashreplace"))
        publish(outcome.packed.path / outcome.artifact.path.name, place)


def _tried(
    ways: Sequence[Attempt], target: Target, front: Front, runner: StageRunner, analysis: Entry | None
) -> list[tuple[Candidate, Outcome | None]]:
    """Every way as a candidate, with what it came to; of a search, those that can't be worth it are not built.

    Ways that differ in their number of threads only share all stages but the last two.
    """
    figures = figures_of(described_as(ways[0].spec, target))
    known = None if analysis is None else analysis.read_json("analysis.json")
    found: list[tuple[Candidate, Outcome | None]] = []
    proven: dict[str, TargetPath] = {}
    siblings: dict[str, list[Candidate]] = {}
    for number, way in enumerate(ways, 1):
        spec = way.spec
        base = replace(way, spec=replace(spec, threads=None)).name
        before = siblings.setdefault(base, [])
        if spec.search and found:  # the first is tried: where no way is open, it is its error that is told
            others = [candidate for candidate, _ in found if candidate not in before]
            if reason := _against(way, known, before, others):
                runner.note("search", f"{way.name} is not tried: {reason}", "info")
                found.append((_left_out(way, reason), None))
                continue
        called = target.name
        if len(ways) > 1:
            called += f" ({number} of {len(ways)}: {way.name})" if spec.search else f" through {spec.backend}"
        path, outcome = _follow(
            way, target, front, runner.for_target(called), proven.get(base), len(ways) > 1, activation_bytes(analysis)
        )
        outcome = replace(outcome, analyzed=analysis, figures=figures)
        candidate = outcome.candidate
        if outcome.error is None:
            proven[base] = path
            twins = [each for each, other in found if other is not None and other.artifact == outcome.artifact]
            if twins:
                candidate = _left_out(way, f"it came out the same, byte for byte, as {twins[0].name}")
        before.append(candidate)
        found.append((candidate, outcome))
    return found


def _against(
    way: Attempt, analysis: Mapping[str, Any] | None, siblings: Sequence[Candidate], others: Sequence[Candidate]
) -> str:
    """Why this way of a search is not worth building; "" where it may be. siblings: with fewer threads."""
    if reason := impossible(way):
        return reason
    if siblings and siblings[-1].not_tried:
        return siblings[-1].not_tried
    if reason := reason_before(way.spec, analysis, way.spec.limits):
        return reason
    return reason_among(way.spec.threads or 1, siblings, others, way.spec.limits) if siblings else ""


def impossible(way: Attempt) -> str:
    """Why this way can't be followed at all; "" where it can."""
    return f"{way.where.what}. {way.where.why}".strip() if isinstance(way.where, EdgecError) else ""


def _left_out(way: Attempt, reason: str) -> Candidate:
    """A way that is not followed to its end, as a candidate."""
    spec = way.spec
    return Candidate(
        backend=spec.backend,
        precision=spec.precision,
        artifact_bytes=None,
        latency=None,
        error=None,
        profile=profile_of(spec),
        tuned=is_tuned(spec),
        threads=spec.threads,
        not_tried=" ".join(reason.split()),
    )


def _follow(
    attempt: Attempt,
    target: Target,
    front: Front,
    runner: StageRunner,
    proven: TargetPath | None,
    several: bool,
    activations: dict[str, int] | None,
) -> tuple[TargetPath, Outcome]:
    """All stages of one way to an artifact. proven: the same way with another number of threads, as far as it is the
    same. several: there are others to compare it with. activations: what they need in memory."""
    spec = attempt.spec
    execution = attempt.where if isinstance(attempt.where, Execution) else Execution("none", "none")
    if proven is None:
        path = TargetPath(spec, target, front, runner, spec.precision, execution, activation_bytes=activations)
    else:
        path = replace(proven, spec=spec, runner=runner, packed=None, measured=None, counted=None)
        runner.records[:] = [each for each in proven.runner.records if each.name not in (pack.STAGE.name, "measure")]
    error: EdgecError | None = None
    artifact: ArtifactFile | None = None
    try:
        with as_edgec_errors():
            if isinstance(attempt.where, EdgecError):
                raise attempt.where
            if proven is None:
                path.artifact()
            else:
                path.ship()
            if several:
                path.count()
            assert path.packed is not None
            artifact = describe_file(path.packed.path / path.artifact_name, spec.output)
    except EdgecError as raised:
        error = raised
    outcome = Outcome(
        spec=spec,
        model=front.facts,
        target=target,
        backend=spec.backend if spec.backend in target.backends else target.backends[0],
        precision=path.precision,
        artifact=artifact,
        error=error,
        calibration=front.calibration,
        recipe=front.recipe,
        ingested=front.ingested,
        simplified=front.simplified,
        canonical=front.canonical,
        calibrated=path.calibrated,
        quantized=path.quantized,
        compressed=path.compressed,
        lowered=path.lowered,
        validated=path.validated,
        packed=path.packed,
        measured=path.measured,
        counted=path.counted,
        stages=tuple(path.runner.records),
        notes=tuple(path.runner.notes),
    )
    return path, outcome
