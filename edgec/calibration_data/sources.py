"""Sources of samples: the user's files, arrays from Python, random numbers.

Listing and hashing happen in the main process, without numpy; decoding happens where the samples are used, one at a
time.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.calibration_data.blocks import Block, Wanted, blocks_of_file, blocks_of_files, blocks_of_folder
from edgec.calibration_data.file_lists import LIST_SUFFIXES, read_list
from edgec.calibration_data.listing import (
    check_image_signature,
    describe_left_aside,
    kind_of,
    list_folder,
    unreadable,
)
from edgec.contract import Contract
from edgec.errors import CalibrationDataError
from edgec.recipes import CalibrationRecipe
from edgec.samples import Feeds, Row, Sample, State
from edgec.toml_schema import did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from edgec.calibration_data.decoding import Decoder


@dataclass(frozen=True, eq=False)
class FileSource:
    """Samples in files. Pickles; each `read` opens files anew.

    rows: what is used, in order, counted through all blocks; every `batch` of them make a sample.
    stamps: size and modification time (ns) of each used file when it was hashed.
    notes: what a user should hear about how the data was read.
    """

    contract: Contract
    recipe: CalibrationRecipe | None
    blocks: tuple[Block, ...]
    rows: Sequence[int]
    batch: int
    digest: str
    stamps: Mapping[Path, tuple[int, int]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows) // self.batch

    @property
    def recipe_json(self) -> dict[str, Any] | None:
        """The recipe as plain values, as InputDiagnosis and ContactSheet take it."""
        return None if self.recipe is None else self.recipe.to_json()

    def read(self, indices: Sequence[int] | None = None) -> Iterator[Sample]:
        """Decode the samples at `indices` (default: all) in that order.

        Raises CalibrationDataError for a file that can't be decoded, does not fit the contract, or has changed since
        it was hashed.
        """
        from edgec.calibration_data.decoding import Decoder

        decoder = Decoder(self.contract, self.recipe_json)
        for index in range(len(self)) if indices is None else indices:
            if not 0 <= index < len(self):
                raise IndexError(f"sample {index} of {len(self)}")
            parts = [self._row(decoder, row) for row in self.rows[index * self.batch : (index + 1) * self.batch]]
            yield parts[0] if self.batch == 1 else _stacked(parts)

    @property
    def all_rows(self) -> int:
        return self._starts[-1]

    def rows_of(self, index: int) -> tuple[Row, ...]:
        rows = self.rows[index * self.batch : (index + 1) * self.batch]
        return tuple(Row(self._name(*self._place(row)), row) for row in rows)

    def _row(self, decoder: Decoder, row: int) -> Sample:
        block, item = self._place(row)
        for piece in block.pieces:
            _check_unchanged(piece.path, self.stamps[piece.path])
        return Sample(self._name(block, item), decoder.steps(block, item))

    def _place(self, row: int) -> tuple[Block, int]:
        number = bisect.bisect_right(self._starts, row) - 1
        return self.blocks[number], row - self._starts[number]

    @staticmethod
    def _name(block: Block, item: int) -> str:
        return block.name if block.count == 1 else f"{block.name}[{item}]"

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *itertools.accumulate(block.count for block in self.blocks)]


def open_source(
    path: Path,
    contract: Contract,
    recipe: CalibrationRecipe | None = None,
    state: State | None = None,
    max_samples: int | None = None,
) -> FileSource:
    """The samples in a folder, a file, or a list of files; docs/calibration-data.md says what may be there.

    state: output name to input name of a recurrent model; its inputs are not read from files.
    max_samples: at most this many, spread evenly over all.

    Reads headers and hashes files; decodes nothing. Raises CalibrationDataError.
    """
    path = Path(path)
    wanted = Wanted.by(contract, recipe, state or {})
    notes: list[str] = []
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise unreadable(path, error) from error
    if is_folder:
        listing = list_folder(path)
        blocks = blocks_of_folder(path, listing, wanted, notes)
        if listing.left_aside:
            notes.append(f"left aside in {path}: {describe_left_aside(listing.left_aside)}")
    elif is_file and kind_of(path) is not None:
        blocks = blocks_of_file(path, path.name, wanted, notes)
    elif is_file and path.suffix.lower() in LIST_SUFFIXES:
        listed, list_notes = read_list(path, wanted.names)
        notes += list_notes
        blocks = [
            block
            for sample in listed
            for block in blocks_of_files(sample.files, f"{path.name}:{sample.line}", wanted, notes)
        ]
    elif not is_file and path.exists():
        raise CalibrationDataError(
            f"{path} is not a folder or file of data",
            "It is a device, a pipe or a socket: samples are listed and hashed first, and read again later.",
            "Give a folder or file with your samples to --calib.",
        )
    elif is_file:
        raise CalibrationDataError(
            f"{path} is not calibration data",
            f"A file called {path.suffix or 'without an extension'} is neither an image, nor an array, nor a list.",
            "Give a folder, an image, an .npy or .npz file, or a .csv or .txt list of files. Unpack archives first.",
        )
    else:
        raise _missing(path)
    return _source(blocks, wanted, contract, notes, max_samples)


def spool(
    iterable: Iterable[Any],
    contract: Contract,
    folder: Path,
    state: State | None = None,
    max_samples: int | None = None,
) -> FileSource:
    """Write samples from Python to `folder`, one .npz each, and open them; memory holds one sample at a time.

    iterable: of arrays (models with one input; one array with a leading sample axis is an iterable of arrays too), of
        tuples in the order of the inputs, or of dicts by input name. For a recurrent model each array has a leading
        time axis. A batch axis of one may be left out.
    max_samples: see `open_source`; all are taken from the iterable, since nobody knows beforehand how many there are.

    Raises CalibrationDataError for an empty iterable and for what does not fit, before the next item is taken.
    """
    from edgec.calibration_data.decoding import Decoder
    from edgec.runtime.npz import write_npz

    wanted = Wanted.by(contract, None, state or {})
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise CalibrationDataError(
            f"{folder} is not empty", "Samples are spooled to a folder of their own.", "Give another folder."
        )
    blocks: list[Block] = []
    notes: list[str] = []
    decoder = Decoder(contract, None)
    for number, item in enumerate(iterable):
        file = folder / f"{number:06}.npz"
        write_npz(file, _by_name(item, number, wanted, notes))
        try:
            fresh = blocks_of_file(file, f"sample {number}", wanted, [])
            for block in fresh:
                for index in range(block.count):
                    decoder.steps(block, index)
        except CalibrationDataError as error:
            # The user never saw the file that the sample was spooled to.
            what, why, fix = (
                text.replace(str(file), f"sample {number}") for text in (error.what, error.why, error.fix)
            )
            raise CalibrationDataError(
                f"Sample {number} does not fit the model", f"{what}. {why}", fix, error.details
            ) from error
        blocks += fresh
    if not blocks:
        raise CalibrationDataError(
            "The iterable of calibration samples is empty", "It gave no item.", "A generator can be read only once."
        )
    return _source(blocks, wanted, contract, notes, max_samples)


@dataclass(frozen=True)
class RandomSource:
    """Seeded random numbers, for `--calib random` only: they calibrate nothing, they only let a build run through.

    Floats are normal with mean 0 and deviation 1, whole numbers and truth values 0 or 1 (so that no table of
    embeddings is too short).
    """

    contract: Contract
    state: tuple[tuple[str, str], ...]
    count: int
    seed: int

    synthetic = True
    """Nobody learns from being told that random numbers are too few: see InputDiagnosis."""

    @property
    def digest(self) -> str:
        document = [self.contract.to_json(), self.state, self.count, self.seed]
        return hashlib.sha256(b"edgec random samples 1\n" + json.dumps(document).encode()).hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:
        return ("the samples are random numbers: accuracy figures of this build say nothing about real data",)

    def __len__(self) -> int:
        return self.count

    @property
    def all_rows(self) -> int:
        return self.count

    def rows_of(self, index: int) -> tuple[Row, ...]:
        return (Row(f"random {index}", index),)

    def read(self, indices: Sequence[int] | None = None) -> Iterator[Sample]:
        import numpy as np

        carried = {into for _, into in self.state}
        for index in range(self.count) if indices is None else indices:
            rng = np.random.default_rng([self.seed, index])
            feeds: dict[str, np.ndarray] = {}
            for spec in self.contract.inputs:
                if spec.name in carried:
                    continue
                if spec.dtype.startswith("float"):
                    feeds[spec.name] = rng.standard_normal(spec.shape).astype(spec.dtype)
                else:
                    feeds[spec.name] = rng.integers(0, 2, spec.shape).astype(spec.dtype)
            yield Sample(f"random {index}", (feeds,))


def random_source(contract: Contract, count: int, seed: int, state: State | None = None) -> RandomSource:
    """`count` random samples; the same for the same seed."""
    return RandomSource(contract, tuple(sorted((state or {}).items())), count, seed)


def _source(
    blocks: Sequence[Block], wanted: Wanted, contract: Contract, notes: list[str], max_samples: int | None
) -> FileSource:
    by_row = {piece.row for block in blocks for piece in block.pieces}
    if len(by_row) > 1:
        raise CalibrationDataError(
            "Some files hold whole batches, others single samples",
            f"The model's batch is {wanted.batch}.",
            "Save all samples in the same way.",
        )
    batch = wanted.batch if by_row == {True} else 1
    total = sum(block.count for block in blocks)
    if total < batch:
        raise CalibrationDataError(
            f"There are too few samples for one batch: {total}",
            f"The model's batch is {batch}, and one run takes that many samples.",
            "Give more samples, or build the model with a batch of 1 (--shape NAME=1x...).",
        )
    rows: Sequence[int] = range(total)
    if max_samples is not None and max_samples * batch < total:
        rows = tuple(i * total // (max_samples * batch) for i in range(max_samples * batch))
    if len(rows) % batch:
        notes.append(f"the last {len(rows) % batch} samples do not fill a batch of {batch} and are not used")
        rows = rows[: len(rows) - len(rows) % batch]
    digest, stamps = _hashed(blocks, rows, batch, wanted)
    return FileSource(contract, wanted.recipe, tuple(blocks), rows, batch, digest, stamps, tuple(notes))


def _hashed(
    blocks: Sequence[Block], rows: Sequence[int], batch: int, wanted: Wanted
) -> tuple[str, dict[Path, tuple[int, int]]]:
    """The digest of a source, and the stamps of the files that it uses."""
    recipe = None if wanted.recipe is None else wanted.recipe.digest
    total = hashlib.sha256(b"edgec samples 1\n" + json.dumps([recipe, batch, wanted.sequence]).encode())
    hashes: dict[Path, str] = {}
    stamps: dict[Path, tuple[int, int]] = {}
    starts = [0, *itertools.accumulate(block.count for block in blocks)]
    for number, block in enumerate(blocks):
        used = rows[bisect.bisect_left(rows, starts[number]) : bisect.bisect_left(rows, starts[number + 1])]
        if not used:
            continue
        pieces = []
        for piece in block.pieces:
            if piece.path not in hashes:
                hashes[piece.path], stamps[piece.path] = _hash_file(piece.path)
            pieces.append({**asdict(piece), "path": hashes[piece.path]})
        items = "all" if len(used) == block.count else [row - starts[number] for row in used]
        total.update(json.dumps([block.name, pieces, items], sort_keys=True).encode() + b"\n")
    return total.hexdigest(), stamps


def _hash_file(path: Path) -> tuple[str, tuple[int, int]]:
    try:
        with path.open("rb") as stream:
            stamp = _stamp(path)
            if kind_of(path) == "image":
                check_image_signature(path, stream.read(16))
                stream.seek(0)
            return hashlib.file_digest(stream, "sha256").hexdigest(), stamp
    except OSError as error:
        raise unreadable(path, error) from error


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _check_unchanged(path: Path, stamp: tuple[int, int]) -> None:
    try:
        now = _stamp(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if now != stamp:
        raise CalibrationDataError(
            f"{path} has changed since the build began",
            "What is calibrated on must be what was hashed.",
            "Run the build again when nothing writes to the data.",
        )


def _stacked(parts: Sequence[Sample]) -> Sample:
    """Rows of a batch as one sample."""
    import numpy as np

    feeds: Feeds = {name: np.concatenate([part.steps[0][name] for part in parts]) for name in parts[0].steps[0]}
    return Sample(f"{parts[0].name} and {len(parts) - 1} more", (feeds,))


def _by_name(item: Any, number: int, wanted: Wanted, notes: list[str]) -> dict[str, np.ndarray]:
    """What an iterable gave, as arrays by input name."""
    import numpy as np

    names = wanted.names
    if isinstance(item, Mapping):
        named = dict(item)
    elif isinstance(item, (tuple, list)) and len(item) == len(names):
        named = dict(zip(names, item, strict=True))
    elif len(names) == 1 and not isinstance(item, (tuple, list)):
        named = {names[0]: item}
    else:
        raise CalibrationDataError(
            f"Sample {number} is a {type(item).__name__}"
            + (f" of {len(item)}" if isinstance(item, (tuple, list)) else ""),
            f"The model has {len(names)} input{'s' if len(names) != 1 else ''}: {', '.join(names)}.",
            "Yield a dict of arrays by input name, or a tuple of arrays in that order.",
        )
    for name in names:
        if name not in named:
            raise CalibrationDataError(
                f"Sample {number} has nothing for the input {name!r}",
                f"It has: {', '.join(map(str, named))}.{did_you_mean(name, map(str, named))}",
                f"The model's inputs are: {', '.join(names)}.",
            )
    for name in named:
        note = f"what samples hold as {name!r} is left aside: no input has that name"
        if name in wanted.states:
            note = f"what samples hold as {name!r} is left aside: that input is a state, which starts from zeros"
        if name not in names and note not in notes:
            notes.append(note)
    arrays = {}
    for name in names:
        array = np.asarray(named[name])
        if array.dtype.kind not in "biuf":
            raise CalibrationDataError(
                f"Sample {number} does not hold numbers for the input {name!r}",
                f"It holds {type(named[name]).__name__} (dtype {array.dtype}).",
                "Yield numpy arrays of numbers.",
            )
        arrays[name] = array
    return arrays


def _missing(path: Path) -> CalibrationDataError:
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    return CalibrationDataError(
        f"There is no {path}",
        f"Nothing of that name is in {path.parent.resolve()}.{did_you_mean(path.name, beside)}",
        "Give the folder or file with your samples to --calib.",
    )
