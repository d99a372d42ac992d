"""A bundle to a model: the best engines that this machine has and that were built, checked, and loaded.

Which are the best is the table of `deploy/placement`; what a model can do is `model`'s.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from ..engines.errors import A2DError
from .bundle.files import Bundle
from .deploy.placement import Placement, buildable, is_news, on, placed, rows, slow_here, sm_of
from .model import Model

__all__ = ["load", "load_placed"]

LOG = logging.getLogger("a2d")


def load(
    path: str | Path,
    *,
    precision: str | None = None,
    engine: str | None = None,
    device: str | None = None,
    engines: str | Path | None = None,
    build: str = "never",
    threads: int | None = None,
    spinning: bool = False,
    verify: bool = True,
) -> Model:
    """Load a bundle for this machine.

    `precision`: one that the bundle holds, or that engines were built in; the default is the best for the device.
    `engine`, `device`: one of `placement.CHOICES`; the default is the best that this machine has and that was built.
    `engines`: a folder of built engines; the default is `engines` in the bundle. `build="auto"` builds them where they
    are missing or do not fit. `threads`: of one operator, on a CPU.
    `verify=False` skips the SHA-256 sums (sizes are always compared), for bundles that this process has just written.
    A precision in which fp32 is faster on this processor is a warning of the logger `a2d`.
    Raises RequestError, BundleError, EngineError.
    """
    folder = None if engines is None else Path(engines)
    asked = Placement(engine or "", device or "", precision or "", folder, build, threads, spinning)
    return load_placed(path, asked, verify)


def load_placed(path: str | Path, asked: Placement, verify: bool = True) -> Model:
    """Load a bundle from a placement whose empty fields are left to this machine."""
    bundle = Bundle.open(path)
    fit = rows(asked)
    passed: list[str] = []
    for row in fit:
        try:
            return _loaded(bundle, replace(_placed(bundle, row, asked), passed_over=tuple(passed)), verify)
        except A2DError as error:
            if row == fit[-1]:
                raise
            if is_news(bundle, row, asked):
                passed.append(str(error))
    raise AssertionError("the last row returns or raises")


def _placed(bundle: Bundle, row: tuple[str, str], asked: Placement) -> Placement:
    """The bundle on one row of the table; engines that are missing are built first, where that is asked for."""
    try:
        return placed(bundle, row, asked)
    except A2DError:
        if not buildable(row, asked):
            raise
    from .deploy.build import build_here  # noqa: PLC0415 - whoever only runs engines builds none

    engine, device = row
    built = build_here(bundle.path, engine, sm_of(asked.device or device), asked.precision, asked.engines)
    return on(row, asked, built)


def _loaded(bundle: Bundle, placement: Placement, verify: bool) -> Model:
    built = placement.built
    bundle.check(bundle.needed(placement.variant) if built is None else bundle.texts(), content=verify)
    if built is not None:
        built.check(content=verify)
    model = Model(bundle, placement)
    LOG.info("%r; not used: %s", model, "; ".join(placement.passed_over) or "nothing better")
    if note := slow_here(placement):
        LOG.warning(note)
    # A graph that cannot run here should say so now: a small one, where a text encoder and the network might not fit.
    model.engine("cross" if "cross" in model.variant.graphs else bundle.manifest.stepped)
    return model
