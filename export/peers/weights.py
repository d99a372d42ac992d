"""The weights of a bundle in torch, and the network that they belong to."""

from __future__ import annotations

import json

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from ...engines.errors import RequestError
from ...runtime.bundle.files import Bundle
from ..checkpoint.directory import Checkpoint
from ..families import Family, describe
from ..write.weight_file import CONFIG_KEY

__all__ = ["family_of", "weights_of"]


def weights_of(bundle: Bundle, precision: str) -> dict[str, Tensor]:
    """Every named parameter of the decoder, widened to float32; a tied `lm_head` is the embedding's own memory."""
    found: dict[str, Tensor] = {}
    places: dict[int, Tensor] = {}
    for graph in ("backbone", "denoise"):
        initializers = ir.load(bundle.file(bundle.variant(precision).graphs[graph])).graph.initializers
        for name, value in initializers.items():
            if isinstance(value.const_value, ir.ExternalTensor):
                at = value.const_value.offset
                if at not in places:
                    places[at] = torch.from_numpy(np.array(value.const_value.numpy(), np.float32))
                found[name] = places[at]
    return found


def family_of(bundle: Bundle, precision: str) -> Family:
    """The checkpoint's family, from the config that the exporter left in the graph.

    Raises RequestError for a mixture of experts, which the peers do not run.
    """
    graph = ir.load(bundle.file(bundle.variant(precision).graphs["backbone"]))
    family = describe(Checkpoint(bundle.path, json.loads(graph.metadata_props[CONFIG_KEY])))
    if family.shape.experts is not None:
        raise RequestError(f"no peer runs a mixture of experts ({family.name}); leave it out for this bundle")
    return family
