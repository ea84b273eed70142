"""Who vouches for an artifact: the signed statement beside it, checked against the public keys that are trusted here.

    model-host.edgec              the artifact
    model-host.edgec.dsse.json    a DSSE envelope: an in-toto statement of the artifact's SHA-256 and of how it was
                                  made (SLSA provenance), and one signature or several

Everything is offline. Signatures and envelopes are securesystemslib's; with package cryptography it checks Ed25519 and
ECDSA keys, without it Ed25519 only, in Python. The formats are described in docs/provenance.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..bundle import SEAL, Bundle
from ..errors import InputError, PackageMissing, Untrusted

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

SUFFIX = ".dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
LARGEST_ENVELOPE = 4 << 20
"""Bytes; a statement holds names, parameters and digests, a few kilobytes."""

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----(.+?)-----END PUBLIC KEY-----", re.DOTALL)
_ED25519 = bytes.fromhex("302a300506032b6570032100")
"""RFC 8410: what stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo."""
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
"""RFC 5480: what stands before the 65 bytes of an uncompressed point on P-256."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Signed:
    """What a verified statement says. Everything in it is vouched for by the `signers`.

    artifact: the name that the artifact had when it was signed. signers: ids of the trusted keys that signed.
    predicate: the SLSA provenance.
    """

    artifact: str
    sha256: str
    signers: tuple[str, ...]
    predicate: Mapping[str, Any]

    @property
    def target(self) -> str | None:
        """The target that the artifact was built for."""
        return _text(self._definition, "externalParameters", "target")

    @property
    def precision(self) -> str | None:
        return _text(self._definition, "internalParameters", "precision")

    @property
    def model_sha256(self) -> str | None:
        """Of the original model with its external data, as in the manifest."""
        return _text(self._definition, "internalParameters", "model_sha256")

    @property
    def builder(self) -> str | None:
        return _text(self.predicate, "runDetails", "builder", "id")

    @property
    def builder_version(self) -> str | None:
        """Of edgec."""
        return _text(self.predicate, "runDetails", "builder", "version", "edgec")

    def went_in(self, name: str) -> str | None:
        """SHA-256 of what went into the build under this name: "model", "calibration", ...; None: there was none."""
        dependencies = self._definition.get("resolvedDependencies")
        for item in dependencies if isinstance(dependencies, list) else ():
            if isinstance(item, dict) and item.get("name") == name:
                return _text(item, "digest", "sha256")
        return None

    def to_json(self) -> dict[str, Any]:
        return {
            "artifact": self.artifact,
            "sha256": self.sha256,
            "signers": list(self.signers),
            "target": self.target,
            "precision": self.precision,
            "model_sha256": self.model_sha256,
            "calibration_sha256": self.went_in("calibration"),
            "builder": self.builder,
            "builder_version": self.builder_version,
        }

    @property
    def _definition(self) -> Mapping[str, Any]:
        definition = self.predicate.get("buildDefinition")
        return definition if isinstance(definition, dict) else {}


def envelope_beside(artifact: Path) -> Path:
    """Where the signature of an artifact lies."""
    return artifact.with_name(artifact.name + SUFFIX)


def read_envelope(artifact: Path) -> bytes:
    """The envelope beside an artifact. Raises Untrusted where there is none, InputError where there is no artifact."""
    place = envelope_beside(artifact)
    try:
        with place.open("rb") as stream:
            return stream.read(LARGEST_ENVELOPE + 1)
    except FileNotFoundError:
        if not artifact.exists():
            raise InputError(
                f"There is no file {artifact}", "Nothing of that name is there.", "Check the path."
            ) from None
        raise Untrusted(
            f"{artifact.name} is not signed",
            f"There is no {place.name} beside it.",
            "Fetch that file too, or let the artifact's maker sign it: edgec sign FILE.edgec --key KEY",
        ) from None
    except OSError as error:
        raise InputError(f"{place} can't be read", f"The system says: {error.strerror}.", "Check the file.") from error


