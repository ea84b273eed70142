"""Uploading over a line that breaks, to registries that are not as they should be."""

from __future__ import annotations

import hashlib

import pytest

from edgec.runtime.agent.oci.documents import MANIFEST
from edgec.runtime.errors import ArtifactFailure, Unreachable
from edgec.shipping.registry.upload import Blob, Uploader

DATA = bytes(range(256)) * 40
CHUNK = 4096


class Upload:
    """An upload as the specification has it: what has arrived, and at which requests the registry fails after it kept
    a part of what came."""

    def __init__(self, bad, failing=(), location="/upload/1?state=x"):
        self.arrived = b""
        self.failing = set(failing)
        self.requests = 0
        self.location = location
        bad.answers[bad.path("blobs/uploads/")] = lambda handler: handler.reply(202, b"", {"Location": location})
        bad.answers["/upload/1"] = self.answer

    def answer(self, handler):
        content = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {"Location": self.location}
        if handler.command == "GET":
            handler.reply(204, b"", {**headers, "Range": f"0-{max(len(self.arrived) - 1, 0)}"})
            return
        self.requests += 1
        if handler.command == "PATCH":
            assert handler.headers["Content-Range"] == f"{len(self.arrived)}-{len(self.arrived) + len(content) - 1}"
        if self.requests in self.failing:
            self.arrived += content[: CHUNK // 2]
            handler.reply(503)
            return
        self.arrived += content
        handler.reply(201 if handler.command == "PUT" else 202, b"", headers)


@pytest.fixture
def large(tmp_path):
    place = tmp_path / "large"
    place.write_bytes(DATA)
    return Blob.of(place)


def test_a_chunk_that_arrived_in_part_is_gone_on_with(bad, large):
    upload = Upload(bad, failing=[2])
    uploader = Uploader(bad.registry(), chunk=CHUNK)
    assert uploader.blob(large)
    assert upload.arrived == DATA
    assert uploader.sent == len(DATA)
    last = [path for method, path, _ in bad.asked if method == "PUT"]
    assert last == [f"/upload/1?state=x&digest={large.digest.replace(':', '%3A')}"]


def test_a_registry_that_always_fails_is_given_up(bad, large):
    Upload(bad, failing=range(1, 100))
    with pytest.raises(Unreachable, match="can't answer at the moment"):
        Uploader(bad.registry(), chunk=CHUNK).blob(large)


def test_what_the_registry_has_elsewhere_is_not_sent(bad, large):
    bad.answers[bad.path("blobs/uploads/")] = lambda handler: handler.reply(201, b"", {"Location": "/x"})
    uploader = Uploader(bad.registry(), chunk=CHUNK)
    assert not uploader.blob(large)
    assert uploader.sent == 0


def test_a_registry_that_asks_for_larger_chunks_gets_them(bad, large):
    upload = Upload(bad)
    headers = {"Location": upload.location, "OCI-Chunk-Min-Length": str(len(DATA) - 1)}
    bad.answers[bad.path("blobs/uploads/")] = lambda handler: handler.reply(202, b"", headers)
    assert Uploader(bad.registry(), chunk=CHUNK).blob(large)
    assert upload.requests == 3  # two chunks, and the end


def test_a_registry_without_a_place_for_blobs_is_named(bad, large):
    bad.answers[bad.path("blobs/uploads/")] = lambda handler: handler.reply(202)
    with pytest.raises(ArtifactFailure, match="does not say where") as caught:
        Uploader(bad.registry(), chunk=CHUNK).blob(large)
    assert caught.value.exit_code == 69


def test_nothing_is_sent_to_where_no_server_is(bad, large):
    to = {"Location": "file:///tmp/x"}
    bad.answers[bad.path("blobs/uploads/")] = lambda handler: handler.reply(202, b"", to)
    with pytest.raises(Unreachable, match="does not follow"):
        Uploader(bad.registry(), chunk=CHUNK).blob(large)


def test_a_registry_that_changes_a_manifest_is_noticed(bad):
    headers = {"Docker-Content-Digest": "sha256:" + "1" * 64}
    bad.answers[bad.path("manifests/stable")] = lambda handler: handler.reply(201, b"", headers)
    with pytest.raises(ArtifactFailure, match="changed what it was given"):
        Uploader(bad.registry()).manifest("stable", b"{}", MANIFEST)


@pytest.mark.parametrize("knows", [True, False])
def test_whether_a_registry_knows_subjects_is_told(bad, knows):
    content = b"{}"
    headers = {"Docker-Content-Digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    headers |= {"OCI-Subject": "sha256:" + "0" * 64} if knows else {}
    bad.answers[bad.path("manifests/stable")] = lambda handler: handler.reply(201, b"", headers)
    assert Uploader(bad.registry()).manifest("stable", content, MANIFEST) == knows
