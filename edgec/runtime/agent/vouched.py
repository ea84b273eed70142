"""An artifact that came as a file: who vouches for it, and what release it is."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, Untrusted
from .release import Release
from .settings import Settings
from .signatures import read_envelope, verify_envelope
from .slots import release_of


def vouched_release(
    file: Path, settings: Settings, origin: str, unsigned: bool = False
) -> tuple[Release, bytes | None]:
    """The release in `file`, and the signature that vouches for it, which lies beside it.

    Nothing of the file is believed before its signature by one of the keys in trust/keys was checked. unsigned: take it
    without one; only where the device trusts no keys at all.

    Raises Untrusted, BundleError, InputError for a file that can't be read.
    """
    keys = sorted(settings.keys.glob("*.pub"))
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
