"""Blocks: which files hold which inputs of which samples. Everything that can be refused without decoding is, here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.calibration_data.array_headers import ArrayHeader, read_headers
from edgec.calibration_data.fitting import by_x, dtype_problem, find_arrangement, wrong_dtype, wrong_shape
from edgec.calibration_data.listing import Listing, describe_kinds, kind_of, unreadable
from edgec.contract import Contract, TensorSpec
from edgec.errors import CalibrationDataError
from edgec.recipes import CalibrationRecipe, fitting_recipes
from edgec.samples import State
from edgec.toml_schema import did_you_mean

_LABELS = ("label", "labels", "target", "targets", "y")
"""What arrays that are no input are called in data sets."""


@dataclass(frozen=True)
class Piece:
    """Where one input lies.

    member: name of the array inside an .npz; None for .npy files and images.
    pixels: an image, or an array of image pixels: goes through the recipe.
    samples: length of the leading sample axis; None without one.
    steps: length of the time axis; None without one.
    row: one row of a batch that is larger than one.
    """

    input: str
    path: Path
    member: str | None = None
    pixels: bool = False
    samples: int | None = None
    steps: int | None = None
    row: bool = False


@dataclass(frozen=True)
class Block:
    """The samples that the same files hold: `count` of them, along the leading axis of each piece that has one."""

    name: str
    pieces: tuple[Piece, ...]
    count: int


@dataclass(frozen=True)
class Wanted:
    """What the files must bring: every input that is not a state.

    batch: the model's batch, where it is larger than one and the same for all inputs, else 1.
    sequence: the model is recurrent.
    """

    inputs: tuple[TensorSpec, ...]
    states: tuple[str, ...]
    batch: int
    sequence: bool
    recipe: CalibrationRecipe | None

    @classmethod
    def by(cls, contract: Contract, recipe: CalibrationRecipe | None, state: State) -> Wanted:
        inputs = tuple(spec for spec in contract.inputs if spec.name not in state.values())
        if not inputs:
            raise CalibrationDataError(
                "The model has no input to give samples to",
                "All of its inputs are states, or it has none.",
                "Check --state: it names OUTPUT:INPUT for what a step hands to the next one, nothing else.",
            )
        batches = {_batch(spec, recipe) for spec in inputs}
        batch = batches.pop() if len(batches) == 1 and not state else 1
        return cls(inputs, tuple(state.values()), batch, bool(state), recipe)

    @property
    def names(self) -> list[str]:
        return [spec.name for spec in self.inputs]


def _batch(spec: TensorSpec, recipe: CalibrationRecipe | None) -> int:
    layout = None if recipe is None else recipe.layout_for(spec.shape)
    has_batch = len(spec.shape) >= 2 if layout is None else layout.startswith("N")
    return spec.shape[0] if has_batch else 1


def blocks_of_folder(folder: Path, listing: Listing, wanted: Wanted, notes: list[str]) -> list[Block]:
    """The blocks of everything in a folder.

    One input: every file is a block. Several inputs: every .npz, or every folder whose files are called like the
    inputs, is a block.
    """
    files = [*listing.images, *listing.arrays]
    if not files:
        there = describe_kinds(listing.left_aside)
        raise CalibrationDataError(
            f"There are no samples in {folder}",
            f"It holds {there}." if there else "It is empty.",
            "Put images (JPEG, PNG, BMP, TIFF, WebP) or arrays (.npy, .npz) there, or give another folder.",
        )
    inputs = _by_file_name(wanted)
    folders: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        folders[file.parent].append(file)
    if len(wanted.inputs) > 1 and all(file.stem in inputs and file.suffix.lower() != ".npz" for file in files):
        return [
            block
            for parent, members in folders.items()
            for block in _blocks(_name(parent, folder), {inputs[file.stem]: file for file in members}, wanted, notes)
        ]
    if listing.images and listing.arrays:
        raise CalibrationDataError(
            f"{folder} holds {len(listing.images)} images and {len(listing.arrays)} arrays",
            "It is not clear which of them the samples are.",
            "Give a folder with one kind only, or a list of files (docs/calibration-data.md).",
        )
    if len(wanted.inputs) > 1 and not all(file.suffix.lower() == ".npz" for file in files):
        raise CalibrationDataError(
            f"{folder} does not say which file is for which input",
            f"The model has {len(wanted.inputs)} inputs: {', '.join(wanted.names)}.",
            "Give .npz files with these names as keys, one folder a sample with files called like the inputs "
            f"({', '.join(sorted(inputs)[:3])}), or a CSV list with a column for each input.",
        )
    return [block for file in files for block in blocks_of_file(file, _name(file, folder), wanted, notes)]


def blocks_of_file(file: Path, name: str, wanted: Wanted, notes: list[str]) -> list[Block]:
    """The block of one image, one .npy or one .npz; the first two for models with one input."""
    if file.suffix.lower() != ".npz" and len(wanted.inputs) > 1:
        raise CalibrationDataError(
            f"{file} brings one input, the model has {len(wanted.inputs)}",
            f"The inputs are: {', '.join(wanted.names)}.",
            "Give .npz files with these names as keys, or a CSV list with a column for each input.",
        )
    return _blocks(name, dict.fromkeys(wanted.names, file), wanted, notes)


def blocks_of_files(files: Sequence[Path], name: str, wanted: Wanted, notes: list[str]) -> list[Block]:
    """The block of a sample whose inputs, in the model's order, lie in `files`."""
    return _blocks(name, dict(zip(wanted.names, files, strict=True)), wanted, notes)


