"""Pictures with the statistics of photographs: amplitudes fall with 1/f, channels are alike, red is the strongest.

Field, "Relations between the statistics of natural images and the response properties of cortical cells" (1987).
"""

import numpy as np


def scene(seed: int, height: int = 64, width: int = 80) -> np.ndarray:
    """uint8 [height, width, 3], RGB."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1
    planes = []
    for _ in range(4):
        spectrum = np.fft.fft2(rng.standard_normal((height, width))) / frequency
        spectrum[0, 0] = 0
        plane = np.fft.ifft2(spectrum).real
        planes.append(plane / plane.std())
    light, *tints = planes
    warmth = rng.normal(1, 0.4)
    tone = rng.uniform(90, 140)
    channels = [tone + 45 * light + 18 * tint + warmth * shift for tint, shift in zip(tints, (12, 0, -12), strict=True)]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


def text_line(seed: int, height: int = 30, width: int = 120) -> np.ndarray:
    """Dark strokes on white paper, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    line = np.full((height, width), 235)
    for left in range(6, width - 8, 7):
        top, bottom = sorted(rng.integers(4, height - 4, 2))
        line[top : bottom + 2, left : left + 2] = 30
        line[rng.integers(4, height - 4), left : left + 6] = 30
    return np.repeat(line[:, :, None], 3, axis=2).astype(np.uint8)
