"""Whether a build gives the same bytes again, elsewhere: `edgec build --verify-reproducible`.

A second build runs in a process of its own that differs in what must not matter, and finds nothing stored. What was
not varied, and may matter: the machine, its kernel and its processor, and the versions of all tools.
"""

from __future__ import annotations

import json
import locale
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import edgec.worker
from edgec.errors import InternalError, UsageError
from edgec.events import Event, Listener, Note, Progress, StageFinished, StageStarted, ignore
from edgec.onnx_graph.untrusted import scan
from edgec.result import BuildResult, TargetBuild
from edgec.spec import BuildSpec, is_random
from edgec.store import Store

_LOCALES = ("tr_TR.UTF-8", "de_DE.UTF-8", "fr_FR.UTF-8", "C")
"""The first that this machine has: in Turkish, "I" is not the capital of "i"; the next two write decimal commas."""

_ZONE = "EDGEC-13:45"
"""POSIX: 13 hours and 45 minutes ahead of UTC, so that it is another day there for most of the day."""

_MOST_DIFFERENCES = 8
"""Members that an error names."""

_FOLLOWING = ("provenance.json", "manifest.json")
"""Members that hold the digests of others: they differ wherever another one does."""


class NotReproducible(InternalError):
    """Building again gave other bytes."""


@dataclass(frozen=True)
class Reproduced:
    """varied: what differed between the builds, with its two values. artifacts: those that came out equal."""

    varied: Mapping[str, tuple[str, str]]
    artifacts: tuple[Path, ...]

    def lines(self) -> list[str]:
        """What came of it, for people."""
        said = [f"{path}: built again, equal byte for byte" for path in self.artifacts]
        return [*said, f"  varied: {', '.join(self.varied)}"]

    def to_json(self) -> dict[str, Any]:
        return {
            "varied": {name: list(values) for name, values in self.varied.items()},
            "artifacts": list(map(str, self.artifacts)),
        }


@dataclass(frozen=True)
class Difference:
    """Where two members differ first. place: "byte 17", "/outputs/0/max_abs", or "only in the first"."""

    member: str
    place: str
    first: str = ""
    second: str = ""

    def __str__(self) -> str:
        values = f": {self.first} and {self.second}" if self.first or self.second else ""
        return f"{self.member}, {self.place}{values}"


def check_reproducible(spec: BuildSpec) -> None:
    """Refuse before any work what can't give the same twice. Raises UsageError."""
    if spec.tune_seconds is not None:
        raise UsageError(
            "--verify-reproducible does not go with --tune",
            "Which tiles are found depends on measured times, and these differ each time.",
            "Search once with --tune, then verify a build with the tiles that were found: --tuning FILE.tuning.json.",
        )
    if not (spec.calibration is None or isinstance(spec.calibration, Path) or is_random(spec.calibration)):
        raise UsageError(
            "Samples that are given as an iterable can be read once only",
            "To verify that a build is reproducible, it is made twice.",
            "Write the samples to .npy or .npz files.",
        )


def build_again(spec: BuildSpec, result: BuildResult, *, listener: Listener = ignore, jobs: int = 1) -> Reproduced:
    """Build `spec` again under other circumstances, and compare with the artifacts in `result`.

    Where several backends or a search compete, which artifact is kept depends on measured times: compared is the one
    that was kept with the same one of the second build, kept or not.

    Raises NotReproducible naming what differs, with the second artifact beside the first (NAME.again.edgec); the error
    of the second build.
    """
    check_reproducible(spec)
    with tempfile.TemporaryDirectory(prefix="edgec-again-") as name:
        folder = Path(name)
        varied: dict[str, tuple[str, str]] = edgec.worker.call(
            _build_elsewhere,
            {"spec": _absolute(spec), "folder": folder, "keeps_folder": _names_module(spec), "jobs": jobs},
            listener=_as_second(listener),
            emit_as="emit",
        )
        made = [found for entry in Store(folder / "store").entries() for found in sorted(entry.path.glob("*.edgec"))]
        equal = [_compared(built, made) for built in result.builds if built.artifact is not None]
    return Reproduced(varied, tuple(equal))


def differences(first: Path, second: Path) -> list[Difference]:
    """The members in which two artifacts differ, what others follow from first; empty where all bytes are equal."""
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        names = (set(one.namelist()), set(other.namelist()))
        found = [Difference(name, "only in the first") for name in sorted(names[0] - names[1])]
        found += [Difference(name, "only in the second") for name in sorted(names[1] - names[0])]
        for name in sorted(names[0] & names[1], key=lambda name: (name in _FOLLOWING, name)):
            contents = one.read(name), other.read(name)
            if contents[0] != contents[1]:
                found.append(_difference(name, *contents))
    if not found and (contents := (first.read_bytes(), second.read_bytes()))[0] != contents[1]:
        found = [_first_byte("the archive itself", *contents)]
    return found


