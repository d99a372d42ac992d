"""Films: equal to decoding without a cache, whatever the blocks; snapshots; what is copied; what is refused."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from film_contracts import contract, steps
from film_network import Pixels, engines, random_wan, uncached
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE

from a2d.engines.errors import EngineError, NumericsError, RequestError
from a2d.engines.host import HostMemory
from a2d.runtime.decode.result import Result
from a2d.runtime.film.contract import LatentSpec, Schedule
from a2d.runtime.film.film import Film, FilmBlock
from a2d.runtime.film.presets import Preset
from a2d.runtime.film.result import PixelsResult
from a2d.runtime.film.studio import Studio
from a2d.runtime.film.text import tokenized
from a2d.runtime.inputs.tokenizer import Text

TOKENIZER = Path(__file__).parents[2] / "data" / "golden-frames" / "v1" / "checkpoint" / "tokenizer" / "tokenizer.json"
TEXT = Text(TOKENIZER)
PROMPT = "A red ball rolls."
SMALL = {"latent": LatentSpec(4, spatial=2), "height": 8, "width": 12}
"""4 x 6 latents, 6 rows a frame."""


class Counting(HostMemory):
    """Memory that counts the rows that are copied, and the largest zeros that are asked for."""

    def __init__(self) -> None:
        self.rows = self.bytes = 0

    def zeros(self, shape, dtype):
        made = super().zeros(shape, dtype)
        self.bytes += made.array.nbytes
        return made

    def copy_rows(self, source, start, count, target, at):
        self.rows += count
        super().copy_rows(source, start, count, target, at)


def studio(memory: HostMemory | None = None, **changes) -> Studio:
    made = contract(**(SMALL | changes))
    wan = random_wan(made)
    ready = engines(wan, made)
    if memory is not None:
        ready("frames").memory = memory
    held = Studio(ready, made, "float32", TEXT, True)
    held.wan = wan
    return held


class Dim(Pixels):
    """Another decoder: the same pixels, half as bright."""

    def at(self, three: np.ndarray, first: bool) -> np.ndarray:
        return super().at(three, first) / 2


def frames_of(latents: int) -> int:
    return 1 + 4 * (latents - 1)


def latents(blocks: list[FilmBlock]) -> np.ndarray:
    return np.concatenate([block.latents for block in blocks], 1)


def reference(held: Studio, film: Film, prompt: str = PROMPT) -> np.ndarray:
    spec = held.contract.text
    rows = np.zeros((spec.length, spec.dim), np.float32)
    own = held.encode(prompt)[0]
    rows[: len(own)] = own
    return uncached(held.wan, held.contract, film.script, film.clip, rows)


BOARD = np.random.default_rng(3).integers(0, 256, (8, 12, 3), dtype=np.uint8)

shapes = st.fixed_dictionaries(
    {"block_frames": st.integers(1, 3), "first_frames": st.none() | st.integers(1, 3), "sink": st.integers(0, 2)}
)


@settings(max_examples=25)
@given(
    shapes, st.integers(0, 3), st.integers(1, 9), st.sampled_from(["separate", "merged"]), st.booleans(), st.booleans()
)
def test_a_film_is_what_decoding_without_a_cache_gives(shape, spare, count, commit, pictured, windowed):
    longest = max(shape["block_frames"], shape["first_frames"] or 0)
    window = shape["sink"] + longest + spare if windowed else None
    held = studio(**shape, window=window, schedule=Schedule(steps(4), steps(2)))
    options = {"frames": frames_of(count), "seed": count, "commit": commit}
    film = held.film(PROMPT, image=BOARD if pictured else None, **options)
    made = list(film)
    np.testing.assert_allclose(latents(made), reference(held, film), atol=2e-4)
    whole = Pixels(held.contract).whole(latents(made))
    np.testing.assert_allclose(np.concatenate([block.pixels for block in made]), whole, atol=1e-6)
    assert [block.first for block in made] == [held.contract.pixel_frames(block.block.start) for block in made]
    denoised = [block.block for block in made if not block.block.given]
    run = sum(len(film.script.steps(block)) for block in denoised)
    pending = len(made) - 1 if commit == "separate" else 0
    assert film.forwards == run + pending


def test_a_unipc_film_is_what_decoding_without_a_cache_gives():
    """Of this rule every step takes all velocities so far."""
    sigmas = (0.9998, 0.937265, 0.833055, 0.624687, 0.0)
    from a2d.runtime.film.solvers import step_list

    made = step_list("unipc", (999, 937, 833, 624), sigmas)
    held = studio(schedule=Schedule(made, made))
    film = held.film(PROMPT, frames=21)
    np.testing.assert_allclose(latents(list(film)), reference(held, film), atol=2e-4)


@pytest.mark.parametrize("size", [(4, 4), (4, 20), (16, 8), (12, 12)])
@pytest.mark.parametrize("frames", [1, 5, 9, 81])
def test_every_legal_length_and_size_is_filmed(frames, size):
    held = studio(window=4, sink=1, block_frames=1)
    film = held.film(PROMPT, frames=frames, height=size[0], width=size[1], steps=1)
    made = np.concatenate([block.frames for block in film])
    assert made.shape == (frames, *size, 3) and made.dtype == np.uint8
    assert len(np.unique(made)) > 8


# -- snapshots


@pytest.mark.parametrize("commit", ["separate", "merged"])
@pytest.mark.parametrize("changes", [{}, {"window": 6, "sink": 1}, {"window": 4, "sink": 1, "block_frames": 1}])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_going_on_from_a_block_is_the_film_that_was_never_stopped(changes, commit, at):
    held = studio(**changes)
    options = {"frames": 45, "seed": 5, "commit": commit}
    whole = list(held.film(PROMPT, **options))
    film = held.film(PROMPT, **options)
    begun = [next(film) for _ in range(at + 1)]
    kept = film.snapshot()
    rest = list(film)  # goes on writing into its cache
    for _ in range(2):
        again = list(held.film(start=kept, **options))
        assert [b.block for b in again] == [b.block for b in whole[at + 1 :]]
        for one, other in zip([*begun, *again], whole, strict=True):
            np.testing.assert_array_equal(one.latents, other.latents)
            np.testing.assert_array_equal(one.frames, other.frames)
    assert len(begun) + len(rest) == len(whole)
    assert kept.nbytes > 0 or at == 0  # the first block's rows come in when the second one begins


def test_another_seed_from_a_block_on_changes_what_follows_alone():
    held = studio()
    film = held.film(PROMPT, frames=33, seed=1)
    first = next(film)
    kept = film.snapshot()
    other = list(held.film(start=kept, frames=33, seed=2))
    fresh = list(held.film(PROMPT, frames=33, seed=2))
    assert other[0].block.index == 1 and np.abs(other[0].latents - fresh[1].latents).max() > 0.01
    np.testing.assert_array_equal(first.latents, next(held.film(PROMPT, frames=33, seed=1)).latents)


def test_a_film_is_made_longer_from_its_end():
    held = studio(window=6, sink=1)
    film = held.film(PROMPT, frames=21, seed=4)
    short = list(film)
    longer = list(held.film(start=film.snapshot(), frames=33, seed=4))
    whole = list(held.film(PROMPT, frames=33, seed=4))
    np.testing.assert_array_equal(latents([*short, *longer]), latents(whole))


OTHER = "A train leaves the station."


def test_another_prompt_runs_the_window_again_but_for_the_sink():
    """Against a cache whose frames in the window were run by hand with the new prompt."""
    held = studio(window=6, sink=1, block_frames=2)
    film = held.film(PROMPT, frames=33, seed=4)
    for block in film:
        if block.block.index == 3:
            break
    kept = film.snapshot()
    kept_rows = {}
    for recompute in ("window", "none"):
        on = held.film(OTHER, start=kept, frames=33, seed=4, recompute=recompute)
        made = list(on)
        assert made[0].block.index == 4
        kept_rows[recompute] = latents(made)
        extra = 2 if recompute == "window" else 0  # blocks 1 and 2: block 3 is kept by the film itself
        assert on.forwards == extra + 1 + 4
    assert np.abs(kept_rows["window"] - kept_rows["none"]).max() > 1e-3
    same = list(held.film(PROMPT, start=kept, frames=33, seed=4))
    np.testing.assert_array_equal(latents(same), latents(list(film)))


def test_without_a_sink_and_with_everything_seen_another_prompt_is_a_fresh_start_on_the_same_frames():
    """Every frame is run again, so what follows is what a film of the new prompt with these frames would give."""
    held = studio()
    film = held.film(PROMPT, frames=33, seed=4)
    begun = [next(film), next(film)]
    on = held.film(OTHER, start=film.snapshot(), frames=33, seed=4)
    wanted = on.script
    made = list(on)
    rows = np.zeros((held.contract.text.length, held.contract.text.dim), np.float32)
    own = held.encode(OTHER)[0]
    rows[: len(own)] = own

    class Known:
        """Noise that the step lists leave alone: earlier blocks are what they are."""

        def start(self, block):
            return begun[block.index].latents if block.index < 2 else wanted.noise.start(block)

        def fresh(self, block, step):
            return wanted.noise.fresh(block, step)

    clip = film.clip
    script = replace(wanted, noise=Known(), pending=None)

    class Fixed(type(script)):
        def steps(self, block):
            return Still() if block.index < 2 else super().steps(block)

    class Still:
        timesteps = sigmas = keep = velocity = noise = ()

        def __len__(self):
            return 0

    script = Fixed(**{name: getattr(script, name) for name in script.__dataclass_fields__})
    reference_latents = uncached(held.wan, held.contract, script, clip, rows)
    np.testing.assert_allclose(latents([*begun, *made]), reference_latents, atol=2e-4)


def test_what_a_film_that_goes_on_cannot_change_is_refused():
    held = studio()
    film = held.film(PROMPT, frames=21)
    with pytest.raises(RequestError, match="a snapshot is taken between blocks"):
        film.snapshot()
    next(film)
    kept = film.snapshot()
    with pytest.raises(
        RequestError, match=r"(?s)image: the film has begun.*height: got 16, the film that goes on has 8"
    ):
        held.film(start=kept, frames=33, image=BOARD, height=16)
    with pytest.raises(RequestError, match="frames: got 9, and 9 are there already, expected more"):
        held.film(start=kept, frames=9)


# -- drafts


def test_a_draft_has_its_own_size_steps_and_decoder():
    plain = studio(presets={"draft": Preset("small", height=4, width=8, steps="1", small_decoder=True)})
    small = engines(plain.wan, plain.contract, pixels=Dim(plain.contract))
    asked: list[str] = []

    def engine(name: str):
        asked.append(name)
        return small(name.removesuffix("_draft")) if name.endswith("_draft") else plain.engine(name)

    held = Studio(engine, plain.contract, "float32", TEXT, True, drafts=True)
    draft = held.film(PROMPT, frames=33, seed=5, draft=True)
    first = next(draft)
    kept, blocks = draft.snapshot(), [first, *draft]
    assert (draft.clip.height, draft.clip.width, len(draft.script.rest)) == (4, 8, 1)
    assert {name for name in asked if "pixels" in name} == {"pixels_first_draft", "pixels_next_draft"}
    final = list(held.film(PROMPT, frames=33, seed=5, height=4, width=8, steps=1))
    np.testing.assert_array_equal(latents(blocks), latents(final))
    for one, other in zip(blocks, final, strict=True):
        np.testing.assert_allclose(one.pixels, other.pixels / 2, atol=1e-6)
    again = list(held.film(start=kept, frames=33, seed=5, draft=True))
    np.testing.assert_array_equal(again[-1].frames, blocks[-1].frames)
    with pytest.raises(RequestError, match="draft: got False, the film that goes on has True: its decoder is another"):
        held.film(start=kept, frames=33, seed=5)
    without = list(plain.film(PROMPT, frames=33, seed=5, draft=True))  # a preset, and no decoder of its own
    np.testing.assert_array_equal(without[0].pixels, final[0].pixels)


# -- a commit beside the pixels


@pytest.mark.parametrize("changes", [{}, {"window": 6, "sink": 1}, {"window": 4, "sink": 1, "block_frames": 1}])
@pytest.mark.parametrize("pictured", [False, True])
def test_a_commit_beside_the_pixels_changes_nothing(changes, pictured):
    held = studio(**changes)
    options = {"frames": 45, "seed": 5, "image": BOARD if pictured else None}
    one, other = held.film(PROMPT, **options), held.film(PROMPT, **options, overlap="commit")
    kept, blocks, whole = None, [], list(one)
    for block in other:
        blocks.append(block)
        if block.block.index == 1:
            kept = other.snapshot()
    again = list(held.film(start=kept, frames=45, seed=5, overlap="commit"))
    for made in (blocks, [*blocks[:2], *again]):
        assert [b.block for b in made] == [b.block for b in whole]
        for a, b in zip(made, whole, strict=True):
            np.testing.assert_array_equal(a.latents, b.latents)
            np.testing.assert_array_equal(a.frames, b.frames)
    assert other.forwards == one.forwards


def test_a_block_is_committed_while_its_pixels_are_decoded():
    held, events = studio(), []
    committed, begun = threading.Event(), threading.Event()
    pixels, frames = held.engine("pixels_first"), held.engine("frames")
    decode, run = pixels.run, frames.run

    def slow(*arguments, **keywords):
        begun.set()
        assert committed.wait(PATIENCE), "the commit waits for the pixels"
        return decode(*arguments, **keywords)

    def watched(feeds, outputs, **keywords):
        made = run(feeds, outputs, **keywords)
        if "velocity" not in outputs and not committed.is_set():
            assert begun.wait(PATIENCE)
            events.append("commit")
            committed.set()
        return made

    pixels.run, frames.run = slow, watched
    film = held.film(PROMPT, frames=33, overlap="commit")
    assert next(film).block.index == 0 and events == ["commit"]
    film.cancel()
    assert list(film) == [] and film.result.stop_reason == "cancelled" and film.result.frames == 9


def test_a_result_is_typed_by_what_was_generated():
    held = studio()
    film = held.film(PROMPT, frames=9)
    assert film.result.stop_reason == "unfinished" and film.result.frames == 0
    (block,) = film
    result = film.result
    assert type(result) is PixelsResult and isinstance(result, Result) and result.modality == "pixels"
    assert (result.frames, result.height, result.width, 3) == block.frames.shape
    assert (result.fps, result.remarks) == (film.fps, film.remarks)
    assert result.seconds == result.parts.total >= result.parts.denoise > 0 and film.seconds is not result.parts


def test_a_commit_that_fails_beside_the_pixels_is_told_after_them():
    held = studio()
    engine = held.engine("frames")
    run = engine.run

    def spoiled(feeds, outputs, **keywords):
        if "velocity" not in outputs:
            raise EngineError("frames: out of memory")
        return run(feeds, outputs, **keywords)

    engine.run = spoiled
    film = held.film(PROMPT, frames=33, overlap="commit")
    assert next(film).block.index == 0
    with pytest.raises(EngineError, match="out of memory"):
        next(film)


def test_pixels_that_are_no_numbers_are_told_beside_a_commit_too():
    held = studio()
    engine = held.engine("pixels_next")
    script = engine._script
    engine._script = lambda feeds: {**script(feeds), "pixels": np.full((1, 4, 8, 12, 3), np.nan, np.float32)}
    with pytest.raises(NumericsError, match="block 0, latent frame 1: the pixels are not finite"):
        next(held.film(PROMPT, frames=33, overlap="commit"))


# -- memory


@pytest.mark.parametrize("commit", ["separate", "merged"])
def test_nothing_is_copied_for_a_step_and_only_new_rows_for_a_block(commit):
    memory = Counting()
    held = studio(memory, window=6, sink=1, block_frames=1)
    film = held.film(PROMPT, frames=frames_of(16), commit=commit)
    per_step: list[int] = []
    film.on_step = lambda _: per_step.append(memory.rows)
    layers, rows = held.contract.network.layers, film.clip.rows
    copied = [memory.rows for _ in film]
    blocks = np.diff(np.array(per_step).reshape(-1, 4), axis=1)
    assert ((blocks > 0).sum(axis=1) <= (commit == "merged")).all(), "rows come in once a block, before its steps"
    assert set(np.diff(copied)[7:].tolist()) == {2 * layers * rows}, "one frame's keys and values for each layer"


def test_the_cache_stays_as_large_as_the_window_however_long_the_clip():
    memory = Counting()
    held = studio(memory, window=6, sink=1, block_frames=1)
    film = held.film(PROMPT, frames=frames_of(20), steps=1)
    taken = [memory.bytes for _ in film]
    assert len(set(taken[6:])) == 1, "no memory is asked for once the window is full"
    assert len(film.network.cache.frames) == 5 and film.network.cache.frames[0] == 0
    assert len(film.recent) <= 6


def test_states_of_the_decoder_are_fed_where_they_were_made():
    held = studio()
    engine, fed, made = held.engine("pixels_next"), [], []
    run = engine.run

    def watched(feeds, *arguments, **keywords):
        result = run(feeds, *arguments, **keywords)
        fed.append(feeds["past_state_0"])
        made.append(result["new_state_0"])
        return result

    engine.run = watched
    list(held.film(PROMPT, frames=21))
    assert len(fed) == 5 and all(a is b for a, b in zip(fed[1:], made, strict=False))


# -- cancelling, and what goes wrong


def test_cancelling_ends_before_the_next_step_and_keeps_what_is_there():
    held = studio()
    film = held.film(PROMPT, frames=33)
    steps_taken = []

    def on_step(step):
        steps_taken.append(step)
        if step.block.index == 1 and step.step == 1:
            film.cancel()

    film.on_step = on_step
    made = list(film)
    assert [block.block.index for block in made] == [0] and film.cancelled
    assert (steps_taken[-1].block.index, steps_taken[-1].step) == (1, 1)


def test_a_velocity_that_is_no_number_is_named_by_block_and_step():
    held = studio()
    engine, calls = held.engine("frames"), []
    script = engine._script

    def spoiled(feeds):
        calls.append(feeds)
        made = dict(script(feeds))
        if len(calls) == 7:  # 4 steps, a commit, and two steps of the next block
            made["velocity"] = np.where(
                np.arange(made["velocity"].size).reshape(made["velocity"].shape) == 3, np.nan, 1
            )
            made["velocity"] = made["velocity"].astype(np.float32)
        return made

    engine._script = spoiled
    film = held.film(PROMPT, frames=33)
    next(film)
    with pytest.raises(NumericsError, match="block 1, step 1: the velocity is not finite"):
        next(film)


def test_pixels_that_are_no_numbers_are_named_by_block_and_frame():
    held = studio()
    engine = held.engine("pixels_next")
    script = engine._script
    engine._script = lambda feeds: {**script(feeds), "pixels": np.full((1, 4, 8, 12, 3), np.nan, np.float32)}
    with pytest.raises(NumericsError, match="block 0, latent frame 1: the pixels are not finite"):
        next(held.film(PROMPT, frames=33))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 20}, r"frames: got 20, expected 1 \+ 4 k, as the decoder makes them: the nearest is 17 or 21"),
        ({"height": 10}, "height: got 10, expected a multiple of 4 pixels: the nearest is 8"),
        ({"width": 5, "height": 3}, "(?s)height: got 3.*width: got 5"),
        ({"frames": 5, "seconds": 1.0}, "frames, seconds: got both"),
        ({"steps": 3}, "steps: got 3, this bundle was made for 1, 2, 4 a block"),
        ({"window": 2}, "window: got 2 latent frames with a sink of 0, expected at least 3"),
        ({"seed": -1}, "seed: got -1, expected 0 to"),
        ({"draft": True}, "draft: this bundle has no preset for it"),
        ({"commit": "never"}, "commit: got 'never', expected one of"),
        ({"noise": np.zeros((4, 5, 4, 6), np.float32)}, r"noise: got shape \[4, 5, 4, 6\], expected \[4, 6, 4, 6\]"),
        ({"renoise": np.zeros((3, 4, 6, 4, 6), np.float32)}, "renoise came without noise"),
    ],
)
def test_a_request_that_cannot_be_filmed_says_what_would_do(options, message):
    from a2d.engines.errors import A2DError

    with pytest.raises(A2DError, match=message):
        studio().film(PROMPT, **options)


def test_noise_that_is_not_finite_is_refused():
    noise, renoise = np.zeros((4, 6, 4, 6), np.float32), np.zeros((3, 4, 6, 4, 6), np.float32)
    noise[1, 2, 3, 4] = np.nan
    with pytest.raises(RequestError, match="numbers are not finite"):
        studio().film(PROMPT, noise=noise, renoise=renoise)


def test_a_prompt_that_is_too_long_is_cut_and_that_is_said():
    held = studio()
    film = held.film("red ball " * 40, frames=1)
    made = tokenized("red ball " * 40, held.contract.text, TEXT)
    assert len(made.tokens) == 32 and made.tokens[-1] == 1 and made.cut > 0
    assert film.remarks == (f"the prompt is {made.cut} tokens too long and was cut: 32 are read",)
    assert held.film(PROMPT, frames=1).remarks == ()


def test_a_prompt_is_encoded_once():
    held = studio()
    for prompt in (PROMPT, OTHER, PROMPT, f"  {PROMPT} "):
        held.film(prompt, frames=1)
    assert len(held.engine("text").calls) == 2


def test_a_picture_is_refused_where_the_bundle_cannot_encode_one():
    held = studio()
    blind = Studio(held.engine, held.contract, "float32", TEXT, False)
    with pytest.raises(RequestError, match="got a picture, but this bundle cannot encode one"):
        blind.film(PROMPT, image=BOARD)
    with pytest.raises(RequestError, match="no prompt: say what the shot shows"):
        held.film()


def test_the_golden_tokenizer_is_whole():
    assert json.loads(TOKENIZER.read_text())["model"]
