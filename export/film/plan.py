"""The plan of an export of a checkpoint that films: everything decided before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from ...engines.errors import RequestError
from ...runtime.console.lines import size
from ...runtime.decode.contract import DecodeContract
from ...runtime.schema import check_choice
from ..checkpoint.pipeline import Pipeline
from ..checkpoint.sources import stored_shape
from ..export_plan import BASE, REFERENCES, STOCK, Job
from ..families.film.causal_wan import describe_film
from ..families.film.cosmos3 import describe_towers
from ..families.film.family import FilmFamily
from ..graphs.film_shapes import FilmNetwork, TowersNetwork
from ..graphs.shapes import Network
from ..precision import Precision
from ..write.weight_file import planned_bytes
from .contract import ResolvedFilm, resolve_film
from .towers_contract import resolve_towers

__all__ = ["FilmPlan", "plan_film"]

Describe = Callable[[Pipeline], FilmFamily]
Resolve = Callable[[Mapping[str, Any], Pipeline, Any], ResolvedFilm]

NETWORKS: dict[str, tuple[Describe, Resolve]] = {"Cosmos3OmniTransformer": (describe_towers, resolve_towers)}
"""Functions that read a checkpoint by the class of its transformer; all others are causal Wan's, or refused there."""


@dataclass(frozen=True)
class WordsPlan:
    """The decoding of words by a checkpoint that films as well."""

    job: Job
    checkpoint: Pipeline
    family: FilmFamily
    network: Network
    max_context: int
    resolved: WordsContract


@dataclass(frozen=True)
class WordsContract:
    """The contract of decoding, where `export/decode_contract.py` has more to say."""

    contract: DecodeContract


@dataclass(frozen=True)
class FilmPlan:
    """The decisions about one export."""

    job: Job
    checkpoint: Pipeline
    family: FilmFamily
    resolved: ResolvedFilm

    @property
    def network(self) -> FilmNetwork | TowersNetwork:
        """The shape of the graphs."""
        return self.family.network

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Every stored parameter."""
        return {name: stored_shape(source) for name, source in self.family.sources.items()}

    @property
    def exact(self) -> frozenset[str]:
        """Parameters that stay float32."""
        return frozenset(name for name, source in self.family.sources.items() if source.exact)

    @property
    def words(self) -> WordsPlan | None:
        """The decoding of words; None where the checkpoint only films."""
        network, said = self.family.network, self.resolved.words
        if said is None or not isinstance(network, TowersNetwork):
            return None
        shapes = Network(network.decoder, network.tower)
        rows = said.model.max_context
        return WordsPlan(self.job, self.checkpoint, self.family, shapes, rows, WordsContract(said.decode))

    @property
    def disk_bytes(self) -> int:
        """Weights of all precisions."""
        return sum(planned_bytes(self.shapes, p, self.exact) for p in self.job.precisions)

    @property
    def peak_bytes(self) -> int:
        """Memory at the most, the mapped pages of one precision's weights included; the system may drop those."""
        sizes: Counter[str] = Counter()
        for name, shape in self.shapes.items():
            sizes[name.rsplit(".", 1)[0]] += prod(shape)
        widened = 4 * max(sizes.values())
        return BASE + max(
            planned_bytes(self.shapes, p, self.exact) + (widened if p.bytes < 4 else 0) for p in self.job.precisions
        )

    @property
    def stock_bytes(self) -> int:
        """Memory that the libraries' classes take at the most: a table of words and a layer, or an autoencoder."""
        kinds: Counter[str] = Counter()
        for name, shape in self.shapes.items():
            kinds[_group(name)] += prod(shape)
        layer = max(count for name, count in kinds.items() if "layers." in name)
        table = max(self.checkpoint.entry(n).bytes for n in self.checkpoint.files if n.startswith("text_encoder/"))
        return STOCK + max(table + 4 * layer, 4 * kinds["pixels"])

    def step_bytes(self, precision: Precision) -> int:
        """Bytes of weights that a denoising step reads; a prompt's keys and values are made once."""
        read = {n: s for n, s in self.shapes.items() if self.family.stepped(n)}
        return planned_bytes(read, precision, self.exact)

    def decided(self) -> str:
        """The model, its contract with origins, and what the export will cost, for people."""
        job, held = self.job, self.checkpoint.bytes
        licence = self.checkpoint.licence
        said = f"licence of the weights: {licence} (README.md)" if licence else "licence of the weights: none was found"
        return "\n".join(
            [
                f"{job.checkpoint}: {self.family.name}, {self.resolved.contract.network.layers} layers, "
                f"{size(held)} of weights",
                "film contract",
                *(f"  {line}" for line in self.resolved.lines()),
                *self.family.notes,
                said,
                f"precisions: {', '.join(p.name for p in job.precisions)}; {size(self.disk_bytes)} on disk",
                *self._reference(),
                f"peak memory about {size(self.peak_bytes)}, {self.peak_bytes / max(held, 1):.1f} x the checkpoint's "
                "weights; mostly mapped",
            ]
        )

    def _reference(self) -> list[str]:
        if self.job.parity == "own" or not isinstance(self.network, FilmNetwork):
            return []
        kept = f"which adds {size(self.stock_bytes)} for a while; [parity=own] does without"
        return [f"parity: first against diffusers and transformers, loaded from the checkpoint, {kept}"]


def _group(name: str) -> str:
    """The layer that a parameter belongs to, or the autoencoder."""
    head, _, rest = name.partition("layers.")
    return f"{head}layers.{rest.split('.')[0]}" if rest else name.partition(".")[0]


def plan_film(job: Job) -> FilmPlan:
    """Read and check everything that can be checked without work. Raises A2DError."""
    check_choice("reference of the parity checks", job.parity, REFERENCES)
    pipeline = Pipeline.open(job.checkpoint, job.parts, job.draft)
    kind = str(pipeline.configs["transformer"].get("_class_name"))
    if job.draft is not None and kind in NETWORKS:
        raise RequestError(f"draft_vae: {kind} has its own small sizes for drafts and takes no second decoder")
    describe, resolve = NETWORKS.get(kind, (describe_film, resolve_film))
    family = describe(pipeline)
    return FilmPlan(job, pipeline, family, resolve(job.film, pipeline, family.network))
