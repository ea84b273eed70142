"""Which target's artifacts were executed where, and how far they were from their reference: the records and the table.

executed.toml has a table a target and backend, and in it one a model. The README's table is made of it and of the
targets' own descriptions; a test holds both against each other.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_zoo.case import Case

import edgec
from edgec import resources
from edgec.errors import ParityGateError, UnsupportedOp
from edgec.result import TargetBuild
from edgec.targets import Target, load_target

RECORDS = Path(__file__).with_name("executed.toml")
MODELS = ("digits_cnn", "efficientnet_lite0", "ppocr_cls", "silero_vad_16k")
PROFILES = {"efficientnet_lite0": "strict", "ppocr_cls": "strict"}
"""As the accuracy of the same models is recorded."""

_LARGEST_DB = 120.0  # what a comparison without any difference is given

BEGIN, END = "<!-- executed -->", "<!-- end of executed -->"
_HEAD = """# Where artifacts of the built-in targets were executed: measured by `python tests/e2e/record_execution.py`.
# lsb is the largest distance from the quantized reference on those samples, in steps of the output's scale.
"""


@dataclass(frozen=True)
class Execution:
    """One build. runner: "native", "qemu-aarch64:cortex-a72", "none", or "refused": there is no artifact.

    emulator: its version, "" without one.

    samples: how many (of a recurrent model: sequences) the payload was run on.
    lsb: largest distance of an output from the quantized reference, in steps of its scale; None where none has one,
    or nothing ran. sqnr_db: of the reference to its distance from the payload, at the worst output; 120 where equal.
    selftest: whether the shipped file tested itself there.
    """

    runner: str
    emulator: str
    precision: str
    samples: int
    lsb: float | None
    sqnr_db: float | None
    selftest: bool


def pairs() -> list[tuple[str, str]]:
    """Every built-in target with each of its backends."""
    names = sorted(path.stem for path in resources.builtin_folder("targets").glob("*.toml"))
    return [(name, backend) for name in names for backend in load_target(name).backends]


def execute(case: Case, target: str, backend: str, output: Path) -> Execution:
    """Build the case; `edgec build` executes it where the target can be stood in for."""
    try:
        result = edgec.build(
            case.model,
            name=case.name,
            targets=(target,),
            backend=backend,
            profile=PROFILES.get(case.name, "auto") if backend == "tflite" else "auto",
            calibration=case.calibration,
            preprocess=case.recipe,
            shapes=case.shapes,
            state=case.state,
            output=output,
        )
    except (UnsupportedOp, ParityGateError) as refusal:
        print(refusal)
        return Execution("refused", "", "", 0, None, None, False)
    return of(result.builds[0])


def of(built: TargetBuild) -> Execution:
    """What a build that passed says of its execution."""
    assert built.error is None, built.error
    parity = built.parity
    assert parity is not None
    outputs = parity["lowering"]["outputs"]
    steps = [item["max_lsb"] for item in outputs if item["max_lsb"] is not None]
    levels = [item["sqnr_db"] for item in outputs if item["sqnr_db"] is not None]
    return Execution(
        runner=parity["runner"],
        emulator=(parity.get("emulator") or {}).get("version", ""),
        precision=built.precision,
        samples=parity["executed_samples"],
        lsb=round(max(steps), 2) if steps else None,
        sqnr_db=round(min(levels), 1) if levels else None,
        selftest=parity["runner"] != "none",  # an artifact that fails its own test is not shipped
    )


Records = dict[tuple[str, str], dict[str, Execution]]
"""(target, backend) to model to what was executed."""


def read_records(path: Path = RECORDS) -> Records:
    """What is recorded; nothing where there is no such file."""
    if not path.is_file():
        return {}
    records: Records = {}
    for target, backends in tomllib.loads(path.read_text(encoding="utf-8")).items():
        for backend, models in backends.items():
            records[target, backend] = {
                model: Execution(**{"lsb": None, "sqnr_db": None, **figures}) for model, figures in models.items()
            }
    return records


def write_records(records: Records, path: Path = RECORDS) -> None:
    """Write the records, in the order of their names."""
    lines = [_HEAD.rstrip()]
    for (target, backend), models in sorted(records.items()):
        for model, execution in sorted(models.items()):
            lines += ["", f"[{target}.{backend}.{model}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in asdict(execution).items() if value is not None]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(records: Records) -> str:
    """Markdown: a row a target and backend, a column a model."""
    lines = [
        f"| target | backend | executed on | {' | '.join(MODELS)} |",
        f"|---|---|---|{'---|' * len(MODELS)}",
    ]
    for name, backend in pairs():
        models = records.get((name, backend), {})
        cells = [_cell(models.get(model)) for model in MODELS]
        lines.append(f"| {name} | {backend} | {_place(load_target(name), models)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def between_marks(text: str) -> str:
    """What stands between the two marks of the README."""
    return text.split(BEGIN)[1].split(END)[0].strip()


def with_table(text: str, made: str) -> str:
    """The README with another table."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}"


def _place(target: Target, models: Mapping[str, Execution]) -> str:
    runners = {execution.runner for execution in models.values()} - {"refused"}
    if runners == {"none"}:
        return "not executed"
    if runners == {"native"}:
        return "an x86 processor"
    if len(runners) == 1 and target.emulator is not None:
        versions = sorted({execution.emulator for execution in models.values()} - {""})
        return f"{target.emulator.qemu} {', '.join(versions)} as {target.emulator.cpu}"
    return "not recorded" if not runners else "differs"


def _cell(execution: Execution | None) -> str:
    if execution is None:
        return "–"
    if execution.runner == "none":
        return "made"
    if execution.runner == "refused":
        return "refused"
    if execution.lsb == 0:
        return f"equal, n={execution.samples}"
    assert execution.sqnr_db is not None
    distance = "" if execution.lsb is None else f"{execution.lsb:g} LSB, "
    least = "at least " if execution.sqnr_db >= _LARGEST_DB else ""
    return f"{distance}{least}{execution.sqnr_db:.0f} dB, n={execution.samples}"


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
