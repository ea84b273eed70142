"""What `make setup` installs is what requirements.lock pins."""

import re
from importlib.metadata import version
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"


def test_every_pinned_package_can_be_installed_beside_the_others() -> None:
    """The tests run in the environment that `make setup` made: a pin that pip can't take is not in it."""
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK.read_text(), re.MULTILINE))
    assert len(pinned) > 20
    assert {name: version(name) for name in pinned} == pinned
