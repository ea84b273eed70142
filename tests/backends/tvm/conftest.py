"""Libraries are linked by Zig, which keeps what it builds of the C library: once, not once for each test."""

from __future__ import annotations

import pytest

from tests.compiled import _CACHE as CACHE


@pytest.fixture(scope="session", autouse=True)
def zig_cache():
    """Of the session, because fixtures of modules link too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
            patch.setenv(name, str(CACHE))
        yield
