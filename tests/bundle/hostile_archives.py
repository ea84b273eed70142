"""Archives written byte by byte, so that each can lie where it wants to; sealed rightly, as any attacker can."""

from __future__ import annotations

import hashlib
import json
import stat
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgec.runtime.archive import INTERPRETER
from edgec.runtime.bundle import MANIFEST, SEAL

STORED, DEFLATED = 0, 8
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_DATE = 0x21  # 1980-01-01


@dataclass(frozen=True)
class Entry:
    """A member as it should be, but for `local` and `central`: fields that its two headers state otherwise.

    raw: what stands in the archive in the place of the bytes. extra: an extra field, in both headers.
    """

    name: bytes
    data: bytes = b"x"
    method: int = STORED
    mode: int = stat.S_IFREG | 0o644
    raw: bytes | None = None
    before: bytes = b""
    after: bytes = b""
    local: Mapping[str, Any] = field(default_factory=dict)
    central: Mapping[str, Any] = field(default_factory=dict)
    extra: bytes = b""
    comment: bytes = b""

    @property
    def packed(self) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.method != DEFLATED:
            return self.data
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        return squeeze.compress(self.data) + squeeze.flush()

    def _fields(self, told: Mapping[str, Any]) -> dict[str, Any]:
        common = {
            "needs": 20,
            "flags": 0,
            "method": self.method,
            "time": 0,
            "date": _DATE,
            "crc": zlib.crc32(self.data),
            "stored": len(self.packed),
            "size": len(self.data),
            "name": self.name,
        }
        return {**common, **told}

    def local_header(self) -> bytes:
        f = self._fields(self.local)
        head = [f[key] for key in ("needs", "flags", "method", "time", "date", "crc", "stored", "size")]
        return _LOCAL.pack(b"PK\3\4", *head, len(f["name"]), len(self.extra)) + f["name"] + self.extra

    def central_header(self, place: int) -> bytes:
        f = self._fields({"made_by": 3 << 8 | 20, "disk": 0, "place": place, **self.central})
        head = [f[key] for key in ("made_by", "needs", "flags", "method", "time", "date", "crc", "stored", "size")]
        sizes = len(f["name"]), len(self.extra), len(self.comment)
        packed = _CENTRAL.pack(b"PK\1\2", *head, *sizes, f["disk"], 0, self.mode << 16, f["place"])
        return packed + f["name"] + self.extra + self.comment


def archive(
    entries: Sequence[Entry],
    *,
    lead: bytes = INTERPRETER,
    before_directory: bytes = b"",
    after_directory: bytes = b"",
    end: Mapping[str, int] | None = None,
    comment: bytes = b"",
) -> bytes:
    """The archive, sealed. end: fields of its last record that are not true. comment: goes before the seal."""
    body = bytearray(lead)
    places = []
    for entry in entries:
        body += entry.before
        places.append(len(body))
        body += entry.local_header() + entry.packed + entry.after
    body += before_directory
    directory = b"".join(entry.central_header(place) for entry, place in zip(entries, places, strict=True))
    told = {"disk": 0, "first": 0, "here": len(entries), "count": len(entries), "size": len(directory)}
    told |= {"place": len(body), "comment": len(comment) + len(SEAL) + 64, **(end or {})}
    return sealed(bytes(body) + directory + after_directory + _END.pack(b"PK\5\6", *told.values()) + comment)


def sealed(body: bytes) -> bytes:
    """With a right seal behind it."""
    return body + SEAL + hashlib.sha256(body).hexdigest().encode()


FILES: Mapping[str, bytes] = {
    "__main__.py": b"print('never run')\n",
    "golden.npz": b"",
    "parity.json": b"{}\n",
    "payload/model.bin": bytes(range(256)) * 16,
    "provenance.json": b"{}\n",
}


def manifest(files: Mapping[str, bytes] = FILES) -> dict[str, Any]:
    """A manifest that nothing is wrong with."""
    tensor = {"name": "x", "dtype": "float32", "shape": [1, 4]}
    return {
        "format_version": 1,
        "name": "net",
        "target": "host",
        "arch": "x86_64",
        "cpu_features": ["avx2"],
        "threads": 1,
        "backend": "tflite",
        "precision": "int8",
        "engine": {"name": "tflite", "distribution": "ai-edge-litert", "minimum_version": "2.1", "options": {}},
        "inputs": [tensor],
        "outputs": [{**tensor, "name": "y"}],
        "state": {},
        "preprocess": None,
        "payload": ["payload/model.bin"],
        "selftest": {"tolerances": {"y": 0.5}},
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
    }


def entries(change: Callable[[dict[str, Any]], object] = lambda told: None) -> list[Entry]:
    """The members of a good artifact; `change` edits its manifest."""
    told = manifest()
    change(told)
    return with_manifest(json.dumps(told).encode())


def with_manifest(text: bytes) -> list[Entry]:
    """The members of an artifact with these bytes as its manifest."""
    members = {**FILES, MANIFEST: text}
    return [
        Entry(name.encode(), data, DEFLATED if name.endswith((".json", ".py")) else STORED)
        for name, data in sorted(members.items())
    ]


def changed(members: Sequence[Entry], name: str, **how: Any) -> list[Entry]:
    """`members` with other fields in one of them."""
    assert any(entry.name == name.encode() for entry in members)
    return [replace(entry, **how) if entry.name == name.encode() else entry for entry in members]
