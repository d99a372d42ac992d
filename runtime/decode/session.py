"""A conversation with its cache.

Sessions of one model share its engines and weights; each owns its cache. A session is given the whole conversation
every time and computes only what it does not hold. Does not know how prompts are written or shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Unpack

import numpy as np

from ...engines.errors import ContextFullError, NumericsError, RequestError
from ...engines.protocol import Engine
from .block import Layout, Prompt
from .budget import Clock, Timing, check_budget
from .cache import Cache, CacheShape, Pool
from .contract import DecodeContract
from .denoiser import Denoiser
from .duration import seconds_of
from .generation import Generation, until
from .guidance import GuidedRunner
from .options import OptionFields, Options, Plan, plan, with_fields
from .result import TextResult
from .runner import Backbone, EngineRunner, Runner
from .sequence import FREE, Form, Sequence

__all__ = ["Generation", "Session", "TextResult", "until"]


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
        times: Timing | None = None,
    ) -> None:
        """`exact`: use again only rows that a fresh decode would lay the same way (see `stream`).

        `pool`: memory that is shared with sessions which `Together` runs side by side. `prepare`: makes rows of texts
        and conversations, and of images beside them (`Model.prompt`). `times`: measured ones, for budgets.
        """
        self.engine, self.contract, self.max_context = engine, contract, max_context
        backbone = engine("backbone")
        shape.check(backbone.inputs)
        self.backbone = Backbone(backbone, Cache(shape, backbone.memory, pool))
        self.wrap: Callable[[Runner], Runner] = lambda runner: runner
        """Puts an observer around the runner of each generation."""
        self._detokenize = detokenize
        self._exact = exact
        self._prepare, self._times = prepare, times
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
        clock: Clock | None = None,
        **chosen: Unpack[OptionFields],
    ) -> Generation:
        """Generate after `prompt`, which is the whole conversation; rows that stand in the cache are not run again.

        `prompt` is what `Model.prompt` gives, or what it takes: a text, a list of messages, token ids; `images` beside
        these. Options are fields of `Options` as keywords, or `options`.
        A cached row keeps the block in which it was settled: where blocks are counted from position 0, or settled
        rows are token-causal, that is what a fresh decode of the conversation would do as well. An `exact` session runs
        rows again that a fresh decode would put into other blocks. `form` restricts the answer. A budget counts from
        this call, or from when its `clock` was made.
        Raises RequestError for options that do not fit, ContextFullError if the first block does not; the cache is as
        it was then.
        """
        if not callable(getattr(form, "begin", None)):
            raise RequestError(
                f"form: got {type(form).__name__}, expected what Model.shape makes; leave it out for any"
            )
        asked = with_fields(options, **chosen)
        wanted, clock = plan(self.contract, asked), clock or self.clock(asked)
        return Generation(self, self._rows(prompt, images, clock), wanted, self._detokenize, form, clock)

    def clock(self, options: Options) -> Clock | None:
        """The clock of an answer with a budget, which counts from now on; None without one.

        Raises RequestError for a budget shorter than one step. Where nobody has measured this machine, that is done
        before the clock starts.
        """
        if options.budget is None:
            return None
        seconds, wanted = seconds_of(options.budget), plan(self.contract, options)
        if self._times is None:
            raise RequestError("budget: this session knows no times of its machine; ask a Model's")
        times = self._times(wanted)
        check_budget(seconds, times.step, f"one step takes {1e3 * times.step:.4g} ms", times)
        return Clock(times, seconds, time.perf_counter(), slowness=self._times.slowness)

    def timed(self, plan: Plan, clock: Clock, sequence: Sequence) -> Plan:
        """The plan that fits the clock. Raises RequestError where the prompt and one step do not."""
        layout = sequence.layout
        known = 0 if plan.options.guidance > 0 else self._reusable(sequence.prompt, layout)
        return clock.begin(plan, layout.start - known, layout.start, min(sequence.wanted, sequence.limit))

    def generate(
        self,
        prompt: Any,
        options: Options | None = None,
        form: Form = FREE,
        *,
        images: Any = (),
        **chosen: Unpack[OptionFields],
    ) -> TextResult:
        """Generate as `stream` does, to the end."""
        return self.stream(prompt, options, form, images=images, **chosen).run()

    def _rows(self, prompt: Any, images: Any, clock: Clock | None) -> Prompt:
        if isinstance(prompt, Prompt):
            if len(images):
                raise RequestError("got images beside a prompt that is made already; give them to Model.prompt")
            return prompt
        if self._prepare is None:
            raise RequestError(f"got a prompt {type(prompt).__name__}, and this session knows rows alone (`Prompt`)")
        return self._prepare(prompt, images, clock=clock)

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
