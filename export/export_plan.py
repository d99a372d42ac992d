"""The plan of an export: the request, and everything decided before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from ..engines.errors import ContractError, RequestError
from ..runtime.inputs.patches import VisionSpec
from ..runtime.schema import Violations, check_choice
from ..runtime.shapes.sentence import check_values, sentences_of
from .checkpoint.author_config import Asking, asking
from .checkpoint.directory import Checkpoint
from .checkpoint.sources import stored_shape
from .checkpoint.turns import check_template
from .decode_contract import Flags, Resolved, resolve
from .families import Family, describe
from .graphs.shapes import Network
from .precision import PRECISIONS, Precision
from .write.piece_cache import default_folder
from .write.weight_file import planned_bytes

__all__ = ["REFERENCES", "Job", "Plan", "plan"]

BASE = 600_000_000
"""Bytes of a process that has torch, onnx and onnxruntime loaded, and has traced the pieces. Measured."""


STOCK = 300_000_000
"""Bytes of transformers' modules and of a tokenizer of 49,000 tokens, loaded three times. Measured."""

REFERENCES = {
    "transformers": "its own class, tokenizer and image processor, loaded from the checkpoint, beside a2d's reading",
    "own": "a2d's reading of the checkpoint alone: less memory and time, and no guard against a misreading",
}
"""References of the parity checks."""


@dataclass(frozen=True)
class Job:
    """A request to export: a checkpoint, a bundle, and choices for it."""

    checkpoint: Path
    bundle: Path
    precisions: tuple[Precision, ...] = (PRECISIONS["fp32"],)
    name: str = ""
    """Name that the bundle bears; empty is that of the checkpoint's folder."""
    flags: Flags = field(default_factory=Flags)
    asking: Asking = field(default_factory=Asking)
    family: str | None = None
    """Family of the checkpoint; None is what its config.json says."""
    template: str | None = None
    """Name of the chat template, where the checkpoint has several."""
    max_context: int | None = None
    """Rows that a session may hold; None is what the checkpoint's positions were made for."""
    force: bool = False
    """Replace a bundle that exists."""
    decode_parity: bool = True
    """Compare a short decode as well, not only the graphs."""
    parity: str = "transformers"
    """Reference of the parity checks, of `REFERENCES`."""
    quiet: bool = False
    quantized: tuple[str, ...] = ()
    """Precisions that calibration makes of the exported bundle."""
    data: Path | None = None
    """Samples that calibration decodes; None is its built-in samples."""
    prompt: str | None = None
    """Question that calibration asks of each image of a folder."""
    samples: int = 64
    parts: Path | None = None
    """Directory with the other parts of a network that films and is one file."""
    draft: Path | None = None
    """Folder of an autoencoder whose decoder makes drafts of films."""
    film: Mapping[str, Any] = field(default_factory=dict)
    """Values of the film contract that the command line gives."""
    cache: Path | None = field(default_factory=default_folder)
    """Folder in which traces are kept for the next export; None keeps none."""


