"""Text and templates: round trips through a real tokenizer, and a sandbox that strangers' templates do not leave."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from a2d.engines.errors import BundleError, RequestError
from a2d.runtime.inputs.tokenizer import ChatTemplate, Text

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def tokenizer() -> Tokenizer:
    """A token per byte, and three special ones."""
    made = Tokenizer(models.BPE({char: i for i, char in enumerate(BYTES)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<s>", "<end>", "<mask>"])
    made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 256)])
    return made


def saved(folder: Path, made: Tokenizer) -> Text:
    made.save(str(folder / "tokenizer.json"))
    return Text(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    return saved(tmp_path_factory.mktemp("text"), tokenizer())


# -- tokens


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "<" not in text))
def test_text_comes_back(text, sample):
    ids = text.encode(sample)
    assert ids.dtype == np.int64 and ids.shape == (len(sample.encode()),)
    assert text.decode(ids) == sample


def test_special_tokens_are_added_on_request_and_left_out_of_text(text):
    assert text.encode("a", special=True)[0] == 256
    assert 256 not in text.encode("a")
    assert text.encode("<end>").tolist() == [257]
    assert text.decode(np.array([*text.encode("a"), 257, *text.encode("b"), 258])) == "ab"


def test_half_a_character_becomes_a_replacement_character(text):
    ids = text.encode("\u00e9")
    assert text.decode(ids[:1]) == "\ufffd"


@pytest.mark.parametrize("broken", ["\ud800", "slate \udcff", "\udc00\ud800"])
def test_lone_surrogates_are_refused(text, broken):
    with pytest.raises(RequestError, match="the prompt is not valid Unicode.*UTF-8"):
        text.encode(broken)


def test_limits_left_over_from_training_are_lifted(tmp_path):
    limited = tokenizer()
    limited.enable_truncation(4)
    limited.enable_padding(length=8)
    made = saved(tmp_path, limited)
    assert len(made.encode("abcdef")) == 6
    assert len(made.encode("ab")) == 2


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"not json", b'{"model": {"type": "Magic"}}', b"\xff\xfe"])
def test_what_is_no_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"tokenizer\.json is not a tokenizer.*[Ee]xport"):
        Text(tmp_path / "tokenizer.json")


# -- templates

HELLO = [{"role": "user", "content": "hello"}]
CHATML = """{% for message in messages %}<|{{ message['role'] }}|>
{{ message.content }}<end>
{% endfor %}
{% if add_generation_prompt %}
<|assistant|>
{% endif %}
"""


def rendered(source: str, messages=HELLO, **special: str) -> str:
    return ChatTemplate(source, special).render(messages)


def test_a_conversation_ends_where_the_assistant_speaks_next():
    assert rendered(CHATML) == "<|user|>\nhello<end>\n<|assistant|>\n"


def test_special_tokens_have_names():
    assert rendered("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", eos_token="<end>") == "hello<end>"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ messages | tojson }}", '[{"role": "user", "content": "h\u00e9 & \'<b>\'"}]'),
        ("{{ messages[0] | tojson(indent=1) }}", '{\n "role": "user",\n "content": "h\u00e9 & \'<b>\'"\n}'),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}", '{"a":2,"b":1}'),
        ("{{ 'h\u00e9' | tojson(ensure_ascii=true) }}", '"h\\u00e9"'),
        ("{{ messages[0].content }}", "h\u00e9 & '<b>'"),
        ("{% if tools is none and documents is none %}none{% endif %}", "none"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% generation %}{{ messages[0].role }}{% endgeneration %}!", "user!"),
        ("{% set ns = namespace(n=1) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{{ dict(a=1).a }}{{ dict([('b', 2)]).b }}", "12"),
        ("{{ strftime_now('%Y') | length }}", "4"),
    ],
)
def test_what_templates_rely_on(source, expected):
    assert rendered(source, [{"role": "user", "content": "h\u00e9 & '<b>'"}]) == expected


def test_templates_say_the_same_as_in_transformers():
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    messages = [*HELLO, {"role": "assistant", "content": "h\u00e9"}, {"role": "user", "content": "<b>"}]
    for source in (CHATML, "{{ messages | tojson(indent=2) }}", "{% if tools %}x{% endif %}{{ documents }}"):
        theirs, _ = utils.render_jinja_template([messages], chat_template=source, add_generation_prompt=True)
        assert rendered(source, messages) == theirs[0]


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ messages[0]['__class__']['__init__'] }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ raise_exception.__globals__.jinja2 }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ dict.__class__.__mro__ }}",
        "{{ dict.mro() }}",
        "{{ (''|attr('__class__')).__mro__ }}",
        "{{ '{0.__class__.__mro__}'.format(1)[0].x.y }}",
        "{% set ns = namespace(__class__=1) %}",
        "{% set ns = namespace() %}{% set ns.__class__ = dict %}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ open('/etc/passwd') }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_templates_do_not_leave_the_sandbox(source):
    with pytest.raises(RequestError, match="the chat template refuses these messages"):
        rendered(source)


def test_attributes_of_python_are_undefined():
    for source in (
        "{{ messages | map(attribute='__class__') | first }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ messages[0]['__class__'] }}",
        "{{ self.__init__ }}",
    ):
        assert rendered(source) == ""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "refuses these messages: roles must alternate"),
        ("{{ messages[3].content }}", "no element 3"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages + 1 }}", "can only concatenate"),
        ("{{ messages[0].content.encode('x') }}", "unknown encoding"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "recursion"),
    ],
)
def test_errors_of_a_template_become_request_errors(source, message):
    with pytest.raises(RequestError, match=message):
        rendered(source)


@pytest.mark.parametrize("source", ["{% if %}", "{{ x", "{% endfor %}", "{{ x | no_such_filter }}", "{% magic %}"])
def test_what_is_no_template_is_refused_when_it_is_read(source):
    with pytest.raises(BundleError, match=r"the chat template is not valid Jinja.*[Ee]xport"):
        ChatTemplate(source, {})


def test_templates_nested_without_end_are_refused_when_they_are_read():
    with pytest.raises(BundleError, match="not valid Jinja"):
        ChatTemplate("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", {})


@settings(max_examples=examples(80))
@given(st.lists(st.sampled_from(["{{", "}}", "{%", "%}", " if ", "x", "messages", ".", "'", "(", ")", "|", "for"])))
def test_templates_give_text_or_an_error_of_ours(pieces):
    with contextlib.suppress(BundleError, RequestError):
        assert isinstance(rendered("".join(pieces)), str)
