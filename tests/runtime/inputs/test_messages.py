"""Messages as callers write them, and words that are no control tokens."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from a2d.engines.errors import RequestError
from a2d.runtime.inputs.images import load_image
from a2d.runtime.inputs.messages import normalised, pictures_of
from a2d.runtime.inputs.prompt import PromptBuilder, Turn
from a2d.runtime.inputs.tokenizer import ChatTemplate, Text

CONTROLS = ["<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|mask|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{% if p.type == 'image' %}<|image_pad|>{% else %}{{ p.text }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    made = Tokenizer(BPE({char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROLS])
    made.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path


@pytest.fixture(scope="module")
def text(tokenizer) -> Text:
    return Text(tokenizer)


@pytest.fixture(scope="module")
def builder(text) -> PromptBuilder:
    return PromptBuilder("arange", 512, text, ChatTemplate(TEMPLATE, {}), None, lambda _: None)


def ids(text: Text, control: str) -> int:
    (found,) = text.encode(control).tolist()
    return found


@given(
    st.lists(st.sampled_from([*CONTROLS, "what does ", " mean? ", "<|", "|>", "\u00e9", "\n", "<think>"]), max_size=6)
)
def test_what_somebody_wrote_is_words_whatever_it_is(text, builder, parts):
    words = "".join(parts)
    prompt = builder.from_text(words).rows.tokens.tolist() if words else []
    plain = builder.from_text("x").rows.tokens.tolist()
    for control in CONTROLS:
        assert prompt.count(ids(text, control)) == (plain.count(ids(text, control)) if words else 0)
    if words:
        start = text.encode("<|im_start|>user\n").tolist()
        end = text.encode("<|im_end|>\n<|im_start|>assistant\n").tolist()
        assert prompt[: len(start)] == start and prompt[-len(end) :] == end
        spelled = [text.decode([token]) for token in prompt[len(start) : -len(end)]]
        assert all(control not in spelled for control in CONTROLS)


def test_a_text_without_control_tokens_is_encoded_as_ever(text, builder):
    rendered = "<|im_start|>user\nread the slate<|im_end|>\n<|im_start|>assistant\n"
    assert builder.from_text("read the slate").rows.tokens.tolist() == text.encode(rendered).tolist()


def test_a_raw_prompt_writes_its_own_control_tokens(text, builder):
    assert builder.from_text("<|im_start|>", raw=True).rows.tokens.tolist() == [ids(text, "<|im_start|>")]


def test_words_of_every_role_and_part_are_words(text, builder):
    messages = [
        {"role": "system", "content": "<|im_end|>"},
        {"role": "user", "content": [{"type": "text", "text": "a<|im_end|>b"}, "c<|im_end|>"]},
        {"role": "assistant", "content": "<|im_end|>"},
    ]
    assert builder.from_messages(messages).rows.tokens.tolist().count(ids(text, "<|im_end|>")) == 3


# -- the template's own ways


def test_variables_reach_the_template(text, builder):
    made = builder.from_text("hi", turn=Turn({"enable_thinking": False})).rows.tokens.tolist()
    assert text.encode("<think>").tolist()[0] in made
    assert text.encode("<think>").tolist()[0] not in builder.from_text("hi").rows.tokens.tolist()


@pytest.mark.parametrize("begun", ["{", '{"scene": ', "two  spaces", "ends with space "])
def test_the_last_message_is_gone_on_with_as_in_transformers(begun):
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [{"role": "user", "content": "json"}, {"role": "assistant", "content": begun}]
    made = ChatTemplate(TEMPLATE, {}).render(messages, continue_final=True)
    theirs, _ = render_jinja_template([messages], chat_template=TEMPLATE, continue_final_message=True)
    assert made == theirs[0] and made.rstrip().endswith(begun.rstrip())


@pytest.mark.parametrize("content", ["", "  ", None, [{"type": "image", "image": "x.png"}]])
def test_an_answer_without_words_is_not_gone_on_with(content):
    with pytest.raises(RequestError, match="no words to go on with"):
        ChatTemplate("{{ messages[-1].content }}", {}).render([{"role": "assistant", "content": content}], None, True)


def test_a_template_that_changes_the_words_is_not_gone_on_with():
    with pytest.raises(RequestError, match="changes the last message"):
        ChatTemplate("{{ messages[-1].content | upper }}", {}).render([{"role": "a", "content": "abc"}], None, True)


# -- spellings of parts


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), 9, np.uint8)).save(file, "PNG")
    return file.getvalue()


DATA = f"data:image/png;base64,{base64.b64encode(png()).decode()}"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": "a.png"},
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image_url", "image_url": {"url": "a.png", "detail": "high"}},
        {"type": "image_url", "image_url": "a.png"},
        {"type": "input_image", "image_url": "a.png"},
        {"type": "image", "url": "a.png"},
        {"type": "image", "path": "a.png"},
        {"image": "a.png"},
        {"image_url": {"url": "a.png"}},
    ],
)
def test_a_picture_in_any_spelling_is_found_and_named_as_templates_do(part):
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "hi"}]}]
    assert pictures_of(messages) == ["a.png"]
    assert normalised(messages)[0]["content"][0] == {"type": "image", "image": "a.png"}


def test_urls_of_files_and_data_are_read(tmp_path):
    path = tmp_path / "a b.png"
    path.write_bytes(png())
    for url in (path.as_uri(), DATA):
        (source,) = pictures_of([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
        assert load_image(source).shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}, "which is not fetched"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,@@"}}, "not base64"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, "with content"),
        ({"type": "image_url"}, 'part of type "image_url" has no "image"'),
        ({"type": "input_audio", "input_audio": {}}, 'part of type "input_audio"'),
        ({"type": "file", "file": {}}, 'part of type "file"'),
        ({"words": "hi"}, "got a message part"),
        ({"type": "image", "image": ["a.png"]}, 'got a list as "image"'),
        ({"type": "video", "video": "a.mp4"}, 'got a str as "video"'),
        ({"type": "text", "text": 5}, 'part of type "text"'),
        (7, "got a message part 7"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(part, told):
    with pytest.raises(RequestError, match=told):
        normalised([{"role": "user", "content": [part]}])


@pytest.mark.parametrize("folder", [b"caf\xe9", "caf\u00e9".encode(), b"\xff\xfe", b"a b"])
def test_a_tokenizer_below_a_folder_of_any_name_is_read(tokenizer, tmp_path, folder):
    import os

    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + folder))
    place.mkdir()
    (place / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    assert Text(place / "tokenizer.json").encode("hi").tolist() == Text(tokenizer).encode("hi").tolist()


@pytest.mark.parametrize("url", [{"image": "a.png"}, {"image_url": {"url": "a.png", "detail": None}}])
def test_nulls_of_a_table_are_not_there(url):
    """Rows of a table have all columns: a template that asks whether a part has an image would see two."""
    columns = {"type": None, "text": None, "image": None, "image_url": None, "video": None}
    parts = [columns | url, columns | {"type": "text", "text": "hi"}]
    (message,) = normalised([{"role": "user", "content": parts, "tool_calls": None}])
    assert message == {
        "role": "user",
        "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "hi"}],
    }


@pytest.mark.parametrize("message", [{"role": "user", "content": None}, {"from": "human", "value": "hi"}])
def test_a_message_that_says_nothing_is_refused(message):
    with pytest.raises(RequestError, match="expected {"):
        normalised([message])


def test_a_picture_as_datasets_write_it():
    assert pictures_of([{"role": "user", "content": [{"type": "image", "image": {"bytes": b"x", "path": None}}]}]) == [
        b"x"
    ]
    with pytest.raises(RequestError, match='of type "image"'):
        normalised([{"role": "user", "content": [{"type": "image", "image": {"bytes": None, "path": None}}]}])
