"""Elements that move arrive where the reference executor puts them, of every dtype and rank."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.errors import UnsupportedOp
from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Quantization, TensorType
from edgec.ir.inference import result_types
from edgec.ir.kinds import Kind

pytest.importorskip("tvm")

from edgec.backends.tvm.isa import named
from edgec.backends.tvm.lowering import program_of
from tests.backends.tvm.compiled import HOST_RUNS_IT, ISA, differences, engine_of

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

DTYPES = ("int8", "uint8", "float32", "int32", "int64", "bool")
GRIDS = (("int8", Quantization.per_tensor(0.11, -7)), ("uint8", Quantization.per_tensor(0.3, 201)))


class Moving:
    """Operations on arrays of many dtypes, each for itself in one graph. Integers on a grid cross the border as they
    are: only what moves them is looked at."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = GraphBuilder()
        self.outputs: list[str] = []
        self.labels: dict[str, str] = {}
        self.bounds: dict[str, int] = {}

    def shape(self, rank: int, most: int = 9) -> tuple[int, ...]:
        return tuple(int(size) for size in self.rng.integers(1, most + 1, rank))

    def type(self, shape: tuple[int, ...], dtype: str = "", grid: Quantization | None = None) -> TensorType:
        """Of a dtype, or of any."""
        if dtype:
            return TensorType(shape, dtype, grid)
        choices = [*((name, None) for name in DTYPES), *GRIDS]
        return TensorType(shape, *choices[int(self.rng.integers(len(choices)))])

    def value(self, of: TensorType, where: str = "") -> str:
        """An input, a constant, or something computed: all are read from other places."""
        where = where or str(self.rng.choice(["input", "computed", "constant"], p=[0.45, 0.45, 0.1]))
        if where == "constant":
            return self.builder.constant("c", self.random(of), of.quantization)
        name = self.builder.input(f"x{len(self.builder.graph.inputs)}", of)
        if where == "input":
            return name
        turned = tuple(range(of.rank))
        return self.builder.add(kinds.Reverse(turned), [name], f"{name}/turned", types=[of])

    def indices(self, shape: tuple[int, ...], bound: int, dtype: str, where: str) -> str:
        """Positions below a bound; those that are not constant may count from the end."""
        if where == "constant":
            return self.builder.constant("i", self.rng.integers(0, bound, shape).astype(dtype))
        name = self.builder.input(f"x{len(self.builder.graph.inputs)}", TensorType(shape, dtype))
        self.bounds[name] = bound
        return name

    def random(self, of: TensorType) -> np.ndarray:
        if of.dtype == "bool":
            return self.rng.integers(0, 2, of.shape).astype(bool)
        if of.dtype == "float32":
            return self.rng.normal(size=of.shape).astype(np.float32)
        info = np.iinfo(of.dtype)
        return self.rng.integers(info.min, info.max, of.shape, dtype=of.dtype, endpoint=True)

    def result(self, kind: Kind, inputs: list[str], like: int = 0) -> None:
        """A case: its results, which are on the grid of operand `like`, are outputs; or what is made of them."""
        of = self.builder.type(inputs[like])
        types = [
            TensorType(item.shape, of.dtype, of.quantization)
            for item in result_types(kind, [self.builder.type(name) for name in inputs])
        ]
        names = [f"y{len(self.outputs) + at}" for at in range(len(types))]
        self.builder.add(kind, inputs, names, types=types)
        shapes = [self.builder.type(name).shape for name in inputs]
        for name, item in zip(names, types, strict=True):
            self.labels[name] = f"{kind} of {shapes} {of.dtype} as {name}"
            if self.rng.integers(3) == 0:
                back = self.builder.add(kinds.Reverse(tuple(range(item.rank))), [name], f"{name}/back", types=[item])
                self.labels[back] = f"{self.labels[name]}, turned round"
                name = back
            self.outputs.append(name)

    def finish(self) -> Graph:
        return self.builder.finish(self.outputs)

    def feeds(self, graph: Graph) -> dict[str, np.ndarray]:
        made = {}
        for name in graph.inputs:
            of = graph.type(name)
            if name in self.bounds:
                bound = self.bounds[name]
                made[name] = self.rng.integers(-bound, bound, of.shape).astype(of.dtype)
            else:
                made[name] = self.random(of)
        return made


def assert_moved(cases: Moving, folder, threads: int = 1) -> None:
    graph = cases.finish()
    found = differences(graph, engine_of(graph, folder, threads), cases.feeds(graph))
    assert {cases.labels[name]: count for name, count in found.items() if count} == {}


