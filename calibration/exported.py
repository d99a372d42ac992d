"""Quantized precisions for an exporter, which `__main__` hands to it: the two rooms need not import each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .quantize.recipes import RECIPES

__all__ = ["EXPORTED", "SHOTS", "Exported"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """One quantized precision, for an exporter."""

    name: str

    @property
    def what(self) -> str:
        """The precision in a few words."""
        return RECIPES[self.name].what

    @staticmethod
    def plan(
        output: Path, names: tuple[str, ...], data: Path | None, prompt: str | None, samples: int, quiet: bool
    ) -> Callable[[Path, tuple[str, ...], bool, Say], None]:
        """Check what is asked; returns what makes `output` of an exported bundle, keeping some of its precisions.

        Raises RequestError before anything was computed. The exported bundle is used up.
        """
        from .job import Job, calibrate  # noqa: PLC0415 - onnx takes its time

        recipes = tuple(RECIPES[name] for name in names)
        asked = Job(output, output, recipes, data=data, prompt=prompt, samples=samples, quiet=quiet)
        asked.check()

        def make(bundle: Path, keep: tuple[str, ...], force: bool, say: Say) -> None:
            job = Job(
                bundle, output, recipes, keep=keep, data=data, prompt=prompt, samples=samples,
                consume=True, force=force, quiet=quiet,
            )  # fmt: skip
            calibrate(job, say)

        return make

    @staticmethod
    def plan_film(
        output: Path, names: tuple[str, ...], data: Path | None, samples: int, quiet: bool
    ) -> Callable[[Path, tuple[str, ...], bool, Say], None]:
        """The same for a bundle that films, whose samples are shots."""
        from .film.job import FilmJob, calibrate_film  # noqa: PLC0415 - onnx takes its time

        asked = FilmJob(output, output, names, data=data, shots=min(samples, SHOTS), quiet=quiet)
        asked.check()

        def make(bundle: Path, keep: tuple[str, ...], force: bool, say: Say) -> None:
            calibrate_film(replace(asked, bundle=bundle, keep=keep, consume=True, force=force), say)

        return make


SHOTS = 8
"""Shots that a film's calibration takes at most by itself; 8 are what published recipes use."""

EXPORTED = {name: Exported(name) for name in ("int8", "int8-avx2", "fp8", "int8-weight", "int4-weight")}
"""Precisions that an export may ask for, by name."""
