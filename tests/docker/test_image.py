"""The container images are built and run. What they have to do is said in docker/image_test/promises.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.skipif(
    not os.environ.get("CI"), reason="takes minutes and gigabytes: `make docker-test`, or set CI as services do"
)
def test_the_images_are_built_and_keep_their_promises() -> None:
    ran = subprocess.run([sys.executable, _ROOT / "docker" / "test"], capture_output=True, text=True)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
