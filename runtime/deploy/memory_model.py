"""Memory that a bundle takes on a target, before anything is built or loaded.

    weights      what each graph's file holds, at the target's width; one copy for each graph, as libraries keep them
    cache        2 · L · Hkv · D · w bytes for each row of context (Pope et al. 2022, section 3.3), in chunks
    activations  of the backbone, the larger stage of a layer for R rows against K = C + R keys, and what is kept:
                   attention  2·Hq·R·K·w (scores, probabilities) + R·K·(w + 1) (mask) + 2·Hkv·K·D·w + R·(Wq + 2H)·w
                   MLP        R·(2·Wm + 2H)·w                      (Wm: width of the widest product, gate and up as one)
                   kept       2·L·Hkv·R·D·w + R·H·w                (new keys, values and hidden states)
                 of the output graphs n·B·V·4 (n times the logits: 3 on a CPU, 12 by TensorRT-RTX's own figures);
                 of a vision tower the same attention, every patch against every patch, and MLP
    sessions     N of them side by side have N caches, and one more while a session moves in; where they are packed, one
                 forward has the rows of many (R up to 128) against the keys of all (K = N·C + R)
    workspace    half of the activations: what libraries round up, and need beside tensors
    load         what loading takes for a moment, beside the weights

Fused attention needs no scores, so for TensorRT the activations are an upper bound. docs/design.md has what was
measured against it. Knows sizes; neither builds nor runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...engines.errors import BundleError
from ..bundle.manifest import Manifest, ModelShape, Variant
from ..bundle.weight_index import StoredTensor
from ..decode.cache import CacheShape
from ..inputs.patches import VisionSpec
from .profiles import Sizes

__all__ = ["CPU", "Estimate", "Shapes", "Widths", "estimate", "shapes_of"]

PROCESS = 65 << 20
"""Bytes of Python, numpy and ONNX Runtime 1.32 themselves, measured on x86-64 Linux. CUDA's context is not in it."""

PROJECTED, EMBEDDED = "layers.0.qkv", "vision.embed.weight"
"""Matrices whose widths are those of all queries, keys and values, and of a vision tower's rows."""

VISION_HEAD = 64
"""Width of a vision tower's heads, which its tensors do not tell: narrower ones are more, and take more for scores."""

QUANTIZED_LOAD = 13
"""Bytes that ONNX Runtime 1.32 takes for a moment for each code of a table that it packs: measured, floats thrice."""


@dataclass(frozen=True)
class Widths:
    """Bytes of a number in memory, by kind."""

    floats: int | None
    """Bytes of a float weight; None as the file has it."""
    codes: int | None
    """Bytes of a matrix's element where it is yet to be quantized; None where the variant is what it will be."""
    computed: int
    """Bytes of an activation."""
    cache: str
    """The cache's dtype."""
    mapped: bool
    """Tables to look up stay in the mapped file, whose pages are dropped where memory is short: they do not count."""
    apart: bool
    """The device has a memory of its own: the process, and what is read before it is there, are not in it."""
    logits: int
    """Tensors of the logits' size that an output graph holds at once."""

    def stored(self, tensor: StoredTensor) -> int:
        """Bytes of a weight."""
        if not tensor.is_float:
            return tensor.bytes
        if self.codes is not None and len(tensor.shape) > 1:
            return tensor.elements * self.codes
        return tensor.bytes if self.floats is None else tensor.elements * self.floats

    def weights(self, graph: str, tensors: Mapping[str, StoredTensor]) -> int:
        """Bytes of a graph's weights: of a table that is mapped, only pages are in memory, and not for long."""
        left_out = self.mapped and graph == "backbone"
        return sum(self.stored(t) for name, t in tensors.items() if not (left_out and name.startswith("embedding")))


CPU = Widths(floats=4, codes=None, computed=4, cache="float32", mapped=True, apart=False, logits=3)
"""fp16 is widened to compute."""


@dataclass(frozen=True)
class Shapes:
    """Sizes that the graphs' tensors tell beyond the manifest."""

    query_heads: int
    projected: int
    """Width of queries, keys and values as one product."""
    widest: int
    """Width of a layer's widest product."""
    vision_hidden: int
    vision_widest: int
    tensors: dict[str, Mapping[str, StoredTensor]]
    """Stored tensors by graph."""


@dataclass(frozen=True)
class Estimate:
    """Bytes."""

    weights: dict[str, int]
    """Bytes by graph."""
    cache: int
    cache_per_1k: int
    """For 1000 rows of context."""
    activations: dict[str, int]
    """Bytes by graph; each keeps what it once took."""
    workspace: int
    process: int
    load: int
    apart: bool
    """Process and load are in another memory than the rest."""

    @property
    def total(self) -> int:
        """While decoding, at the end of the context, in the memory that the device computes in."""
        taken = sum(self.weights.values()) + self.cache + sum(self.activations.values()) + self.workspace
        return taken if self.apart else taken + self.process

    @property
    def peak(self) -> int:
        """The most at any time. The output graph is loaded last, when the cache already holds a prompt."""
        return self.total if self.apart else self.total + self.load


