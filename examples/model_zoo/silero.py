"""Silero VAD: is this 32 ms of sound speech? An LSTM whose state is carried from frame to frame. MIT.

Input: 64 samples of the frame before and the 512 of this one, at 16 kHz. The score is the share of frames that are told
rightly; the two frames on each side of a change are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import speech
from .case import Case, Compared, Example, Outputs
from .packages import Package, product, publishing, unpack
from .speech import FRAME, Recording, recordings

SILERO = Package(
    "pypi",
    "silero-vad",
    "6.2.3",
    "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    ("silero_vad/data/silero_vad.onnx", "silero_vad/data/silero_vad_16k_op15.onnx"),
    "MIT",
)
_CONTEXT = 64
_SAMPLE_RATE = np.array(16_000, np.int64)
_SETTLE = 2  # frames on each side of a change of the label that are not counted


def case(seed: int = 0) -> Case:
    """The model for 16 kHz. A half of the recordings calibrates, the other judges."""
    return Case(
        name="silero_vad_16k",
        model=unpack(SILERO) / "silero_vad/data/silero_vad_16k_op15.onnx",
        calibration=_calibration(seed),
        recipe=None,
        examples=lambda: _examples(seed),
        score=_score,
        compare=_same_decisions,
        shapes={"input": (1, FRAME + _CONTEXT), "state": (2, 1, 128)},
        state={"stateN": "state"},
        seed=seed,
    )


def frames(recording: Recording) -> np.ndarray:
    """float32 [frames, 1, 576]: each frame after the last 64 samples of the one before."""
    padded = np.pad(recording.signal, (_CONTEXT, 0))
    windows = np.lib.stride_tricks.sliding_window_view(padded, FRAME + _CONTEXT)[::FRAME]
    return np.ascontiguousarray(windows[:, None])


def _calibration(seed: int) -> Path:
    folder = product(f"silero-recordings-{seed}", __file__, speech.__file__)
    with publishing(folder) as partial:
        if partial is not None:
            for index, recording in enumerate(recordings(seed)[::2]):
                steps = frames(recording)
                np.savez(partial / f"{index:03}.npz", input=steps, sr=np.full(len(steps), _SAMPLE_RATE))
    return folder


def _examples(seed: int) -> Iterator[Example]:
    for index, recording in enumerate(recordings(seed)):
        if index % 2:
            steps = tuple({"input": frame, "sr": _SAMPLE_RATE} for frame in frames(recording))
            yield Example(f"recording {index}", steps, recording.speech)


def _score(results: Sequence[tuple[list[Outputs], Any]]) -> float:
    right = []
    for outputs, truth in results:
        told = np.array([step["output"].item() > 0.5 for step in outputs])
        changes = np.flatnonzero(np.diff(truth))
        settled = [all(abs(frame - change) > _SETTLE for change in changes) for frame in range(len(truth))]
        right += list((told == truth)[settled])
    return float(np.mean(right))


def _same_decisions(pairs: Sequence[Compared]) -> dict[str, float]:
    """`agreement`: the share of frames, all of them, that both models tell alike."""
    same = [
        (after["output"].item() > 0.5) == (before["output"].item() > 0.5)
        for pair in pairs
        for after, before in zip(pair.outputs, pair.original, strict=True)
    ]
    return {"agreement": float(np.mean(same))}
