"""The plan of an export of a checkpoint that films: everything decided before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from ...runtime.console.progress import size
from ..checkpoint.pipeline import Pipeline
from ..checkpoint.sources import stored_shape
from ..export_plan import BASE, Job
from ..families.causal_wan import FilmFamily, describe_film
from ..precision import Precision
from ..write.weight_file import planned_bytes
from .contract import ResolvedFilm, resolve_film

__all__ = ["FilmPlan", "plan_film"]

STEPPED = ("layers.", "rows_in.", "rows_out.", "times.")
"""Beginnings of the names of weights that every denoising step reads."""


@dataclass(frozen=True)
class FilmPlan:
    """The decisions about one export."""

    job: Job
    pipeline: Pipeline
    family: FilmFamily
    resolved: ResolvedFilm

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Every stored parameter."""
        return {name: stored_shape(source) for name, source in self.family.sources.items()}

    @property
    def exact(self) -> frozenset[str]:
        """Parameters that stay float32."""
        return frozenset(name for name, source in self.family.sources.items() if source.exact)

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

    def step_bytes(self, precision: Precision) -> int:
        """Bytes of weights that a denoising step reads; a prompt's keys and values are made once."""
        read = {n: s for n, s in self.shapes.items() if n.startswith(STEPPED) and ".cross_kv_" not in n}
        return planned_bytes(read, precision, self.exact)

    def decided(self) -> str:
        """The model, its contract with origins, and what the export will cost, for people."""
        wan, job, held = self.family.network.wan, self.job, self.pipeline.bytes
        licence = self.pipeline.licence
        said = f"licence of the weights: {licence} (README.md)" if licence else "licence of the weights: none was found"
        return "\n".join(
            [
                f"{job.checkpoint}: {self.family.name}, {wan.layers} layers, {wan.hidden} wide, "
                f"{size(held)} of weights",
                "film contract",
                *(f"  {line}" for line in self.resolved.lines()),
                *self.family.notes,
                said,
                f"precisions: {', '.join(p.name for p in job.precisions)}; {size(self.disk_bytes)} on disk",
                f"peak memory about {size(self.peak_bytes)}, {self.peak_bytes / max(held, 1):.1f} x the checkpoint's "
                "weights; mostly mapped",
            ]
        )


def plan_film(job: Job) -> FilmPlan:
    """Read and check everything that can be checked without work. Raises A2DError."""
    pipeline = Pipeline.open(job.checkpoint, job.parts)
    family = describe_film(pipeline)
    return FilmPlan(job, pipeline, family, resolve_film(job.film, pipeline, family.network))
