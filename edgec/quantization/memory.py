"""How the memory of a search is kept: what one trial frees is what the next one takes."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # mallopt(3)


def keep_freed_memory() -> None:
    """Let this process reuse what it frees instead of giving it back to the system.

    Every trial makes, serializes and loads copies of the whole model. glibc takes the memory for anything beyond 32 MiB
    from the system each time, which clears every page of it anew: several times what filling it takes.
    C libraries without mallopt (musl, macOS) are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
