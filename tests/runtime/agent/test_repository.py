"""Every way in which a repository's metadata can be wrong: each is refused, with words of its own."""

import errno
import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.metadata import TargetFile

from edgec.runtime.agent import repository as reading
from edgec.runtime.agent import storage
from edgec.runtime.agent.clock import EARLIEST, Clock, read_clock
from edgec.runtime.agent.releases import checked_releases
from edgec.runtime.errors import ArtifactFailure, Busy, DeviceUnfit, StorageFailed, Unreachable, Untrusted
from edgec.shipping.repository.keyring import Keyring
from edgec.shipping.repository.rotation import rotate
from tests.runtime.agent import servers
from tests.runtime.agent.forgery import STRANGER, Forger
from tests.shipping.repositories import artifact, repository

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """A repository with one release for rpi4."""
    folder = tmp_path_factory.mktemp("pristine")
    return repository(folder, artifact(folder / "dist"), now=NOW)


@pytest.fixture
def world(pristine, tmp_path):
    """A copy of it on a server, and a device."""
    shutil.copytree(pristine.keys.parent, tmp_path / "publisher")
    copied = type(pristine)(tmp_path / "publisher" / pristine.folder.name, tmp_path / "publisher" / pristine.keys.name)
    with servers.serving(copied.folder) as server:
        yield World(copied, server, tmp_path / "device")


class World:
    def __init__(self, published, server, device):
        self.repository, self.server, self.device = published, server, device
        self.forger = Forger(published)
        self.root = published.root

    def look(self, target="rpi4", clock=None, url=None):
        """What the device learns in one run."""
        with reading.opened(url or self.server.url, self.root, self.device, servers.QUICK, clock) as found:
            return found.releases(target)

    def version(self, **options):
        return self.look(**options)["models"]["net"]["channels"]["stable"]["version"]

    def publish(self, weights=b"newer"):
        self.repository.publish(artifact(self.repository.folder.parent / "dist", weights=weights), now=NOW)

    def refused(self, kind=Untrusted, **options):
        with pytest.raises(ArtifactFailure) as refusal:
            self.look(**options)
        assert isinstance(refusal.value, kind)
        assert refusal.value.why and refusal.value.fix
        return refusal.value


def test_a_device_learns_what_is_published(world):
    assert world.version() == 1
    world.publish()
    assert world.version() == 2


def test_a_run_without_news_costs_two_small_requests(world):
    world.look()
    world.server.asked.clear()
    world.look()
    assert [path for path, _ in world.server.asked] == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_a_folder_is_a_repository_too(world):
    assert world.version(url=world.repository.folder.as_uri()) == 1


# --- attacks on metadata: what is done, and what the device says


def _change_byte(path):
    """One letter of a value."""
    data = path.read_bytes()
    place = data.index(b'"expires":') + len(b'"expires": "20')
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def changed_timestamp(world):
    _change_byte(world.forger.path("timestamp"))


def changed_snapshot(world):
    world.publish()
    _change_byte(world.forger.path("snapshot"))


def changed_targets(world):
    world.publish()
    _change_byte(world.forger.path("rpi4"))


def changed_releases(world):
    world.server.break_off(r"releases\.json", servers.changed)
    world.publish()


def old_timestamp(world):
    old = world.forger.path("timestamp").read_bytes()
    world.publish()
    world.look()
    world.forger.path("timestamp").write_bytes(old)


def timestamp_of_old_snapshot(world):
    old = world.forger.read("timestamp").signed.snapshot_meta
    world.publish()
    world.look()
    world.forger.write("timestamp", lambda timestamp: setattr(timestamp, "snapshot_meta", old))


def snapshot_of_old_targets(world):
    old = world.forger.read("snapshot").signed.meta["rpi4.json"]
    world.publish()
    world.look()
    world.forger.write_snapshot(lambda snapshot: snapshot.meta.update({"rpi4.json": old}))


def snapshot_without_a_role(world):
    world.look()
    world.forger.write_snapshot(lambda snapshot: snapshot.meta.pop("rpi4.json"))