def shapes_of(manifest: Manifest, variant: Variant, graphs: Iterable[str]) -> Shapes:
    """The shapes of `graphs`, by names that docs/bundle.md gives. Raises BundleError where the index lacks one."""
    held: dict[str, Mapping[str, StoredTensor]] = {name: variant.index[name].tensors for name in graphs}
    m, vision = manifest.model, held.get("vision", {})
    layers, tower = _widths(held["backbone"], "layers."), _widths(vision, "vision.")
    projected = _width(layers, PROJECTED, variant.graphs["backbone"])
    return Shapes(
        query_heads=max(1, projected // m.head_dim - 2 * m.kv_heads),
        projected=projected,
        widest=max(layers.values()),
        vision_hidden=_width(tower, EMBEDDED, variant.graphs["vision"]) if vision else 0,
        vision_widest=max(tower.values(), default=0),
        tensors=held,
    )


def _width(widths: dict[str, int], name: str, graph: str) -> int:
    """Width of a matrix, or of its codes."""
    found = widths.get(name, widths.get(f"{name}.codes"))
    if found is None:
        raise BundleError(f"{graph} holds no matrix {name}, whose width the plan needs. Export the checkpoint again.")
    return found


def _widths(tensors: Mapping[str, StoredTensor], prefix: str) -> dict[str, int]:
    """Output widths of the matrices `[in, out]`, or `[experts, in, out]`, whose names begin so."""
    return {name: t.shape[-1] for name, t in tensors.items() if name.startswith(prefix) and len(t.shape) > 1}


def estimate(manifest: Manifest, shapes: Shapes, sizes: Sizes, widths: Widths) -> Estimate:
    """Memory that the graphs in `shapes` take."""
    m = manifest.model
    weights = {name: widths.weights(name, tensors) for name, tensors in shapes.tensors.items()}
    activations = _activations(manifest, shapes, sizes, widths)
    cache = CacheShape(m.layers, m.kv_heads, m.head_dim, widths.cache)
    return Estimate(
        weights=weights,
        cache=_caches(cache, sizes, widths.mapped),
        cache_per_1k=cache.bytes(1000),
        activations=activations,
        workspace=sum(activations.values()) // 2,
        process=PROCESS,
        load=_load(shapes, sum(weights.values()), widths.mapped),
        apart=widths.apart,
    )


def _caches(shape: CacheShape, sizes: Sizes, packs: bool) -> int:
    """All sessions' caches. Packed ones stand in one pool, which has one buffer twice while it grows.

    A session that reads its prompt has a cache of its own, until it moves into the pool.
    """
    every = sizes.sessions * shape.bytes(sizes.context)
    if sizes.sessions == 1 or not packs:
        return every
    return every + shape.bytes(sizes.context) + every // (2 * shape.layers)


def _activations(manifest: Manifest, shapes: Shapes, sizes: Sizes, widths: Widths) -> dict[str, int]:
    alone = _backbone(manifest.model, shapes, sizes.widest, sizes.context, widths.computed)
    packs, block = sizes.sessions > 1 and widths.mapped, sizes.block
    if packs:
        every = _backbone(manifest.model, shapes, sizes.packed, sizes.sessions * sizes.context, widths.computed)
        alone, block = max(alone, every), max(block, sizes.packed // 2)
    made = {"backbone": alone}
    outputs = widths.logits * block * manifest.model.vocab * 4
    made |= {name: outputs for name in ("denoise", "sample") if name in shapes.tensors}
    if manifest.vision is not None and "vision" in shapes.tensors:
        made["vision"] = _vision(manifest.vision, shapes)
    return made


def _backbone(m: ModelShape, shapes: Shapes, R: int, context: int, w: int) -> int:
    """A forward of R rows against so much context."""
    K, H, D = context + R, m.hidden, m.head_dim
    scores = 2 * shapes.query_heads * R * K * w + R * K * (w + 1)
    attention = scores + 2 * m.kv_heads * K * D * w + R * (shapes.projected + 2 * H) * w
    mlp = R * (2 * shapes.widest + 2 * H) * w
    kept = 2 * m.layers * m.kv_heads * R * D * w + R * H * w
    return max(attention, mlp) + kept


def _vision(spec: VisionSpec, shapes: Shapes) -> int:
    """The largest picture, or one crop, in fp32 as its pixels are."""
    box, crops = spec.letterbox, spec.crops
    pixels = spec.max_pixels if box is None else box.height * box.width
    pixels = pixels if crops is None else crops.size**2
    M, H = -(-pixels // spec.patch_size**2), shapes.vision_hidden
    patch = spec.in_channels * spec.temporal_patch_size * spec.patch_size**2
    scores = 2 * max(1, H // VISION_HEAD) * M * M * 4
    return scores + M * (2 * shapes.vision_widest + 3 * H + patch) * 4


def _load(shapes: Shapes, weights: int, on_cpu: bool) -> int:
    """ONNX Runtime packs one matrix after the other; a GPU's library reads an engine whole, and then has it twice."""
    if not on_cpu:
        return weights
    every = (tensor for tensors in shapes.tensors.values() for tensor in tensors.values())
    return max(t.bytes if t.is_float else QUANTIZED_LOAD * t.bytes for t in every)
