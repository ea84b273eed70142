"""Roots signed by several people, keys that are replaced, and clients that were switched off meanwhile."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata

from edgec.errors import ArtifactError, UsageError
from edgec.shipping.repository import roots, rotation
from edgec.shipping.repository.creation import create
from edgec.shipping.repository.inspection import check, status
from edgec.shipping.repository.keyring import Keyring, key_of, public_key
from edgec.shipping.repository.publishing import delegate, publish
from edgec.shipping.repository.rotation import KeyChange
from edgec.shipping.repository.upkeep import refresh
from edgec.shipping.signing import keys
from tests.shipping.repositories import Repository, artifact, repository

NOW = datetime.now(UTC)


@pytest.fixture
def made(tmp_path):
    return repository(tmp_path, artifact(tmp_path / "1"))


@pytest.fixture
def people(tmp_path):
    """Three holders of root keys: their key files."""
    folder = tmp_path / "people"
    folder.mkdir()
    for name in ("ann", "bo", "cy"):
        keys.generate(folder / f"{name}.key", folder / f"{name}.pub")
    return folder


def without(made: Repository, *names: str) -> Keyring:
    """The keys of a publisher who does not have these."""
    place = made.keys.with_name("fewer")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made.keys, place, ignore=shutil.ignore_patterns(*(f"{name}.*" for name in names)))
    return Keyring(place)


def sound(made):
    assert check(made.folder, NOW).problems == ()


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "rpi4"])
@pytest.mark.parametrize("compromised", [False, True])
def test_every_role_rotates_under_a_client_that_was_off(made, device, role, compromised):
    old, fresh = device(made), device(made)
    assert old.version() == 1
    rotated = rotation.rotate(made.folder, made.ring, NOW, role, KeyChange(compromised=compromised))
    assert [path.name for path in rotated.generated] == [f"{role}-2.key"]
    assert old.version() == fresh.version() == 1
    made.keys.joinpath(f"{role}.key").unlink()  # the old one is not needed any more
    made.publish(artifact(made.folder.parent / "2", weights=b"2"))
    assert old.version() == fresh.version() == 2
    sound(made)


def test_old_client_follows_a_chain_of_roots(made, device):
    old = device(made)
    assert old.version() == 1
    for _ in range(4):
        rotation.rotate(made.folder, made.ring, NOW, "root")
    rotation.rotate(made.folder, made.ring, NOW, "timestamp")
    assert (made.folder / "metadata" / "6.root.json").exists()
    assert old.version() == device(made).version() == 1


def test_replaced_key_signs_nothing_that_clients_take(made, device):
    """Who stole the timestamp's key can't go on with it after it was replaced."""
    one = device(made)
    rotation.rotate(made.folder, made.ring, NOW, "timestamp", KeyChange(compromised=True))
    assert one.version() == 1
    timestamp = made.folder / "metadata" / "timestamp.json"
    forged = Metadata.from_bytes(timestamp.read_bytes())
    forged.signed.version += 1
    forged.sign(keys.signer(str(made.keys / "timestamp.key")))
    timestamp.write_bytes(forged.to_bytes())
    with pytest.raises(UnsignedMetadataError):
        one.version()


def test_root_of_three_is_signed_by_two_one_after_the_other(tmp_path, people, device):
    public = [str(people / f"{name}.pub") for name in ("ann", "bo", "cy")]
    created = create(tmp_path / "repo", tmp_path / "keys", NOW, keys={"root": public}, threshold=2)
    made = Repository(created.folder, created.keys)
    assert created.pending
    with pytest.raises(UsageError, match="has no root yet"):
        made.publish(artifact(tmp_path / "1"))
    ann, cy = (Keyring(None, [str(people / f"{name}.key")]) for name in ("ann", "cy"))
    assert roots.sign_root(made.folder, ann, NOW).waiting == "1 of 2 signatures"
    assert roots.sign_root(made.folder, ann, NOW).waiting == "1 of 2 signatures"  # twice is once
    assert roots.sign_root(made.folder, cy, NOW).waiting == ""
    made.publish(artifact(tmp_path / "1"))
    assert device(made).version() == 1

    # A new timestamp key, from the publisher who has no root key: it holds when two of three have signed.
    one = device(made)
    assert one.version() == 1
    rotated = rotation.rotate(made.folder, made.ring, NOW, "timestamp")
    assert rotated.waiting == "0 of 2 signatures"
    assert one.version() == 1
    refresh(made.folder, made.ring, NOW)  # the job goes on meanwhile, with old and new key
    assert status(made.folder, made.ring, NOW)["pending_root"]["version"] == 2
    with pytest.raises(UsageError, match="still waits for signatures"):
        rotation.rotate(made.folder, made.ring, NOW, "snapshot")
    roots.sign_root(made.folder, cy, NOW)

    # Ann's key is on a machine without the repository: a copy of the root is carried there and back.
    carried = tmp_path / "carried.json"
    shutil.copy(made.folder / ".edgec" / "pending-root.json", carried)
    root = roots.read_root(carried)
    assert roots.sign_copy(root, ann) == []
    assert roots.sign_root(made.folder, Keyring(None), NOW, root).root_version == 2
    assert one.version() == device(made).version() == 1
    sound(made)


def test_signatures_of_strangers_and_of_other_roots_are_refused(tmp_path, people, made):
    rotation.rotate(made.folder, without(made, "root"), NOW, "root", KeyChange(add=[public_key(people / "ann.pub")]))
    stranger = Keyring(None, [str(people / "bo.key")])
    with pytest.raises(UsageError, match="None of the keys at hand may sign"):
        roots.sign_root(made.folder, stranger, NOW)
    other = roots.read_root(made.folder / "metadata" / "1.root.json")
    with pytest.raises(UsageError, match="not the root that waits"):
        roots.sign_root(made.folder, stranger, NOW, other)
    unsigned = roots.read_root(made.folder / ".edgec" / "pending-root.json")
    with pytest.raises(ArtifactError, match="adds no good signature"):
        roots.sign_root(made.folder, stranger, NOW, unsigned)
    roots.discard_root(made.folder, made.ring)
    with pytest.raises(UsageError, match="waits for signatures"):
        roots.sign_root(made.folder, made.ring, NOW)


def test_holder_of_a_key_that_leaves_signs_a_copy(people, made, device):
    """The old root's only key signs the new root, in which it is no more, on a machine of its own."""
    one = device(made)
    old = str(made.keys / "root.key")
    change = KeyChange([public_key(people / "ann.pub")], [key_of(old)[0].keyid])
    rotated = rotation.rotate(made.folder, without(made, "root"), NOW, "root", change)
    assert rotated.waiting == "0 of 1 signatures, and 0 of 1 of the keys that held before"
    copy = roots.read_root(made.folder / ".edgec" / "pending-root.json")
    assert roots.sign_copy(copy, Keyring(None, [old])) == [key_of(old)[0].keyid]
    assert roots.sign_root(made.folder, Keyring(None), NOW, copy).waiting.startswith("0 of 1 signatures, and 1 of 1")
    assert roots.sign_root(made.folder, Keyring(None, [str(people / "ann.key")]), NOW).root_version == 2
    assert one.version() == 1
    sound(made)