def of_any(cases: Moving, rank: int, most: int = 9) -> str:
    return cases.value(cases.type(cases.shape(rank, most)))


def test_reshapes(tmp_path):
    cases = Moving(0)
    pairs = [
        ((4, 6), (3, 8)), ((2, 3, 4, 5), (120,)), ((120,), (2, 3, 4, 5)), ((7, 16), (2, 7, 8)), ((64, 3), (8, 8, 3)),
        ((2, 3, 4, 5, 6), (6, 4, 30)), ((1,), ()), ((), (1, 1, 1, 1)), ((5, 1, 3), (5, 3)), ((2, 2, 2, 2, 2), (32,)),
        ((1, 7, 7, 16), (1, 784)), ((1, 6, 4, 32), (1, 24, 32)), ((2, 24, 32), (2, 6, 4, 32)), ((48, 1), (1, 48)),
    ]  # fmt: skip
    for before, after in pairs:
        for _ in range(3):
            cases.result(kinds.Reshape(after), [cases.value(cases.type(before))])
    assert_moved(cases, tmp_path)


def test_transposes(tmp_path):
    cases = Moving(1)
    for rank in (1, 2, 3, 4, 5):
        for _ in range(5):
            order = tuple(int(axis) for axis in cases.rng.permutation(rank))
            cases.result(kinds.Transpose(order), [of_any(cases, rank, 20 if rank < 4 else 7)])
    for dtype in (*DTYPES, "int8"):
        for shape in ((1, 33, 17, 3), (2, 5, 19, 40), (1, 16, 16, 16)):
            for order in ((0, 3, 1, 2), (0, 2, 3, 1)):
                of = cases.type(shape, dtype)
                cases.result(kinds.Transpose(order), [cases.value(of)])
    assert_moved(cases, tmp_path, threads=2)


def test_parts(tmp_path):
    """Slices and splits: of leading rows, which are seen where they lie, and of anything else."""
    cases = Moving(2)
    for rank in (1, 2, 3, 4, 5):
        for _ in range(5):
            x = of_any(cases, rank)
            begin, end, stride = [], [], []
            for size in cases.builder.type(x).shape:
                step = int(cases.rng.choice([-2, -1, 1, 1, 1, 2, 3]))
                first, last = sorted(int(at) for at in cases.rng.integers(0, size, 2))
                begin.append(first if step > 0 else last)
                end.append(last + 1 if step > 0 else first - 1)
                stride.append(step)
            cases.result(kinds.Slice(tuple(begin), tuple(end), tuple(stride)), [x])
            axis = int(cases.rng.integers(rank))
            sizes = (2, 1, 5)
            shape = tuple(8 if at == axis else size for at, size in enumerate(cases.shape(rank)))
            cases.result(kinds.Split(axis, sizes), [cases.value(cases.type(shape))])
            axes = tuple(axis for axis in range(rank) if cases.rng.integers(2))
            cases.result(kinds.Reverse(axes), [of_any(cases, rank)])
    for where in ("input", "computed", "constant"):
        x = cases.value(cases.type((1, 8, 6, 20), "float32"), where)
        cases.result(kinds.Slice((0, 2, 0, 0), (1, 6, 6, 20), (1, 1, 1, 1)), [x])
        cases.result(kinds.Split(1, (3, 1, 4)), [x])
    assert_moved(cases, tmp_path)


def test_what_is_put_together(tmp_path):
    cases = Moving(3)
    for rank in (1, 2, 3, 4, 5):
        for _ in range(4):
            axis, of = int(cases.rng.integers(rank)), cases.type(cases.shape(rank))
            names = []
            for _ in range(int(cases.rng.integers(1, 4))):
                size = int(cases.rng.integers(1, 20))
                shape = tuple(size if at == axis else length for at, length in enumerate(of.shape))
                names.append(cases.value(of.of_shape(shape)))
            cases.result(kinds.Concat(axis), [*names, names[0]])
    assert_moved(cases, tmp_path, threads=2)


def test_padding(tmp_path):
    cases = Moving(4)
    for mode in ("constant", "reflect", "symmetric", "edge"):
        for rank in (1, 2, 3, 4, 5):
            for _ in range(2):
                x = cases.value(cases.type(tuple(size + 1 for size in cases.shape(rank, 7))))
                before, after = (tuple(int(n) for n in cases.rng.integers(0, 4, rank)) for _ in range(2))
                of = cases.builder.type(x)
                value = 1.0 if of.quantization is None else of.quantization.scale[0] * 9
                cases.result(kinds.Pad(before, after, mode, value), [x])  # type: ignore[arg-type]
    assert_moved(cases, tmp_path)