def _build_elsewhere(
    spec: BuildSpec, folder: Path, keeps_folder: bool, jobs: int, emit: Listener
) -> dict[str, tuple[str, str]]:
    """Build in this process, changed in all that must not matter; what was changed, with both values.

    Raises what a target failed with.
    """
    from edgec.pipeline import build

    varied = {}
    for title, variable, other in (
        ("locale", "LC_ALL", _other_locale()),
        ("time zone", "TZ", _ZONE),
        ("hash seed", "PYTHONHASHSEED", "54321" if os.environ.get("PYTHONHASHSEED") == "12345" else "12345"),
        ("folder for temporary files", "TMPDIR", str(folder / "tmp")),
    ):
        varied[title] = (os.environ.get(variable, "as it is"), other)
        os.environ[variable] = other
    (folder / "tmp").mkdir()
    time.tzset()
    tempfile.tempdir = None
    before = os.umask(0o077)
    if before == 0o077:
        os.umask(0o022)
    varied["umask"] = (f"{before:03o}", "022" if before == 0o077 else "077")
    here = Path.cwd()
    if not keeps_folder:
        os.chdir(folder / "tmp")
        varied["current folder"] = (str(here), str(folder / "tmp"))
    model = _copied(spec.model, folder / "elsewhere" / "model")
    varied["folder of the model"] = (str(spec.model.parent), str(model.parent))
    varied["output folder"] = (str(spec.output), str(folder / "out"))
    varied["store"] = ("edgec's own", "empty")
    again = build(
        replace(spec, model=model, output=folder / "out", graph=False),
        store=Store(folder / "store"),
        listener=emit,
        jobs=jobs,
    )
    if (error := next((built.error for built in again.builds if built.error is not None), None)) is not None:
        raise error
    return varied


def _other_locale() -> str:
    for name in _LOCALES:
        with suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, name)
            if name != os.environ.get("LC_ALL"):
                return name
    return "C.UTF-8"


def _copied(model: Path, folder: Path) -> Path:
    """A copy of the model and of the files that it names."""
    for file in scan(model).files:
        place = folder / file.relative_to(model.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    return folder / model.name


def _absolute(spec: BuildSpec) -> BuildSpec:
    """The same, with no path that depends on the current folder."""

    def path(value: Any) -> Any:
        return value.absolute() if isinstance(value, Path) else value

    metric = spec.metric
    if metric is not None and not _names_module(spec):
        file, _, function = metric.rpartition(":")
        metric = f"{Path(file).absolute()}:{function}"
    recipe = spec.recipe
    return replace(
        spec,
        model=spec.model.absolute(),
        targets=tuple(str(Path(name).absolute()) if name.endswith(".toml") else name for name in spec.targets),
        calibration=path(spec.calibration),
        recipe=str(Path(recipe).absolute()) if recipe is not None and recipe.endswith(".toml") else recipe,
        tuning=path(spec.tuning),
        metric=metric,
        labels=path(spec.labels),
        evaluation=path(spec.evaluation),
        output=spec.output.absolute(),
    )


def _names_module(spec: BuildSpec) -> bool:
    """Whether the metric is a module, which is looked for in the current folder."""
    place = (spec.metric or "").rpartition(":")[0]
    return bool(place) and not place.endswith(".py") and "/" not in place


def _as_second(listener: Listener) -> Listener:
    """Events of the second build, told apart from those of the first; what was said before is not said again."""

    def listen(event: Event) -> None:
        if isinstance(event, StageStarted | StageFinished | Progress):
            listener(replace(event, target=f"{event.target}, second build" if event.target else "the second build"))
        elif isinstance(event, Note) and event.level != "warning":
            listener(event)

    return listen


def _compared(built: TargetBuild, made: list[Path]) -> Path:
    """The artifact, which is among those that were made again. Raises NotReproducible."""
    assert built.artifact is not None
    first = built.artifact.path
    alike = [other for other in made if other.name == first.name and _way(other) == _way(first)]
    unlike = [other for other in alike if differences(first, other)]
    if len(unlike) < len(alike):
        return first
    if not alike:
        raise NotReproducible(
            f"{first.name} was not built again",
            "The second build left this candidate out: by the times that it measured, it was not worth trying.",
            f"Verify one way to an artifact: --backend {built.backend}, without --search.",
        )
    again = first.with_suffix(".again.edgec")
    shutil.copyfile(unlike[0], again)
    found = differences(first, again)
    more = f"\n... and {len(found) - _MOST_DIFFERENCES} more" if len(found) > _MOST_DIFFERENCES else ""
    raise NotReproducible(
        f"{first.name} is not reproducible: building it again gave other bytes",
        "First differences:\n" + "\n".join(map(str, found[:_MOST_DIFFERENCES])) + more,
        f"Compare {first} with {again}. With --search-seconds, results depend on how fast the machine is. "
        "Otherwise please report it, with both files if you may share them.",
        {"first": str(first), "second": str(again), "differences": [str(each) for each in found]},
    )


def _way(artifact: Path) -> tuple[Any, ...]:
    """On which way the artifact was made, where several compete."""
    with zipfile.ZipFile(artifact) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    return tuple(manifest[key] for key in ("backend", "precision", "threads"))


def _difference(name: str, one: bytes, other: bytes) -> Difference:
    if name.endswith(".json"):
        with suppress(ValueError, RecursionError):
            if (found := next(_json_differences("", json.loads(one), json.loads(other)), None)) is not None:
                return Difference(name, *found)
    return _first_byte(name, one, other)


def _first_byte(name: str, one: bytes, other: bytes) -> Difference:
    offset = next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if offset is None:
        return Difference(name, "length", f"{len(one)} bytes", f"{len(other)} bytes")
    shown = (content[offset : offset + 8].hex(" ") for content in (one, other))
    return Difference(name, f"byte {offset}", *shown)


def _json_differences(path: str, one: Any, other: Any) -> Iterator[tuple[str, str, str]]:
    """Where two documents differ, as JSON pointers (RFC 6901), with what stands there."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        yield from chain.from_iterable(
            _json_differences(f"{path}/{key}", one.get(key, _ABSENT), other.get(key, _ABSENT)) for key in keys
        )
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        yield from chain.from_iterable(
            _json_differences(f"{path}/{index}", *pair) for index, pair in enumerate(zip(one, other, strict=True))
        )
    elif one != other:
        yield path or "/", _shown(one), _shown(other)


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
