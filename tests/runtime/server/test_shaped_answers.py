"""Answers of a given shape over HTTP, by OpenAI's official client unmodified and by a2d's own fields."""

from __future__ import annotations

import json
from enum import StrEnum

import httpx
import jsonschema
import pytest
from conftest import EXAMPLES
from serving import HEADERS, serving

from a2d.runtime.footage.slate import FIELDS, values
from a2d.runtime.server.request.limits import Limits
from a2d.runtime.server.work.service import Service

openai = pytest.importorskip("openai")
pydantic = pytest.importorskip("pydantic")
pytest.importorskip("outlines_core", reason='the extra "shapes"')

FRAME = EXAMPLES / "slate" / "frames" / "easy-01.png"

SCENE = {
    "type": "object",
    "properties": {"scene": {"type": "string", "pattern": "^[0-9]{1,3}[A-Z]?$"}, "take": {"type": "integer"}},
    "required": ["scene", "take"],
    "additionalProperties": False,
}


class Light(StrEnum):
    """Kinds of light."""

    DAY = "day"
    NIGHT = "night"


class Slate(pydantic.BaseModel):
    """A slate, as a user of the client would write it."""

    scene: int = pydantic.Field(ge=1, le=999)
    take: int
    light: Light | None
    remarks: list[str] = pydantic.Field(max_length=2)


@pytest.fixture(scope="module")
def messages(client):
    file = client.files.create(file=FRAME, purpose="vision")
    parts = [{"type": "file", "file": {"file_id": file.id}}, {"type": "text", "text": "read the slate"}]
    return [{"role": "user", "content": parts}]


def shaped(schema: object) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "slate", "strict": True, "schema": schema}}


def test_a_schema_is_kept_to_and_the_answer_is_that_of_generate(client, model, messages):
    made = client.chat.completions.create(model="slate", messages=messages, response_format=shaped(SCENE))
    text = made.choices[0].message.content
    jsonschema.validate(json.loads(text), SCENE)
    assert text == model.generate(images=[FRAME], form=model.shape(schema=SCENE)).text
    assert made.choices[0].finish_reason == "stop"


def test_a_stream_of_a_schema_adds_up(client, messages):
    stream = client.chat.completions.create(
        model="slate", messages=messages, response_format=shaped(SCENE), stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    jsonschema.validate(json.loads(text), SCENE)


def test_parse_with_a_pydantic_model(client, messages):
    made = client.chat.completions.parse(model="slate", messages=messages, response_format=Slate, max_tokens=100)
    slate = made.choices[0].message.parsed
    assert isinstance(slate, Slate)


FIELDS_SCHEMA = {
    "type": "object",
    "properties": {name: {"type": ["string", "null"]} for name in FIELDS},
    "required": list(FIELDS),
    "additionalProperties": False,
}


def test_a_schema_of_the_readers_own_values_is_answered_through_its_sentence(client, model, messages):
    made = client.chat.completions.create(model="slate", messages=messages, response_format=shaped(FIELDS_SCHEMA))
    said, read = json.loads(made.choices[0].message.content), values(made.a2d["written"])
    jsonschema.validate(said, FIELDS_SCHEMA)
    assert said == {name: None if read[name] == "-" else read[name] for name in FIELDS} and any(said.values())
    alone = model.generate(images=[FRAME], form=model.shape(schema=FIELDS_SCHEMA))
    assert (made.choices[0].message.content, tuple(made.a2d["tokens"])) == (alone.text, alone.tokens)
    assert made.choices[0].finish_reason == "stop"
    stream = client.chat.completions.create(
        model="slate", messages=messages, response_format=shaped(FIELDS_SCHEMA), stream=True
    )
    pieces = [piece for chunk in stream if (piece := chunk.choices[0].delta.content)]
    assert pieces == [alone.text]  # the object is whole or not there
    cut = client.chat.completions.create(
        model="slate",
        messages=messages,
        response_format=shaped(FIELDS_SCHEMA),
        extra_body={"a2d": {"stop_texts": [" "]}},
    )
    assert cut.choices[0].message.content == ""


def test_a_value_that_no_sentence_can_say_is_told(client, messages):
    schema = FIELDS_SCHEMA | {"properties": FIELDS_SCHEMA["properties"] | {"take": {"type": "boolean"}}}
    with pytest.raises(openai.BadRequestError, match="#/properties/take: this model writes"):
        client.chat.completions.create(model="slate", messages=messages, response_format=shaped(schema))


TOOL = {"type": "function", "function": {"name": "note", "description": "Note it.", "parameters": SCENE}}
FORCED = {"type": "function", "function": {"name": "note"}}


@pytest.mark.parametrize("choice", [FORCED, "required"], ids=["named", "required"])
def test_a_forced_call_has_arguments_that_its_schema_holds(client, model, messages, choice):
    made = client.chat.completions.create(model="slate", messages=messages, tools=[TOOL], tool_choice=choice)
    (call,) = made.choices[0].message.tool_calls
    assert (call.type, call.function.name, made.choices[0].message.content) == ("function", "note", None)
    assert made.choices[0].finish_reason == "tool_calls"
    jsonschema.validate(json.loads(call.function.arguments), SCENE)
    assert call.function.arguments == model.generate(images=[FRAME], form=model.shape(schema=SCENE)).text


def test_a_stream_of_a_call_adds_up(client, messages):
    other = {"type": "function", "function": {"name": "other"}}
    chunks = list(
        client.chat.completions.create(
            model="slate", messages=messages, tools=[other, TOOL], tool_choice=FORCED, parallel_tool_calls=False,
            stream=True,
        )
    )  # fmt: skip
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert (deltas[0].function.name, deltas[0].type) == ("note", "function") and deltas[0].id.startswith("call_")
    assert all(call.index == 0 for call in deltas) and not any(call.id for call in deltas[1:])
    jsonschema.validate(json.loads("".join(call.function.arguments for call in deltas)), SCENE)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_the_clients_own_helper_parses_a_call(client, messages):
    tool = openai.pydantic_function_tool(Slate)
    how = {"model": "slate", "messages": messages, "max_tokens": 100, "tools": [tool], "tool_choice": "required"}
    (call,) = client.chat.completions.parse(**how).choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Slate)