def test_repetitions(tmp_path):
    cases = Moving(5)
    for rank in (1, 2, 3, 4, 5):
        for _ in range(3):
            repeats = tuple(int(times) for times in cases.rng.integers(1, 4, rank))
            cases.result(kinds.Tile(repeats), [of_any(cases, rank, 6)])
            shape = cases.shape(rank, 6)
            own = tuple(size if cases.rng.integers(2) else 1 for size in shape)[int(cases.rng.integers(rank)) :]
            cases.result(kinds.BroadcastTo(shape), [cases.value(cases.type(own))])
    cases.result(kinds.BroadcastTo((3, 4)), [cases.value(cases.type(()))])
    for align, half in ((False, False), (False, True), (True, False)):
        for channels in (3, 20):
            for size in ((7, 9), (8, 6), (2, 1)):
                x = cases.value(cases.type((2, 4, 3, channels)))
                cases.result(kinds.ResizeNearest(size, align, half), [x])
    for block in (2, 3):
        for channels in (1, 5, 16):
            cases.result(kinds.DepthToSpace(block), [cases.value(cases.type((2, 3, 4, channels * block**2)))])
            cases.result(kinds.SpaceToDepth(block), [cases.value(cases.type((2, 3 * block, 4 * block, channels)))])
    assert_moved(cases, tmp_path)


def test_indices(tmp_path):
    cases = Moving(6)
    turns = [(where, dtype) for where in ("input", "constant") for dtype in ("int32", "int64")]
    for where, dtype in turns:
        for rank in (1, 2, 3, 4):
            for count in (0, 3) if dtype == "int32" else (1, 2):
                axis = int(cases.rng.integers(rank))
                x = of_any(cases, rank)
                bound = cases.builder.type(x).shape[axis]
                index = cases.indices(cases.shape(count, 4), bound, dtype, where)
                cases.result(kinds.Gather(axis), [x, index])
            x = of_any(cases, rank)
            shape = cases.builder.type(x).shape
            depth = int(cases.rng.integers(1, rank + 1))
            index = cases.indices((*cases.shape(2, 4), depth), min(shape[:depth]), dtype, where)
            cases.result(kinds.GatherND(), [x, index])
            of = cases.builder.type(x)
            index = cases.indices((3, depth), min(shape[:depth]), dtype, where)
            cases.result(kinds.ScatterND(), [x, index, cases.value(of.of_shape((3, *shape[depth:])))])
        for axis in (2, 3):
            index = cases.indices((2, 3, 4), 5, dtype, where)
            cases.result(kinds.Gather(axis, 2), [cases.value(cases.type((2, 3, 5, 5))), index])
        table = cases.value(cases.type((50, 24)), "constant")
        cases.result(kinds.Gather(0), [table, cases.indices((2, 7), 50, dtype, where)])
    assert_moved(cases, tmp_path)


def test_choices(tmp_path):
    cases = Moving(7)
    for rank in (0, 1, 2, 3, 4, 5):
        for _ in range(4):
            whole = cases.shape(rank, 20 if rank < 3 else 6)
            shapes = [
                tuple(size if cases.rng.integers(3) else 1 for size in whole)[int(cases.rng.integers(rank + 1)) :]
                for _ in range(3)
            ]
            of = cases.type(())
            condition = cases.value(cases.type(shapes[0], "bool"), "computed" if cases.rng.integers(2) else "input")
            operands = [cases.value(of.of_shape(shape)) for shape in shapes[1:]]
            cases.result(kinds.Select(), [condition, *operands], like=1)
    for dtype in ("int32", "int64"):
        for axis in (0, 1, 2):
            index = cases.indices((5, 6), 9, dtype, "input")
            on, off = (cases.value(cases.type((), "float32"), "constant") for _ in range(2))
            cases.result(kinds.OneHot(7, axis), [index, on, off], like=1)
    assert_moved(cases, tmp_path)