def snapshot_of_another_version(world):
    listed = world.forger.write("snapshot", lambda snapshot: setattr(snapshot, "version", 77))
    path = world.forger.folder / "77.snapshot.json"
    path.rename(world.forger.folder / "78.snapshot.json")
    listed.version = 78
    world.forger.write("timestamp", lambda timestamp: setattr(timestamp, "snapshot_meta", listed))


def targets_of_another_version(world):
    listed = world.forger.write("rpi4", version=50)
    (world.forger.folder / "50.rpi4.json").rename(world.forger.folder / "51.rpi4.json")
    listed.version = 51
    world.forger.write_snapshot(lambda snapshot: snapshot.meta.update({"rpi4.json": listed}))


def timestamp_by_a_stranger(world):
    world.forger.write("timestamp", signers=[STRANGER])


def targets_by_a_stranger(world):
    world.forger.write_all("rpi4", signers=[STRANGER])


def root_by_a_stranger(world):
    world.forger.write("root", signers=[STRANGER])


def old_root_as_next(world):
    folder = world.forger.folder
    (folder / "2.root.json").write_bytes((folder / "1.root.json").read_bytes())


def swapped_role(world):
    world.forger.path("timestamp").write_bytes(world.forger.path("snapshot").read_bytes())


def login_page(world):
    world.server.break_off("timestamp", servers.instead(b"<html>Welcome to our network. Please log in."))


def oversized_timestamp(world):
    world.server.break_off("timestamp", servers.instead(b" " * 20_000))


def endless_timestamp(world):
    world.server.break_off("timestamp", servers.endless)


def expired(world):
    world.forger.write("timestamp", lambda timestamp: setattr(timestamp, "expires", NOW - timedelta(days=1)))


def outside_of_its_folder(world):
    """rpi4's key signs for rpi5, whose role says nothing."""
    world.repository.publish(artifact(world.repository.folder.parent / "dist", target="rpi5"), now=NOW)
    world.forger.write_all("rpi5", lambda targets: targets.targets.clear())
    entry = TargetFile.from_data("rpi5/releases.json", b"{}")
    world.forger.write_all("rpi4", lambda targets: targets.targets.update({"rpi5/releases.json": entry}))


def list_of_another_device(world):
    """rpi4's key signs a list of releases that is one for rpi5."""
    content = json.dumps({"schema": 1, "target": "rpi5", "models": {}}).encode()
    _serve_releases(world, content)


def list_of_a_newer_edgec(world):
    _serve_releases(world, b'{"schema": 2}')


def _serve_releases(world, content):
    digest = hashlib.sha256(content).hexdigest()
    (world.repository.folder / f"targets/rpi4/{digest}.releases.json").write_bytes(content)
    entry = TargetFile.from_data("rpi4/releases.json", content)
    world.forger.write_all("rpi4", lambda targets: targets.targets.update({"rpi4/releases.json": entry}))


def no_repository(world):
    world.forger.path("timestamp").unlink()


def incomplete_repository(world):
    world.publish()
    world.forger.path("snapshot").unlink()


def slow_server(world):
    world.server.break_off("timestamp", servers.slow)


def slow_head(world):
    world.server.break_off("timestamp", servers.slow_head)


def silent_server(world):
    world.server.break_off("timestamp", servers.silent)


def redirects_in_a_circle(world):
    world.server.break_off("timestamp", servers.redirect(lambda path: path))


def redirect_to_a_file(world):
    world.server.break_off("timestamp", servers.redirect(lambda path: "file:///etc/passwd"))


def compressed(world):
    world.server.break_off("timestamp", servers.compressed)


def failing_server(world):
    world.server.break_off("timestamp", servers.status(503))


def forbidding_server(world):
    world.server.break_off("timestamp", servers.status(401))


def nobody_there(world):
    world.server.shutdown()
    world.server.server_close()


