"""Does a clip fit a target: the estimate for one size, length and window against the target's memories."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...engines.errors import RequestError
from ...engines.targets import require
from ..bundle.files import Bundle
from ..console.lines import size
from ..film.contract import FilmContract
from ..film.options import FilmOptions, Settled, preset_name, settled
from ..film.presets import DRAFT
from .film_memory import FilmEstimate, film_estimate
from .memory_fit import SHARE, SHARE_UNIFIED, MemorySize, Question, best_precision, source_of
from .memory_model import Widths
from .towers_memory import TowersEstimate, towers_estimate

__all__ = ["FilmPlan", "film_plan"]


@dataclass(frozen=True)
class FilmPlan:
    """A clip on a target."""

    target: str
    precision: str
    variant: str
    to_be_made: bool
    """The bundle does not hold that precision yet: weights are counted from what it will hold."""
    clip: Settled
    estimate: FilmEstimate | TowersEstimate
    memories: tuple[MemorySize, ...]
    lower: tuple[str, ...]
    """Changes that make it fit the largest memory that it does not fit, each by itself."""

    @property
    def fits(self) -> bool:
        """In the largest memory that was looked at."""
        return self.memories[-1].fits


def film_plan(
    question: Question,
    options: FilmOptions,
    precision: str | None = None,
    sms: tuple[int, ...] = (),
    words: int | None = None,
) -> FilmPlan:
    """The plan of a clip; `words`: tokens of a prompt, for networks of two towers. Raises RequestError, BundleError."""
    chosen = precision or best_precision(question, sms)
    require(question.target.name, chosen, sms)
    made = _plan(question, options, chosen, words)
    short = [memory.bytes for memory in made.memories if not memory.fits]
    if not short:
        return made
    aim = replace(question, memories=(short[-1],))
    alone = _encoder_alone(made.estimate, aim.memories[0])
    if alone is not None:
        return replace(made, lower=(alone,))
    tries = _smaller(question.bundle.manifest.film, made.clip, options)
    lower = tuple(said for said, other in tries.items() if _plan(aim, other, chosen, words).fits)
    return replace(made, lower=lower or (f"none of {' or '.join(tries)} by itself: several, or a smaller model",))


def _encoder_alone(taken: FilmEstimate | TowersEstimate, memory: int) -> str | None:
    """Words for a text encoder that does not fit, whatever the clip."""
    share = SHARE if taken.apart else SHARE_UNIFIED
    if isinstance(taken, TowersEstimate) or taken.encoding <= memory * share:
        return None
    return (
        f"the text encoder alone takes {size(taken.encoding)}, whatever the clip: take a lighter precision "
        "or a larger device"
    )


def _smaller(contract: FilmContract | None, clip: Settled, options: FilmOptions) -> dict[str, FilmOptions]:
    """Options that take less memory, by the words for the change."""
    assert contract is not None, "the estimate has looked"
    down, across = contract.size_multiple
    height, width = max(down, clip.height // 2 // down * down), max(across, clip.width // 2 // across * across)
    made = {f"[size={height}x{width}]": replace(options, height=height, width=width)}
    if DRAFT in contract.presets and preset_name(options) != DRAFT:
        made[f"[preset={DRAFT}]"] = replace(options, preset=DRAFT)
    latents = contract.latent_frames(clip.frames)
    if contract.towers is not None:
        frames = contract.pixel_frames(max(1, latents // 2))
        return made | {f"[frames={frames}]": replace(options, frames=frames)}
    window = max(clip.window.sink + contract.block_frames, (clip.window.frames or latents) // 2)
    return made | {f"[window={window}]": replace(options, window=window)}


def _plan(question: Question, options: FilmOptions, precision: str, words: int | None) -> FilmPlan:
    bundle, target = question.bundle, question.target
    variant, widths = source_of(bundle, target, precision)
    taken = _estimate(bundle, variant, options, widths, words)
    share = SHARE if widths.apart else SHARE_UNIFIED
    fits = tuple(MemorySize(size, int(size * share), taken.peak <= size * share) for size in sorted(question.memories))
    contract = bundle.manifest.film
    assert contract is not None, "the estimate has looked"
    clip = settled(contract, options)
    return FilmPlan(target.name, precision, variant, widths.codes is not None, clip, taken, fits, ())


def _estimate(
    bundle: Bundle, variant: str, options: FilmOptions, widths: Widths, words: int | None
) -> FilmEstimate | TowersEstimate:
    """Memory by the kind of the network. Raises RequestError for a length of the prompt that it does not take."""
    contract = bundle.manifest.film
    if contract is None or contract.towers is None:
        if words is not None:
            raise RequestError(f"context: got {words}, and this network takes a prompt of one length; leave it out")
        return film_estimate(bundle, variant, options, widths)
    if words is not None and not 1 <= words <= contract.text.length:
        raise RequestError(f"context: got {words} tokens of a prompt, expected 1 to {contract.text.length}")
    return towers_estimate(bundle, variant, options, widths, words)
