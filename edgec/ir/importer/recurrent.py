"""LSTM, GRU and RNN, unrolled: sequences have a known length, so each step is written for itself.

What a step takes from the sequence is computed for all steps at once, before the first: one FullyConnected over the
whole sequence. A step adds what it takes from the state. Without an initial state the first step has nothing to add.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgec.ir.importer.handlers import imports
from edgec.ir.importer.node import NodeImport
from edgec.ir.kinds import Binary, Clip, Concat, FullyConnected, Reshape, Slice, Split, Transpose, Unary

LONGEST = 512
"""Steps that are unrolled. More would make a graph of tens of thousands of operations."""


@imports("LSTM")
def _lstm(item: NodeImport) -> None:
    layer = _layer(item, 4)
    finals, cells, sequences = [], [], []
    for direction in range(layer.directions):
        hidden, cell = layer.initial(5, direction), layer.initial(6, direction)
        peepholes = layer.peepholes(direction)
        steps, functions = layer.inputs(direction, layer.summed_bias(direction)), layer.functions(direction, 3)
        recurrent = layer.weights(2, direction)
        states = {}
        for time in layer.times(direction):
            name = f"{direction}.{time}"
            gates = layer.plus_state(steps[time], hidden, recurrent, name)
            i, o, f, c = layer.parts(gates, 4, name)
            i = layer.peeped(i, cell, peepholes, 0, f"{name}.input")
            i = layer.apply(functions[0], i, f"{name}.input")
            f = layer.peeped(f, cell, peepholes, 2, f"{name}.forget")
            c = layer.apply(functions[1], c, f"{name}.candidate")
            made = layer.binary("mul", i, c, f"{name}.written")
            if cell is not None:
                if item.attribute("input_forget", 0):
                    f = layer.binary("sub", item.add_constant("one", np.float32(1)), i, f"{name}.forgotten")
                else:
                    f = layer.apply(functions[0], f, f"{name}.forget")
                made = layer.binary("add", layer.binary("mul", f, cell, f"{name}.kept"), made, f"{name}.cell")
            cell = made
            o = layer.apply(functions[0], layer.peeped(o, cell, peepholes, 1, f"{name}.output"), f"{name}.output")
            hidden = layer.binary("mul", o, layer.function(functions[2], cell, f"{name}.shown"), f"{name}.hidden")
            states[time] = hidden
        assert hidden is not None and cell is not None
        finals.append(hidden)
        cells.append(cell)
        sequences.append([states[time] for time in sorted(states)])
    layer.finish(sequences, [finals, cells])


@imports("GRU")
def _gru(item: NodeImport) -> None:
    layer = _layer(item, 3)
    before_reset = bool(item.attribute("linear_before_reset", 0))
    finals, sequences = [], []
    size = layer.hidden
    for direction in range(layer.directions):
        hidden = layer.initial(5, direction)
        first, second = layer.biases(direction)
        inner = second[2 * size :]
        if before_reset:  # the bias of the candidate is reset with the state
            second = np.concatenate([second[: 2 * size], np.zeros(size, np.float32)])
        steps, functions = layer.inputs(direction, first + second), layer.functions(direction, 2)
        gate_weights = layer.weights(2, direction, 0, 2 * size)
        candidate_weights = layer.weights(2, direction, 2 * size, 3 * size)
        candidate_bias = item.add_constant(f"bias.{direction}", inner) if before_reset and inner.any() else None
        states = {}
        for time in layer.times(direction):
            name = f"{direction}.{time}"
            both, candidate = layer.sized_parts(steps[time], (2 * size, size), name)
            gates = layer.plus_state(both, hidden, gate_weights, name)
            z, r = layer.parts(gates, 2, f"{name}.gate")
            z = layer.apply(functions[0], z, f"{name}.update")
            if before_reset and (hidden is not None or candidate_bias is not None):
                r = layer.apply(functions[0], r, f"{name}.reset")
                state = layer.product(hidden, candidate_weights, candidate_bias, f"{name}.state")
                candidate = layer.binary("add", candidate, layer.binary("mul", r, state, f"{name}.kept"), f"{name}.sum")
            elif hidden is not None:
                r = layer.apply(functions[0], r, f"{name}.reset")
                kept = layer.binary("mul", r, hidden, f"{name}.kept")
                state = layer.product(kept, candidate_weights, None, f"{name}.state")
                candidate = layer.binary("add", candidate, state, f"{name}.sum")
            candidate = layer.apply(functions[1], candidate, f"{name}.candidate")
            # (1 - z) * candidate + z * hidden
            if hidden is None:
                old = layer.binary("mul", z, candidate, f"{name}.left")
                hidden = layer.binary("sub", candidate, old, f"{name}.hidden")
            else:
                change = layer.binary("sub", hidden, candidate, f"{name}.change")
                old = layer.binary("mul", z, change, f"{name}.left")
                hidden = layer.binary("add", candidate, old, f"{name}.hidden")
            states[time] = hidden
        assert hidden is not None
        finals.append(hidden)
        sequences.append([states[time] for time in sorted(states)])
    layer.finish(sequences, [finals])


@imports("RNN")
def _rnn(item: NodeImport) -> None:
    layer = _layer(item, 1)
    finals, sequences = [], []
    for direction in range(layer.directions):
        hidden = layer.initial(5, direction)
        steps, functions = layer.inputs(direction, layer.summed_bias(direction)), layer.functions(direction, 1)
        recurrent = layer.weights(2, direction)
        states = {}
        for time in layer.times(direction):
            name = f"{direction}.{time}"
            total = layer.plus_state(steps[time], hidden, recurrent, name)
            hidden = layer.apply(functions[0], total, f"{name}.hidden")
            states[time] = hidden
        assert hidden is not None
        finals.append(hidden)
        sequences.append([states[time] for time in sorted(states)])
    layer.finish(sequences, [finals])


_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}

Function = Callable[["NodeImport", str, str], str]
"""Writes an activation: the node, the operand, the name of the result."""


def _unary(function: str) -> Function:
    def write(item: NodeImport, value: str, name: str) -> str:
        return item.add(Unary(function), [value], name)  # type: ignore[arg-type]

    return write


_FUNCTIONS: dict[str, Function] = {name: _unary(name.lower()) for name in ("Sigmoid", "Tanh", "Relu", "Softplus")}


def _layer(item: NodeImport, gates: int) -> _Layer:
    """What the three operators share; refuses what can't be unrolled."""
    item.require_float(0, 1, 2, 3, 5)
    for position, what in ((1, "weights"), (2, "recurrent weights")):
        if not item.is_stored(item.operand(position)):
            item.refuse(f"its {what} are computed at run time", "Export the model with constant weights.")
    batch_first = bool(item.attribute("layout", 0))
    first, second, _ = item.type(item.operand(0)).shape
    batch, steps = (first, second) if batch_first else (second, first)
    if steps > LONGEST:
        item.refuse(
            f"its sequence has {steps} steps, and each would be written for itself",
            f"Give it at most {LONGEST} steps with --shape, and carry the state from one call to the next.",
        )
    if item.has(4):
        lengths = item.required_constant(4, "lengths of sequences")
        if (lengths != steps).any():
            item.refuse(
                f"its sequences are of different lengths, {sorted(set(lengths.tolist()))} of {steps} steps",
                "Export the model without sequence lengths.",
            )
    direction = item.attribute("direction", "forward")
    hidden = item.type(item.operand(2)).shape[2]
    return _Layer(item, gates, direction, batch_first, steps, batch, hidden)