def _blocks(name: str, files: Mapping[str, Path], wanted: Wanted, notes: list[str]) -> list[Block]:
    missing = [spec.name for spec in wanted.inputs if spec.name not in files]
    if missing:
        raise CalibrationDataError(
            f"The sample {name} has no file for the input {missing[0]!r}",
            f"It has files for: {', '.join(files)}.",
            f"Add {missing[0]}.npy there.",
        )
    headers: dict[Path, dict[str | None, ArrayHeader]] = {}
    pieces = []
    for spec in wanted.inputs:
        file = files[spec.name]
        if kind_of(file) == "image":
            pieces.append(_image_piece(file, spec, wanted))
        elif kind_of(file) == "array":
            if file not in headers:
                try:
                    headers[file] = read_headers(file)
                except OSError as error:
                    raise unreadable(file, error) from error
            pieces.append(_array_piece(file, headers[file], spec, wanted, notes))
        else:
            raise CalibrationDataError(
                f"{file} is not a sample",
                f"A file called {file.suffix or 'without an extension'} is neither an image nor an array.",
                "Give images (JPEG, PNG, BMP, TIFF, WebP) or arrays (.npy, .npz).",
            )
    return [Block(name, tuple(pieces), _count(name, pieces, wanted))]


def _count(name: str, pieces: Sequence[Piece], wanted: Wanted) -> int:
    """The number of samples in a block. Inputs of one element may be shared by all samples of the block."""
    counts = {piece.input: piece.samples for piece in pieces}
    count = max((samples for samples in counts.values() if samples is not None), default=1)
    steps = {piece.steps for piece in pieces if piece.steps is not None}
    for piece, spec in zip(pieces, wanted.inputs, strict=True):
        shared = all(size == 1 for size in spec.shape)
        if (piece.samples or 1) != count and not (shared and piece.samples is None):
            raise CalibrationDataError(
                f"The inputs in {name} have different numbers of samples",
                "; ".join(f"{key}: {samples or 1}" for key, samples in counts.items()) + ".",
                "Give each input the same number of samples along its first axis.",
            )
        if piece.steps is None and steps and not shared:
            raise CalibrationDataError(
                f"The inputs in {name} have different numbers of steps",
                f"{piece.input} has one step, others have {', '.join(map(str, sorted(steps)))}.",
                "Give each input the same number of steps along its time axis.",
            )
    if len(steps) > 1 or len({piece.row for piece in pieces}) > 1 or count == 0 or 0 in steps:
        raise CalibrationDataError(
            f"The inputs in {name} do not go together",
            "; ".join(
                f"{piece.input}: {piece.samples or 1} samples, {piece.steps or 1} steps"
                + (", one row of a batch" if piece.row else "")
                for piece in pieces
            )
            + ".",
            "Give each input the same, non-zero number of samples and steps.",
        )
    return count


