"""What was asked for with --metric, --labels, --eval and --max-drop, as one input of a stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgec.digest import digest_file, digest_of
from edgec.errors import CalibrationDataError
from edgec.metric.source import FunctionSource, find_function
from edgec.samples import SampleSource
from edgec.toml_schema import did_you_mean

FOLDERS = "folders"
"""The value of --labels that takes each sample's folder for its label."""

LABEL_SUFFIXES = (".json", ".csv", ".tsv", ".npy", ".npz", ".txt")


@dataclass(frozen=True)
class MetricRequest:
    """Pickles, and loads nothing: what it names is read in a worker.

    labels: a file, "folders", or None. labels_digest: SHA-256 of the file, "" without one.
    evaluation: the samples to measure on; None for those that are held out of the calibration data.
    max_drop: most that the metric may fall from the original to the artifact; None only reports it.
    """

    function: FunctionSource
    labels: Path | Literal["folders"] | None = None
    labels_digest: str = ""
    evaluation: SampleSource | None = None
    max_drop: float | None = None

    @classmethod
    def of(
        cls,
        metric: str,
        labels: Path | Literal["folders"] | None = None,
        evaluation: SampleSource | None = None,
        max_drop: float | None = None,
    ) -> MetricRequest:
        """Find the function and digest what the result depends on; raises UsageError, CalibrationDataError."""
        digest = "" if labels is None or labels == FOLDERS else _digest_labels(Path(labels))
        return cls(find_function(metric), labels, digest, evaluation, max_drop)

    @property
    def name(self) -> str:
        """ "quality.py:accuracy", or as it was given where that is a module: no folder, for an artifact holds it."""
        return self.function.name if self.function.module else f"{self.function.file.name}:{self.function.function}"

    @property
    def labels_name(self) -> str | None:
        """The labels, without their folder."""
        return None if self.labels is None else Path(self.labels).name

    @property
    def digest(self) -> str:
        """What every figure of this metric depends on, beside the samples that are held out."""
        return digest_of(
            {
                "metric": [self.function.name, self.function.function, self.function.digest],
                "labels": [str(self.labels), self.labels_digest],
                "evaluation": self.evaluation and self.evaluation.digest,
                "max_drop": self.max_drop,
            }
        )


def _digest_labels(path: Path) -> str:
    if not path.is_file():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise CalibrationDataError(
            f"There is no file of labels {path}",
            f"Nothing of that name is in {path.parent.resolve()}.{did_you_mean(path.name, beside)}"
            if not path.exists()
            else "It is a folder.",
            "Name a .json, .csv, .npy, .npz or .txt file with --labels, or write --labels folders where each sample's "
            "folder is its class.",
        )
    if path.suffix.lower() not in LABEL_SUFFIXES:
        raise CalibrationDataError(
            f"{path} is not a file of labels",
            f"A file called {path.suffix or 'without an extension'} is none of {', '.join(LABEL_SUFFIXES)}.",
            "docs/metric.md shows what each of them holds.",
        )
    try:
        return digest_file(path)
    except OSError as error:
        raise CalibrationDataError(
            f"{path} can't be read", f"The system says: {error.strerror}.", "Check its permissions."
        ) from error
