"""Recordings with speech whose place in time is known.

Clean spoken sentences in nine languages, from the package pytest-audioeval (MIT), are set between pauses, and noise is
added. A frame is speech where the clean sentence was loud.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .packages import Package, unpack

RECORDINGS = Package(
    "pypi",
    "pytest-audioeval",
    "0.1.3",
    "8b97369347232d43180dd9860189c547ccc8dedb42b7c21d511ddc5a05ef7ecc",
    ("*.wav", "pytest_audioeval-0.1.3.dist-info/licenses/LICENSE"),
    "MIT",
)
RATE = 16_000
FRAME = 512
"""Samples of a frame: 32 ms."""
_FLOOR = 10 ** (-35 / 20)  # of a sentence's loudest frame: below, it is a pause


@dataclass(frozen=True)
class Recording:
    """`signal` float32 [frames * 512] in -1..1; `speech` bool [frames]."""

    signal: np.ndarray
    speech: np.ndarray


def recordings(seed: int) -> list[Recording]:
    """27 recordings of a few seconds: a pause, a sentence, a pause.

    Noise is 15 to 40 dB below the sentence's loudest frame. The seed draws pauses, noise and, but for 0, the order.
    """
    rng = np.random.default_rng(seed)
    paths = sorted(unpack(RECORDINGS).rglob("*.wav"))
    made = []
    for path in paths if seed == 0 else [paths[index] for index in rng.permutation(len(paths))]:
        sentence = read_float_wav(path)
        before, after = (int(rng.uniform(0.5, 1.5) * RATE) for _ in range(2))
        clean = np.pad(sentence, (before, after))
        clean = clean[: len(clean) // FRAME * FRAME]
        loudness = np.sqrt((clean.reshape(-1, FRAME) ** 2).mean(1))
        noise = rng.normal(0, loudness.max() * 10 ** (rng.uniform(-40, -15) / 20), len(clean))
        made.append(Recording((clean + noise).astype(np.float32), loudness > _FLOOR * loudness.max()))
    return made


def read_float_wav(path: Path) -> np.ndarray:
    """The samples of a mono WAV file of 32-bit floats at 16 kHz, which the standard library's `wave` can't read."""
    content = path.read_bytes()
    position, format_chunk = 12, b""
    while position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        chunk = content[position + 8 : position + 8 + size]
        if name == b"fmt ":
            format_chunk = chunk
        if name == b"data":
            if struct.unpack_from("<HHI", format_chunk) != (3, 1, RATE):
                raise ValueError(f"{path.name} is not mono float at {RATE} Hz")
            return np.frombuffer(chunk, "<f4")
        position += 8 + size + size % 2
    raise ValueError(f"{path.name} holds no samples")
