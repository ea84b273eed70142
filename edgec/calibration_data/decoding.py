"""From a block and an index to the tensors of one sample. Runs in workers: numpy and Pillow are loaded here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgec.calibration_data.blocks import Block, Piece
from edgec.calibration_data.fitting import fit
from edgec.calibration_data.listing import unreadable
from edgec.contract import Contract, TensorSpec
from edgec.errors import CalibrationDataError
from edgec.runtime.errors import InputError
from edgec.runtime.preprocess import array_tensor, image_tensor
from edgec.samples import Feeds


class Decoder:
    """Decodes samples one at a time; of .npz files the arrays of the last one are kept, .npy files are mapped."""

    def __init__(self, contract: Contract, recipe: Mapping[str, Any] | None) -> None:
        self._contract = contract
        self._recipe = recipe
        self._opened: Path | None = None
        self._arrays: dict[str | None, np.ndarray] = {}

    def steps(self, block: Block, item: int) -> tuple[Feeds, ...]:
        """The steps of sample `item` of a block. A row of a batch comes with a batch of one."""
        inputs = {piece.input: self._piece(piece, item) for piece in block.pieces}
        count = max(len(tensors) for tensors in inputs.values())
        return tuple(
            {name: tensors[step if len(tensors) == count else 0] for name, tensors in inputs.items()}
            for step in range(count)
        )

    def _piece(self, piece: Piece, item: int) -> list[np.ndarray]:
        """One tensor for each step."""
        spec = self._contract.input(piece.input)
        shape = (1, *spec.shape[1:]) if piece.row else spec.shape
        where = str(piece.path) + ("" if piece.member is None else f", array {piece.member!r},")
        if piece.samples is not None:
            where = f"Sample {item} of {where}"
        try:
            if piece.pixels:
                return [self._image(piece, item, spec, shape, where)]
            array = self._array(piece)
            if piece.samples is not None:
                array = array[item]
            parts = [array] if piece.steps is None else [array[step] for step in range(piece.steps)]
            return [self._tensor(part, spec, shape, where) for part in parts]
        except InputError as error:
            raise CalibrationDataError(f"{where} can't be used", f"{error.what}: {error.why}", error.fix) from error

    def _image(self, piece: Piece, item: int, spec: TensorSpec, shape: tuple[int, ...], where: str) -> np.ndarray:
        assert self._recipe is not None, "images are refused without a recipe when they are listed"
        source: str | np.ndarray = str(piece.path)
        if piece.path.suffix.lower() in (".npy", ".npz"):
            source = self._array(piece)
            if piece.samples is not None:
                source = source[item]
        tensor = image_tensor(self._recipe, source, spec.shape)
        if tensor.size != math.prod(shape):
            raise CalibrationDataError(
                f"{where} is one image, the input {spec.name!r} takes {spec.shape[0]}",
                "The inputs of the model have different batches, so it is not clear how images make up a batch.",
                "Give arrays of whole batches, or build the model with a batch of 1 (--shape NAME=1x...).",
            )
        return fit(tensor, spec, shape, where)

    def _tensor(self, array: np.ndarray, spec: TensorSpec, shape: tuple[int, ...], where: str) -> np.ndarray:
        recipe = self._recipe
        if recipe is not None and recipe["applies_to"] == "arrays" and spec.dtype.startswith("float"):
            array = array_tensor(recipe, np.asarray(array).reshape(shape))
        return fit(np.asarray(array), spec, shape, where)

    def _array(self, piece: Piece) -> np.ndarray:
        if self._opened != piece.path:
            self._arrays, self._opened = {}, piece.path
        if piece.member not in self._arrays:
            try:
                if piece.member is None:
                    self._arrays[None] = np.load(piece.path, mmap_mode="r", allow_pickle=False)
                else:
                    with np.load(piece.path, allow_pickle=False) as archive:
                        self._arrays[piece.member] = archive[piece.member]
            except OSError as error:
                raise unreadable(piece.path, error) from error
            except Exception as error:  # zipfile answers damaged archives with many kinds of exceptions
                raise CalibrationDataError(
                    f"{piece.path} can't be read", f"{type(error).__name__}: {error}", "Save it again, or leave it out."
                ) from error
        return self._arrays[piece.member]