def verify_envelope(envelope: bytes, artifact: Path, keys: Sequence[bytes | Path], threshold: int = 1) -> Signed:
    """Check that `threshold` of the `keys` signed this very file, and what they signed of how it was made.

    envelope: the content of FILE.edgec.dsse.json. keys: public keys in PEM, or files that hold one or several.

    Nothing of the artifact is opened before its digest is that of a statement whose signatures are good.

    Raises Untrusted when the file is not vouched for, each reason in its own words; BundleError when the artifact was
    signed but is none; InputError for a key that can't be read; PackageMissing without securesystemslib.
    """
    signed = verify_statement(envelope, artifact.name, keys, threshold)
    actual, is_whole = _digest(artifact)
    if actual != signed.sha256:
        _other_file(artifact, actual, is_whole, signed.artifact, signed.sha256)
    check_provenance(artifact, signed)
    return signed


def verify_statement(envelope: bytes, name: str, keys: Sequence[bytes | Path], threshold: int = 1) -> Signed:
    """What `threshold` of the `keys` signed, whether or not the artifact is here; `name` is for errors.

    Whoever has the artifact compares its digest, and then its provenance (`check_provenance`).

    Raises as `verify_envelope` does.
    """
    trusted = public_keys(keys)
    if not 1 <= threshold <= len(trusted):
        raise InputError(
            f"{threshold} signatures can't be asked for",
            f"{len(trusted)} different keys are trusted.",
            "Give at least as many keys as signatures, and ask for at least one.",
        )
    parsed = parse_envelope(envelope)
    signers = _signers(parsed, name, trusted, threshold)
    statement = _statement(parsed)
    subject = statement["subject"][0]
    return Signed(subject["name"], subject["digest"]["sha256"], signers, statement["predicate"])


def parse_envelope(content: bytes) -> Envelope:
    """An envelope, its signatures not checked yet. Raises Untrusted when it is none."""
    try:
        from securesystemslib.dsse import Envelope
        from securesystemslib.exceptions import FormatError
    except ImportError as error:
        raise _library_missing() from error
    if len(content) > LARGEST_ENVELOPE:
        _malformed(f"It has more than {LARGEST_ENVELOPE >> 20} MiB.")
    try:
        document = json.loads(content)
        for field in ("payload", "payloadType"):
            if not isinstance(document[field], str):
                raise TypeError(f"{field} is not text")
        parsed: Envelope = Envelope.from_dict(document)
    except (ValueError, TypeError, KeyError, AttributeError, FormatError, RecursionError) as error:
        _malformed(f"It can't be read: {type(error).__name__}: {error}.", error)
    if parsed.payload_type != PAYLOAD_TYPE:
        _malformed(f"It holds {parsed.payload_type[:100]!r}, not an in-toto statement.")
    return parsed


def public_keys(keys: Sequence[bytes | Path]) -> list[SSlibKey]:
    """The different keys in these PEM texts and files. Raises InputError, PackageMissing."""
    found: dict[str, SSlibKey] = {}
    for source in keys:
        name = str(source) if isinstance(source, Path) else "the given key"
        content = _read(source) if isinstance(source, Path) else source
        bodies = _PEM.findall(content)
        if not bodies:
            private = b"PRIVATE KEY-----" in content
            raise InputError(
                f"{name} holds no public key",
                "It is a private key, which stays with its owner." if private else "There is no PEM PUBLIC KEY in it.",
                "Give the .pub file that lies beside the private key." if private else "Check the file.",
            )
        for body in bodies:
            key = _public_key(body, name)
            found[key.keyid] = key
    return list(found.values())


def _public_key(body: bytes, name: str) -> SSlibKey:
    """The key in the body of a PEM block: read by its fixed form, since a device may have no package cryptography."""
    try:
        from securesystemslib.signer import SSlibKey
    except ImportError as error:
        raise _library_missing() from error
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error as error:
        raise InputError(f"The public key in {name} is damaged", f"{error}.", "Copy the file again.") from error
    if der.startswith(_ED25519) and len(der) == len(_ED25519) + 32:
        kind, scheme, value = "ed25519", "ed25519", der[len(_ED25519) :].hex()
    elif der.startswith(_P256 + b"\x04") and len(der) == len(_P256) + 65:
        kind, scheme, value = "ecdsa", "ecdsa-sha2-nistp256", pem_of(der)
    else:
        raise InputError(
            f"The public key in {name} is of a kind that edgec does not use",
            "Keys are Ed25519, or ECDSA on P-256.",
            "Make one with: edgec keygen NAME",
        )
    keyval = {"public": value}
    return SSlibKey(_key_id(kind, scheme, keyval), kind, scheme, keyval)


