"""Finding the private key for a role: no list of keys is kept, a key is found by the id that the metadata names.

Keys come from references on the command line (a file, env:NAME, a token; `edgec.shipping.signing.keys`) and from a
folder of the publisher's, which is never inside the repository. Beside each private key NAME.key lies NAME.pub, so that
one need not open (and perhaps decrypt) all of them to find one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Key, Signer
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root

from edgec.bundle.errors import as_edgec_error
from edgec.digest import digest_bytes
from edgec.errors import EdgecError, OutputError, UsageError
from edgec.runtime.agent.signatures import public_keys
from edgec.runtime.errors import ArtifactFailure
from edgec.shipping.signing import keys

_ROOT = "root.json"
_TIMESTAMP = "timestamp-version"


@dataclass(frozen=True)
class Seen:
    """What a publisher has seen of a repository: its newest root, and the version of its newest timestamp.

    What lies in the repository must be this or newer. An older state, put back by a restored backup or by somebody who
    wants a revoked release to return, is not built upon.
    """

    root: bytes | None = None
    timestamp: int = 0


@dataclass
class Keyring:
    """Where to look for private keys. `folder` may be missing: not every publisher has one.

    ask: asks a person for a passphrase or PIN that the environment does not hold.
    """

    folder: Path | None
    references: Sequence[str] = ()
    ask: keys.Ask | None = None
    _signers: dict[str, Signer] = field(default_factory=dict)
    _new: list[tuple[str, CryptoSigner]] = field(default_factory=list)
    _named: list[Signer] | None = None

    def find(self, keyid: str) -> Signer | None:
        """The signer with this id, or None where it is not at hand. Raises what reading a named reference raises."""
        self.named()
        if keyid not in self._signers:
            for path in self._files():
                public = path.with_suffix(".pub")
                if not public.exists() or public_key(public).keyid == keyid:
                    self._add(keys.signer(str(path), self.ask))
        return self._signers.get(keyid)

    def named(self) -> list[Signer]:
        """The keys that were named one by one. Raises what reading them raises."""
        if self._named is None:
            self._named = [keys.signer(reference, self.ask) for reference in self.references]
            for signer in self._named:
                self._add(signer)
        return self._named

    def make(self, name: str) -> CryptoSigner:
        """A new key, to be written by `keep` when it is certain that it is needed."""
        if self.folder is None:
            raise UsageError(
                f"There is no place for the new key of {name}",
                "No folder of keys was given.",
                "Name one with --keys, or bring a key of your own.",
            )
        signer = CryptoSigner.generate_ed25519()
        self._new.append((name, signer))
        self._add(signer)
        return signer

    def keep(self) -> tuple[Path, ...]:
        """Write each new key as NAME.key, for its owner alone, and NAME.pub: under the next name that is free."""
        written = tuple(self._write(name, signer) for name, signer in self._new)
        self._new.clear()
        return written

    def _add(self, signer: Signer) -> None:
        self._signers[signer.public_key.keyid] = signer

    def private_files(self) -> Iterator[Path]:
        """The files of private keys that this looks at, as far as they are there."""
        yield from filter(Path.is_file, map(Path, self.references))
        yield from self._files()

    def _files(self) -> Iterator[Path]:
        if self.folder is not None and self.folder.is_dir():
            yield from sorted(self.folder.glob("*.key"))

    def _write(self, name: str, signer: CryptoSigner) -> Path:
        assert self.folder is not None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            number = 1
            while True:
                place = self.folder / (f"{name}.key" if number == 1 else f"{name}-{number}.key")
                try:
                    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    break
                except FileExistsError:
                    number += 1
            with os.fdopen(handle, "wb") as stream:
                stream.write(signer.private_bytes)
                stream.flush()
                os.fsync(stream.fileno())
            place.with_suffix(".pub").write_text(keys.public_pem(signer))
        except OSError as error:
            raise OutputError(
                f"The new key of {name} can't be written to {self.folder}",
                f"The system says: {error.strerror}.",
                "Name a folder that you own with --keys.",
            ) from error
        return place

    def seen(self) -> Seen:
        """What this publisher has seen of the repository; nothing where there is no folder to remember it in."""
        if self.folder is None:
            return Seen()
        try:
            root = (self.folder / _ROOT).read_bytes()
            return Seen(root, int((self.folder / _TIMESTAMP).read_text()))
        except FileNotFoundError:
            return Seen()
        except ValueError as error:
            raise UsageError(
                f"{self.folder / _TIMESTAMP} is damaged",
                "It should hold the number of the last timestamp that was published.",
                "Look at `edgec publish status --json` on another machine, and write its timestamp's version there.",
            ) from error

    def remember(self, root: bytes, timestamp: int) -> None:
        """Note the newest root and the version of the newest timestamp, where there is a folder to note it in.

        Raises OutputError; what was published stays so.
        """
        if self.folder is None or not self.folder.is_dir():
            return
        for name, content in ((_TIMESTAMP, b"%d\n" % timestamp), (_ROOT, root)):
            beside = self.folder / f".{name}.new"
            try:
                beside.write_bytes(content)
                beside.replace(self.folder / name)
            except OSError as error:
                raise OutputError(
                    f"The change is published, but {self.folder / name} can't be written",
                    f"The system says: {error.strerror}. It holds what is the newest state, to notice an older one.",
                    "Make the folder writable, or free some space; the next command writes it again.",
                ) from error


def sign(metadata: Metadata[Any], signer: Signer) -> None:
    """Add a signature. Raises UsageError where the key can't sign: a token that wants another PIN, or is gone."""
    try:
        metadata.sign(signer, append=True)
    except UnsignedMetadataError as error:
        if isinstance(error.__cause__, EdgecError):
            raise error.__cause__ from error
        raise UsageError(
            f"The key {signer.public_key.keyid[:16]} can't sign",
            f"{error}.",
            "Check the key or the token that holds it. Nothing was changed.",
        ) from error


