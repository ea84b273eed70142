"""The device's folder: whether it is one, and which models are in it."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .release import checked_model_name, is_model_name
from .settings import FILE


def check_device_folder(root: Path) -> None:
    """Raises InputError where `edgec-device init` was not run."""
    if not (root / FILE).is_file():
        raise InputError(
            f"{root} is not a device's folder",
            f"There is no {FILE} in it.",
            f"Make it: edgec-device init --root {root}. Or name the right one: --root, $EDGEC_DEVICE_DIR.",
        )


def models_of(root: Path, named: str | None = None) -> list[str]:
    """The models that have a folder; or the one that is named, which has to have one. Raises InputError."""
    folder = root / "models"
    if named is not None:
        if not (folder / checked_model_name(named)).is_dir():
            there = ", ".join(models_of(root)) or "none"
            raise InputError(f"There is no model {named} on this device", f"Its models: {there}.", "Check the name.")
        return [named]
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and is_model_name(path.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder} can't be read", f"The system says: {error.strerror}.", "Check --root.") from error


def the_model(root: Path, named: str | None) -> str:
    """The one that is named; the only one there is, when none is. Raises InputError."""
    models = models_of(root, named)
    if len(models) != 1:
        raise InputError(
            "Which model is meant is not clear",
            f"This device has {', '.join(models) or 'none'}.",
            "Name one." if models else "Install one first.",
        )
    return models[0]
