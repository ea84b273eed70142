"""Who vouches for an artifact: the keys in trust/keys, whichever way it came.

A file has nothing else that would vouch for it. For a release of a repository its metadata does; where the device has
keys of its own as well, both are asked for, so that whoever holds the repository's keys alone can't bring it anything.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, Untrusted
from .release import Release
from .repository import Repository
from .settings import Settings
from .signatures import LARGEST_ENVELOPE, Signed, read_envelope, verify_envelope, verify_statement
from .slot_folder import release_of


def trusted_keys(settings: Settings) -> list[Path]:
    """The files of the public keys that may sign artifacts for this device."""
    return sorted(settings.keys.glob("*.pub"))


def published_signature(
    repository: Repository, release: Release, path: str | None, settings: Settings
) -> tuple[bytes, Signed] | None:
    """The envelope that was published with a release, and what it says, vouched for by one of the device's keys.

    path: the envelope's in the repository; None where there is none. Nothing of the artifact is needed for this, so
    what nobody vouches for is not downloaded. Returns None on a device without keys: the repository's are enough there.

    Raises Untrusted, Unreachable.
    """
    keys = trusted_keys(settings)
    if not keys:
        return None
    if path is None:
        raise Untrusted(
            f"{release} was published without a signature of its own",
            f"The repository vouches for it. This device asks for one of the keys in {settings.keys} too.",
            "Sign the artifact (edgec sign FILE.edgec --key KEY), and publish it again together with its .dsse.json.",
        )
    envelope = repository.content(repository.needed(path), LARGEST_ENVELOPE)
    signed = verify_statement(envelope, str(release), list(keys))
    if signed.sha256 != release.sha256:
        raise Untrusted(
            f"The signature that was published with {release} is of another file",
            f"It is of {signed.artifact!r} with SHA-256 {signed.sha256[:16]}….",
            "Publish the artifact again, with its own .dsse.json beside it.",
        )
    return envelope, signed


def vouched_release(
    file: Path, settings: Settings, origin: str, unsigned: bool = False
) -> tuple[Release, bytes | None]:
    """The release in `file`, and the signature that vouches for it, which lies beside it.

    Nothing of the file is believed before its signature by one of the keys in trust/keys was checked. unsigned: take it
    without one; only where the device trusts no keys at all.

    Raises Untrusted, BundleError, InputError for a file that can't be read.
    """
    keys = trusted_keys(settings)
    if not file.is_file():
        raise InputError(f"{file} can't be read", "There is no such file.", "Check the path.")
    if unsigned:
        if keys:
            raise Untrusted(
                "This device takes signed artifacts only",
                f"It trusts {len(keys)} key{'s' if len(keys) > 1 else ''} in {settings.keys}; --unsigned is for "
                "devices that trust none.",
                "Sign the artifact (edgec sign), and bring FILE.edgec.dsse.json along.",
            )
        return release_of(file, origin), None
    if not keys:
        raise Untrusted(
            "This device does not know whom to trust",
            f"There is no public key (*.pub) in {settings.keys}.",
            "Bring one: edgec-device init --trust-key KEY.pub. Or, for a first try on a bench: --unsigned.",
        )
    envelope = read_envelope(file)
    signed = verify_envelope(envelope, file, list(keys))
    release = release_of(file, origin)
    if release.sha256 != signed.sha256:
        raise Untrusted(f"{file.name} was changed while it was checked", "Its SHA-256 differs now.", "Try again.")
    return release, envelope
