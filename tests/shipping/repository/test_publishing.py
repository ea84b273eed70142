"""What is published is what TUF's own client gets; versions, channels, and what is refused."""

from __future__ import annotations

import pytest

from edgec.errors import ArtifactError
from tests.shipping.repositories import artifact, repository


def test_reference_client_gets_what_was_published(tmp_path, device):
    files = [artifact(tmp_path / "dist"), artifact(tmp_path / "dist", target="host")]
    made = repository(tmp_path, *files)
    one = device(made)
    assert one.version() == 1
    release = one.releases()["models"]["net"]["releases"]["1"]
    assert one.fetch(release["artifact"]) == files[0].read_bytes()
    assert release["needs"] == {
        "arch": "aarch64",
        "cpu_features": ["asimd"],
        "min_glibc": "2.17",
        "memory_bytes": None,
        "format_version": 1,
        "python": "3.9",
        "engine": {"name": "tflite", "distribution": "ai-edge-litert", "minimum_version": "2.1.0"},
    }
    assert one.releases("host")["models"]["net"]["releases"]["1"]["bytes"] == files[1].stat().st_size


def test_same_artifact_twice_changes_nothing(tmp_path):
    file = artifact(tmp_path / "dist")
    made = repository(tmp_path, file)
    before = sorted(path.name for path in made.folder.rglob("*"))
    (again,) = made.publish(file, share=0.1)
    assert (again.version, again.is_new, again.changed, again.rollout) == (1, False, False, 1.0)
    assert sorted(path.name for path in made.folder.rglob("*")) == before


def test_versions_ascend_together_on_all_targets(tmp_path):
    made = repository(tmp_path, artifact(tmp_path / "1"))
    published = made.publish(artifact(tmp_path / "2", weights=b"2"), artifact(tmp_path / "2", target="host"))
    assert [each.version for each in published] == [2, 2]


def test_damaged_artifact_is_not_published(tmp_path, device):
    made = repository(tmp_path, artifact(tmp_path / "1"))
    bad = artifact(tmp_path / "2", weights=b"2")
    content = bytearray(bad.read_bytes())
    content[content.index(b"2")] ^= 1
    bad.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        made.publish(artifact(tmp_path / "3", target="host"), bad)
    assert device(made).version() == 1
    assert not (made.folder / "targets" / "host").exists()
