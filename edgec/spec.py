"""What was asked for: the specification of a build, from flags, from edgec.toml, or from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgec.errors import UsageError

Profile = Literal["auto", "strict", "islands"]
Precision = Literal["int8", "int8-weights", "fp16", "float"]

PRECISIONS: tuple[Precision, ...] = ("int8", "int8-weights", "fp16", "float")
PROFILES: tuple[Profile, ...] = ("auto", "strict", "islands")


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
    profile: "strict" quantizes every op that has a rule, "islands" only those that multiply and accumulate; "auto"
        takes the first that passes the gate.
    gate: limits of the parity gate that replace the defaults, by name.
    force, forbid: recovery passes (`edgec.quantization.recovery`) that every candidate gets, or none does, by name.
    search_seconds: CPU seconds after which the search for a quantization tries nothing new; None: its own stop rule.
    max_float_macs: most multiply-accumulates that recovery may leave in float, as a share.
    min_int8_macs: least share of multiply-accumulates in INT8; a build that stays below is refused.
    metric: the user's own measure, "module:function" or "file.py:function", higher is better; `labels` is the file of
        labels that it gets; `evaluation` the data to measure on (None: what is held out of the calibration data);
        `max_drop` the most that it may fall from the original to the artifact.
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
    simplify: bool = True
    keep_float: tuple[str, ...] = ()
    gate: Mapping[str, float] = field(default_factory=dict)
    force: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    search_seconds: float | None = None
    max_float_macs: float = 0.10
    min_int8_macs: float = 0.0
    metric: str | None = None
    labels: Path | None = None
    evaluation: Path | None = None
    max_drop: float | None = None
    output: Path = Path("dist")

    def __post_init__(self) -> None:
        check_name(self.artifact_name, "an artifact", "Give a plain --name, and the folder with -o.")
        for name in {name for name in self.targets if self.targets.count(name) > 1}:
            raise UsageError(
                f"Target {name!r} is named twice", "Its artifact would be made twice, in one place.", "Name it once."
            )
        if self.precision == "float" and (self.keep_float or self.profile != "auto"):
            raise UsageError(
                "--profile and --keep-float say how to quantize, and --precision float does not",
                "A float build quantizes nothing.",
                "Leave them out, or build with --precision int8.",
            )

    @property
    def artifact_name(self) -> str:
        """What artifacts are called after: the given name, or the model's file name."""
        return self.name or self.model.stem


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
