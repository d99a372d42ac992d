"""The kinds of networks that film, as calibration sees them: a row holds recipes, graphs and functions of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...runtime.film.contract import FilmContract
from ...runtime.model import Model
from ..collect.observer import ObservedModel
from ..quantize.recipes import Recipe
from . import causal, towers
from .loss import Loss
from .recipes import FILM_RECIPES, TOWERS_RECIPES
from .shots import Shot, built_in, with_boards

__all__ = ["FilmKind", "kind_of"]


@dataclass(frozen=True)
class FilmKind:
    """Functions that calibrate networks of one kind."""

    recipes: Mapping[str, Recipe]
    observed: tuple[str, ...]
    """Graphs whose products are looked at; others have the same weights, or none that are quantized."""
    built_in: Callable[[int], list[Shot]]
    """Shots for those who have none."""
    show: Callable[[ObservedModel, Shot], None]
    """Function that films a shot while it is observed, and tells the observer which rows are what."""
    seconds: Callable[[Model, Shot], float]
    """Function that estimates the time of a shot."""
    tried: Callable[[Model, Shot], None]
    """Function that runs every graph once."""
    losses: Callable[[Model, Model, list[Shot]], list[Loss]]
    """Function that holds a second model against a first one in single forwards."""


CAUSAL = FilmKind(FILM_RECIPES, ("text", "frames"), built_in, causal.show, causal.seconds, causal.tried, causal.losses)
TOWERS = FilmKind(
    TOWERS_RECIPES, ("backbone", "velocity"), with_boards, towers.show, towers.seconds, towers.tried, towers.losses
)


def kind_of(contract: FilmContract) -> FilmKind:
    """The row of a contract."""
    return CAUSAL if contract.towers is None else TOWERS