@dataclass(frozen=True)
class _Layer:
    """A recurrent layer while it is unrolled. States are [N, H], gates of a step [N, gates * H]."""

    item: NodeImport
    gates: int
    direction: str
    batch_first: bool
    steps: int
    batch: int
    hidden: int

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    def times(self, direction: int) -> list[int]:
        """Steps in the order in which they are taken."""
        forward = list(range(self.steps))
        return forward[::-1] if self.direction == "reverse" or direction == 1 else forward

    # --- constants ---

    def weights(self, position: int, direction: int, begin: int = 0, end: int | None = None) -> str:
        """Rows of the weights of a direction: [rows, K]."""
        suffix = f"{direction}.{begin}" if begin or end is not None else f"{direction}"
        return self.item.arranged(self.item.operand(position), lambda data: data[direction, begin:end], suffix)

    def biases(self, direction: int) -> tuple[np.ndarray, np.ndarray]:
        """What is added to the products with the sequence, and to those with the state: float32 [gates * H]."""
        if not self.item.has(3):
            zeros = np.zeros(self.gates * self.hidden, np.float32)
            return zeros, zeros
        both = self.item.numbers(3)
        both = self.item.required_constant(3, "bias") if both is None else both
        first, second = np.split(both[direction], 2)
        return first, second

    def summed_bias(self, direction: int) -> np.ndarray:
        """The bias of all gates."""
        first, second = self.biases(direction)
        return np.asarray(first + second)

    def peepholes(self, direction: int) -> np.ndarray | None:
        """Weights from the cell to the gates input, output and forget: [3, H]; None where there are none."""
        if not self.item.has(7):
            return None
        data = self.item.numbers(7)
        data = self.item.required_constant(7, "peephole weights") if data is None else data
        return np.asarray(data[direction].reshape(3, self.hidden))

    def functions(self, direction: int, count: int) -> list[Function]:
        """The activations of a direction: of the gates, of the candidate, and of what is shown of the cell."""
        names = list(self.item.attribute("activations") or _DEFAULTS[self.item.node.op_type] * self.directions)
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
        chosen = names[direction * count : (direction + 1) * count]
        for name in chosen:
            if name not in _FUNCTIONS:
                self.item.refuse(
                    f"its activation {name!r} is none of {', '.join(_FUNCTIONS)}", "Train the model with one of these."
                )
        return [_FUNCTIONS[name] for name in chosen]

    # --- the sequence ---

    def inputs(self, direction: int, bias: np.ndarray) -> list[str]:
        """What each step takes from the sequence, with the bias: [N, gates * H] each."""
        operands = [self.item.operand(0), self.weights(1, direction)]
        if bias.any():
            operands.append(self.item.add_constant(f"input_bias.{direction}", bias))
        product = self.item.add(FullyConnected(), operands, self.item.between(f"inputs.{direction}"))
        names = [self.item.between(f"input.{direction}.{time}") for time in range(self.steps)]
        if self.steps > 1:
            axis = 1 if self.batch_first else 0
            self.item.add(Split(axis, (1,) * self.steps), [product], names)
        else:
            names = [product]
        size = self.gates * self.hidden
        return [
            self.item.add(Reshape((self.batch, size)), [name], self.item.between(f"step.{direction}.{time}"))
            for time, name in enumerate(names)
        ]

    def initial(self, position: int, direction: int) -> str | None:
        """The state before the first step; None where it is zero."""
        if not self.item.has(position):
            return None
        value = self.item.operand(position)
        data = self.item.constant(position)
        if data is not None and not data.any():
            return None
        shape = self.item.type(value).shape
        axis = 1 if self.batch_first else 0
        if self.directions > 1:
            begin, end = [0, 0, 0], list(shape)
            begin[axis], end[axis] = direction, direction + 1
            name = self.item.between(f"initial.{position}.{direction}")
            value = self.item.add(Slice(tuple(begin), tuple(end), (1, 1, 1)), [value], name)
        name = self.item.between(f"state.{position}.{direction}")
        return self.item.add(Reshape((self.batch, self.hidden)), [value], name)

    # --- a step ---

    def product(self, state: str | None, weights: str, bias: str | None, name: str) -> str:
        """The state times weights; of a state of zeros only the bias is left."""
        if state is None:
            assert bias is not None
            return bias
        operands = [state, weights] if bias is None else [state, weights, bias]
        return self.item.add(FullyConnected(), operands, self.item.between(name))

    def plus_state(self, gates: str, state: str | None, weights: str, name: str) -> str:
        """What a step takes from the sequence plus what it takes from the state."""
        if state is None:
            return gates
        product = self.product(state, weights, None, f"{name}.recurrent")
        return self.binary("add", gates, product, f"{name}.gates")

    def parts(self, value: str, count: int, name: str) -> list[str]:
        """Equal parts of the last dimension."""
        return self.sized_parts(value, (self.hidden,) * count, name)

    def sized_parts(self, value: str, sizes: tuple[int, ...], name: str) -> list[str]:
        """Parts of the last dimension, in order."""
        names = [self.item.between(f"{name}.part{i}") for i in range(len(sizes))]
        self.item.add(Split(1, sizes), [value], names)
        return names

    def peeped(self, gate: str, cell: str | None, peepholes: np.ndarray | None, row: int, name: str) -> str:
        """The gate with what it sees of the cell."""
        if peepholes is None or cell is None:
            return gate
        weights = self.item.add_constant(f"{name}.peephole", peepholes[row])
        return self.binary("add", gate, self.binary("mul", cell, weights, f"{name}.seen"), f"{name}.with_cell")

    def apply(self, function: Function, value: str, name: str) -> str:
        """The activation of a gate, which is clipped before."""
        clip = self.item.attribute("clip")
        if clip is not None:
            limit = float(clip)
            value = self.item.add(Clip(-limit, limit), [value], self.item.between(f"{name}.clipped"))
        return self.function(function, value, name)

    def function(self, function: Function, value: str, name: str) -> str:
        """An activation."""
        return function(self.item, value, self.item.between(f"{name}.activated"))

    def binary(self, function: str, a: str, b: str, name: str) -> str:
        """An operation of two tensors."""
        return self.item.add(Binary(function), [a, b], self.item.between(name))  # type: ignore[arg-type]

    # --- results ---

    def finish(self, sequences: list[list[str]], finals: list[list[str]]) -> None:
        """Write the results that are asked for.

        sequences: the states [N, H] of each direction, in the order of time. finals: those after the last step, of
        the hidden state and of the cell: one a direction.
        """
        names = [*self.item.outputs, "", "", ""]
        if names[0]:
            every = [
                self._joined(states, f"sequence.{i}", (self.steps, 1, self.batch, self.hidden))
                for i, states in enumerate(sequences)
            ]
            self._result(every, 1, names[0], (2, 0, 1, 3))
        for values, name in zip(finals, names[1:], strict=False):
            if name:
                shape = (1, self.batch, self.hidden)
                each = [
                    self.item.add(Reshape(shape), [value], self.item.between(f"last.{name}.{i}"))
                    for i, value in enumerate(values)
                ]
                self._result(each, 0, name, (1, 0, 2))

    def _joined(self, values: list[str], name: str, shape: tuple[int, ...]) -> str:
        rows = values[0]
        if len(values) > 1:
            rows = self.item.add(Concat(0), values, self.item.between(f"{name}.rows"))
        return self.item.add(Reshape(shape), [rows], self.item.between(name))

    def _result(self, directions: list[str], axis: int, name: str, batch_first: tuple[int, ...]) -> None:
        """The directions after each other along `axis`, in the layout that is asked for."""
        value = directions[0]
        if len(directions) > 1:
            value = self.item.add(
                Concat(axis), directions, self.item.between(f"{name}.directions") if self.batch_first else name
            )
            if not self.batch_first:
                return
        if self.batch_first:
            self.item.add(Transpose(batch_first), [value], name)
        else:
            self.item.rename(value, name)
