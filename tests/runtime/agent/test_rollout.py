"""Which version a device shall have."""

import hashlib
from itertools import pairwise

import pytest

from edgec.runtime.agent.rollout import bucket, decide


def published(version=3, rollout=1.0, before=2, paused=False, revoked=(), channels=True, releases=(1, 2, 3, 4)):
    stable = {"version": version, "rollout": rollout, "before": before, "paused": paused}
    return {
        "releases": {str(each): {"version": each} for each in releases},
        "channels": {"stable": stable} if channels else {},
        "revoked": {str(each): f"it was bad ({each})" for each in revoked},
    }


def _in(share, version=3):
    """A device that is in at this share, and one that is not."""
    inside = next(f"d{n}" for n in range(10_000) if bucket(f"d{n}", "net", version) < share)
    outside = next(f"d{n}" for n in range(10_000) if bucket(f"d{n}", "net", version) >= share)
    return inside, outside


INSIDE, OUTSIDE = _in(0.1)
PART = {"rollout": 0.1}
NOT_YET = "version 3 is rolled out to 10 % of the devices, and this is not one of them yet"
PINNED = "version {} is pinned in device.conf"
REVOKED = "version 3 of the channel stable is revoked (it was bad (3))"


def left(version):
    return f"version {version} is revoked (it was bad ({version})); "


def test_the_bucket_is_what_the_documentation_says():
    digest = hashlib.sha256(b"board-7\nnet\n3").hexdigest()
    assert bucket("board-7", "net", 3) == int(digest[:8], 16) / 4294967296
    assert bucket("board-7", "net", 3) == 0.35681607527658343  # devices in the field count on it


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_about_that_share_of_a_fleet_takes_part(share):
    fleet = 20_000
    count = sum(bucket(f"device-{n}", "net", 3) < share for n in range(fleet))
    assert abs(count - share * fleet) < 4 * (fleet * share * (1 - share)) ** 0.5  # four standard deviations


def test_a_device_that_is_in_at_1_percent_is_in_at_10_percent():
    fleet = [f"device-{n}" for n in range(5000)]

    def getting(share):
        return {each for each in fleet if decide(each, "net", published(rollout=share), "stable", 2).version == 3}

    shares = [getting(share) for share in (0, 0.01, 0.1, 0.5, 1)]
    assert shares[0] == set() and shares[-1] == set(fleet)
    assert all(smaller < larger for smaller, larger in pairwise(shares))


def test_the_next_version_begins_with_other_devices():
    fleet = [f"device-{n}" for n in range(5000)]
    first, second = ({each for each in fleet if bucket(each, "net", version) < 0.1} for version in (3, 4))
    assert len(first & second) < 0.3 * len(first)


@pytest.mark.parametrize(
    ("device", "document", "installed", "version", "reason"),
    [
        # to all
        (OUTSIDE, {}, None, 3, "the channel stable has version 3"),
        (OUTSIDE, {}, 2, 3, "the channel stable has version 3"),
        (OUTSIDE, {}, 3, 3, "version 3 is what the channel stable has"),
        (OUTSIDE, {}, 4, 3, "the channel stable has version 3"),
        # to a part
        (INSIDE, PART, 2, 3, "the channel stable has version 3 for 10 % of its devices, and this is one of them"),
        (OUTSIDE, PART, 2, 2, f"{NOT_YET}: it shall have version 2"),
        (OUTSIDE, PART, 1, 2, f"{NOT_YET}: it shall have version 2"),
        (OUTSIDE, PART, None, 2, f"{NOT_YET}: it shall have version 2"),
        (OUTSIDE, PART, 3, 3, "version 3 is what the channel stable has"),
        (OUTSIDE, {**PART, "before": None}, 1, None, f"{NOT_YET}: it keeps version 1"),
        (OUTSIDE, {**PART, "before": None}, None, None, NOT_YET),
        (INSIDE, {"rollout": 0}, 2, 2, f"{NOT_YET.replace('10', '0')}: it shall have version 2"),
        # paused: nobody begins
        (INSIDE, {"paused": True}, 2, 2, "the rollout of version 3 is paused: it shall have version 2"),
        (INSIDE, {"paused": True}, 3, 3, "version 3 is what the channel stable has"),
        (INSIDE, {"paused": True, "before": None}, None, None, "the rollout of version 3 is paused"),
        # revoked: never installed, and left
        (INSIDE, {"revoked": [3]}, 3, 2, f"{left(3)}{REVOKED}: it shall have version 2"),
        (INSIDE, {"revoked": [3]}, None, 2, f"{REVOKED}: it shall have version 2"),
        (OUTSIDE, {"version": 2, "before": None, "revoked": [3]}, 3, 2, f"{left(3)}the channel stable has version 2"),
        (
            OUTSIDE,
            {**PART, "revoked": [2]},
            2,
            3,
            f"{left(2)}version 3 is the only one to go to, though rolled out in part",
        ),
        (OUTSIDE, {**PART, "revoked": [1]}, 1, 2, f"{left(1)}{NOT_YET}: it shall have version 2"),
        (INSIDE, {"revoked": [2, 3]}, 3, None, f"{left(3)}{REVOKED}: there is nothing else to go to"),
        (
            INSIDE,
            {"paused": True, "revoked": [2]},
            2,
            None,
            f"{left(2)}the rollout of version 3 is paused: there is nothing else to go to",
        ),
        # no such channel
        (INSIDE, {"channels": False}, 2, None, "the channel stable has no release of it"),
    ],
)
def test_decisions(device, document, installed, version, reason):
    decision = decide(device, "net", published(**document), "stable", installed)
    assert (decision.version, decision.reason) == (version, reason)


@pytest.mark.parametrize(
    ("pinned", "document", "version", "reason"),
    [
        (1, {}, 1, "version 1 is pinned in device.conf"),
        (4, {"channels": False}, 4, "version 4 is pinned in device.conf"),
        (
            1,
            {"revoked": [1]},
            3,
            f"{PINNED.format(1)}, but is revoked (it was bad (1)); the channel stable has version 3",
        ),
        (9, {}, 3, f"{PINNED.format(9)}, but is not in the repository; the channel stable has version 3"),
    ],
)
def test_a_pinned_version(pinned, document, version, reason):
    decision = decide(OUTSIDE, "net", published(**document), "stable", 2, pinned)
    assert (decision.version, decision.reason) == (version, reason)