def _image_piece(file: Path, spec: TensorSpec, wanted: Wanted) -> Piece:
    if wanted.recipe is None:
        fitting = fitting_recipes(spec)
        raise CalibrationDataError(
            "Images need a recipe",
            f"{file} is an image. The input {spec.name!r} is {spec.dtype} {by_x(spec.shape)}: nothing says how pixels "
            "become its numbers (size, color order, scale).",
            f"Add --preprocess with the recipe that the model was trained with; by its shape it may be: "
            f"{', '.join(fitting)}."
            if fitting
            else "Write a recipe (docs/calibration-data.md) and name it with --preprocess, or give .npy arrays.",
            {"fitting_recipes": fitting},
        )
    _check_recipe(wanted.recipe, file, spec)
    return Piece(spec.name, file, pixels=True, row=wanted.batch > 1)


def _check_recipe(recipe: CalibrationRecipe, file: Path, spec: TensorSpec) -> None:
    """Refuse a recipe that can't bring images to `spec`."""
    if recipe.applies_to != "images":
        raise CalibrationDataError(
            f"The recipe {recipe.name!r} is for arrays",
            f"{file} is an image.",
            "Name a recipe for images (see `edgec recipes`).",
        )
    if recipe.layout_for(spec.shape) is None:
        fitting = fitting_recipes(spec)
        raise CalibrationDataError(
            f"The recipe {recipe.name!r} does not fit the model's input {spec.name!r}",
            f"It makes {recipe.color} images with layout {recipe.layout}; the input is {by_x(spec.shape)}.",
            f"By the shape of the input it may be: {', '.join(fitting)}."
            if fitting
            else "Write a recipe for this input (docs/calibration-data.md), or give .npy arrays.",
            {"fitting_recipes": fitting},
        )
    problem = dtype_problem(_kind_letter(recipe.dtype), recipe.dtype, spec)
    if problem is not None:
        raise CalibrationDataError(
            f"The recipe {recipe.name!r} does not fit the model's input {spec.name!r}",
            f"It makes {recipe.dtype}; the input is {spec.dtype}.",
            f'Copy the recipe to calibration/NAME.toml and set dtype = "{spec.dtype}" there.',
        )


def _array_piece(
    file: Path, headers: Mapping[str | None, ArrayHeader], spec: TensorSpec, wanted: Wanted, notes: list[str]
) -> Piece:
    member = _member(file, headers, spec, wanted, notes)
    header = headers[member]
    where = str(file) if member is None else f"{file}, array {member!r},"
    if 0 in header.shape and 0 not in spec.shape:
        raise CalibrationDataError(
            f"{where} holds no samples",
            f"It has the shape {by_x(header.shape)}: an axis of 0 holds nothing.",
            "Find out why the preparation of the data gave nothing, or leave the file out.",
        )
    recipe = wanted.recipe
    if recipe is not None and recipe.applies_to == "images" and recipe.layout_for(spec.shape) is not None:
        if header.dtype == "uint8":
            _check_recipe(recipe, file, spec)
            samples = _pixel_samples(where, header.shape)
            return Piece(spec.name, file, member, pixels=True, samples=samples, row=wanted.batch > 1)
        raise CalibrationDataError(
            f"The recipe {recipe.name!r} is for images, and {where} is not one",
            f"It holds {header.dtype} {by_x(header.shape)}; pixels are uint8, height x width x 3.",
            "If the arrays are ready for the model, leave --preprocess out. If they are images, save them as uint8 or "
            'as image files. If they only need scaling, write a recipe with applies_to = "arrays".',
        )
    arrangement = find_arrangement(header.shape, spec, wanted.batch, wanted.sequence)
    if arrangement is None:
        raise wrong_shape(where, header.shape, spec, wanted.sequence)
    kind, dtype = header.kind, header.dtype
    if recipe is not None and recipe.applies_to == "arrays" and spec.dtype.startswith("float"):
        kind, dtype = _kind_letter(recipe.dtype), recipe.dtype
    problem = dtype_problem(kind, dtype, spec)
    if problem is not None:
        raise wrong_dtype(where, dtype, spec, problem)
    return Piece(spec.name, file, member, False, arrangement.samples, arrangement.steps, arrangement.row)


