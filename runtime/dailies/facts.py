"""One line about how a film was made: enough to make it again. Written into the file itself."""

from __future__ import annotations

import json
from typing import Any

from ..bundle.files import MANIFEST, sha256_of
from ..film.film import Film
from ..film.options import FilmOptions, preset_name
from ..model import Model

__all__ = ["facts", "said"]


def facts(model: Model, film: Film, options: FilmOptions) -> dict[str, Any]:
    """Prompt, seed, sizes, schedule, and the sum by which the bundle is known."""
    script, clip, window = film.script, film.clip, film.clip.window
    return {
        "bundle": model.manifest.name,
        "manifest_sha256": sha256_of(model.bundle.file(MANIFEST)),
        "producer": model.manifest.producer,
        "precision": model.placement.precision,
        "engine": model.engine(film.network.contract.denoiser).describe,
        "prompt": film.prompt,
        "seed": options.seed,
        "frames": clip.frames,
        "height": clip.height,
        "width": clip.width,
        "fps": film.fps,
        "first_steps": list(script.first.timesteps),
        "steps": list(script.rest.timesteps),
        "commit": "merged" if script.merged else "separate",
        "preset": preset_name(options),
        "window": window.frames,
        "sink": window.sink,
    }


def said(found: dict[str, Any]) -> str:
    """The facts in one line of JSON."""
    return json.dumps(found, ensure_ascii=False)
