"""Fetching a published artifact from a registry to a workshop's folder: `edgec fetch --oci`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.bundle.errors import as_edgec_error
from edgec.runtime.agent.oci import pull
from edgec.runtime.agent.oci.reference import Reference, parse_reference
from edgec.runtime.agent.oci.registry import Registry
from edgec.runtime.agent.signatures import envelope_beside, read_envelope, verify_envelope
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure


@dataclass(frozen=True)
class Fetched:
    """An artifact that arrived. reference: by digest. signers: ids of the keys that vouch for it; none without them."""

    path: Path
    reference: Reference
    model: str
    target: str
    version: int
    sha256: str
    signers: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        plain = {key: value for key, value in vars(self).items() if key not in ("path", "reference", "signers")}
        return {"path": str(self.path), "reference": str(self.reference), **plain, "signers": list(self.signers)}


def fetch(
    reference: str,
    folder: Path,
    *,
    target: str | None = None,
    keys: Sequence[Path] = (),
    plain_http: bool = False,
) -> Fetched:
    """Fetch the artifact for a target, and its signature, into a folder; both are checked before they are trusted.

    keys: public keys, one of which must have signed it; none: no signature is asked for.

    Raises ArtifactError for what is not what was published or signed, Unreachable, DeviceError where there is nothing
    for the target, OutputError.
    """
    try:
        registry = Registry(parse_reference(reference), plain_http=plain_http)
        found = pull.find(registry, target)
        path = pull.fetch(registry, found, folder, unsigned=not keys)
        signers: tuple[str, ...] = ()
        try:
            if keys:
                signers = verify_envelope(read_envelope(path), path, keys).signers
            manifest = Bundle.open(path).manifest
            pull.check_is(found, manifest["name"], manifest["target"])
        except ArtifactFailure:
            path.unlink()
            envelope_beside(path).unlink(missing_ok=True)
            raise
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    held = found.content
    sha256 = held.artifact.digest.partition(":")[2]
    return Fetched(path, found.reference, held.model, held.target, held.version, sha256, signers)
