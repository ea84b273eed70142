"""Signing artifacts: a statement of the artifact's SHA-256 and of how it was made, in an envelope beside it.

`edgec.runtime.agent.signatures` checks what is written here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgec.bundle.errors import as_edgec_error
from edgec.digest import digest_file
from edgec.errors import UsageError
from edgec.output_folder import write_whole
from edgec.runtime.agent.signatures import (
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    envelope_beside,
    parse_envelope,
    provenance_of,
    read_envelope,
)
from edgec.runtime.bundle import Bundle
from edgec.runtime.errors import ArtifactFailure, Untrusted

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Signer


@dataclass(frozen=True)
class Signing:
    """What became of one artifact.

    keys: ids of all keys whose signatures are in the envelope now. replaced: there was one of another artifact, such as
    an earlier build.
    """

    artifact: Path
    envelope: Path
    sha256: str
    keys: tuple[str, ...]
    replaced: bool


def sign(artifact: Path, signers: Sequence[Signer]) -> Signing:
    """Sign an artifact with all these keys; signatures by others, of the same artifact, stay.

    Every member of the artifact is checked first. The envelope is replaced at once, or not at all.

    Raises ArtifactError for what is no artifact, is damaged, or does not tell how it was made; UsageError for a file
    that can't be read, and from a token that refuses; OutputError.
    """
    try:
        Bundle.open(artifact).verify()
        predicate = provenance_of(artifact)["predicate"]
        sha256 = digest_file(artifact)
        payload = _payload(artifact.name, sha256, predicate)
        before = _before(artifact)
    except ArtifactFailure as failure:
        raise as_edgec_error(failure) from failure
    envelope, replaced = _envelope(before, payload)
    for signer in signers:
        envelope.sign(signer)
    place = envelope_beside(artifact)
    write_whole(place, (json.dumps(envelope.to_dict(), indent=1, sort_keys=True) + "\n").encode())
    return Signing(artifact, place, sha256, tuple(sorted(envelope.signatures)), replaced)


def _payload(name: str, sha256: str, predicate: object) -> bytes:
    """The statement, in one form for equal statements: signatures of several people are of the same bytes."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _before(artifact: Path) -> Envelope | None:
    """The envelope that is there already. Raises UsageError where that file is something else."""
    place = envelope_beside(artifact)
    if not place.exists():
        return None
    try:
        return parse_envelope(read_envelope(artifact))
    except Untrusted as failure:
        raise UsageError(
            f"{place} is there already, and is no envelope with signatures",
            failure.why,
            "Remove it, or move it away; the artifact can be signed anew then.",
        ) from failure


def _envelope(before: Envelope | None, payload: bytes) -> tuple[Envelope, bool]:
    """The envelope to sign, and whether the one before is of no use: it does not say the same of the same file."""
    from securesystemslib.dsse import Envelope

    if before is not None and _speaks_alike(before.payload, payload):
        return before, False
    return Envelope(payload, PAYLOAD_TYPE, {}), before is not None


def _speaks_alike(one: bytes, other: bytes) -> bool:
    """Whether two statements say the same, but for the name that the file had when it was signed."""
    try:
        documents = [json.loads(text) for text in (one, other)]
        for document in documents:
            (subject,) = document["subject"]
            del subject["name"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return bool(documents[0] == documents[1])
