"""Prompts from text, messages, ids and pictures: rows, features and keys, and what is refused with what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import VISION
from PIL import Image

from a2d.engines.errors import ImageError, RequestError
from a2d.runtime.inputs.patches import Grid, Patches
from a2d.runtime.inputs.prompt import PromptBuilder, mrope_positions
from a2d.runtime.inputs.tokenizer import ChatTemplate

IMAGE, VIDEO, VOCAB, WIDTH = VISION.image_token_id, VISION.video_token_id, 100, 6

TEMPLATE = """{%- for m in messages -%}
{%- if m.content is string -%}{{ m.content }}
{%- else -%}{%- for p in m.content -%}
{%- if p.type == 'image' -%}I{%- elif p.type == 'video' -%}V{%- else -%}{{ p.text }}{%- endif -%}
{%- endfor -%}{%- endif -%}{%- endfor -%}"""


class Letters:
    """A tokenizer of letters; `I` and `V` stand for pictures, and `^` is its first token of its own."""

    def encode(self, text: str, special: bool = False) -> np.ndarray:
        ids = {"I": IMAGE, "V": VIDEO}
        return np.array([1] * special + [ids.get(char, ord(char) % 64) for char in text], np.int64)

    def as_words(self, text: str) -> str:
        return text


class Encoder:
    """Features that tell the picture (by a number of its own) and the row."""

    def __init__(self) -> None:
        self.seen: list[Patches] = []

    def __call__(self, patches: Patches) -> np.ndarray:
        self.seen.append(patches)
        rows = np.arange(patches.tokens, dtype=np.float32)[:, None]
        return np.full((patches.tokens, WIDTH), 1000 * len(self.seen), np.float32) + rows


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


def builder(encode, **changes) -> PromptBuilder:
    fields = {"positions": "mrope", "vocab": VOCAB, "text": Letters(), "template": ChatTemplate(TEMPLATE, {})}
    return PromptBuilder(**{**fields, "vision": VISION, "encode": encode, **changes})


def ids(text: str) -> list[int]:
    return Letters().encode(text).tolist()


def picture(height: int = 56, width: int = 84, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


SMALL = 2 * 3
"""Feature rows of a picture of 56x84 pixels."""

# -- text


def test_text_goes_through_the_template(encoder):
    made = builder(encoder).from_text("abc")
    assert made.rows.tokens.tolist() == ids("abc") == made.keys.tolist()
    assert made.rows.positions.tolist() == [[0, 1, 2]] * 3
    assert (made.next_position, made.rows.features, made.rows.is_feature) == (3, None, None)


@pytest.mark.parametrize("changes", [{}, {"template": None}])
def test_raw_text_has_the_tokenizers_own_tokens(encoder, changes):
    assert builder(encoder, **changes).from_text("abc", raw=True).rows.tokens.tolist() == [1, *ids("abc")]


@pytest.mark.parametrize(
    ("kind", "vision", "shape"),
    [("arange", None, (3,)), ("arange_x3", None, (3, 3)), ("mrope", VISION, (3, 3)), ("arange", VISION, (3,))],
)
def test_positions_are_counted_as_the_contract_says(encoder, kind, vision, shape):
    made = builder(encoder, positions=kind, vision=vision).from_tokens([5, 6, 7])
    assert made.rows.positions.shape == shape
    assert (made.rows.positions == np.arange(3)).all() and made.next_position == 3


@pytest.mark.parametrize(
    "tokens", [[5, 6], (5, 6), np.array([5, 6], np.int32), np.array([5, 6], np.uint8), range(5, 7)]
)
def test_ids_come_in_many_forms(encoder, tokens):
    made = builder(encoder).from_tokens(tokens)
    assert made.rows.tokens.tolist() == [5, 6] and made.rows.tokens.dtype == np.int64


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "the prompt is empty"),
        ([5, VOCAB], "token id 100 is outside the vocabulary, expected 0 to 99"),
        ([-1], "token id -1 is outside the vocabulary"),
        ([2**40], "is outside the vocabulary"),
        ([2**63], "is outside the vocabulary"),
        ([10**30], "expected one list of whole numbers"),
        ([1.5], "got token ids float64"),
        (["5"], "expected one list of whole numbers"),
        ([True], "got token ids bool"),
        ([[5, 6]], r"got token ids int64\[1, 2\]"),
        ([[5], [6, 7]], "form no list"),
        (5, r"got token ids int64\[\]"),
        ([None], "got token ids object"),
    ],
)
def test_what_is_no_prompt_of_ids(encoder, tokens, message):
    with pytest.raises(RequestError, match=message):
        builder(encoder).from_tokens(tokens)


def test_an_empty_text_is_refused_where_nothing_is_added_to_it(encoder):
    with pytest.raises(RequestError, match="the prompt is empty"):
        builder(encoder).from_text("")
    assert len(builder(encoder).from_text("", raw=True)) == 1


def test_what_a_bundle_lacks_is_said(encoder):
    with pytest.raises(RequestError, match="no tokenizer; pass token ids"):
        builder(encoder, text=None).from_text("abc")
    with pytest.raises(RequestError, match="no chat template; pass a plain prompt"):
        builder(encoder, template=None).from_messages([{"role": "user", "content": "abc"}])
    with pytest.raises(RequestError, match="got 2 images, but this bundle reads text only"):
        builder(encoder, vision=None).from_text("abc", [picture(), picture()])


# -- pictures


def test_a_placeholder_becomes_one_row_per_feature(encoder):
    made = builder(encoder).from_text("ab", [picture()])
    assert made.rows.tokens.tolist() == [IMAGE] * SMALL + ids("ab")
    assert made.rows.is_feature.tolist() == [True] * SMALL + [False] * 2
    assert made.rows.features[:, 0].tolist() == [1000 + row for row in range(SMALL)] + [0, 0]
    assert made.rows.features.dtype == np.float32
    expected, following = mrope_positions(made.rows.tokens, [Grid(1, 4, 6)], VISION)
    assert np.array_equal(made.rows.positions, expected) and made.next_position == following


def test_a_sequence_that_is_expanded_already_is_left_alone(encoder):
    tokens = [5, *[IMAGE] * SMALL, 6]
    expanded = builder(encoder).from_tokens(tokens, [picture()])
    assert expanded.rows.tokens.tolist() == tokens
    single = builder(encoder).from_tokens([5, IMAGE, 6], [picture()])
    assert np.array_equal(single.rows.tokens, expanded.rows.tokens)
    assert np.array_equal(single.keys, expanded.keys)


def test_pictures_keep_their_order(encoder):
    made = builder(encoder).from_tokens([IMAGE, 5, IMAGE], [picture(), picture(28, 56, seed=1)])
    assert [p.tokens for p in encoder.seen] == [SMALL, len(made) - SMALL - 1]
    assert made.rows.features[0, 0] == 1000 and made.rows.features[SMALL + 1, 0] == 2000


def test_a_list_of_frames_is_a_video(encoder):
    made = builder(encoder).from_text("ab", [[picture(seed=i) for i in range(3)]])
    assert made.rows.tokens.tolist() == [VIDEO] * 2 * SMALL + ids("ab")
    assert encoder.seen[0].grid == Grid(2, 4, 6, is_video=True)


def test_keys_tell_pictures_apart_and_nothing_else(encoder):
    one, again, other = (
        builder(encoder).from_tokens([5, IMAGE, 6], [picture(seed=seed)]).keys[1:-1] for seed in (0, 0, 1)
    )
    assert np.array_equal(one, again)
    assert (one < 0).all() and len(set(one.tolist()) | set(other.tolist())) == 2 * SMALL


@pytest.mark.parametrize(
    ("tokens", "count", "message"),
    [
        ([5, 6], 1, "0 places for pictures and 1 pictures? came"),
        ([5, IMAGE, IMAGE], 1, "2 places for pictures and 1 pictures? came"),
        ([5, IMAGE], 2, "1 places for pictures and 2 pictures? came"),
        ([5, IMAGE], 0, "1 places for pictures and 0 pictures? came"),
        ([5, VIDEO], 1, "is not 6 image tokens"),
        ([*[IMAGE] * (SMALL - 1), 5, IMAGE], 1, "is not 6 image tokens"),
    ],
)
def test_places_and_pictures_must_agree(encoder, tokens, count, message):
    with pytest.raises(RequestError, match=message):
        builder(encoder).from_tokens(tokens, [picture()] * count)
    assert encoder.seen == []  # refused before the vision graph runs


def test_a_picture_in_place_of_a_video_is_refused(encoder):
    with pytest.raises(RequestError, match="is not 6 video tokens"):
        builder(encoder).from_tokens([IMAGE], [[picture()]])


def test_pictures_that_cannot_be_read_are_image_errors(encoder, tmp_path):
    with pytest.raises(ImageError, match="cannot find an image"):
        builder(encoder).from_text("ab", [tmp_path / "none.png"])


# -- messages


@pytest.fixture
def frames(tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for seed, path in enumerate(paths):
        Image.fromarray(picture(seed=seed)).save(path)
    return paths


def test_messages_name_their_pictures(encoder, frames):
    content = [{"type": "text", "text": "a"}, {"type": "image", "image": frames[0]}, {"type": "text", "text": "b"}]
    more = {"role": "user", "content": [{"type": "video", "video": frames}]}
    made = builder(encoder).from_messages(
        [{"role": "user", "content": content}, {"role": "assistant", "content": "c"}, more]
    )
    assert made.rows.tokens.tolist() == [*ids("a"), *[IMAGE] * SMALL, *ids("bc"), *[VIDEO] * 2 * SMALL]
    same = builder(encoder).from_tokens([*ids("a"), IMAGE, *ids("bc"), VIDEO], [frames[0], frames])
    assert np.array_equal(made.keys, same.keys)


def test_pictures_given_apart_take_the_places_in_order(encoder):
    content = [{"type": "image"}, {"type": "text", "text": "a"}]
    made = builder(encoder).from_messages([{"role": "user", "content": content}], [picture()])
    assert made.rows.tokens.tolist() == [IMAGE] * SMALL + ids("a")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "image"}, 'a message part of type "image" has no "image"'),
        ({"type": "video"}, 'a message part of type "video" has no "video"'),
        ({"type": "image", "image": ["a.png"]}, 'got a list as "image"'),
        ({"type": "video", "video": "a.mp4"}, 'got a str as "video"; a video is a list of its frames'),
        ({"type": "image", "image": 3}, "got int as an image"),
    ],
)
def test_parts_that_hold_no_picture(encoder, part, message):
    with pytest.raises(RequestError, match=message):
        builder(encoder).from_messages([{"role": "user", "content": [part]}])


@pytest.mark.parametrize("message", ["hello", None, {"role": "user", "content": 3}, {"role": "user", "content": {}}])
def test_what_is_no_message(encoder, message):
    with pytest.raises(RequestError, match="got a message .*expected"):
        builder(encoder).from_messages([{"role": "user", "content": "a"}, message])