def test_only_the_root_that_was_shown_is_signed(made, people):
    ring = without(made, "root")
    rotation.rotate(made.folder, ring, NOW, "root", KeyChange(add=[public_key(people / "ann.pub")]))
    shown = roots.read_root(made.folder / ".edgec" / "pending-root.json")
    roots.discard_root(made.folder, ring)
    rotation.rotate(made.folder, ring, NOW, "root", KeyChange(add=[public_key(people / "bo.pub")]))
    with pytest.raises(UsageError, match="is another one by now"):
        roots.sign_root(made.folder, made.ring, NOW, shown=shown)


def test_thresholds_that_can_not_be_reached(tmp_path, made, people):
    with pytest.raises(UsageError, match="threshold of root can't be 2"):
        create(tmp_path / "other", tmp_path / "other-keys", NOW, threshold=2)
    assert not (tmp_path / "other").exists() and not (tmp_path / "other-keys").exists()
    with pytest.raises(UsageError, match="threshold of snapshot can't be 0"):
        rotation.rotate(made.folder, made.ring, NOW, "snapshot", KeyChange(threshold=0))
    only = status(made.folder, made.ring, NOW)["roles"][1]["keys"][0]["id"]
    with pytest.raises(UsageError, match="threshold of timestamp can't be 1"):
        rotation.rotate(made.folder, made.ring, NOW, "timestamp", KeyChange(remove=[only]))


