"""A network as the library has parsed it: its ports, and what its layers compute in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import EngineError
from ...protocol import Signature
from ..log import Log

__all__ = ["census", "parse", "signatures"]

NAMES = {
    "FLOAT": "fp32",
    "HALF": "fp16",
    "BF16": "bf16",
    "FP8": "fp8",
    "INT8": "int8",
    "INT4": "int4",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}
"""The library's names of types, by ours."""

DTYPES = {
    "fp32": "float32",
    "fp16": "float16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "bool": "bool",
}
"""Types of ports, by numpy's names."""

WEIGHTED = ("MATRIX_MULTIPLY", "CONVOLUTION", "EINSUM")


def parse(library: Any, builder: Any, graph: Path, log: Log) -> Any:
    """The network of a graph file; its weights are read from beside it. Raises EngineError with the parser's reason."""
    # Types are those of the graph. Later releases know no other way and have lost the flag.
    flag = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = library.OnnxParser(network, log.of(library))
    if not parser.parse_from_file(str(graph)):
        faults = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)) or log.cause
        raise EngineError(f"{graph.name}: the parser does not take it: {faults}")
    return network


def census(network: Any) -> tuple[dict[str, int], dict[str, int]]:
    """All layers, and those that multiply matrices, by the precision that they compute in.

    That is the type of their result, but of products of codes the type of the codes.
    """
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    made = {layer.get_output(i).name: layer for layer in layers for i in range(layer.num_outputs)}
    found = [(layer.type.name in WEIGHTED, _precision(layer, made)) for layer in layers]
    return _counted(kind for _, kind in found), _counted(kind for weighted, kind in found if weighted)


def _counted(kinds: Iterable[str]) -> dict[str, int]:
    return dict(Counter(kinds).most_common())


def _precision(layer: Any, made: Mapping[str, Any]) -> str:
    if layer.type.name in WEIGHTED:
        codes = {_codes(layer.get_input(i), made) for i in range(min(2, layer.num_inputs))}
        if len(codes) == 1 and None not in codes:
            return str(codes.pop())
    return _name(layer.get_output(0).dtype) if layer.num_outputs else "none"


def _codes(tensor: Any, made: Mapping[str, Any]) -> str | None:
    """The type that a tensor was dequantized from; None if it was not."""
    producer = made.get(tensor.name) if tensor is not None else None
    while producer is not None and producer.type.name in ("SHUFFLE", "IDENTITY"):
        producer = made.get(producer.get_input(0).name)
    if producer is None or producer.type.name != "DEQUANTIZE":
        return None
    return _name(producer.get_input(0).dtype)


def signatures(network: Any) -> tuple[dict[str, Signature], dict[str, Signature]]:
    """Inputs and outputs by name. Raises EngineError for a type that buffers do not have."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    return {t.name: _signature(t) for t in inputs}, {t.name: _signature(t) for t in outputs}


def _signature(tensor: Any) -> Signature:
    kind = _name(tensor.dtype)
    if kind not in DTYPES:
        raise EngineError(f"{tensor.name} is {kind}; known types of inputs and outputs are {', '.join(DTYPES)}")
    shape = [size if size >= 0 else tensor.get_dimension_name(i) or f"axis{i}" for i, size in enumerate(tensor.shape)]
    return Signature(DTYPES[kind], tuple(shape))


def _name(dtype: Any) -> str:
    return NAMES.get(dtype.name, str(dtype.name).lower())