def public_key(path: Path) -> Key:
    """The one public key in a file."""
    try:
        found = public_keys([path])
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    if len(found) != 1:
        raise UsageError(
            f"{path} holds {len(found)} public keys", "One is asked for here.", "Put each into a file of its own."
        )
    return found[0]


def key_of(reference: str, ask: keys.Ask | None = None) -> tuple[Key, Signer | None]:
    """The public part of a key, and its signer where the reference is to the private one.

    So a root key can take part whose private part lies in somebody else's safe: name its public file.
    """
    if not reference.startswith(("env:", keys.FROM_TOKEN)) and reference.endswith(".pub"):
        return public_key(Path(reference)), None
    signer = keys.signer(reference, ask)
    return signer.public_key, signer


def default_folder(repository: Path, first_root: Metadata[Root] | None) -> Path | None:
    """The folder of keys that belongs to a repository, wherever that was moved or copied to.

    NAME-ID in $EDGEC_KEYS_DIR, else in ~/.config/edgec/keys: the ID is the first 16 hex digits of the SHA-256 of the
    repository's first root. None where it has no root yet.
    """
    if first_root is None:
        return None
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    base = Path(os.environ.get("EDGEC_KEYS_DIR") or configuration / "edgec" / "keys")
    identity = digest_bytes(first_root.signed_bytes)[:16]
    known = sorted(base.glob(f"*-{identity}"))
    return known[0] if known else base / f"{repository.resolve().name}-{identity}"


def refuse_inside(folder: Path, repository: Path) -> None:
    """Raises UsageError for a folder of keys that would be served together with the repository."""
    if folder.resolve().is_relative_to(repository.resolve()):
        raise UsageError(
            f"The folder of keys {folder} lies inside the repository",
            "Everything in a repository is served or copied to others; private keys must not be.",
            "Name another folder with --keys.",
        )