@pytest.mark.parametrize("layout", [False, True])
def test_outputs_that_are_there_already(tmp_path, layout):
    """Inputs, constants, parts of other values, one value under several names."""
    cases = Moving(8)
    b = cases.builder
    made = []
    for dtype, grid in (("float32", None), ("int64", None), *GRIDS):
        of = TensorType((1, 4, 6, 20), dtype, grid)
        x, c = cases.value(of, "input"), cases.value(of, "constant")
        made += [x, c, b.add(kinds.Reshape((6, 80)), [x], "reshaped", types=[of.of_shape((6, 80))])]
        rows = [of.of_shape((1, 1, 6, 20)), of.of_shape((1, 3, 6, 20))]
        b.add(kinds.Split(1, (1, 3)), [x], [f"{x}/first", f"{x}/rest"], types=rows)
        made += b.graph.operations[-1].outputs
        turned = b.add(kinds.Reverse((1,)), [x], "turned", types=[of])
        made += [turned, b.add(kinds.Reshape(of.shape), [turned], "another name", types=[of])]
    cases.outputs = made
    graph = cases.finish()
    if layout:
        graph.layouts = {name: (0, 2, 3, 1) for name in (*graph.inputs, *graph.outputs) if graph.type(name).rank == 4}
    cases.labels = {name: name for name in made}
    found = differences(graph, engine_of(graph, tmp_path), cases.feeds(graph))
    assert set(found) == set(made) and not any(found.values()), found


def test_what_lies_right_already_is_not_copied():
    """Parts in front of the first dimension of more than one element, and reshapes without padding between elements."""
    b = GraphBuilder()
    x = b.add(kinds.Reverse((3,)), [b.input("x", TensorType((1, 8, 6, 32), "float32"))], "turned")
    seen = [
        b.add(kinds.Slice((0, 2, 0, 0), (1, 7, 6, 32), (1, 1, 1, 1)), [x], "rows"),
        b.add(kinds.Reshape((48, 32)), [x], "matrix"),
        b.add(kinds.Reshape((1536,)), [x], "line"),
        b.add(kinds.Transpose((1, 0, 2, 3)), [x], "transposed"),
        b.add(kinds.Gather(1), [x, b.constant("i", np.array(5, np.int64))], "row"),
    ]
    b.add(kinds.Split(1, (2, 6)), [x], ["above", "below"])
    made = [b.add(kinds.Unary("abs"), [name], f"{name}/abs") for name in (*seen, "above", "below")]
    steps = program_of(b.finish(made), named(ISA)).steps
    assert [step.kernel.family for step in steps].count("move") == 1 and len(steps) == 1 + len(made)


def test_what_several_operations_move_is_moved_once(tmp_path):
    """The heads of an attention: queries, keys and values out of one matrix."""
    cases = Moving(9)
    b, of = cases.builder, cases.type((1, 10, 3 * 4 * 15), "int8", GRIDS[0][1])

    def move(kind: Kind, name: str) -> str:
        (made,) = result_types(kind, [b.type(name)])
        return b.add(kind, [name], f"{name}/moved", types=[TensorType(made.shape, of.dtype, of.quantization)])

    for where in ("input", "computed"):
        heads = move(kinds.Reshape((1, 10, 3, 4, 15)), cases.value(of, where))
        for number in range(3):
            part = kinds.Slice((0, 0, number, 0, 0), (1, 10, number + 1, 4, 15), (1,) * 5)
            turned = move(kinds.Transpose((2, 0, 3, 1, 4)), move(part, heads))
            cases.outputs.append(move(kinds.Reshape((1, 4, 10, 15)), turned))
            cases.outputs.append(move(kinds.Transpose((1, 0)), move(kinds.Reshape((10, 60)), move(part, heads))))
    cases.labels = {name: name for name in cases.outputs}
    assert_moved(cases, tmp_path)
    steps = program_of(cases.finish(), named(ISA)).steps
    assert len([step for step in steps if step.kernel.family in ("move", "transpose")]) <= 3 + 2 * len(cases.outputs)


@pytest.mark.parametrize("shape", [(2**31,), (1, 2**16, 2**16, 3)])
def test_what_offsets_do_not_reach_is_refused(shape):
    b = GraphBuilder()
    x = b.input("huge", TensorType(shape, "uint8"))
    graph = b.finish([b.add(kinds.Reverse((0,)), [x], "turned")])
    with pytest.raises(UnsupportedOp, match="too large"):
        program_of(graph, named(ISA))


def test_constant_positions_beyond_the_end_read_nothing_beyond_it(tmp_path):
    b, rows = GraphBuilder(), np.arange(24, dtype=np.float32).reshape(4, 6)
    x = b.input("x", TensorType(rows.shape, "float32"))
    beyond = [np.array(10**6, np.int64), np.array([1, 10**6], np.int64), np.array([10**6, 0, 2], np.int64)]
    outputs = [b.add(kinds.Gather(0), [x, b.constant("i", item)], "y") for item in beyond]
    found = engine_of(b.finish(outputs), tmp_path).run({"x": rows})
    for name, positions in zip(outputs, beyond, strict=True):
        np.testing.assert_array_equal(found[name], rows[np.minimum(positions, 3)])
