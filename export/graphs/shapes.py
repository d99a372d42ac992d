"""The sizes that shape the graphs of a checkpoint, as frozen data. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MLPS", "DecoderShape", "ExpertShape", "Network", "PackedShape", "SiglipShape", "VisionShape"]


SCORES = ("sigmoid", "softmax")
"""Functions from router logits to scores, by name."""

MLPS = ("swiglu", "relu2")
"""Plain MLPs by name: silu(gate) * up, or relu(up) squared without a gate; each is projected down."""


@dataclass(frozen=True)
class ExpertShape:
    """The sizes and choices of a decoder's experts."""

    count: int
    active: int
    """Experts that each row goes through."""
    intermediate: int
    scores: str
    """Function from router logits to scores: one of SCORES."""
    normalised: bool
    """True if the weights of a row's experts sum to one, before `scale`."""
    groups: int = 1
    active_groups: int = 1
    """Groups that a row's experts may come from: those whose two best score highest (DeepSeek-V3, 2412.19437)."""
    scale: float = 1.0
    bias: bool = False
    """True if a bias counts in the choice of experts, not in their weights (loss-free balancing, 2408.15664)."""
    shared: int = 0
    """Intermediate width of the expert that every row goes through; 0 is none."""
    dense: tuple[int, ...] = ()
    """Indices of layers that have a plain MLP instead."""


@dataclass(frozen=True)
class DecoderShape:
    """The sizes and choices of a decoder."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    norm_eps: float
    inv_freq: tuple[float, ...]
    """Rotary frequencies in radians per position, `head_dim / 2` of them; fewer turn a head's first channels only."""
    rope_scale: float = 1.0
    """Factor on cos and sin (long-context scalings of the rotary embedding have one)."""
    rope_axes: tuple[int, ...] | None = None
    """For mrope: which of the three position rows turns each frequency."""
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tied: bool = False
    """True if the output projection is the embedding table."""
    features: bool = False
    """True if rows may take a feature (of an image) in place of an embedded token."""
    deep: int = 0
    """Number of first layers behind which such a row gets a further feature added (DeepStack, 2406.04334)."""

    experts: ExpertShape | None = None
    """The experts of a mixture; None for a plain MLP in all layers."""
    mlp: str = "swiglu"
    """Plain MLP of a layer: one of MLPS."""
    wide_norms: bool = False
    """True if norms multiply by their weight in float32, before the result is rounded."""
    condition_key: bool = False
    """True if each layer gives a second key of its rows, with a norm of its own, for another network to attend."""

    @property
    def feature_values(self) -> int:
        """Length of a row's feature: `hidden` numbers in place of the token, and as many for each deep layer."""
        return self.hidden * (1 + self.deep)

    @property
    def rotary_dim(self) -> int:
        """Number of channels of a head that are rotated."""
        return 2 * len(self.inv_freq)

    def sparse(self, layer: int) -> bool:
        """True if the layer has experts."""
        return self.experts is not None and layer not in self.experts.dense

    @property
    def group(self) -> int:
        """Query heads per key head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True)
class VisionShape:
    """The sizes of a vision tower, under the names of the papers rather than those of config.json."""

    depth: int
    """Number of blocks."""
    hidden: int
    """Width of a patch's row."""
    heads: int
    intermediate: int
    """Width of the gated MLP."""
    patch: int
    """Side of a patch, in pixels."""
    merge: int
    """Side of a merge group, in patches."""
    temporal: int
    """Frames in a patch."""
    channels: int
    """Colour channels."""
    window: int
    """Side of an attention window, in pixels."""
    full_attention: frozenset[int]
    """Indices of blocks that attend over the whole frame group; the others attend within a window."""
    out_hidden: int
    """Width of a feature: the text model's own."""
    hidden_act: str
    rope_theta: float = 10000.0
    eps: float = 1e-6
    """Epsilon of all norms; transformers fixes it in code."""

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def patch_values(self) -> int:
        """K: numbers in one patch."""
        return self.channels * self.temporal * self.patch**2

    @property
    def slots(self) -> int:
        """S: patches in a whole window."""
        return (self.window // self.merge // self.patch * self.merge) ** 2


@dataclass(frozen=True)
class SiglipShape:
    """The sizes of a tower and its projector."""

    depth: int
    """Number of layers that are run."""
    hidden: int
    heads: int
    intermediate: int
    patch: int
    """Side of a patch, in pixels."""
    crop: int
    """Side of a crop, in pixels."""
    channels: int
    out_hidden: int
    """Width of a feature: the text model's own."""
    eps: float

    @property
    def side(self) -> int:
        """Patches on a side of a crop."""
        return self.crop // self.patch

    @property
    def patches(self) -> int:
        """M: patches of a crop."""
        return self.side**2

    @property
    def patch_values(self) -> int:
        """K: numbers in one patch."""
        return self.channels * self.patch**2


@dataclass(frozen=True)
class PackedShape:
    """The sizes of a tower that sees a picture of any size whole, and of its projector."""

    depth: int
    hidden: int
    heads: int
    intermediate: int
    patch: int
    """Side of a patch, in pixels."""
    channels: int
    side: int
    """Side of the table of learned positions."""
    merge: int
    """Side of a merge group, in patches."""
    projector: int
    """Inner width of the projector."""
    out_hidden: int
    """Width of a feature: the text model's own."""
    eps: float
    packing: str = "siglip2"
    """Way to prepare pictures for it: a name in `runtime/inputs/packing.py`."""
    temporal: int = 1
    """Frames in a patch."""
    last_norm: bool = True
    """True if a norm stands behind the last layer."""
    rope_theta: float | None = None
    """Base of the rotations by line and column; None where there are none."""
    deep: tuple[int, ...] = ()
    """Indices of layers whose rows give features of their own, for the first layers of the text model."""

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def patch_values(self) -> int:
        """K: numbers in one patch."""
        return self.channels * self.temporal * self.patch**2

    @property
    def feature_values(self) -> int:
        """Numbers of a feature: see `DecoderShape.feature_values`."""
        return self.out_hidden * (1 + len(self.deep))


@dataclass(frozen=True)
class Network:
    """All sizes of a checkpoint that writes text: decoder and vision tower."""

    decoder: DecoderShape
    tower: VisionShape | SiglipShape | PackedShape | None = None