@dataclass(frozen=True)
class Plan:
    """The decisions about one export."""

    job: Job
    checkpoint: Checkpoint
    family: Family
    resolved: Resolved
    network: Network
    asking: Asking
    vision: VisionSpec | None
    max_context: int

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Every stored parameter."""
        return {name: stored_shape(source) for name, source in self.family.sources.items()}

    @property
    def chat_template(self) -> str | None:
        """The checkpoint's, unless it has none, or one without pictures for a model that sees: then the family's.

        A model that was given eyes often keeps the template of the blind one.
        """
        own, family = self.checkpoint.chat_template, self.family
        usable = own is not None and (family.vision is None or "image" in own)
        return own if usable else family.chat_template or own

    @property
    def disk_bytes(self) -> int:
        """Weights of all precisions."""
        return sum(planned_bytes(self.shapes, p, self._exact) for p in self.job.precisions)

    @property
    def _exact(self) -> frozenset[str]:
        return frozenset(name for name, source in self.family.sources.items() if source.exact)

    @property
    def peak_bytes(self) -> int:
        """Memory at the most, the mapped pages of one precision's weights included; the system may drop those.

        Nothing else holds weights: torch and the engine read the file that was written where it lies. They widen 16-bit
        ones, torch one of each kind and the engine one at a time.
        """
        counts = {name: prod(shape) for name, shape in self.shapes.items()}
        sizes: Counter[str] = Counter()  # of layers: a sparse one is larger than a plain one
        for name, count in counts.items():
            if name.startswith("layers."):
                sizes[name.split(".")[1]] += count
        widened = 4 * max([*sizes.values(), *counts.values()])
        return BASE + max(
            planned_bytes(self.shapes, p, self._exact) + (widened if p.bytes < 4 else 0) for p in self.job.precisions
        )

    @property
    def stock_bytes(self) -> int:
        """Memory that transformers' side takes beside the mapped checkpoint: a layer and the tower, widened.

        Its modules, and what it keeps of a vocabulary, are in STOCK; experts, which it stacks, are copied whole.
        """
        tower = sum(prod(s) for name, s in self.shapes.items() if name.startswith("vision."))
        stacked = sum(prod(s) for name, s in self.shapes.items() if ".experts_" in name)
        layers = Counter[str]()
        for name, shape in self.shapes.items():
            if name.startswith("layers."):
                layers[name.split(".")[1]] += prod(shape)
        return STOCK + 4 * (max(layers.values()) + tower) + 2 * stacked

    def step_bytes(self, precision: Precision) -> int:
        """Bytes of weights that a denoising step reads: all but the vision tower and an embedding of its own.

        Of experts, as many as the rows of a block can want at most.
        """
        looked_up = () if self.family.shape.tied else ("embedding",)
        read = {n: s for n, s in self.shapes.items() if not n.startswith("vision.") and n not in looked_up}
        experts, block = self.family.shape.experts, self.resolved.contract.block_size
        if experts is not None:
            wanted = min(experts.count, block * experts.active)
            read |= {n: (wanted, *s[1:]) for n, s in read.items() if ".experts_" in n}
        return planned_bytes(read, precision, self._exact)


def plan(job: Job) -> Plan:
    """Read and check everything that can be checked without work. Raises A2DError."""
    check_choice("reference of the parity checks", job.parity, REFERENCES)
    checkpoint = Checkpoint.open(job.checkpoint).with_template(job.template)
    family = describe(checkpoint, job.family)
    checkpoint.verify(family.sources, family.ignorable)
    resolved = resolve(job.flags, checkpoint, family)
    network = Network(family.shape, family.tower)
    asked = asking(job.asking, checkpoint)
    vision = _vision(asked, family)
    if asked.prompt is not None and (not asked.prompt or checkpoint.tokenizer is None):
        raise ContractError(
            f"prompt: got {asked.prompt!r} ({asked.origins['prompt']}), expected a text, and a checkpoint with a "
            "tokenizer.json to read it; leave the prompt out"
        )
    _check_sentences(asked, checkpoint)
    made = Plan(job, checkpoint, family, resolved, network, asked, vision, _max_context(job, family, resolved))
    if made.chat_template is not None:
        check_template(made.chat_template, checkpoint)
    return made


def _check_sentences(asked: Asking, checkpoint: Checkpoint) -> None:
    """Raise ContractError for sentences that cannot be read, or that nothing can write."""
    if not asked.sentences:
        if asked.unknown is not None:
            said = f"unknown: got {asked.unknown!r} ({asked.origins['unknown']}) without sentences"
            raise ContractError(f"{said}; say the sentences that hold it, or leave it out")
        return
    if checkpoint.tokenizer is None:
        raise ContractError("sentences: this checkpoint has no tokenizer.json to write them with; leave them out")
    try:
        made = sentences_of(asked.sentences)
        if find_spec("outlines_core") is not None:
            check_values(made)
    except RequestError as error:
        raise ContractError(f"the answers' sentences cannot be ({asked.origins['sentences']}):\n{error}") from error
    if not any(one.regexes for one in made):
        said = f"sentences: none of {len(made)} has a value ({asked.origins['sentences']})"
        raise ContractError(f"{said}, expected one at least, as 'take {{take:int}}'; else leave them out")


def _vision(asked: Asking, family: Family) -> VisionSpec | None:
    """Patching of the family's images, in the letterbox that was asked for."""
    if asked.letterbox is None:
        return family.vision
    origin = asked.origins["letterbox"]
    if family.vision is None:
        raise ContractError(f"letterbox ({origin}): {family.name} reads no images; leave it out")
    try:
        return replace(family.vision, letterbox=asked.letterbox)
    except Violations as error:
        raise ContractError(f"the image size cannot be ({origin}):\n{error}") from error


def _max_context(job: Job, family: Family, resolved: Resolved) -> int:
    wanted = job.max_context or family.max_context
    block = resolved.contract.block_size
    if not block < wanted <= family.max_context:
        raise ContractError(
            f"max_context: got {wanted}, expected more than a block of {block} and at most {family.max_context}, "
            "the positions that the checkpoint was made for (max_position_embeddings)"
        )
    return wanted
