"""What each position of the probes' concatenated outputs stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgec.quantization import probes
from edgec.quantization.observers import Observed
from edgec.quantization.probes import Group, Piece

Indices = npt.NDArray[np.int64]


class Layout:
    """Gives every channel of every tensor an index of its own, and finds it again in the probes' outputs.

    tensors: those of static shape, in the model's order. per_run: elements of a tensor's sample that are used.
    """

    def __init__(self, tensors: Sequence[Observed], per_run: int) -> None:
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.first: dict[str, int] = {}
        self.channels = 0
        for tensor in tensors:
            self.first[tensor.name] = self.channels
            self.channels += tensor.channels
        self._per_run = per_run

    def own(self, name: str) -> slice:
        """The channel indices of one tensor."""
        return slice(self.first[name], self.first[name] + self.tensors[name].channels)

    def tensor_at(self, channel: int) -> str:
        """The tensor that a channel index belongs to."""
        return [name for name, first in self.first.items() if first <= channel][-1]

    def rows(self, channels: Indices) -> Indices:
        """For channel indices, the position of their tensor among all tensors."""
        return np.repeat(np.arange(len(self.tensors)), [t.channels for t in self.tensors.values()])[channels]

    def places(self, groups: Sequence[Group], kind: str) -> Indices:
        """The channel index of each position of the outputs of all groups of `kind`, flattened and put end to end."""
        parts = [
            np.concatenate([self._place(group.kind, piece) for piece in group.pieces], axis=group.axis).reshape(-1)
            for group in groups
            if group.kind == kind
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def selection(self, groups: Sequence[Group]) -> Indices:
        """Which positions of the samples enter the histograms: all of a small tensor, else `per_run` of each.

        A grid begins in a corner, so it has more of the first row and column than the tensor has borders. Elements on
        the border are drawn as often as they occur in the tensor.
        """
        chosen, at = [np.empty(0, np.int64)], 0
        for group in (group for group in groups if group.kind == probes.SAMPLE):
            positions = np.arange(at, at + group.size).reshape(group.shape)
            begin = 0
            for piece in group.pieces:
                end = begin + piece.shape[group.axis]
                own = positions[begin:end] if group.axis == 0 else positions[:, begin:end]
                chosen.append(self._draw(own, self.tensors[piece.tensor]))
                begin = end
            at += group.size
        return np.sort(np.concatenate(chosen))

    def _place(self, kind: str, piece: Piece) -> Indices:
        tensor = self.tensors[piece.tensor]
        if len(piece.shape) == 4:  # [N, C, h, w]
            channel = np.broadcast_to(np.arange(piece.shape[1]).reshape(1, -1, 1, 1), piece.shape)
        elif kind == probes.SAMPLE:
            channel = self._flat_channels(tensor, piece.shape[0])
        else:
            channel = np.arange(piece.shape[0])
        return channel + self.first[piece.tensor]

    def _flat_channels(self, tensor: Observed, count: int) -> Indices:
        if tensor.channel_axis is None or tensor.shape is None:
            return np.zeros(count, np.int64)
        step = probes.flat_step(tensor.elements, self._per_run)
        inner = math.prod(tensor.shape[tensor.channel_axis + 1 :])
        return np.arange(count) * step // inner % tensor.channels

    def _draw(self, positions: Indices, tensor: Observed) -> Indices:
        if positions.size == tensor.elements <= self._per_run:
            return positions.reshape(-1)
        if positions.ndim == 1 or tensor.shape is None:
            return _spread(positions, self._per_run)
        height, width = tensor.shape[2:]
        steps = probes.grid_steps(tensor.shape, self._per_run)
        row, column = (np.arange(count) * step for count, step in zip(positions.shape[2:], steps, strict=True))
        border = np.isin(row, (0, height - 1))[:, None] | np.isin(column, (0, width - 1))[None, :]
        on_border, inside = positions[..., border].reshape(-1), positions[..., ~border].reshape(-1)
        share = 1 - max(0, height - 2) * max(0, width - 2) / (height * width)
        of_border = min(on_border.size, round(self._per_run * share)) if inside.size else self._per_run
        of_inside = min(inside.size, round(of_border * (1 - share) / share)) if of_border else self._per_run
        return np.concatenate((_spread(on_border, of_border), _spread(inside, of_inside)))


def _spread(positions: Indices, count: int) -> Indices:
    """`count` of `positions` at even distances, or all of them."""
    if count >= len(positions):
        return positions
    return positions[np.arange(count) * len(positions) // count]
