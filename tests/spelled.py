"""The toy's tokens as bytes, and decodes of all kinds: for answers of a given shape."""

from __future__ import annotations

import numpy as np
from decode_cases import PROMPTS, contracts
from hypothesis import strategies as st
from toy import MASK, STOP, Toy

from a2d.runtime.decode.rules import RULES
from a2d.runtime.decode.session import until
from a2d.runtime.shapes.automaton import Vocabulary

SPELLED = [b"", b"a", b"b", b"", b"c", b"1", b"2", b"0", b"-", b".", b'"', b"{", b"}", b"[", b"]", b":", b",", b" "]
SPELLED += [b"ab", b"12", b'{"', b'": ', b", ", b"tr", b"ue", b"null", b'"a', b"false", b""]
"""Bytes of the toy's tokens: letters, digits, marks, and some that hold several."""

NUMBERS = {spelled: number for number, spelled in enumerate(SPELLED) if spelled}


def encode(text: str) -> np.ndarray:
    """The longest tokens that fit, as a tokenizer would; nothing for what they cannot spell."""
    made, rest = [], text.encode()
    while rest:
        longest = max((s for s in NUMBERS if rest.startswith(s)), key=len, default=None)
        if longest is None:
            return np.array([], np.int64)
        made.append(NUMBERS[longest])
        rest = rest[len(longest) :]
    return np.array(made, np.int64)


VOCABULARY = Vocabulary(SPELLED, encode, STOP, frozenset({MASK, STOP}))


def text_of(tokens) -> str:
    return b"".join(SPELLED[token] for token in until(list(tokens), (STOP,))).decode()


@st.composite
def decodes(draw):
    c = draw(contracts(stop=st.sampled_from(["block", "reached"])))
    B = c.block_size
    rule = draw(st.sampled_from(list(RULES)))
    chosen = {"rule": rule, "steps": draw(st.integers(1, B)), "max_tokens": draw(st.integers(1, 24))}
    chosen |= {"sub_block_size": draw(st.none() | st.integers(1, B)), "block_cache": draw(st.booleans())}
    return c, chosen, draw(PROMPTS), Toy(draw(st.integers(0, 5)))
