"""Functions of quantized elements give the integers that the reference executor defines, over shapes that broadcast."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.graph import Quantization
from edgec.ir.kinds import Kind
from tests.backends.tvm.cases import Cases

pytest.importorskip("tvm")

from edgec.backends.tvm.isa import named
from edgec.backends.tvm.lowering import program_of
from tests.backends.tvm.compiled import HOST_RUNS_IT, ISA, differences, engine_of

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

Shape = tuple[int, ...]
DTYPES = ("int8", "uint8")
UNARY = sorted(kinds.UNARY_FUNCTIONS - {"logical_not"})
BINARY = ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "squared_difference")
SPREAD: list[tuple[Shape, Shape]] = [
    ((2, 5, 6, 20), (2, 1, 1, 20)), ((1, 4, 7, 3), (1, 4, 7, 1)), ((1, 7, 5, 64), (64,)), ((3, 1, 5, 33), (1, 4, 5, 1)),
    ((5, 40), (40,)), ((5, 1), (1, 70)), ((17,), (1,)), ((), ()), ((2, 3, 4, 5, 6), (3, 1, 5, 6)),
    ((2, 3, 130), (3, 130)), ((1, 9, 9, 100), (1, 9, 9, 100)), ((2, 1, 3, 1, 18), (4, 1, 5, 1)),
]  # fmt: skip


def assert_exact(cases: Cases, folder, threads: int = 1) -> None:
    graph = cases.finish()
    found = differences(graph, engine_of(graph, folder, threads), cases.feeds(graph))
    assert {cases.labels[name]: count for name, count in found.items() if count} == {}


def constant(cases: Cases, shape: Shape, dtype: str, grid: Quantization | None = None) -> str:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    integers = cases.rng.integers(low, high + 1, shape).astype(dtype)
    return cases.builder.constant("c", integers, grid or cases.grid(dtype))


def computed(cases: Cases, kind: Kind, operands: list[str], scale: float | None = None, grid: str = "") -> None:
    """A case: a result of any dtype on a grid of its own, or on that of the value called `grid`."""
    dtype = str(cases.rng.choice(DTYPES))
    of = cases.builder.type(grid) if grid else None
    quantization = cases.grid(dtype, scale) if of is None else of.quantization
    made = cases.builder.add(
        kind, operands, "y", dtype=dtype if of is None else of.dtype, quantization=quantization
    )  # fmt: skip
    label = f"{kind} of {[cases.builder.type(name) for name in operands]} on {cases.builder.type(made)}"
    cases.result(made, label)


def functions_of_one(cases: Cases) -> None:
    """All of them are tables, or limits, or nothing at all."""
    shapes: list[Shape] = [(2, 3, 5, 20), (1, 8, 8, 16), (300,), (3, 7), (), (2, 2, 3, 4, 5), (1, 4, 4, 3)]
    others: list[Kind] = [
        kinds.HardSigmoid(0.2, 0.5), kinds.LeakyRelu(0.1), kinds.LeakyRelu(-0.3), kinds.Clip(-1.0, 2.0),
        kinds.Clip(float("-inf"), 3.0), kinds.Quantize(),
    ]  # fmt: skip
    for number, kind in enumerate([*map(kinds.Unary, UNARY), *others]):  # type: ignore[arg-type]
        for dtype in DTYPES:
            shape = shapes[(number + (dtype == "int8")) % len(shapes)]
            computed(cases, kind, [cases.activations(shape, dtype, cases.grid(dtype, 0.05))], 0.02)
    for kind in (kinds.Unary("relu"), kinds.Clip(-2.0, 1.5), kinds.Clip(-1e9, 1e9), kinds.Unary("relu6")):
        x = cases.activations((1, 5, 5, 20), grid=Quantization.per_tensor(0.04, -20))
        computed(cases, kind, [x], grid=x)


def functions_of_two(cases: Cases) -> None:
    """Everything with everything: other dtypes, other grids, shapes that spread."""
    for number, function in enumerate(BINARY):
        for turn in range(5):
            shapes = SPREAD[(number * 5 + turn) % len(SPREAD)]
            a, b = (cases.activations(shape, str(cases.rng.choice(DTYPES))) for shape in shapes)
            activation = str(cases.rng.choice(["none", "relu", "relu6"]))
            kind = kinds.Binary(function, activation)  # type: ignore[arg-type]
            computed(cases, kind, [a, b] if turn % 2 else [b, a])


def constants_as_operands(cases: Cases) -> None:
    for number, function in enumerate(BINARY):
        for turn, shape in enumerate([(), (1, 1, 1, 1), (20,), (1, 5, 1, 20), (1, 5, 6, 20)]):
            x = cases.activations((2, 5, 6, 20), str(cases.rng.choice(DTYPES)))
            c = constant(cases, shape, str(cases.rng.choice(DTYPES)))
            computed(cases, kinds.Binary(function), [x, c] if (number + turn) % 2 else [c, x])  # type: ignore[arg-type]
    small = cases.activations((7,))
    computed(cases, kinds.Binary("add"), [small, constant(cases, (2, 3, 1), "int8")])
    for shape in ((20,), (1, 1, 20), (1,), ()):
        x = cases.activations((1, 4, 6, 20), str(cases.rng.choice(DTYPES)))
        computed(cases, kinds.PRelu(), [x, constant(cases, shape, "int8", cases.grid("int8", 0.01))])


def the_larger_and_the_smaller_on_one_grid(cases: Cases) -> None:
    for shapes in SPREAD:
        grid = cases.grid()
        a, b = (cases.activations(shape, grid=grid) for shape in shapes)
        for function in ("maximum", "minimum"):
            computed(cases, kinds.Binary(function), [a, b], grid=a)  # type: ignore[arg-type]
    x = cases.activations((1, 5, 6, 20))
    computed(cases, kinds.Binary("mul"), [x, x])
    computed(cases, kinds.Binary("maximum"), [x, x], grid=x)


def steps_beyond_32_bits_saturate(cases: Cases) -> None:
    for function in ("add", "sub", "mul", "squared_difference", "div"):
        a, b = (cases.activations((1, 4, 4, 40), grid=cases.grid("int8", 1e3)) for _ in range(2))
        computed(cases, kinds.Binary(function), [a, b], scale=1e-6)  # type: ignore[arg-type]


def nothing_divided_by_nothing(cases: Cases) -> None:
    """The reference makes the lowest integer of it, as of any NaN."""
    x = cases.activations((1, 8, 8, 40))
    divisors = np.where(np.arange(40) % 2, 7, -3).astype(np.int8)
    c = cases.builder.constant("c", divisors, Quantization.per_tensor(0.1, 7))
    for _ in range(3):
        computed(cases, kinds.Binary("div"), [x, c])


def functions_through_several_operations(cases: Cases) -> None:
    """x * sigmoid(x), and the like: nothing in between is stored, unless somebody else reads it."""
    for shape in ((1, 5, 6, 20), (130,)):
        grid = Quantization.per_tensor(0.04, 10)
        add = cases.builder.add

        def step(kind: Kind, operands: list[str], dtype: str = "int8") -> str:
            return add(kind, operands, "step", dtype=dtype, quantization=cases.grid(dtype, 0.03))  # noqa: B023

        x = cases.activations(shape, "uint8", grid)
        silu = step(kinds.Binary("mul"), [x, step(kinds.Unary("sigmoid"), [x])])
        cases.result(silu, "x * sigmoid(x)")
        tanh = step(kinds.Unary("tanh"), [silu], "uint8")
        cases.result(step(kinds.Binary("sub"), [step(kinds.Unary("square"), [tanh]), x]), "a long way")
        cases.result(step(kinds.Binary("add"), [tanh, cases.activations(shape)]), "one that is stored in between")
        many = step(kinds.Quantize(), [step(kinds.Binary("add"), [x, constant(cases, (), "int8")])], "uint8")
        cases.result(many, "a constant added, on another grid")


def one_of_each_kernel(cases: Cases) -> None:
    """A few of all, for instruction sets that others were not tested on."""
    shape, grid = (1, 5, 7, 40), cases.grid()
    x, y = (cases.activations(shape, grid=grid) for _ in range(2))
    computed(cases, kinds.Unary("sigmoid"), [x], 0.01)
    computed(cases, kinds.Unary("tanh"), [cases.activations((3,))], 0.01)
    computed(cases, kinds.Clip(-0.5, 1.0), [x], grid=x)
    computed(cases, kinds.Binary("maximum"), [x, y], grid=x)
    for function in BINARY:
        computed(cases, kinds.Binary(function, "relu"), [x, cases.activations((40,), "uint8")])  # type: ignore[arg-type]
    computed(cases, kinds.Binary("mul"), [cases.activations((1, 5, 7, 1)), y])
    computed(cases, kinds.PRelu(), [x, constant(cases, (40,), "int8")])
    turned = cases.builder.add(kinds.Transpose((0, 3, 1, 2)), [x], "turned", dtype="int8", quantization=grid)
    cases.result(turned, "a transpose")
    spread = cases.builder.add(kinds.ResizeNearest((8, 10)), [x], "spread", dtype="int8", quantization=grid)
    cases.result(spread, "the nearest pixels")


WRITERS = (
    one_of_each_kernel,
    functions_through_several_operations,
    functions_of_one,
    functions_of_two,
    constants_as_operands,
    the_larger_and_the_smaller_on_one_grid,
    steps_beyond_32_bits_saturate,
    nothing_divided_by_nothing,
)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_elementwise_kernels_are_exact(tmp_path, write):
    cases = Cases(0)
    write(cases)
    assert_exact(cases, tmp_path)


def test_what_is_a_function_of_one_value_is_one_step(tmp_path):
    cases = Cases(1)
    x = cases.activations((1, 4, 4, 20))
    sigmoid = cases.builder.add(kinds.Unary("sigmoid"), [x], "s", dtype="int8", quantization=cases.grid())
    silu = cases.builder.add(kinds.Binary("mul"), [x, sigmoid], "y", dtype="int8", quantization=cases.grid())
    cases.result(silu, "silu")
    families = [step.kernel.family for step in program_of(cases.finish(), named(ISA)).steps]
    assert families.count("table") == 1 and not {"mul", "sigmoid"} & set(families)


@pytest.mark.parametrize("threads", [2])
def test_threads_change_nothing(tmp_path, threads):
    cases = Cases(5)
    x, y = (cases.activations((1, 40, 40, 24)) for _ in range(2))
    computed(cases, kinds.Unary("sigmoid"), [x])
    computed(cases, kinds.Binary("mul"), [x, y])
    computed(cases, kinds.Binary("mul"), [x, cases.activations((1, 1, 1, 24))])
    computed(cases, kinds.Binary("pow"), [x, y])
    assert_exact(cases, tmp_path, threads)
