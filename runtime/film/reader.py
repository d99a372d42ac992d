"""The reading half of a film by two towers: a request's prompts to what the denoising tower attends.

The last prompts are remembered, for the negative one seldom changes. Once both are read the graph that reads is not
needed any more. Knows no steps.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ...engines.errors import RequestError
from ...engines.protocol import Engine
from ..decode.cache import CacheShape
from .clip import Clip
from .condition import Condition, read
from .contract import FilmContract
from .options import Settled
from .towers import Pass, TowerNetwork, pass_of
from .wording import said

if TYPE_CHECKING:
    from ..inputs.tokenizer import ChatTemplate, Text

__all__ = ["Reader"]

KEPT = 2
"""Prompts whose keys and values are remembered: a wanted one and a negative one; 0.1 MB a token of 28 layers."""


class Reader:
    """Engines by name, the contract, tokenizer and template of one bundle."""

    def __init__(
        self,
        engine: Callable[[str], Engine],
        contract: FilmContract,
        shape: CacheShape,
        text: Text,
        template: ChatTemplate,
    ) -> None:
        self.engine, self.contract, self.shape = engine, contract, shape
        self.text, self.template = text, template
        self._read: OrderedDict[bytes, Condition] = OrderedDict()
        self._lock = threading.Lock()

    def network(self, prompt: str, wanted: Settled, clip: Clip, clean: int) -> TowerNetwork:
        """The tower that denoises, over the prompt and, where a step is guided, the negative one."""
        guidance, steps = wanted.guidance, wanted.first.timesteps
        away = None
        if any(guidance.guided(timestep) for timestep in steps):
            away = self._pass(guidance.negative, wanted, clip, negative=True)
        towards = self._pass(prompt, wanted, clip)
        return TowerNetwork(
            partial(self.engine, self.contract.denoiser), self.contract, clip, towards, away, guidance, clean
        )

    def _pass(self, prompt: str, wanted: Settled, clip: Clip, negative: bool = False) -> Pass:
        towers = self.contract.towers
        assert towers is not None, "a contract of two towers"
        told = towers.chat.sentences and not wanted.options.plain
        made = said(prompt, clip, wanted.fps, towers.chat, self.template, self.text, told, negative)
        if len(made.tokens) > self.contract.text.length:
            raise RequestError(
                f"{'negative' if negative else 'prompt'}: got {len(made.tokens)} tokens, expected at most "
                f"{self.contract.text.length}; shorten it"
            )
        key = made.tokens.tobytes()
        with self._lock:
            if key not in self._read:
                self._read[key] = read(made.tokens, self.engine(self.contract.reader), self.shape, towers.own_key)
            self._read.move_to_end(key)
            while len(self._read) > KEPT:
                self._read.popitem(last=False)
            return pass_of(self._read[key], self.contract, clip, wanted.fps)
