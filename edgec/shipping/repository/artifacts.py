"""What an artifact's file says of itself, checked before it is published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.bundle.errors import as_edgec_error
from edgec.digest import digest_file
from edgec.errors import UsageError
from edgec.runtime.agent.compatibility import needs_of
from edgec.runtime.agent.signatures import envelope_beside, parse_envelope, read_envelope, verify_envelope
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure, Untrusted
from edgec.shipping.repository import layout


@dataclass(frozen=True)
class Candidate:
    """A sound artifact. signature: its DSSE envelope's file, where there is one."""

    path: Path
    bytes: int
    sha256: str
    model: str
    target: str
    facts: Mapping[str, Any]
    signature: Path | None


def examine(path: Path, signed_by: Sequence[Path] = (), require_signed: bool = False) -> Candidate:
    """Read an artifact, check every byte of it, and its signature where it has one.

    signed_by: public keys, one of which must have signed it. Without any, a signature is only checked to be of this
    very file: whose it is, devices find out, which know whom to trust.

    Raises ArtifactError for a damaged or wrongly signed one, UsageError where there is none, where its names can't be
    published, or where it is not signed and has to be.
    """
    try:
        bundle = Bundle.open(path)
        size, digest = path.stat().st_size, digest_file(path)
        bundle.verify()
        signature = _signature(path, digest, signed_by)
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    if signature is None and (signed_by or require_signed):
        raise UsageError(
            f"{path} is not signed",
            f"There is no {envelope_beside(path).name} beside it.",
            f"Sign it: edgec sign {path} --key KEY. Or publish it without asking for a signature.",
        )
    manifest = bundle.manifest
    layout.check_name(manifest["name"], "a model", "Build it with another --name.")
    layout.check_name(manifest["target"], "a target", "Change the name in the target's description, and build again.")
    facts = {
        "precision": manifest["precision"],
        "backend": manifest["backend"],
        "model_sha256": manifest.get("model_sha256"),
        "needs": needs_of(manifest),
    }
    return Candidate(path, size, digest, manifest["name"], manifest["target"], facts, signature)


def _signature(path: Path, sha256: str, signed_by: Sequence[Path]) -> Path | None:
    """The file of the artifact's signature, checked; None where there is none. Raises Untrusted."""
    place = envelope_beside(path)
    if not place.exists():
        return None
    envelope = read_envelope(path)
    if signed_by:
        verify_envelope(envelope, path, signed_by)
        return place
    try:
        (subject,) = json.loads(parse_envelope(envelope).payload)["subject"]
        signed = subject["digest"]["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise Untrusted(
            f"{place} is not about an artifact",
            f"What it signs can't be read: {error}.",
            "Sign the artifact again with: edgec sign.",
        ) from error
    if signed != sha256:
        raise Untrusted(
            f"{place} is the signature of another file",
            f"It is of SHA-256 {str(signed)[:16]}…; {path.name} has {sha256[:16]}…, perhaps a later build.",
            "Sign it again with: edgec sign.",
        )
    return place