def pem_of(der: bytes) -> str:
    """A public key as text, in the one form that its id is computed from."""
    text = base64.b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def _key_id(kind: str, scheme: str, keyval: Mapping[str, str]) -> str:
    """As securesystemslib and TUF have it: SHA-256 of the key in canonical JSON."""
    from securesystemslib.formats import encode_canonical

    text = encode_canonical({"keytype": kind, "scheme": scheme, "keyval": dict(keyval)})
    return hashlib.sha256(str(text).encode()).hexdigest()


def _signers(envelope: Envelope, name: str, trusted: Sequence[SSlibKey], threshold: int) -> tuple[str, ...]:
    """Ids of the trusted keys whose signatures are good; at least `threshold`, or Untrusted."""
    from securesystemslib.exceptions import UnsupportedLibraryError, UnverifiedSignatureError

    if not envelope.signatures:
        raise Untrusted(
            f"The envelope of {name} holds no signature",
            "It has a statement that nobody signed.",
            "Let the artifact's maker sign it: edgec sign FILE.edgec --key KEY",
        )
    good: list[str] = []
    broken: list[str] = []
    unable: list[str] = []
    for key in trusted:
        signature = envelope.signatures.get(key.keyid)
        if signature is None:
            continue
        try:
            key.verify_signature(signature, envelope.pae())
            good.append(key.keyid)
        except UnverifiedSignatureError as error:
            (unable if isinstance(error.__cause__, UnsupportedLibraryError) else broken).append(key.keyid)
    if len(good) >= threshold:
        return tuple(good)
    if broken:
        raise Untrusted(
            f"The envelope of {name} was changed after it was signed",
            f"It names the trusted key {short(broken[0])}, and that signature does not fit the statement.",
            "Fetch the artifact and its .dsse.json again. If that does not help, ask their maker.",
            {"keys": broken},
        )
    if unable:
        raise PackageMissing(
            f"A signature of {name} can't be checked here",
            f"The key {short(unable[0])} is ECDSA, for which package cryptography is needed, and it is not installed.",
            "Install it (pip install cryptography), or sign with an Ed25519 key.",
            {"keys": unable},
        )
    by = ", ".join(map(short, sorted(envelope.signatures)))
    if good:
        raise Untrusted(
            f"{name} has {len(good)} of the {threshold} signatures that are needed",
            f"It is signed by {by}; trusted are {', '.join(short(key.keyid) for key in trusted)}.",
            "Let another of the trusted keys sign it too: edgec sign FILE.edgec --key KEY",
            {"good": good, "threshold": threshold},
        )
    raise Untrusted(
        f"{name} is signed, but by none of the trusted keys",
        f"It is signed by {by}; trusted {'is' if len(trusted) == 1 else 'are'} "
        f"{', '.join(short(key.keyid) for key in trusted)}.",
        "Trust the signer's public key only if it reached you on a way that you trust.",
        {"signed_by": sorted(envelope.signatures), "trusted": [key.keyid for key in trusted]},
    )


def short(key_id: str) -> str:
    """A key's id as people compare it: its first 16 digits."""
    return key_id[:16] if _SHA256.fullmatch(key_id) else repr(key_id[:40])


def _statement(envelope: Envelope) -> dict[str, Any]:
    """The statement in an envelope whose signatures are good: about one file, of how that was made."""
    try:
        statement: dict[str, Any] = json.loads(envelope.payload)
        kinds = (statement["_type"], statement["predicateType"])
        (subject,) = statement["subject"]
        sound = isinstance(subject["name"], str) and _SHA256.fullmatch(subject["digest"]["sha256"]) is not None
        sound = sound and isinstance(statement["predicate"], dict)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        _no_statement(f"{type(error).__name__}: {error}", error)
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE) or not sound:
        _no_statement("it is of another type, or says nothing of one file")
    return statement


