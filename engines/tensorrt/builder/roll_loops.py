"""A pass: steps that a graph repeats one after the other become one Loop.

Bundles spell loops out (a bisection is thirty copies of one step), which ONNX Runtime likes and TensorRT's builder does
not: it fused for minutes what it builds as a loop in a second. A step is a run of nodes whose names share the part
before the first dot, as the exporter stamps them; two steps are alike if they do the same to the same values, but for
what the second takes from the first:

1. Find stretches of at least three steps alike.
2. Make the second step the body of a Loop, whose state is what a step takes from the one before.
3. Feed it what the first step took, and let the readers of the last one read the Loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["roll"]

SHORTEST = 3

Step = tuple[ir.Node, ...]


@dataclass(frozen=True)
class _Stretch:
    """Steps alike, and what flows from one to the next: each as the (node, output) that makes it."""

    steps: tuple[Step, ...]
    state: tuple[tuple[int, int], ...]

    def start(self) -> list[ir.Value]:
        """Values that the first step takes where the second takes the first's results."""
        first, second = self.steps[:2]
        made = {first[i].outputs[j]: (i, j) for i, j in self.state}
        taken = {
            made[b]: a
            for one, two in zip(first, second, strict=True)
            for a, b in zip(one.inputs, two.inputs, strict=True)
            if a is not None and b in made
        }
        return [taken[place] for place in self.state]

    def ends(self) -> list[ir.Value]:
        """The last step's results."""
        return [self.steps[-1][i].outputs[j] for i, j in self.state]


def roll(model: ir.Model) -> ir.Model:
    """Rewrite in place."""
    for number, stretch in enumerate([*_stretches(model.graph)]):
        _replace(model.graph, stretch, _loop(model.graph, stretch, f"loop.{number}"))
    return model


def _stretches(graph: ir.Graph) -> Iterator[_Stretch]:
    steps: list[Step] = [tuple(nodes) for _, nodes in groupby(graph, key=lambda node: str(node.name).split(".")[0])]
    at = 0
    while at < len(steps):
        end = at + 1
        while end < len(steps) and _follows(steps[at : end + 1]):
            end += 1
        if end - at >= SHORTEST and (stretch := _stretch(graph, steps[at:end])) is not None:
            yield stretch
        at = end


def _follows(steps: Sequence[Step]) -> bool:
    """The last step does to the one before what the second did to the first."""
    if [n.op_type for n in steps[-1]] != [n.op_type for n in steps[0]]:
        return False
    if len(steps) == 2:
        return _begins(*steps)
    return _form(steps[-1], steps[-2]) == _form(steps[1], steps[0])


def _begins(first: Step, second: Step) -> bool:
    """The first does what the second does, but starts from values of its own, the same wherever the second's are."""
    starts: dict[object, object] = {}
    for one, two in zip(_form(first, ()), _form(second, first), strict=True):
        if one[:2] != two[:2] or len(one[2]) != len(two[2]):
            return False
        for a, b in zip(one[2], two[2], strict=True):
            carried = isinstance(b, tuple) and b[0] == "before"
            if (starts.setdefault(b, a) if carried else b) != a:
                return False
    return True


def _form(step: Step, before: Step) -> list[tuple[str, str, list[object]]]:
    """The work of a step without its own names: inputs are places in it, places in the step before, or values."""
    places: dict[ir.Value, object] = {
        v: ("before", i, j) for i, n in enumerate(before) for j, v in enumerate(n.outputs)
    }
    places |= {v: ("own", i, j) for i, n in enumerate(step) for j, v in enumerate(n.outputs)}
    return [
        (n.op_type, str(n.attributes), [places.get(v, v) if v is not None else None for v in n.inputs]) for n in step
    ]


def _stretch(graph: ir.Graph, steps: Sequence[Step]) -> _Stretch | None:
    first, second = steps[:2]
    made = {v: (i, j) for i, n in enumerate(first) for j, v in enumerate(n.outputs)}
    state = tuple(dict.fromkeys(made[v] for n in second for v in n.inputs if v in made))
    stretch = _Stretch(tuple(steps), state)
    return stretch if state and _is_closed(graph, stretch) else None


def _is_closed(graph: ir.Graph, stretch: _Stretch) -> bool:
    """Nobody outside reads anything but the last step's results, and the first step starts from values outside."""
    ends, inside = set(stretch.ends()), {n for step in stretch.steps for n in step}
    made = [v for step in stretch.steps for n in step for v in n.outputs if v not in ends]
    secret = all(v not in graph.outputs and all(n in inside for n in v.consumers()) for v in made)
    return secret and all(v.producer() not in inside for v in stretch.start())


def _loop(graph: ir.Graph, stretch: _Stretch, name: str) -> ir.Node:
    trips = _constant(graph, f"{name}.trips", np.array(len(stretch.steps), np.int64))
    always = _constant(graph, f"{name}.always", np.array(True))
    body = ir.AttrGraph("body", _body(stretch, name))
    loop = ir.Node(
        "", "Loop", [trips, always, *stretch.start()], attributes=[body], num_outputs=len(stretch.state), name=name
    )
    for made, end in zip(loop.outputs, stretch.ends(), strict=True):
        made.name, made.type, made.shape = f"{name}.{end.name}", end.type, end.shape
    return loop


def _body(stretch: _Stretch, name: str) -> ir.Graph:
    first, second = stretch.steps[:2]
    scalar = ir.Shape([])
    trip = ir.Value(name=f"{name}.trip", type=ir.TensorType(ir.DataType.INT64), shape=scalar)
    go_on = ir.Value(name=f"{name}.go_on", type=ir.TensorType(ir.DataType.BOOL), shape=scalar)
    before = [first[i].outputs[j] for i, j in stretch.state]
    state = [ir.Value(name=f"{name}.in.{v.name}", type=v.type, shape=v.shape) for v in before]
    twins: dict[ir.Value | None, ir.Value | None] = dict(zip(before, state, strict=True))
    nodes = [_copied(node, twins, name) for node in second]
    still = ir.node("Identity", [go_on], name=f"{name}.still")
    still.outputs[0].name, still.outputs[0].type, still.outputs[0].shape = f"{name}.still", go_on.type, scalar
    ends = [nodes[i].outputs[j] for i, j in stretch.state]
    return ir.Graph([trip, go_on, *state], [still.outputs[0], *ends], nodes=[still, *nodes], name=name)


def _copied(node: ir.Node, twins: dict[ir.Value | None, ir.Value | None], name: str) -> ir.Node:
    inputs = [twins.get(v, v) for v in node.inputs]
    made = ir.Node(
        "", node.op_type, inputs, attributes=[*node.attributes.values()], num_outputs=len(node.outputs),
        name=f"{name}.{node.name}",
    )  # fmt: skip
    for old, new in zip(node.outputs, made.outputs, strict=True):
        new.name, new.type, new.shape = f"{name}.out.{old.name}", old.type, old.shape
        twins[old] = new
    return made


def _constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape))
    graph.initializers[name] = value
    return value


def _replace(graph: ir.Graph, stretch: _Stretch, loop: ir.Node) -> None:
    graph.insert_before(stretch.steps[0][0], loop)
    for end, made in zip(stretch.ends(), loop.outputs, strict=True):
        if end in graph.outputs:
            made.name, end.name = end.name, made.name
        ir.convenience.replace_all_uses_with(end, made, replace_graph_outputs=True)
    for step in reversed(stretch.steps):
        graph.remove(step, safe=True)