@pytest.mark.parametrize("role", ["rpi4", "snapshot", "timestamp"])
def test_missing_key_changes_nothing(made, device, role):
    before = sorted(made.folder.rglob("*"))
    with pytest.raises(UsageError, match=f"A key is missing to sign {role}") as raised:
        publish(made.folder, without(made, role), [artifact(made.folder.parent / "2", weights=b"2")], NOW)
    assert str(made.keys.with_name("fewer")) in raised.value.why
    assert sorted(made.folder.rglob("*")) == before


def test_token_that_refuses_to_sign_changes_nothing(made, monkeypatch):
    before = sorted(made.folder.rglob("*"))

    def refuse(signer, payload):
        raise UsageError("The token wants its PIN", "Nobody can be asked for it.", "Put it into the environment.")

    with monkeypatch.context() as patched:
        patched.setattr(CryptoSigner, "sign", refuse)
        with pytest.raises(UsageError, match="The token wants its PIN"):
            refresh(made.folder, made.ring, NOW)
        patched.setattr(CryptoSigner, "sign", lambda signer, payload: 1 / 0)
        with pytest.raises(UsageError, match="can't sign"):
            refresh(made.folder, made.ring, NOW)
    assert sorted(made.folder.rglob("*")) == before


def test_publisher_of_one_target_needs_no_other_key(made, device):
    new = artifact(made.folder.parent / "2", weights=b"2")
    publish(made.folder, without(made, "root", "targets"), [new], NOW)
    assert device(made).version() == 2
    with pytest.raises(UsageError, match="A key is missing to sign targets"):
        other = artifact(made.folder.parent / "2", target="host")
        publish(made.folder, without(made, "root", "targets"), [other], NOW)
    assert not list(made.keys.with_name("fewer").glob("host*"))


def test_target_of_a_team_with_keys_of_its_own(made, people, device):
    with pytest.raises(UsageError, match="A key is missing to sign host"):
        delegate(made.folder, made.ring, "host", NOW, [public_key(people / "ann.pub")])
    ring = Keyring(made.keys, [str(people / "ann.key")])
    delegate(made.folder, ring, "host", NOW, [public_key(people / "ann.pub")])
    assert device(made).releases("host")["models"] == {}
    with pytest.raises(UsageError, match="host has a role already"):
        delegate(made.folder, ring, "host", NOW)


def test_keys_are_for_their_owner_alone_and_outside_of_the_repository(made, tmp_path):
    for path in made.keys.glob("*.key"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"PRIVATE" in path.read_bytes()
    assert made.keys.stat().st_mode & 0o777 == 0o700
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in made.folder.rglob("*") if path.is_file())
    with pytest.raises(UsageError, match="lies inside the repository"):
        create(tmp_path / "other", tmp_path / "other" / "keys", NOW)


def test_periods_are_in_the_signed_root_and_refreshing_keeps_to_them(made):
    rotation.rotate(
        made.folder, made.ring, NOW, None, periods={"timestamp": timedelta(hours=6), "rpi4": timedelta(days=30)}
    )
    done = refresh(made.folder, made.ring, NOW)
    assert done.timestamp_expires == NOW.replace(microsecond=0) + timedelta(hours=6)
    roles = {role["name"]: role["holds_for"] for role in status(made.folder, made.ring, NOW)["roles"]}
    assert (roles["timestamp"], roles["rpi4"], roles["targets"]) == ("6h", "30d", "90d")
    with pytest.raises(UsageError, match="no role 'timestamps'") as raised:
        rotation.rotate(made.folder, made.ring, NOW, None, periods={"timestamps": timedelta(hours=6)})
    assert "'timestamp'" in raised.value.why
