"""What was asked for: the specification of a build, from flags, from edgec.toml, or from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgec.candidates.objectives import Limits, Objective
from edgec.errors import UsageError
from edgec.quantization.pass_names import check_passes

Profile = Literal["auto", "strict", "islands"]
Precision = Literal["int8", "int8-weights", "fp16", "float"]

Interface = Literal["auto", "float", "int8", "uint8"]

PRECISIONS: tuple[Precision, ...] = ("int8", "int8-weights", "fp16", "float")
PROFILES: tuple[Profile, ...] = ("auto", "strict", "islands")
INTERFACES: tuple[Interface, ...] = ("auto", "float", "int8", "uint8")

MAX_FLOAT_MACS = 0.10
"""Most multiply-accumulates that recovery leaves in float unless told otherwise."""


@dataclass(frozen=True)
class BuildSpec:
    """One model, its data, and the targets to build it for.

    shapes: input name to static shape, for inputs with open dimensions.
    state: output name to input name, for recurrent models.
    calibration: a folder or file of samples; or an iterable of samples (arrays, tuples of arrays, or dicts of input
        name to array), read once; or "random" (never a default).
    recipe: name or path of a preprocessing recipe; None takes arrays as they are.
    max_samples: use at most this many samples, spread evenly over the data; None uses all.
    keep_float: nodes that must not be quantized, by name.
    profile: "strict" quantizes every op that has a rule, "islands" (or the form of it that the
        backend can lower) only those that multiply and accumulate; "auto"
        takes the first that passes the gate.
    interface: what the payload itself takes and gives, where the backend leaves a choice: float32, or the integers of
        its quantized inputs and outputs; "auto" is what the backend's engine usually gets.
    c_object: put in the model as an object file for C programs, too.
    graph: write the graph with what each node costs and loses, for Netron and Model Explorer.
    tune_seconds: seconds of wall time to search tiles of kernels for; None: those of `tuning`, and the rules'.
    threads: how many the artifact uses unless told otherwise on the device; None: what the target says, or those that
        the search finds best.
    search: precisions of which candidates are built and measured, with every backend, number of threads and way to
        place quantization; empty: no search, and one artifact of `precision`.
    optimize: what the artifact that is kept of several is the best in.
    max_latency: of the artifact's median latency, in milliseconds; max_size: of the artifact, in bytes.
    tune_on: the host of the board to search on over ssh; None: this machine.
    tuning: a database of tiles, to be read; with tune_seconds also to be made or written on (None:
        OUTPUT/NAME-TARGET.tuning.json).
    gate: limits of the parity gate that replace the defaults, by name.
    force, forbid: recovery passes (`edgec.quantization.pass_names`) that every candidate gets, or none does, by name.
    search_seconds: CPU seconds after which the search for a quantization tries nothing new; None: its own stop rule.
    max_float_macs: most multiply-accumulates that recovery may leave in float, as a share.
    min_int8_macs: least share of multiply-accumulates in INT8; a build that stays below is refused.
    metric: the user's own measure, "module:function" or "file.py:function", higher is better; `labels` is the file of
        labels that it gets, or "folders" where each sample's folder is its label; `evaluation` the data to measure on
        (None: what is held out of the calibration data); `max_drop` the most that it may fall from the original to the
        artifact.
    emulate: whether a target that this machine can't stand in for is emulated, to execute its artifact.
    """

    model: Path
    targets: tuple[str, ...] = ("host",)
    name: str | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    calibration: Path | Literal["random"] | Iterable[Any] | None = None
    recipe: str | None = None
    max_samples: int | None = None
    precision: Precision = "int8"
    profile: Profile = "auto"
    backend: str = "auto"
    interface: Interface = "auto"
    c_object: bool = False
    graph: bool = False
    threads: int | None = None
    search: tuple[Precision, ...] = ()
    optimize: Objective = "latency"
    max_latency: float | None = None
    max_size: int | None = None
    tune_seconds: float | None = None
    tune_on: str | None = None
    tuning: Path | None = None
    simplify: bool = True
    keep_float: tuple[str, ...] = ()
    gate: Mapping[str, float] = field(default_factory=dict)
    force: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    search_seconds: float | None = None
    max_float_macs: float = MAX_FLOAT_MACS
    min_int8_macs: float = 0.0
    metric: str | None = None
    labels: Path | Literal["folders"] | None = None
    evaluation: Path | None = None
    max_drop: float | None = None
    emulate: bool = True
    output: Path = Path("dist")

    def __post_init__(self) -> None:
        check_name(self.artifact_name, "an artifact", "Give a plain --name, and the folder with -o.")
        for name in {name for name in self.targets if self.targets.count(name) > 1}:
            raise UsageError(
                f"Target {name!r} is named twice", "Its artifact would be made twice, in one place.", "Name it once."
            )
        if self.precision != "int8":
            self._refuse_what_only_int8_has()
        check_passes(self.force, self.forbid)
        self._check_budgets()
        self._check_metric()
        self._check_interface()
        self._check_choice()

    def _check_budgets(self) -> None:
        """Refuse shares that are none, and a search of no time (the command line does so itself)."""
        for flag, share in (("--max-float-macs", self.max_float_macs), ("--min-int8-macs", self.min_int8_macs)):
            if not 0 <= share <= 1:
                raise UsageError(
                    f"{flag} {share:g} is no share", "It is a part of all multiplications, from 0 to 1.", "Correct it."
                )
        if self.search_seconds is not None and not self.search_seconds > 0:
            raise UsageError(
                f"--search-seconds {self.search_seconds:g} leaves no time",
                "It is the CPU time in seconds that the search for accuracy may take, more than 0.",
                "Give more, or leave it out: the search ends by itself.",
            )
        if self.tune_seconds is not None and not self.tune_seconds > 0:
            raise UsageError(
                f"--tune {self.tune_seconds:g} leaves no time",
                "It is the time in seconds that the search for tiles may take, more than 0.",
                "Give more, or leave it out.",
            )
        if self.tune_on is not None and self.tune_seconds is None:
            raise UsageError(
                f"--tune-on {self.tune_on} has no effect without --tune",
                "It says where tiles are searched for, and nothing says for how long.",
                "Add --tune SECONDS.",
            )

    def _check_metric(self) -> None:
        """Refuse what belongs to a metric without one, and a metric without data."""
        if self.metric is None:
            given = {"--labels": self.labels, "--eval": self.evaluation, "--max-drop": self.max_drop}
            for flag, value in given.items():
                if value is not None:
                    raise UsageError(
                        f"{flag} was given without a metric",
                        "Only a measure of your own can say what labels, or a drop, mean.",
                        "Add --metric MODULE:FUNCTION or --metric FILE.py:FUNCTION (docs/metric.md).",
                    )
        if self.max_drop is not None and not self.max_drop >= 0:
            raise UsageError(
                f"--max-drop {self.max_drop:g} is no limit",
                "It is how much lower the metric may be, in the metric's own units: 0 or more.",
                "Write --max-drop 0.01 for one point of an accuracy between 0 and 1.",
            )
        if (
            self.metric is not None
            and self.evaluation is None
            and (self.calibration is None or is_random(self.calibration))
        ):
            raise UsageError(
                "There is nothing to measure the metric on",
                "Without --eval it is measured on what is held out of the calibration data, and "
                + ("that is random numbers." if self.calibration is not None else "there is none."),
                "Add --eval PATH with samples of your own, or --calib PATH.",
            )

    def _refuse_what_only_int8_has(self) -> None:
        """Refuse options that say how to compute in INT8, where nothing does."""
        wrong = self._on_quantizing() + ["--min-int8-macs"] * (self.min_int8_macs > 0)
        wrong += ["--tune"] * (self.tune_seconds is not None) + ["--tuning"] * (self.tuning is not None)
        if self.precision == "int8-weights" and "--keep-float" in wrong:
            wrong.remove("--keep-float")
        if wrong:
            why = "A float build quantizes nothing."
            if self.precision != "float":
                why = f"With --precision {self.precision} only weights become smaller; every layer computes in float."
            raise UsageError(
                f"{_say(wrong)} how to compute in INT8, and --precision {self.precision} does not",
                why,
                f"Leave {'them' if len(wrong) > 1 else 'it'} out, or build with --precision int8.",
            )

    def refuse_what_only_float_models_have(self) -> None:
        """Refuse options that say how to quantize, of a model that came quantized."""
        wrong = self._on_quantizing() if self.precision == "int8" else []
        if wrong:
            raise UsageError(
                f"{_say(wrong)} how to quantize, and this model came quantized",
                "Its own scales are kept, and its own choice of layers.",
                f"Leave {'them' if len(wrong) > 1 else 'it'} out, or give the float model that it was made from.",
            )

    def _check_interface(self) -> None:
        if self.interface in ("int8", "uint8") and self.precision != "int8":
            raise UsageError(
                f"--io {self.interface} does not go with --precision {self.precision}",
                "Inputs and outputs can only be integers where the model computes with them.",
                "Leave --io out, or build with --precision int8.",
            )

    def _check_choice(self) -> None:
        """Refuse a search that leaves its own precision out, a choice among one, and limits that nothing can keep."""
        if self.search and self.precision not in self.search:
            raise UsageError(
                f"The precision {self.precision} is not among those to search: {', '.join(self.search)}",
                "A search tries what it is given, and nothing besides.",
                "Name it among them, or leave precision out.",
            )
        if self.optimize != "latency" and not self.search and self.backend != "auto":
            raise UsageError(
                f"--optimize {self.optimize} has nothing to choose among",
                f"Only one artifact is built, through {self.backend}.",
                "Add --search, or leave --backend out: the best of those that the target lists is then kept.",
            )
        for flag, value in (
            ("--threads", self.threads),
            ("--max-latency", self.max_latency),
            ("--max-size", self.max_size),
        ):
            if value is not None and not value > 0:
                raise UsageError(f"{flag} {value:g} is too small", "It has to be more than 0.", "Correct it.")

    @property
    def limits(self) -> Limits:
        """What the artifact must keep to."""
        return Limits(self.max_latency, self.max_size)

    def _on_quantizing(self) -> list[str]:
        """The flags given that say how a float model is to be quantized."""
        given = {
            "--profile": self.profile != "auto",
            "--keep-float": bool(self.keep_float),
            "--force": bool(self.force),
            "--forbid": bool(self.forbid),
            "--search-seconds": self.search_seconds is not None,
            "--max-float-macs": self.max_float_macs != MAX_FLOAT_MACS,
        }
        return [flag for flag, is_given in given.items() if is_given]

    @property
    def artifact_name(self) -> str:
        """What artifacts are called after: the given name, or the model's file name."""
        return self.name or self.model.stem


def _say(flags: Sequence[str]) -> str:
    return f"{', '.join(flags[:-1])} and {flags[-1]} say" if len(flags) > 1 else f"{flags[0]} says"


def is_random(calibration: Any) -> bool:
    """Whether random numbers were asked for in place of data (an array can't be compared with a word)."""
    return isinstance(calibration, str) and calibration == "random"


def check_name(name: str, whose: str, fix: str) -> None:
    """Refuse what can't be part of a file's name."""
    if name != Path(name).name or name.startswith("."):
        raise UsageError(
            f"{name!r} can't be the name of {whose}",
            "It becomes part of a file's name, so it can't hold a slash or begin with a dot.",
            fix,
        )
