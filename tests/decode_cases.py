"""Random prompts and contracts of the toy model, with options that fit them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from toy import V, contract

from a2d.runtime.decode.contract import ALIGNMENTS, CONTEXT_MASKS, LAST_BLOCKS, OPENINGS, SHIFTS
from a2d.runtime.decode.options import Options

PROMPTS = st.lists(st.integers(4, V - 2), min_size=1, max_size=21)


@st.composite
def contracts(draw, **more):
    """Contracts of every block size, alignment, mask, shift and opening; `more` are strategies of other fields."""
    shift = draw(st.sampled_from(list(SHIFTS)))
    return contract(
        block_size=draw(st.integers(1, 9)),
        prompt_alignment=draw(st.sampled_from(list(ALIGNMENTS))),
        context_mask=draw(st.sampled_from(list(CONTEXT_MASKS))),
        shift=shift,
        opening=draw(st.sampled_from(list(OPENINGS))) if shift != "none" else "masked",
        **{name: draw(strategy) for name, strategy in more.items()},
    )


@st.composite
def cases(draw):
    c = draw(contracts(last_block=st.none() | st.sampled_from(list(LAST_BLOCKS))))
    B = c.block_size
    return {
        "prompt": draw(PROMPTS),
        "contract": replace(c, sub_block_size=draw(st.none() | st.integers(1, B))),
        "steps": draw(st.integers(1, B)),
        "threshold": draw(st.none() | st.floats(0.05, 0.95)),
        "max_tokens": draw(st.integers(1, 26)),
        "seed": draw(st.integers(0, 5)),
    }


def options(case, **changes) -> Options:
    return Options(steps=case["steps"], threshold=case["threshold"], max_tokens=case["max_tokens"], **changes)
