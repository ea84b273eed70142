"""What the commands of `edgec publish` have in common: where the repository is, its keys, and the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

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
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def signing_options(function: F) -> F:
    """--repo, --keys, --key and --json: what a command needs that signs something."""
    key = click.option(
        "--key",
        "references",
        multiple=True,
        metavar="KEY",
        help="A private key to sign with: a file, env:NAME, or a pkcs11: URI; may be repeated.",
    )
    return repo_option(keys_option(key(json_option(function))))


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