def test_a_function_without_arguments_is_called_with_none(client, messages):
    tools = [{"type": "function", "function": {"name": "roll"}}]
    made = client.chat.completions.create(model="slate", messages=messages, tools=tools, tool_choice="required")
    assert made.choices[0].message.tool_calls[0].function.arguments == "{}"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tools": [TOOL]}, "tool_choice: got none, which is auto, .*expected tool_choice to name one function"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice: got auto, .*does not choose"),
        ({"tools": [TOOL], "tool_choice": "none"}, "tool_choice: got none"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "'x', expected one of"),
        ({"tools": [TOOL, TOOL], "tool_choice": "required"}, "two functions of one name"),
        (
            {"tools": [TOOL, {"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
            "got required, with 2 functions",
        ),
        ({"tools": [], "tool_choice": "auto"}, r"tools: got \[\], expected a list"),
        ({"tool_choice": FORCED}, "tools: got None, expected a list"),
        ({"tools": [{"type": "custom"}], "tool_choice": FORCED}, r"tools\[0\]: got"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}], "tool_choice": FORCED}, "function.name: got"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
            "expected the schema of an object",
        ),
        ({"tools": [TOOL], "tool_choice": FORCED, "response_format": shaped(SCENE)}, "got response_format and tools"),
    ],
)
def test_tools_that_leave_a_choice_are_told(client, messages, fields, said):
    with pytest.raises(openai.BadRequestError, match=said):
        client.chat.completions.create(model="slate", messages=messages, **fields)


def test_an_object_of_any_names(client, messages):
    form = {"type": "json_object"}
    for length in (2, 12, 40):
        made = client.chat.completions.create(model="slate", messages=messages, response_format=form, max_tokens=length)
        assert isinstance(json.loads(made.choices[0].message.content), dict)


def test_templates_and_choices_in_chats_and_completions(client, messages):
    pattern = {"template": "scene {scene:[0-9]} and no more"}
    made = client.chat.completions.create(model="slate", messages=messages, extra_body={"a2d": pattern})
    assert made.choices[0].message.content == "scene 6 and no more"
    made = client.completions.create(model="slate", prompt=[5, 6], extra_body={"a2d": {"choices": ["take 1", "roll"]}})
    assert made.choices[0].text in ("take 1", "roll")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object", "patternProperties": {"a": {}}}, "patternProperties is not supported"),
        ({"properties": {"a": {"type": "string", "allOf": [{}]}}}, "#/properties/a: allOf is not supported"),
        ({"oneOf": [{"type": "string"}], "not": {}}, "not, oneOf are not supported"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no answer can be valid"),
        (False, "no answer can be valid"),
        ({"type": "string", "pattern": r'^["\\]$'}, "no string of this model's tokens can be written"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, "leads back to itself"),
        ({"type": "string", "minLength": 100}, "max_tokens: the shortest answer"),
    ],
)
def test_schemas_that_cannot_be_are_told_and_the_server_goes_on(client, messages, schema, said):
    with pytest.raises(openai.BadRequestError, match="(?s)" + said):
        client.chat.completions.create(model="slate", messages=messages, response_format=shaped(schema), max_tokens=8)
    assert client.models.list().data


BOMB = {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(60)} | {"a60": {}}


@pytest.mark.parametrize(
    ("schema", "limits"),
    [
        ({"$defs": BOMB, "$ref": "#/$defs/a0"}, Limits(shape_seconds=1)),
        ({"type": "string", "maxLength": 10**7}, Limits(shape_memory=300 << 20)),
    ],
    ids=["time", "memory"],
)
def test_a_schema_that_takes_too_much_ends_alone(model, schema, limits):
    body = {"model": "slate", "prompt": [5, 6], "max_tokens": 4}
    with (
        serving(Service({"slate": model}, limits=limits)) as address,
        httpx.Client(headers=HEADERS, timeout=60) as client,
    ):
        answer = client.post(f"{address}/v1/completions", json={**body, "response_format": shaped(schema)})
        assert answer.status_code == 400
        assert "to compile; ask for shorter values" in answer.json()["error"]["message"]
        assert client.post(f"{address}/v1/completions", json=body).status_code == 200


def test_a_shape_does_not_go_with_drawing(client, messages):
    with pytest.raises(openai.BadRequestError, match="temperature: got 1.0, expected 0"):
        client.chat.completions.create(model="slate", messages=messages, response_format=shaped(SCENE), temperature=1)


def test_shapes_wait_for_one_another_and_no_longer_than_may(model):
    service = Service({"slate": model}, limits=Limits(shapes=0))
    body = {"model": "slate", "prompt": [5, 6], "response_format": shaped(SCENE)}
    with serving(service) as address:
        answer = httpx.post(f"{address}/v1/completions", json=body, headers=HEADERS)
    assert answer.status_code == 429 and answer.headers["retry-after"] == "5"
