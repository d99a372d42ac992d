"""A bundle that films, as the server's jobs see it: one film to a movie and to its frames without loss."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from ....engines.errors import RequestError
from ....engines.install import extra
from ...dailies.facts import facts, said
from ...dailies.writing import opened
from ...film.film import Film
from ...film.loop import Step
from ...film.options import FilmOptions, settled
from ...model import Model
from .films import FRAMES, VIDEO, Filmmaker, FilmRequest, Progress

__all__ = ["BundleFilms", "filmmakers"]


def filmmakers(models: Mapping[str, Model]) -> dict[str, Filmmaker]:
    """Filmmakers of the models that film, by name. Raises RequestError where no package writes movies."""
    made: dict[str, Filmmaker] = {
        name: BundleFilms(model) for name, model in models.items() if model.manifest.film is not None
    }
    if made and find_spec("av") is None:
        raise RequestError(f"{', '.join(made)}: serving films needs av (PyAV), which writes movies: {extra('log')}")
    return made


class BundleFilms:
    """Films of one bundle."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def check(self, wanted: FilmRequest) -> None:
        """See `Filmmaker.check`."""
        if not wanted.prompt.strip():
            raise RequestError("prompt: got none, expected a text that says what the shot shows")
        studio = self._model.studio
        sizes = settled(studio.contract, _options(wanted))
        if sizes.height % 2 or sizes.width % 2:
            raise RequestError(f"size: got {sizes.width}x{sizes.height}, and a movie's sides have to be even")
        if wanted.picture is not None and not studio.pictures:
            raise RequestError(f"input_reference: {wanted.model} cannot begin with a picture; leave it out")

    def film(
        self, wanted: FilmRequest, folder: Path, told: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> None:
        """See `Filmmaker.film`."""
        picture, options = None if wanted.picture is None else wanted.picture(), _options(wanted)
        film = self._model.film(wanted.prompt, image=picture, options=options)
        self._model.unload(film.network.contract.reader)  # the largest graph, and the prompt's rows are kept
        film.on_step = _watched(film, told, cancelled)
        line = said(facts(self._model, film, options))
        stills = folder / "frames"
        writers = [
            opened(place, film.clip.height, film.clip.width, film.fps, line) for place in (folder / VIDEO, stills)
        ]
        try:
            for block in film:
                for writer in writers:
                    writer.add(block.frames)
        except BaseException:
            for writer in writers:
                writer.keep()
            raise
        for writer in writers:
            writer.close()
        shutil.make_archive(str(folder / Path(FRAMES).stem), "zip", stills)
        shutil.rmtree(stills)


def _watched(film: Film, told: Callable[[Progress], None], cancelled: Callable[[], bool]) -> Callable[[Step], None]:
    """A function that is called after each step: it tells how far the film is, and ends it where that is wanted."""
    blocks = [block for block in film.clip.blocks if not block.given]
    total, done = sum(len(film.script.steps(block)) for block in blocks), 0

    def stepped(step: Step) -> None:
        nonlocal done
        done += 1
        told(Progress(done, total, step.block.index, len(film.clip.blocks), step.step, step.steps))
        if cancelled():
            film.cancel()

    return stepped


def _options(wanted: FilmRequest) -> FilmOptions:
    return FilmOptions(
        seconds=wanted.seconds, height=wanted.height, width=wanted.width, seed=wanted.seed, steps=wanted.steps
    )
