"""Torch modules to ONNX pieces whose weights are inputs, by torch.export.

Tracing never sees a weight: parameters live on the `meta` device and become graph inputs, so that a piece costs the
same whether its matrices hold a thousand numbers or a billion, and one trace serves every layer. All pieces go through
one export, because a single export costs about a second before it looks at its module.
This module does not know what is traced, nor where the weights come from.
"""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import onnxscript
import torch
from torch import Tensor, nn

from ..graphs.kind import TraceSpec
from .piece_cache import PieceCache

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OPSET", "Traced", "key_of", "trace"]

OPSET = 21
"""Newest opset whose plain operators ONNX Runtime, TensorRT 10.3 (JetPack 6) and TensorRT-RTX all take."""


VERSIONS = (sys.version_info[:2], torch.__version__, onnxscript.__version__, ir.__version__)
"""Versions of everything that takes part in a trace."""


def key_of(spec: TraceSpec) -> str:
    """Everything but code that decides what a trace is: equal keys trace to the same piece."""
    modules = [(name, _described(module)) for name, module in spec.module.named_modules()]
    weights = [(name, tuple(weight.shape), weight.dtype) for name, weight in spec.module.named_parameters()]
    inputs = [(name, tuple(value.shape), value.dtype) for name, value in spec.inputs.items()]
    axes = [(name, axis, str(of)) for name, row in spec.dynamic.items() for axis, of in row.items()]
    return repr((VERSIONS, modules, weights, inputs, axes, spec.outputs))


def _described(module: nn.Module) -> str:
    """The module's class and its plain attributes, such as its shape."""
    plain = {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"}
    named = {name: getattr(value, "__qualname__", value) for name, value in plain.items()}
    return f"{type(module).__qualname__} {named}"


@dataclass(frozen=True)
class Traced:
    """One traced module: `graph.inputs` are the module's inputs and then its weights, in the order of these names."""

    graph: ir.Graph
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[str, ...]


class _SideBySide(nn.Module):
    """Calls each module with the inputs and the weights that it is given, instead of its own."""

    def __init__(self, specs: Sequence[TraceSpec]) -> None:
        super().__init__()
        # In tuples, so that torch does not register the parameters.
        self.calls = [(spec.module, spec.weights) for spec in specs]

    def forward(self, inputs: list[list[Tensor]], weights: list[list[Tensor]]) -> list[object]:
        return [
            torch.func.functional_call(module, dict(zip(names, given, strict=True)), tuple(feeds))
            for (module, names), feeds, given in zip(self.calls, inputs, weights, strict=True)
        ]


def trace(specs: Mapping[str, TraceSpec], cache: PieceCache = PieceCache(None)) -> dict[str, Traced]:  # noqa: B008 - frozen
    """Trace every spec that `cache` does not hold; the pieces come back under the same names."""
    found = {name: cache.get(key_of(spec)) for name, spec in specs.items()}
    missing = [spec for name, spec in specs.items() if found[name] is None]
    traced = iter(_traced(missing) if missing else ())
    pieces = {}
    for name, spec in specs.items():
        content = found[name]
        if content is None:
            content = next(traced)
            cache.put(key_of(spec), content)
        pieces[name] = _piece(spec, content)
    return pieces


def _traced(specs: Sequence[TraceSpec]) -> Iterator[bytes]:
    """One export of all; each spec's part of it as a model of its own."""
    inputs = [list(spec.inputs.values()) for spec in specs]
    weights = [[torch.empty_like(w, device="cpu") for w in spec.module.parameters()] for spec in specs]
    axes = [[dict(spec.dynamic.get(name, {})) for name in spec.inputs] for spec in specs]
    with _quiet(), torch.no_grad():
        program = torch.export.export(
            _SideBySide(specs),
            (inputs, weights),
            dynamic_shapes=(axes, [[{} for _ in row] for row in weights]),
            strict=False,
        )
        exported = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
    assert exported is not None
    made = [*_parted(exported.model.graph, specs)]
    del program, exported
    gc.collect()  # a trace leaves hundreds of megabytes of objects that hold each other
    return iter(made)


def _parted(graph: ir.Graph, specs: Sequence[TraceSpec]) -> Iterator[bytes]:
    """The exported graph, spec by spec: inputs come before all weights, outputs in order."""
    feeds, weights = iter(graph.inputs), iter(graph.inputs[sum(len(r.inputs) for r in specs) :])
    results = iter(graph.outputs)
    for spec in specs:
        own = [*_take(feeds, len(spec.inputs)), *_take(weights, len(spec.weights))]
        made = _take(results, len(spec.outputs))
        nodes, constants = _behind(graph, made)
        view = ir.GraphView(own, made, nodes=nodes, initializers=constants, name="piece")
        opset = onnx.helper.make_opsetid("", OPSET)
        yield _renamed(onnx.helper.make_model(ir.to_proto(view), opset_imports=[opset]), spec)


def _renamed(model: onnx.ModelProto, spec: TraceSpec) -> bytes:
    """Names by the place in the piece: those of the export count through all that was traced together."""
    made = ir.serde.deserialize_model(model)
    for name, value in zip((*spec.inputs, *spec.weights), made.graph.inputs, strict=True):
        value.name, value.shape = name, value.shape if name in spec.weights else None
    for i, value in enumerate([*made.graph.initializers.values()]):
        value.name = f"constant_{i}"
        value.metadata_props.clear()
    for i, node in enumerate(made.graph):
        node.name, node.doc_string = f"{node.op_type}_{i}", None
        node.metadata_props.clear()
        for k, value in enumerate(node.outputs):
            value.metadata_props.clear()
            value.name, value.shape = f"{node.op_type}_{i}.{k}", None  # whose dynamic sizes are named by the export
    return bytes(ir.to_proto(made).SerializeToString(deterministic=True))


def _piece(spec: TraceSpec, content: bytes) -> Traced:
    graph = ir.serde.deserialize_model(onnx.load_model_from_string(content)).graph
    return Traced(graph, tuple(spec.inputs), spec.weights, spec.outputs)


def _take(values: Iterator[ir.Value], count: int) -> list[ir.Value]:
    return [next(values) for _ in range(count)]


def _behind(graph: ir.Graph, outputs: Sequence[ir.Value]) -> tuple[list[ir.Node], list[ir.Value]]:
    """The nodes that `outputs` come from, in order, and the constants that these take, in that order."""
    wanted = set(outputs)
    nodes: list[ir.Node] = []
    for node in reversed(list(graph)):
        if wanted.intersection(node.outputs):
            nodes.append(node)
            wanted.update(value for value in node.inputs if value is not None)
    nodes.reverse()
    held = set(graph.initializers.values())
    return nodes, list(dict.fromkeys(x for node in nodes for x in node.inputs if x is not None and x in held))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracer's notes to developers of torch away from users of a2d."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
