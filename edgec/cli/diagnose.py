"""`edgec diagnose`: flags into a specification, the diagnosis into a table or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgec.cli import build
from edgec.cli.json_output import failure, print_json
from edgec.errors import EdgecError, UsageError

ARTIFACT = ".edgec"
_OF_BUILD = {"jobs", "dry_run", "output", "model", "metric", "labels", "max_drop", "evaluation"} | {
    *("threads", "search", "optimize", "max_latency", "max_size", "verify_reproducible")
}
"""Flags of `edgec build` that mean nothing here, or something else."""

_LEFT_OUT = {"search": False, "max_latency": None, "max_size": None}


@click.command(name="diagnose", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("subject", metavar="MODEL|ARTIFACT", type=click.Path(path_type=Path))
@click.option(
    "--model", "original", type=click.Path(path_type=Path), metavar="MODEL", help="What an ARTIFACT was built from."
)
@click.option(
    "--eval", "evaluation", type=click.Path(path_type=Path), metavar="PATH", help="Data to judge by.  [held-out part]"
)
@click.option("--all", "everything", is_flag=True, help="Show all layers, in the order of the graph.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("diagnosis"),
    show_default=True,
    help="Folder for the report and the smallest failing part.",
)
def command(
    subject: Path,
    original: Path | None,
    evaluation: Path | None,
    everything: bool,
    output: Path,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **flags: Any,
) -> int:
    """Find out why MODEL (.onnx), quantized as the flags say, differs from the original; or why ARTIFACT (.edgec) does.

    Takes the flags of `edgec build`. Shows the first layer where things go wrong, its cause and what helps; writes
    DIAGNOSIS.html and, where something fails, the smallest part of the model that fails by itself.

    \b
    edgec diagnose model.onnx --calib photos/ --preprocess imagenet
    edgec diagnose dist/model-host.edgec --model model.onnx --calib photos/
    """
    from edgec.cli.progress import listening
    from edgec.diagnosis.driver import diagnose

    try:
        model, artifact = _told_apart(subject, original)
        (spec,) = build.specs(model, output, {"labels": None, **_LEFT_OUT, **flags})
        with listening(quiet=quiet or as_json, verbose=verbose) as listener:
            found = diagnose(spec, artifact, evaluation, listener=listener)
    except EdgecError as error:
        if as_json:
            print_json(failure(subject, error))
            return error.exit_code
        raise
    if as_json:
        print_json(found.to_json())
    else:
        from edgec.cli.diagnosis_table import print_diagnosis

        print_diagnosis(found, everything)
    return 0


def _told_apart(subject: Path, original: Path | None) -> tuple[Path, Path | None]:
    """(model, artifact)."""
    if subject.suffix.lower() != ARTIFACT:
        if original is not None:
            raise UsageError(
                "--model was given beside a model",
                f"{subject} is taken for a model; --model says what an artifact (.edgec) was built from.",
                "Leave --model out, or name the artifact first.",
            )
        return subject, None
    if original is None:
        raise UsageError(
            "An artifact is compared with the model that it was built from, and none was given",
            "It does not carry the original.",
            "Add --model MODEL.onnx.",
        )
    return original, subject


command.params += [param for param in build.command.params if param.name not in _OF_BUILD]
