"""transformers' own class, loaded from the checkpoint directory by transformers itself, as a function to logits.

Arithmetic is float32 whatever the weights are stored in: transformers maps them, and a layer's are widened while it
runs. Knows nothing of a2d's reading of the checkpoint beside the name of the class, where config.json has one that
transformers does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...engines.errors import CheckpointError
from ..checkpoint.directory import Checkpoint
from ..families.family import Stock
from ..families.quiet import quiet

__all__ = ["StockModel", "class_of", "stock_model", "widest"]

SLICE = 8192
"""Rows of a projection to the vocabulary that are widened at a time."""


@dataclass(frozen=True)
class StockModel:
    """A model of transformers' that computes in float32."""

    name: str
    """Its class."""
    model: Any

    def logits(self, **inputs: Any) -> Tensor:
        """Logits `[B, R, V]` of a whole forward without a cache."""
        with torch.no_grad():
            made: Tensor = self.model(**inputs, use_cache=False).logits
        return made.float()


def class_of(kind: object, stock: Stock | None) -> str | None:
    """Name of transformers' class for config.json's `model_type`, or the one that a remote class is made of."""
    from transformers.models.auto import modeling_auto as auto  # noqa: PLC0415 - a second to import

    tables = (auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    known = next((table[kind] for table in tables if kind in table), None)
    return known if isinstance(known, str) else stock.name if stock else None


def stock_model(checkpoint: Checkpoint, name: str, stock: Stock | None) -> StockModel:
    """Load it. Raises CheckpointError with transformers' own words where it cannot, or finds not every tensor.

    Weights stay as they are stored, which is not always what config.json says (`dtype`), so that they are only mapped.
    """
    import transformers  # noqa: PLC0415 - as above

    kind = getattr(transformers, name)
    with quiet():
        try:
            config = _config(checkpoint.path, kind.config_class, stock)
            renamed = dict(stock.names) if stock else {}
            model, found = kind.from_pretrained(
                checkpoint.path,
                config=config,
                dtype=widest(checkpoint),
                key_mapping=renamed or None,
                output_loading_info=True,
                local_files_only=True,
                use_safetensors=True,
            )
        except Exception as error:  # transformers raises whatever its parts raise
            words = str(error).strip().splitlines() or [type(error).__name__]
            raise CheckpointError(f"transformers' {name} does not load it: {words[0]}") from error
    lost = sorted(found["missing_keys"]) + sorted(str(key) for key in found["mismatched_keys"])
    if lost:
        raise CheckpointError(f"transformers' {name} does not find {len(lost)} of its tensors, {lost[0]} among them")
    _widen(model.eval())
    return StockModel(name, model)


def widest(checkpoint: Checkpoint) -> torch.dtype:
    """The number type that holds all tensors exactly."""
    stored = {checkpoint.entry(name).dtype for name in checkpoint.files}
    halves = stored & {torch.float16, torch.bfloat16}
    return halves.pop() if len(stored) == 1 and halves else torch.float32


def _config(path: Path, kind: Any, stock: Stock | None) -> Any:
    """config.json as the class reads it; parts under names of a release's own are what they were made from."""
    raw, _ = kind.get_config_dict(path, local_files_only=True)
    raw = {key: value for key, value in raw.items() if key != "auto_map"}
    for part, name in (stock.parts if stock else {}).items():
        if isinstance(raw.get(part), dict):
            raw[part] = {**raw[part], "model_type": name}
    return kind.from_dict({**raw, "model_type": kind.model_type})


def _widen(model: Any) -> None:
    """Compute in float32: layers widen while they run, tables by rows, and the rest, which is small, stays wide."""
    layers, tables = model.get_decoder().layers, (model.get_input_embeddings(), model.get_output_embeddings())
    apart = {id(p) for part in (*layers, *tables) for p in part.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in apart:
            parameter.data = parameter.data.float()
    for layer in layers:
        layer.register_forward_pre_hook(_widened)
        layer.register_forward_hook(_narrowed)
    embedding, head = tables
    embedding.forward = lambda ids: nn.functional.embedding(ids, embedding.weight).float()
    head.forward = lambda x: _projected(x, head)


def _widened(layer: Any, _: Any) -> None:
    layer.stored = [(p, p.data) for p in layer.parameters()]
    for parameter in layer.parameters():
        parameter.data = parameter.data.float()


def _narrowed(layer: Any, _: Any, __: Any) -> None:
    for parameter, data in layer.stored:
        parameter.data = data
    del layer.stored


def _projected(x: Tensor, head: nn.Module) -> Tensor:
    """`x [..., H]` by the weights `[V, H]` of `head`, some thousand rows of them at a time."""
    bias = head.bias.float() if getattr(head, "bias", None) is not None else 0.0
    return torch.cat([x @ rows.float().T for rows in head.weight.split(SLICE)], -1) + bias