def _no_statement(why: str, cause: BaseException | None = None) -> NoReturn:
    raise Untrusted(
        "What was signed is not a statement about an artifact",
        f"The signature is good, but what it signs is not what `edgec sign` writes: {why}.",
        "Check which file was signed with this key, and by what.",
    ) from cause


def _malformed(why: str, cause: BaseException | None = None) -> NoReturn:
    raise Untrusted(
        "The signature is not a DSSE envelope with an in-toto statement", why, "Fetch the .dsse.json file again."
    ) from cause


def _other_file(artifact: Path, actual: str, is_whole: bool, name: str, sha256: str) -> NoReturn:
    """Say whether a file was damaged on its way, or is a whole one that the signature does not speak of."""
    details = {"sha256": actual, "signed_sha256": sha256}
    if not is_whole:
        raise Untrusted(
            f"{artifact.name} was changed after it was signed",
            f"Its SHA-256 is {actual[:16]}…, signed was {sha256[:16]}…, and it is not the one that it was sealed with.",
            "Fetch the artifact again. If that does not help, ask its maker.",
            details,
        )
    raise Untrusted(
        f"The signature is of another file than {artifact.name}",
        f"It is of {name!r} with SHA-256 {sha256[:16]}…; this is a whole artifact with {actual[:16]}…: another build, "
        "or one that was changed and sealed again.",
        "Keep an artifact and its .dsse.json together: fetch both again.",
        details,
    )


def check_provenance(artifact: Path, signed: Signed) -> None:
    """The provenance that was signed is the one that the artifact carries.

    Raises BundleError when the file is not an artifact, Untrusted when the two differ.
    """
    own = provenance_of(artifact)
    if own.get("predicate") != signed.predicate:
        raise Untrusted(
            f"The signed statement tells of {artifact.name} what the artifact does not tell itself",
            "The provenance in the statement is not the one in the artifact's provenance.json.",
            "Sign the artifact again with: edgec sign. If that does not help, do not use the file.",
        )


def provenance_of(artifact: Path) -> dict[str, Any]:
    """The statement that an artifact carries. Raises BundleError, InputError, Untrusted (an older form)."""
    bundle = Bundle.open(artifact)
    try:
        statement = json.loads(bundle.read("provenance.json"))
    except (ValueError, RecursionError) as error:
        _no_provenance(artifact, error)
    if not isinstance(statement, dict) or statement.get("predicateType") != PREDICATE_TYPE:
        _no_provenance(artifact)
    return statement


def _no_provenance(artifact: Path, cause: BaseException | None = None) -> NoReturn:
    raise Untrusted(
        f"{artifact.name} does not tell how it was made",
        "Its provenance.json is not an in-toto statement with SLSA provenance, as edgec writes it.",
        "Build it again with this edgec.",
    ) from cause


def _digest(path: Path) -> tuple[str, bool]:
    """SHA-256 of a file, and whether its last bytes are that of all others, as an artifact's are."""
    seal_size = len(SEAL) + 64
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            left = max(stream.seek(0, io.SEEK_END) - seal_size, 0)
            stream.seek(0)
            while left and (chunk := stream.read(min(left, 1 << 20))):
                digest.update(chunk)
                left -= len(chunk)
            content = digest.hexdigest().encode()
            seal = stream.read(seal_size + 1)
            digest.update(seal)
    except OSError as error:
        raise InputError(f"{path} can't be read", f"The system says: {error.strerror}.", "Check the path.") from error
    return digest.hexdigest(), seal == SEAL + content


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(1 << 20)
    except OSError as error:
        raise InputError(
            f"The key {path} can't be read", f"The system says: {error.strerror}.", "Check the path."
        ) from error


def _library_missing() -> PackageMissing:
    return PackageMissing(
        "Signatures can't be checked here",
        "Package securesystemslib is not installed.",
        "Install it: pip install securesystemslib, or pip install 'edgec[ship]' where edgec is.",
    )


def _text(document: Any, *path: str) -> str | None:
    """The text at this place, or None where there is none."""
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, str) else None