def _pixel_samples(where: str, shape: tuple[int, ...]) -> int | None:
    """The length of the sample axis of an array of pixels: H x W, H x W x C, N x H x W or N x H x W x C."""
    with_channels = len(shape) in (3, 4) and shape[-1] in (1, 3, 4)
    axes = len(shape) - with_channels
    channels_first = not with_channels and len(shape) in (3, 4) and shape[-3] in (1, 3, 4)
    if axes not in (2, 3) or channels_first:
        raise CalibrationDataError(
            f"{where} is not an array of images",
            f"It has the shape {by_x(shape)}; images are height x width, or height x width x 3 in RGB order, "
            "with a leading axis where there are several.",
            f"Transpose it before saving: x.transpose({'1, 2, 0' if len(shape) == 3 else '0, 2, 3, 1'})."
            if channels_first
            else "Save image files, or arrays of that shape.",
        )
    return shape[0] if axes == 3 else None


def _member(
    file: Path, headers: Mapping[str | None, ArrayHeader], spec: TensorSpec, wanted: Wanted, notes: list[str]
) -> str | None:
    """Which array of a file is the input."""
    if None in headers:
        return None
    keys = [key for key in headers if key is not None]
    names = _by_file_name(wanted)
    found = next((key for key in keys if key == spec.name or names.get(key) == spec.name), None)
    likely = [key for key in keys if key not in _LABELS]
    if found is None and len(likely) == 1 and len(wanted.inputs) == 1:
        found = likely[0]
        beside = "only labels stand beside them" if len(keys) > 1 else "no others are there"
        note = f"arrays called {found!r} are taken for the input {spec.name!r}: {beside}"
        if note not in notes:
            notes.append(note)
    if found is None:
        raise CalibrationDataError(
            f"{file} has no array for the input {spec.name!r}",
            f"It has: {', '.join(keys) or 'no arrays'}.{did_you_mean(spec.name, keys)}",
            f"Save it with the names of the inputs as keys: {', '.join(wanted.names)}.",
        )
    for key in keys:
        if key not in names and key != found:
            note = f"arrays called {key!r} are left aside: no input has that name"
            if key in wanted.states:
                note = f"arrays called {key!r} are left aside: that input is a state, which starts from zeros"
            if note not in notes:
                notes.append(note)
    return found


def _by_file_name(wanted: Wanted) -> dict[str, str]:
    """Names of inputs by themselves, and by what a file of that name can be called."""
    return {key: name for name in wanted.names for key in _file_names(name)}


def _file_names(name: str) -> Iterator[str]:
    yield name
    for replacement in "_", "-", "":
        yield "".join(character if character.isalnum() or character in "_-." else replacement for character in name)


def _name(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix()
    return root.name if name == "." else name


def _kind_letter(dtype: str) -> str:
    return {"f": "f", "u": "u", "i": "i"}[dtype[0]]
