"""A conversation with its cache, and one generation in it.

Sessions of one model share its engines and weights; each owns its cache. A session is given the whole conversation
every time and computes only what it does not hold. Does not know how prompts are written or shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from ...engines.errors import ContextFullError, NumericsError, RequestError
from ...engines.protocol import Engine
from .block import Step
from .cache import Cache, CacheShape, Pool
from .contract import DecodeContract
from .denoiser import Denoiser
from .forward import Decoding
from .guidance import GuidedRunner
from .loop import decode as diffuse
from .options import OptionFields, Options, Plan, plan, with_fields
from .pipelined import decode_ahead, is_known
from .rows import Layout, Prompt
from .runner import Backbone, EngineRunner, Runner, Work, steps, told
from .sequence import FREE, Form, Sequence
from .speculative import speculate

__all__ = ["Generation", "Result", "Session", "until"]


DECODES = {"diffusion": diffuse, "speculative": speculate}
"""Name in Options to what decodes."""


@dataclass(frozen=True)
class Result:
    """What a generation gave."""

    tokens: tuple[int, ...]
    """Generated token ids, up to and including the block that holds a stop token."""
    text: str
    """Their text up to the stop token; empty where the bundle has no tokenizer."""
    stop_reason: str
    """`stop` (a stop token or text), `length` (max_tokens), `repeats` (stop_repeats), `context` (full), `cancelled`, or
    `unfinished` while there are steps to take."""
    forwards: int
    """Forwards of the backbone, prefill included."""
    steps: int
    blocks: int
    prompt_tokens: int
    cached_tokens: int
    """Prompt rows that were in the cache already."""
    seconds: float
    """Time spent generating; a slow consumer of a stream does not count."""
    first_block_seconds: float
    confidence: tuple[float, ...] = ()
    """For each of `tokens`, how sure the model was when it was settled: its probability, unless `Options.confidence`
    measures something else.
    """


@dataclass
class _Count:
    """Tally of a running generation."""

    steps: int = 0
    blocks: int = 0
    seconds: float = 0.0
    first_block: float = 0.0
    ended: str = ""
    """Why, if the answer has ended."""
    over: bool = False
    """No step is left."""


class Generation:
    """An iterator of Steps; when it ends, or is cancelled, `result` is there."""

    def __init__(
        self, session: Session, prompt: Prompt, plan: Plan, detokenize: Callable[[list[int]], str], form: Form = FREE
    ) -> None:
        self._session, self._contract, self._plan = session, session.contract, plan
        self._detokenize = detokenize
        self._count = _Count()
        self._cancelled = threading.Event()
        self._tokens: list[int] = []
        self._confidence: list[float] = []
        self._tail: list[int] = []
        self._prompt = prompt
        self._sequence = session.enter(prompt, plan, form)
        self._before = session.backbone.forwards
        self.work = _owning(session, self._sequence, plan)
        """The decoding at work, for whoever runs several side by side instead of iterating over one."""
        self._steps = _driven(self.work, session, self._sequence, plan)

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        started = time.perf_counter()
        try:
            if self.cancelled:
                self._steps.close()
            step = next(self._steps)
        except StopIteration:
            self._count.over = True
            raise
        finally:
            self.spend(time.perf_counter() - started)
        self.tally(step)
        return step

    def runner(self) -> Runner:
        """A runner for the requests of `work`."""
        return self._session.runner(self._sequence, self._plan)

    @property
    def cancelled(self) -> bool:
        """Somebody has asked for the end."""
        return self._cancelled.is_set()

    def spend(self, seconds: float) -> None:
        """Count time that was spent generating."""
        self._count.seconds += seconds

    def cancel(self) -> None:
        """End before the next step. May be called from any thread."""
        self._cancelled.set()

    @property
    def tokens(self) -> list[int]:
        """Tokens of all finished blocks so far, then those of the current one, masks left out."""
        return [*self._tokens, *self._tail][: self._plan.options.max_tokens]

    @property
    def text(self) -> str:
        """Text of `tokens`, up to a stop token or text."""
        return _before(self._words(self.tokens), self._plan.options.stop_texts)

    def _words(self, tokens: list[int]) -> str:
        return self._detokenize(until(tokens, self._contract.stop_token_ids))

    def close(self) -> None:
        """End now, and free the session. Dropping the last reference does the same."""
        self._steps.close()
        self.work.close()

    def run(self) -> Result:
        """Take all steps that are left."""
        for _ in self:
            pass
        return self.result

    @property
    def result(self) -> Result:
        """What has been generated, as of now."""
        return Result(
            tokens=tuple(self._tokens[: self._plan.options.max_tokens]),
            text=self.text,
            stop_reason=self._stop_reason(),
            forwards=self._session.backbone.forwards - self._before,
            steps=self._count.steps,
            blocks=self._count.blocks,
            prompt_tokens=len(self._prompt),
            cached_tokens=self._sequence.cached,
            seconds=self._count.seconds,
            first_block_seconds=self._count.first_block,
            confidence=tuple(self._confidence[: self._plan.options.max_tokens]),
        )

    def _stop_reason(self) -> str:
        if self._count.ended:
            return self._count.ended
        if self._cancelled.is_set():
            return "cancelled"
        return "context" if self._count.over or self._tokens else "unfinished"

    def _check_texts(self) -> None:
        """End before the next step where a stop text has been written."""
        stops = self._plan.options.stop_texts
        if stops and not self._count.ended and any(stop in self._words(self._tokens) for stop in stops):
            self._count.ended = "stop"
            self._cancelled.set()

    def tally(self, step: Step) -> None:
        """Count a step that was taken."""
        masked = step.masked[step.prompt :]
        held = step.tokens[step.prompt :]
        self._tail = held[~masked].tolist()
        self._count.steps += 1
        self._count.ended = step.ended
        if step.final:
            written = int(np.argmax(masked)) if masked.any() else len(held)  # an early stop leaves masks behind it
            self._tokens += held[:written].tolist()
            self._confidence += [round(float(p), 6) for p in step.confidence[step.prompt :][:written]]
            self._tail = []
            self._count.blocks += 1
            self._count.first_block = self._count.first_block or self._count.seconds
            self._check_texts()


class Session:
    """One conversation: a cache, and what stands in it."""

    def __init__(
        self,
        engine: Callable[[str], Engine],
        contract: DecodeContract,
        shape: CacheShape,
        max_context: int,
        detokenize: Callable[[list[int]], str] = lambda _: "",
        exact: bool = False,
        pool: Pool | None = None,
        prepare: Callable[..., Prompt] | None = None,
    ) -> None:
        """`exact`: use again only rows that a fresh decode would lay the same way (see `stream`).

        `pool`: memory that is shared with sessions which `Together` runs side by side. `prepare`: makes rows of texts
        and conversations, and of images beside them (`Model.prompt`).
        """
        self.engine, self.contract, self.max_context = engine, contract, max_context
        backbone = engine("backbone")
        shape.check(backbone.inputs)
        self.backbone = Backbone(backbone, Cache(shape, backbone.memory, pool))
        self.wrap: Callable[[Runner], Runner] = lambda runner: runner
        """Puts an observer around the runner of each generation."""
        self._detokenize = detokenize
        self._exact = exact
        self._prepare = prepare
        self._keys = np.empty(0, np.int64)
        self._reach = np.empty(0, np.int64)
        self._busy = threading.Lock()

    def stream(
        self,
        prompt: Any,
        options: Options | None = None,
        form: Form = FREE,
        *,
        images: Any = (),
        **chosen: Unpack[OptionFields],
    ) -> Generation:
        """Generate after `prompt`, which is the whole conversation; rows that stand in the cache are not run again.

        `prompt` is what `Model.prompt` gives, or what it takes: a text, a list of messages, token ids; `images` beside
        these. Options are fields of `Options` as keywords, or `options`.
        A cached row keeps the block in which it was settled: where blocks are counted from position 0, or settled
        rows are token-causal, that is what a fresh decode of the conversation would do as well. An `exact` session runs
        rows again that a fresh decode would put into other blocks. `form` restricts the answer.
        Raises RequestError for options that do not fit, ContextFullError if the first block does not; the cache is as
        it was then.
        """
        wanted = plan(self.contract, with_fields(options, **chosen))
        return Generation(self, self._rows(prompt, images), wanted, self._detokenize, form)

    def generate(
        self,
        prompt: Any,
        options: Options | None = None,
        form: Form = FREE,
        *,
        images: Any = (),
        **chosen: Unpack[OptionFields],
    ) -> Result:
        """Generate as `stream` does, to the end."""
        return self.stream(prompt, options, form, images=images, **chosen).run()

    def _rows(self, prompt: Any, images: Any) -> Prompt:
        if isinstance(prompt, Prompt):
            if len(images):
                raise RequestError("got images beside a prompt that is made already; give them to Model.prompt")
            return prompt
        if self._prepare is None:
            raise RequestError(f"got a prompt {type(prompt).__name__}, and this session knows rows alone (`Prompt`)")
        return self._prepare(prompt, images)

    @property
    def cached_tokens(self) -> int:
        """Rows in the cache."""
        return self.backbone.cache.length

    def enter(self, prompt: Prompt, plan: Plan, form: Form = FREE) -> Sequence:
        """The rows of a new generation. Raises ContextFullError if it does not fit, RequestError if its form does not.

        Nothing has changed then.
        """
        c = self.contract
        # What is verified has no grid: the prompt is settled, and every block begins where the last one ended.
        alignment, cuts = ("left", True) if plan.speculative else (c.prompt_alignment, plan.cuts_last)
        layout = Layout(len(prompt), plan.block, alignment, c.context_mask, cuts)
        wanted = len(prompt) + plan.options.max_tokens
        chooser = form.begin(plan, len(prompt), min(wanted, self.max_context))
        sequence = Sequence(prompt, layout, plan.filler, wanted, self.max_context, c.drop_token_ids, chooser)
        if sequence.first() is None:
            raise ContextFullError(
                f"the prompt has {len(prompt)} tokens and the context holds {self.max_context}: there is no room for "
                f"a block of {plan.block}. Shorten the prompt, start a new session, or export with a larger "
                "context: the setting max_context"
            )
        return sequence

    def runner(self, sequence: Sequence, plan: Plan) -> Runner:
        """The runner of one generation; with guidance a second stream lives as long as it does."""
        denoiser, o = Denoiser(self.engine, self.contract.shift, plan, self.contract.forbid_token_ids), plan.options
        if o.guidance == 0:
            return self.wrap(EngineRunner(self.backbone, denoiser))
        blind = Backbone(self.backbone.engine, Cache(self.backbone.cache.shape, self.backbone.engine.memory))
        prompt, mask = len(sequence.prompt), plan.filler
        return self.wrap(GuidedRunner(self.backbone, blind, denoiser, prompt, o.guidance_keep, mask, o.guidance))

    @contextmanager
    def running(self, sequence: Sequence, fresh: bool = False) -> Iterator[None]:
        """Owns the cache while a generation runs, and afterwards records what stands in it.

        `fresh`: nothing that stands in it already is used.
        """
        if not self._busy.acquire(blocking=False):
            raise RequestError("this session is generating already; finish or close that stream, or open another")
        try:
            sequence.cached = 0 if fresh else self._reusable(sequence.prompt, sequence.layout)
            self.backbone.cache.truncate(sequence.cached)
            self.backbone.cache.leave()  # the prompt is run by itself, over its own rows alone
            self.backbone.cache.wanted = min(sequence.wanted, sequence.limit)
            sequence.reach[: sequence.cached] = self._reach[: sequence.cached]
            yield
        except NumericsError:
            self.backbone.cache.clear()  # a mask hides old rows, but zero times NaN is NaN
            raise
        finally:
            cached = self.backbone.cache.length
            self._keys, self._reach = sequence.keys[:cached], sequence.reach[:cached]
            self._busy.release()

    def share(self) -> Pool:
        """The pool in which the caches of sessions beside this one stand."""
        cache = self.backbone.cache
        cache.home = cache.home or Pool(cache.shape, self.backbone.engine.memory)
        return cache.home

    def _reusable(self, prompt: Prompt, layout: Layout) -> int:
        """Leading rows of the prompt that stand in the cache and see nothing that does not."""
        # A model that predicts one row ahead needs the last context row's hidden state, so that row runs again.
        limit = min(len(self._keys), layout.start - (self.contract.shift != "none"))
        same = self._keys[: max(limit, 0)] == prompt.keys[: max(limit, 0)]
        common = len(same) if same.all() else int(np.argmin(same))
        closed = np.maximum.accumulate(self._reach[:common]) <= np.arange(1, common + 1)
        if self._exact:
            closed &= np.logical_and.accumulate(self._reach[:common] == layout.reach(0, common))
        return int(np.flatnonzero(closed)[-1]) + 1 if closed.any() else 0


def _owning(session: Session, sequence: Sequence, plan: Plan) -> Work:
    """The decode loop, owning the session meanwhile. Free of the Generation, so that dropping that one ends it."""
    ahead = session.backbone.waits and sequence.chooser.free and is_known(session.contract, plan)
    ahead = ahead and session.backbone.cache.home is None  # a burst is one session's
    decode: Callable[..., Decoding] = decode_ahead if ahead else DECODES[plan.options.decode]
    with session.running(sequence, fresh=plan.options.guidance > 0):
        yield from told(decode(sequence, session.contract, plan))


def _driven(work: Work, session: Session, sequence: Sequence, plan: Plan) -> Generator[Step, None, None]:
    """The steps of one session alone."""
    yield from steps(work, session.runner(sequence, plan))


def _before(text: str, stops: Iterable[str]) -> str:
    """The text before the first of `stops` that stands in it."""
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def until(tokens: list[int], stops: tuple[int, ...]) -> list[int]:
    """The tokens before the first stop token."""
    ends = [i for i, token in enumerate(tokens) if token in stops]
    return tokens[: ends[0]] if ends else tokens
