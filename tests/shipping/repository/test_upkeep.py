"""Refreshing, expiry, pruning, the lock; and what a publisher does not build upon."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.exceptions import ExpiredMetadataError

from edgec.errors import ArtifactError, Busy, OutputError, UsageError
from edgec.shipping.repository import policy
from edgec.shipping.repository.creation import create
from edgec.shipping.repository.inspection import check, status
from edgec.shipping.repository.publishing import change
from edgec.shipping.repository.releases import promote, revoke
from edgec.shipping.repository.upkeep import prune, refresh
from tests.shipping.repositories import artifact, repository
from tests.shipping.repository.test_keys import without

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def made(tmp_path):
    return repository(tmp_path, artifact(tmp_path / "1"), now=NOW)


def contents(made):
    return {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}


def versions(made):
    return {role["name"]: role["version"] for role in status(made.folder, made.ring, NOW)["roles"]}


def test_refresh_needs_the_timestamp_key_alone(made, device):
    one = device(made)
    before = versions(made)
    done = refresh(made.folder, without(made, "root", "targets", "snapshot", "rpi4"), NOW + DAY)
    assert done.roles == ("timestamp",) and done.warnings == ()
    assert versions(made) == {**before, "timestamp": before["timestamp"] + 1}
    assert one.version() == 1


def test_refresh_signs_the_snapshot_at_half_of_its_time(made):
    ring = without(made, "root", "targets", "rpi4")
    assert refresh(made.folder, ring, NOW + 6 * DAY).roles == ("timestamp",)
    assert refresh(made.folder, ring, NOW + 8 * DAY).roles == ("timestamp", "snapshot")
    with pytest.raises(UsageError, match="A key is missing to sign snapshot"):
        refresh(made.folder, without(made, "snapshot"), NOW + 16 * DAY)


def test_refresh_warns_before_people_have_to_sign_and_stops_when_they_did_not(made):
    assert refresh(made.folder, made.ring, NOW + 80 * DAY).warnings == (
        "targets expires in 9 days: sign it again before that (edgec publish refresh --role targets)",
        "rpi4 expires in 9 days: sign it again before that (edgec publish refresh --role rpi4)",
    )
    before = contents(made)
    with pytest.raises(UsageError, match="targets expired on"):
        refresh(made.folder, made.ring, NOW + 91 * DAY)
    assert contents(made) == before
    done = refresh(made.folder, made.ring, NOW + 91 * DAY, ["targets"])
    assert done.warnings[0].startswith("rpi4 expired on")  # the other targets go on
    done = refresh(made.folder, made.ring, NOW + 91 * DAY, ["rpi4"])
    assert done.roles == ("timestamp", "rpi4") or done.roles == ("timestamp", "snapshot", "rpi4")
    assert done.warnings == ()


def test_root_is_renewed_with_the_same_keys(made, device):
    one = device(made)
    assert refresh(made.folder, made.ring, NOW + 300 * DAY, ["root", "targets", "rpi4"]).warnings == ()
    assert versions(made)["root"] == 2
    assert one.version() == 1
    waiting = refresh(made.folder, without(made, "root"), NOW + 301 * DAY, ["root"]).waiting
    assert waiting == "0 of 1 signatures"
    with pytest.raises(UsageError, match="no role 'roots'"):
        refresh(made.folder, made.ring, NOW, ["roots"])


def test_expired_repository_is_refused_by_clients_and_found_by_check(tmp_path, device):
    stale = repository(tmp_path, artifact(tmp_path / "1"), now=NOW - 3 * DAY)
    with pytest.raises(ExpiredMetadataError):
        device(stale).version()
    assert any("timestamp.json is expired" in problem for problem in check(stale.folder, NOW).problems)
    refresh(stale.folder, stale.ring, NOW)
    assert device(stale).version() == 1
    assert check(stale.folder, NOW).problems == ()


def test_equal_times_and_keys_give_equal_bytes(tmp_path, made):
    copies = []
    for name in ("a", "b"):
        shutil.copytree(made.folder.parent, tmp_path / name, ignore=shutil.ignore_patterns("a", "b"))
        copy = type(made)(tmp_path / name / "repo", tmp_path / name / "keys")
        copy.publish(artifact(tmp_path / "2", weights=b"2"), now=NOW)
        copies.append({path.relative_to(copy.folder): content for path, content in contents(copy).items()})
    assert copies[0] == copies[1]


@pytest.mark.parametrize("text", ["", "2", "0d", "-1d", "2y", "4000d", "1.5d", "١d"])
def test_periods_that_are_none(text):
    with pytest.raises(UsageError, match="not a time that metadata can hold"):
        policy.parse_period(text)


def test_periods():
    for text, period in {"90m": timedelta(minutes=90), "12h": timedelta(hours=12), "2d": 2 * DAY}.items():
        assert policy.parse_period(text) == period
        assert policy.period_text(period) == text
    assert policy.period_text(policy.parse_period("2w")) == "14d"


def test_prune_frees_what_nothing_names_and_spares_what_is_young(made, device, tmp_path):
    for number in (b"2", b"3", b"4"):
        made.publish(artifact(tmp_path / "next", weights=number))
    change(made.folder, made.ring, NOW, "net", lambda document: promote(document, "net", 2, "", "canary", None))
    one = device(made)
    assert one.version() == 4
    pruned = prune(made.folder, made.ring, NOW, 1)
    assert pruned.releases == ("rpi4 net@1",) and pruned.files == 0 and pruned.waiting > 0
    assert one.version() == 4
    made.publish(artifact(tmp_path / "1", target="host"))  # what this replaces is not condemned yet
    later = NOW + 2 * DAY
    refresh(made.folder, made.ring, later)
    pruned = prune(made.folder, without(made, "rpi4"), later, None)
    assert pruned.files > 0 and pruned.bytes > 50_000 and pruned.waiting > 0
    assert prune(made.folder, without(made, "rpi4"), later + 2 * DAY, None).waiting == 0
    assert check(made.folder, NOW).problems == ()
    assert check(made.folder, NOW).unreferenced == 0
    assert one.version("canary") == 2
    assert device(made).fetch("rpi4/net/3.edgec")  # what channel stable had before
    with pytest.raises(UsageError, match="keeps nothing"):
        prune(made.folder, made.ring, NOW, 0)


def test_two_publishers_at_once(made):
    handle = os.open(made.folder / ".edgec" / "lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="Another command is publishing"):
            refresh(made.folder, made.ring, NOW)
    finally:
        os.close(handle)
    refresh(made.folder, made.ring, NOW)


@pytest.mark.parametrize("file", ["timestamp.json", "3.snapshot.json", "3.targets.json", "1.rpi4.json", "1.root.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "changed", "other"])
def test_nothing_is_built_on_what_the_keys_did_not_sign(made, tmp_path, file, how):
    made.publish(artifact(tmp_path / "h", target="host"))
    place = made.folder / "metadata" / file
    if how == "missing":
        place.unlink()
    elif how == "empty":
        place.write_bytes(b"")
    elif how == "changed":
        document = json.loads(place.read_bytes())
        document["signed"]["expires"] = "2099-01-01T00:00:00Z"
        place.write_text(json.dumps(document))
    else:
        stranger = repository(tmp_path / "stranger", artifact(tmp_path / "1"))
        stranger.publish(artifact(tmp_path / "h", target="host"))
        shutil.copy(stranger.folder / "metadata" / file, place)
    before = contents(made)
    with pytest.raises((ArtifactError, UsageError)) as raised:
        made.publish(artifact(tmp_path / "2", weights=b"2"))
    assert raised.value.what and raised.value.why and raised.value.fix
    assert contents(made) == before


def test_repository_of_somebody_else_in_the_same_place(made, tmp_path):
    """Whoever took over the hosting puts a root there that lists our keys and theirs; nothing is signed for it."""
    shutil.rmtree(made.folder)
    create(made.folder, tmp_path / "their-keys", NOW, keys={"timestamp": [str(made.keys / "timestamp.key")]})
    with pytest.raises(ArtifactError, match="not the repository that these keys belong to"):
        refresh(made.folder, made.ring, NOW)


def test_old_copy_is_not_built_upon(made, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(made.folder, old)
    made.publish(artifact(tmp_path / "2", weights=b"2"))
    shutil.rmtree(made.folder)
    old.rename(made.folder)
    with pytest.raises(ArtifactError, match="is an old copy of the repository"):
        refresh(made.folder, made.ring, NOW)


def test_changed_releases_are_not_signed(made):
    (place,) = (made.folder / "targets" / "rpi4").glob("*.releases.json")
    place.write_text(place.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(ArtifactError, match="is damaged"):
        change(made.folder, made.ring, NOW, "net", lambda document: revoke(document, "net", 1, "why", leave_empty=True))


def test_check_finds_damaged_and_missing_files(made):
    (place,) = (made.folder / "targets" / "rpi4" / "net").glob("*.1.edgec")
    content = place.read_bytes()
    place.write_bytes(content[:-1] + b"x")
    (problem,) = check(made.folder, NOW).problems
    assert str(place) in problem
    place.unlink()
    assert check(made.folder, NOW).problems == (f"{place}: No such file or directory",)
    damaged = made.publish(artifact(made.folder.parent / "1"))  # it is published already; check tells, publish does not
    assert not damaged[0].changed


def test_damaged_payload_of_a_killed_publisher_is_written_again(made, tmp_path, device):
    new = artifact(tmp_path / "2", weights=b"2")
    digest = hashlib.sha256(new.read_bytes()).hexdigest()
    (made.folder / "targets" / "rpi4" / "net" / f"{digest}.2.edgec").write_bytes(b"torn")
    made.publish(new)
    assert device(made).fetch("rpi4/net/2.edgec") == new.read_bytes()


def test_folders_that_are_no_repository(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for folder in (tmp_path / "none", tmp_path, file):
        with pytest.raises(UsageError, match="holds no repository"):
            status(folder, repository(tmp_path / f"r-{folder.name}").ring, NOW)
    with pytest.raises(UsageError, match="is a file"):
        create(file, tmp_path / "keys", NOW)
    made = repository(tmp_path / "again")
    with pytest.raises(UsageError, match="holds a repository already"):
        create(made.folder, tmp_path / "keys", NOW)


def test_hostile_journal_writes_nowhere(made):
    (made.folder / ".edgec" / "journal.json").write_text('["../../escape.json"]')
    with pytest.raises(ArtifactError, match=r"journal.json is damaged"):
        refresh(made.folder, made.ring, NOW)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_folder_that_can_not_be_written(made, monkeypatch, number):
    def refuse(*arguments, **options):
        raise OSError(number, os.strerror(number), str(made.folder))

    with monkeypatch.context() as patched:
        patched.setattr("edgec.shipping.repository.files.os.open", refuse)
        with pytest.raises(OutputError, match="can't be written") as raised:
            refresh(made.folder, made.ring, NOW)
    assert "What clients see was not changed" in raised.value.why