ATTACKS = {
    changed_timestamp: (Untrusted, "The repository's timestamp.json is not signed with the key that may sign it"),
    changed_snapshot: (Untrusted, "The repository's snapshot.json is not the file that was signed for"),
    changed_targets: (Untrusted, "The repository's rpi4.json is not the file that was signed for"),
    changed_releases: (Untrusted, "rpi4/releases.json is not the file that was signed"),
    old_timestamp: (Untrusted, "The repository is older than what this device has seen of it"),
    timestamp_of_old_snapshot: (Untrusted, "The repository's timestamp points back to an older snapshot"),
    snapshot_of_old_targets: (Untrusted, "The repository's snapshot takes a role back to older metadata"),
    snapshot_without_a_role: (Untrusted, "The repository's snapshot leaves out what it listed before"),
    snapshot_of_another_version: (Untrusted, "The repository's snapshot is not the one that its timestamp names"),
    targets_of_another_version: (Untrusted, "The repository's rpi4.json is of another version than its snapshot lists"),
    timestamp_by_a_stranger: (Untrusted, "The repository's timestamp.json is not signed with the key that may sign it"),
    targets_by_a_stranger: (Untrusted, "What is said about rpi4 is not signed with a key that may speak for rpi4"),
    root_by_a_stranger: (
        Untrusted,
        "The repository changes its keys without enough signatures of those that this device trusts",
    ),
    old_root_as_next: (Untrusted, "The repository's new root is not the next one"),
    swapped_role: (Untrusted, "The repository's timestamp.json is not what belongs there"),
    login_page: (Untrusted, "The repository's timestamp.json is not metadata"),
    oversized_timestamp: (Untrusted, "The repository's timestamp.json is larger than it may be"),
    endless_timestamp: (Untrusted, "The repository's timestamp.json is larger than it may be"),
    expired: (Untrusted, "The repository's timestamp.json has expired"),
    list_of_another_device: (Untrusted, "The list of releases for rpi4 is one for another device"),
    list_of_a_newer_edgec: (DeviceUnfit, "The repository's list of releases for rpi4 is newer than this program"),
    no_repository: (Unreachable, "There is no repository at this address"),
    incomplete_repository: (Unreachable, "The repository is not complete"),
    slow_server: (Unreachable, "The server is too slow with {url}/metadata/timestamp.json"),
    slow_head: (Unreachable, "The server is too slow with {host}"),
    silent_server: (Unreachable, "The server fell silent over {url}/metadata/timestamp.json"),
    redirects_in_a_circle: (Unreachable, "{url}/metadata/timestamp.json leads from one address to the next"),
    redirect_to_a_file: (
        Unreachable,
        "{url}/metadata/timestamp.json leads to where this device does not follow",
    ),
    compressed: (
        Unreachable,
        "{url}/metadata/timestamp.json comes compressed, though plain bytes were asked for",
    ),
    failing_server: (Unreachable, "The server can't answer for {url}/metadata/timestamp.json at the moment"),
    forbidding_server: (Unreachable, "The server refuses {url}/metadata/timestamp.json"),
    nobody_there: (Unreachable, "There is no connection to {url}/metadata/2.root.json"),
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_attacks_are_refused_and_each_is_named(world, attack):
    attack(world)
    kind, what = ATTACKS[attack]
    refusal = world.refused(kind)
    host = world.server.url.partition("//")[2]
    assert refusal.what == what.format(url=world.server.url, host=host)


def test_attacks_have_messages_of_their_own():
    """What is the same is the same: a changed signature is a wrong one; too long is too long."""
    same = {timestamp_by_a_stranger, endless_timestamp}
    messages = [what for attack, (_, what) in ATTACKS.items() if attack not in same]
    assert len(messages) == len(set(messages))


@pytest.mark.parametrize(
    "attack", [timestamp_by_a_stranger, expired, login_page, slow_server], ids=lambda attack: attack.__name__
)
def test_a_device_that_was_attacked_goes_on_afterwards(world, attack):
    world.look()
    kept = {path.name: path.read_bytes() for path in world.forger.folder.iterdir()}
    attack(world)
    world.refused(ATTACKS[attack][0])
    for path in world.forger.folder.iterdir():
        path.unlink()
    for name, content in kept.items():
        (world.forger.folder / name).write_bytes(content)
    world.server.faults.clear()
    world.publish(b"after")
    assert world.version() > 1


def test_a_device_that_was_shown_something_old_goes_on_with_what_is_new(world):
    path = world.forger.path("timestamp")
    old = path.read_bytes()
    world.publish()
    world.look()
    new = path.read_bytes()
    path.write_bytes(old)
    assert "older" in world.refused().what
    path.write_bytes(new)
    assert world.version() == 2


def test_what_a_role_signs_outside_of_its_folder_does_not_count(world):
    outside_of_its_folder(world)
    refusal = world.refused(target="rpi5")
    assert refusal.what == "Nobody who may speak for rpi5/releases.json lists it"
    assert "Asked were: targets, rpi5." in refusal.why


def test_a_target_that_is_not_there_says_who_was_asked(world):
    assert "Asked were: targets." in world.refused(target="rpi9").why


# --- roots


def test_below_the_threshold_a_root_is_none(tmp_path):
    """Two of three keys have to sign a new root; whoever has one of them can't."""
    ring = Keyring(tmp_path / "safe")
    for name in ("anna", "ben", "carl"):
        ring.make(name)
    files = ring.keep()
    published = repository(
        tmp_path / "shelf",
        artifact(tmp_path / "dist"),
        now=NOW,
        keys={"root": [str(path) for path in files]},
        threshold=2,
    )
    with servers.serving(published.folder) as server:
        world = World(published, server, tmp_path / "device")
        assert world.version() == 1
        signers = [ring.find(keyid) for keyid in world.forger.read("root").signed.roles["root"].keyids]
        world.forger.write("root", signers=signers[:1])
        refusal = world.refused()
        assert refusal.what == ATTACKS[root_by_a_stranger][1]
        assert "1/2" in refusal.why
        world.forger.write("root", signers=signers[:2], version=2)
        assert world.version() == 1


def test_a_new_timestamp_key_ends_what_a_stolen_one_began(world):
    """The thief signs a version that is far ahead; without the key in the root, it counts no more."""
    rightful = world.forger.path("timestamp").read_bytes()
    world.forger.write("timestamp", version=1000)
    world.look()
    world.forger.path("timestamp").write_bytes(rightful)
    assert "older" in world.refused().what
    rotate(world.repository.folder, world.repository.ring, NOW, "timestamp")
    assert world.version() == 1


# --- time


def test_without_a_clock_updates_go_on_and_say_so(world):
    with reading.opened(
        world.server.url, world.root, world.device, servers.QUICK, Clock(datetime(1970, 1, 1, tzinfo=UTC), EARLIEST)
    ) as found:
        assert found.releases("rpi4")
        (warning,) = found.warnings
    assert "1970-01-01" in warning and "can't be noticed" in warning


def test_without_a_clock_nothing_older_is_accepted(world):
    old_timestamp(world)
    assert "older" in world.refused(clock=Clock(datetime(1970, 1, 1, tzinfo=UTC), EARLIEST)).what


def test_the_time_of_a_good_run_is_a_floor_for_later_ones(world):
    world.look(clock=Clock(NOW, EARLIEST))
    assert read_clock(world.device / "clock", datetime(1970, 1, 1, tzinfo=UTC)) == Clock(
        datetime(1970, 1, 1, tzinfo=UTC), NOW
    )
    expired(world)
    refusal = world.refused(clock=read_clock(world.device / "clock", datetime(1970, 1, 1, tzinfo=UTC)))
    assert refusal.what == "The repository's timestamp.json has expired"
    assert f"later than {NOW:%Y-%m-%d %H:%M} for certain" in refusal.why


def test_a_clock_far_ahead_is_named_as_what_may_be_wrong_and_spoils_nothing(world):
    refusal = world.refused(clock=Clock(NOW + timedelta(days=3650), EARLIEST))
    assert "has expired" in refusal.what
    assert "the clock may well be wrong" in refusal.why
    assert f"The server, which may be lying, says {NOW.year}" in refusal.why
    assert not (world.device / "clock").exists()
    assert world.version() == 1


@pytest.mark.parametrize("content", [b"", b"{}", b'{"passed": "x"}', b'{"passed": 1e99}', b"[" * 99999])
def test_a_damaged_floor_is_none(tmp_path, content):
    (tmp_path / "clock").write_bytes(content)
    assert read_clock(tmp_path / "clock", NOW) == Clock(NOW, EARLIEST)


# --- interruptions


def test_two_at_once(world):
    with reading.opened(world.server.url, world.root, world.device, servers.QUICK):
        assert world.refused(Busy).what == "Another update is running"


def test_a_run_that_is_killed_at_any_write_leaves_a_device_that_works(world, monkeypatch):
    """Nothing is undone, as after a kill: the exception passes through everything."""

    class Killed(BaseException):
        pass

    replace, left = storage.os.rename, [0]

    def rename(*arguments):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        replace(*arguments)

    world.look()
    world.publish()
    monkeypatch.setattr(storage.os, "rename", rename)
    kills = 0
    for writes in range(20):
        left[0] = writes
        try:
            world.look()
            break
        except Killed:
            kills += 1
    assert kills >= 2
    monkeypatch.undo()
    assert world.version() == 2


def test_a_full_storage_is_named_and_leaves_a_device_that_works(world, monkeypatch):
    world.look()
    world.publish()

    def full(descriptor, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "write", full)
    assert "the storage is full" in world.refused(StorageFailed).what
    monkeypatch.undo()
    assert world.version() == 2


def test_torn_metadata_on_the_device_is_fetched_again(world):
    world.look()
    for path in world.device.glob("*.json"):
        path.write_bytes(path.read_bytes()[:100])
    assert world.version() == 1


def test_a_damaged_first_root_says_so(world):
    world.root = b"{}"
    assert world.refused().what == "The root that this device was set up with is not one"


# --- the form of releases.json


def _document(**changes):
    release = {
        "version": 1,
        "artifact": "rpi4/net/1.edgec",
        "bytes": 10,
        "sha256": "0" * 64,
        "signature": None,
        "chunks": None,
        "needs": {},
    }
    channel = {"version": 1, "rollout": 1.0, "before": None, "paused": False}
    model = {
        "releases": {"1": {**release, **changes.pop("release", {})}},
        "channels": {"stable": {**channel, **changes.pop("channel", {})}},
        "revoked": {},
        **changes.pop("model", {}),
    }
    name = changes.pop("name", "net")
    return {"schema": 1, "target": "rpi4", "models": {name: model}, **changes}


def test_a_list_of_releases():
    assert checked_releases(json.dumps(_document()).encode(), "rpi4") == _document()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"release": {"artifact": "../../etc/passwd"}}, "is said to be in"),
        ({"release": {"artifact": "rpi5/net/1.edgec"}}, "is said to be in"),
        ({"release": {"chunks": "rpi5/net/1.chunks"}}, "outside of its folder"),
        ({"release": {"signature": 7}}, "outside of its folder"),
        ({"release": {"bytes": -1}}, "no size"),
        ({"release": {"bytes": True}}, "no size"),
        ({"release": {"sha256": "abc"}}, "no SHA-256"),
        ({"release": {"version": 2}}, "is not the number"),
        ({"release": {"needs": None}}, "needs"),
        ({"channel": {"version": 2}}, "wants a version that there is not"),
        ({"channel": {"before": 7}}, "had a version that there is not"),
        ({"channel": {"rollout": 1.5}}, "rollout"),
        ({"channel": {"rollout": True}}, "rollout"),
        ({"channel": {"paused": 1}}, "paused"),
        ({"model": {"revoked": {"1": 2}}}, "revocation"),
        ({"model": {"channels": []}}, "are missing"),
        ({"name": "../net"}, "is not a model's name"),
        ({"models": 3}, "no models"),
        ({"schema": 0}, "schema"),
    ],
)
def test_what_is_not_a_list_of_releases_is_refused(changes, why):
    with pytest.raises(Untrusted) as refusal:
        checked_releases(json.dumps(_document(**changes)).encode(), "rpi4")
    assert why in refusal.value.why


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"[]", b"null"])
def test_what_is_no_document_is_refused(content):
    with pytest.raises(Untrusted, match="is not a list of releases"):
        checked_releases(content, "rpi4")
