"""The orders that transpose the fewest bytes.

Every operation that can work in several orders gets a label. A tensor costs its bytes once for each order in which it
is read and not stored. Labels are improved by fusion moves (Lempitsky et al., "Fusion Moves for Markov Random Field
Optimization", 2010): a proposal gives each operation another label, and a minimum cut finds which operations should
take theirs. Proposals are the orders that fixed operations write and read in, carried through all that is free. With
two labels in play, as in a convolutional network, the first cut is the optimum.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from edgec.ir.passes.layout.cut import INFINITE, FlowNetwork
from edgec.ir.passes.layout.freedom import order_of
from edgec.ir.passes.layout.orders import Order, compose, identity, inverse
from edgec.ir.passes.layout.problem import Problem, Read, Tensor

Labels = list[Order]

ROUNDS = 16
"""Proposals at most. A model needs two or three."""


def best_labels(problem: Problem) -> Labels:
    """A label for each node."""
    labels = [identity(freedom.rank) for freedom in problem.freedoms]
    lowest = total_cost(problem, labels)
    for proposal in proposals(problem):
        if lowest == 0:
            break
        fused = _fuse(problem, labels, proposal)
        total = total_cost(problem, fused)
        if total < lowest:
            labels, lowest = fused, total
    return labels


def stored_order(problem: Problem, tensor: Tensor, label: Order) -> Order:
    """The order in which the tensor is written when its writer has this label."""
    freedom = problem.freedoms[tensor.writer]
    return order_of(freedom.results[tensor.result], label, len(tensor.shape))


def read_order(problem: Problem, read: Read, label: Order) -> Order:
    """The order in which the tensor is read when its reader has this label."""
    freedom = problem.freedoms[read.node]
    return compose(read.order, order_of(freedom.operands[read.operand], label, len(read.order)))


def total_cost(problem: Problem, labels: Labels) -> int:
    """What it costs to bring all tensors into the orders in which they are read."""
    total = 0
    for tensor in problem.tensors.values():
        stored = stored_order(problem, tensor, labels[tensor.writer])
        wanted = {read_order(problem, read, labels[read.node]) for read in tensor.reads}
        total += sum(tensor.cost(stored, order) for order in wanted)
    return total


def proposals(problem: Problem) -> Iterator[dict[int, Order]]:
    """Labels for some nodes: orders of fixed operations, carried as far as they go."""
    waiting = list(dict.fromkeys(_fixed_orders(problem)))
    touching = _touching(problem)
    for _ in range(ROUNDS):
        if not waiting:
            return
        labels: dict[int, Order] = {}
        orders: dict[str, Order] = {}
        for name, order in waiting:
            if name not in orders:
                _carry(problem, touching, name, order, labels, orders)
        yield labels
        waiting = [(name, order) for name, order in waiting if orders[name] != order]


def _fixed_orders(problem: Problem) -> Iterator[tuple[str, Order]]:
    for name, tensor in problem.tensors.items():
        for read in tensor.reads:
            if problem.freedoms[read.node].operands[read.operand] is None:
                yield name, read.order
        if problem.freedoms[tensor.writer].results[tensor.result] is None:
            yield name, identity(len(tensor.shape))


def _touching(problem: Problem) -> list[list[tuple[str, Read | None]]]:
    """The tensors that each node reads (with the read) and writes (with None)."""
    found: list[list[tuple[str, Read | None]]] = [[] for _ in problem.freedoms]
    for name, tensor in problem.tensors.items():
        found[tensor.writer].append((name, None))
        for read in tensor.reads:
            found[read.node].append((name, read))
    return found


def _carry(
    problem: Problem,
    touching: list[list[tuple[str, Read | None]]],
    name: str,
    order: Order,
    labels: dict[int, Order],
    orders: dict[str, Order],
) -> None:
    """Give labels to all nodes that a tensor in this order leads to."""
    waiting = deque([name])
    orders[name] = order
    while waiting:
        name = waiting.popleft()
        tensor, order = problem.tensors[name], orders[name]
        wanted: list[tuple[int, Order | None]] = []
        freedom = problem.freedoms[tensor.writer]
        wanted.append((tensor.writer, freedom.label_for(freedom.results[tensor.result], order)))
        for read in tensor.reads:
            freedom = problem.freedoms[read.node]
            own = compose(inverse(read.order), order)
            wanted.append((read.node, freedom.label_for(freedom.operands[read.operand], own)))
        for node, label in wanted:
            if label is None or node in labels:
                continue
            labels[node] = label
            for other, used in touching[node]:
                if other not in orders:
                    orders[other] = (
                        stored_order(problem, problem.tensors[other], label)
                        if used is None
                        else read_order(problem, used, label)
                    )
                    waiting.append(other)


def _fuse(problem: Problem, labels: Labels, proposal: dict[int, Order]) -> Labels:
    """Labels of which each is the present one or the proposed one, as the minimum cut has it.

    Terms that a cut can't express (they take two operations that go opposite ways) are charged too much; what comes
    out is judged by its true cost.
    """
    network = FlowNetwork()
    switches = {node: network.node() for node, label in proposal.items() if label != labels[node]}
    for tensor in problem.tensors.values():
        touched = {tensor.writer, *(read.node for read in tensor.reads)}
        if not touched.isdisjoint(switches):
            _charge(network, problem, tensor, labels, proposal, switches)
    chosen = network.source_side()
    return [
        proposal[node] if node in switches and switches[node] in chosen else label for node, label in enumerate(labels)
    ]


def _charge(
    network: FlowNetwork,
    problem: Problem,
    tensor: Tensor,
    labels: Labels,
    proposal: dict[int, Order],
    switches: dict[int, int],
) -> None:
    """The cost of one tensor. A node of the network is on the source's side when its operation switches."""
    writer = switches.get(tensor.writer)
    kept = stored_order(problem, tensor, labels[tensor.writer])
    switched = stored_order(problem, tensor, proposal[tensor.writer]) if writer is not None else kept
    always: set[Order] = set()
    keeping: dict[Order, list[int]] = {}
    switching: dict[Order, list[int]] = {}
    for read in tensor.reads:
        before = read_order(problem, read, labels[read.node])
        switch = switches.get(read.node)
        after = read_order(problem, read, proposal[read.node]) if switch is not None else before
        if switch is None or before == after:
            always.add(before)
        else:
            keeping.setdefault(before, []).append(switch)
            switching.setdefault(after, []).append(switch)
    for wanted in dict.fromkeys([*always, *keeping, *switching]):
        old, new = tensor.cost(kept, wanted), tensor.cost(switched, wanted)
        readers = (keeping.get(wanted, []), switching.get(wanted, []))
        if wanted not in always and (base := min(old, new)):
            _charge_any(network, base, *readers)
        if writer is None or old == new:
            continue
        # what the writer's side adds: when it switches (new > old), or when it keeps
        extra, blamed = abs(new - old), readers[0] if new > old else readers[1]
        opposite = readers[1] if new > old else readers[0]
        if wanted in always or opposite:
            start, end = (writer, network.SINK) if new > old else (network.SOURCE, writer)
            network.edge(start, end, extra)
        elif new > old:  # paid when the writer switches and some reader keeps
            gate = network.node()
            network.edge(writer, gate, extra)
            for reader in blamed:
                network.edge(gate, reader, INFINITE)
        else:  # paid when the writer keeps and some reader switches
            gate = network.node()
            network.edge(gate, writer, extra)
            for reader in blamed:
                network.edge(reader, gate, INFINITE)


def _charge_any(network: FlowNetwork, cost: int, keeping: list[int], switching: list[int]) -> None:
    """Charge once when any of these readers keeps its label, or any of those switches."""
    if keeping:
        gate = network.node()
        network.edge(network.SOURCE, gate, cost)
        for reader in keeping:
            network.edge(gate, reader, INFINITE)
    if switching:
        gate = network.node()
        network.edge(gate, network.SINK, cost)
        for reader in switching:
            network.edge(reader, gate, INFINITE)
