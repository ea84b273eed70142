"""What the commands of `edgec publish` have in common: where the repository is, its keys, and the time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgec.cli import completion
from edgec.cli.json_output import json_option
from edgec.errors import ToolMissing

if TYPE_CHECKING:
    from edgec.shipping.repository.keyring import Keyring

F = TypeVar("F", bound=Callable[..., Any])


repo_option = click.option(
    "--repo",
    required=True,
    envvar="EDGEC_REPO",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The repository's folder.  [$EDGEC_REPO]",
)
keys_option = click.option(
    "--keys",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of keys.  [~/.config/edgec/keys/NAME-ID, or the same in $EDGEC_KEYS_DIR]",
)
key_option = click.option(
    "--key",
    "references",
    multiple=True,
    metavar="KEY",
    help="A private key to sign with: a file, env:NAME, or a pkcs11: URI; may be repeated.",
)


def artifacts_argument(function: F) -> F:
    """The artifacts to publish."""
    return click.argument(
        "artifacts",
        nargs=-1,
        required=True,
        metavar="FILE.edgec...",
        type=click.Path(path_type=Path),
        shell_complete=completion.paths,
    )(function)


def demand_options(function: F) -> F:
    """--require-signed and --signed-by: which signatures artifacts have to have."""
    signed_by = click.option(
        "--signed-by",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="KEY.pub",
        help="Refuse artifacts that this key did not sign; where repeated, that none of these did.",
    )
    require = click.option("--require-signed", is_flag=True, help="Refuse artifacts without a signature beside them.")
    return require(signed_by(function))


def target_option(function: F) -> F:
    """--target, where a command is about all targets of a model unless told otherwise."""
    return click.option(
        "--target",
        "-t",
        "targets",
        multiple=True,
        metavar="NAME",
        help="Only this target; may be repeated.  [all that have the model]",
        shell_complete=completion.targets,
    )(function)


def channel_option(function: F) -> F:
    """--channel of a command about one channel."""
    return click.option("--channel", default="stable", show_default=True, metavar="NAME", help="Channel of devices.")(
        function
    )


@dataclass(frozen=True)
class Place:
    """A repository, and the keys to sign with, as the options name them."""

    folder: Path
    keys: Path | None
    references: tuple[str, ...]

    def ring(self) -> Keyring:
        """Where its keys are looked for."""
        return ring_of(self.folder, self.keys, self.references)


def signing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--repo, --keys and --key, as `place`, and --json: what a command needs that signs something."""

    @functools.wraps(function)
    def with_place(repo: Path, keys: Path | None, references: tuple[str, ...], **others: Any) -> Any:
        return function(place=Place(repo, keys, references), **others)

    return repo_option(keys_option(key_option(json_option(with_place))))


def require_tuf() -> None:
    """Raises ToolMissing where the packages are missing that a repository needs."""
    from edgec.shipping.signing.keys import need_securesystemslib

    need_securesystemslib()
    try:
        import tuf.api.metadata  # noqa: F401
    except ImportError as error:
        raise ToolMissing(
            "Repositories need a package that is not installed", f"{error}.", "pip install 'edgec[ship]'"
        ) from error


def ring_of(repo: Path, keys: Path | None, references: Sequence[str] = ()) -> Keyring:
    """Where the keys of a repository are looked for."""
    require_tuf()
    from edgec.cli.secrets import asker, warn_of_open_keys
    from edgec.shipping.repository.keyring import Keyring, default_folder, refuse_inside
    from edgec.shipping.repository.state import first_root

    folder = keys or default_folder(repo, first_root(repo))
    if folder is not None:
        refuse_inside(folder, repo)
    ring = Keyring(folder, references, asker())
    warn_of_open_keys(map(str, ring.private_files()))
    return ring


def now() -> datetime:
    """The moment of the command, UTC."""
    return datetime.now(UTC)
