"""An OpenAPI description of the server's surface, loose enough that a fuzzer also sends what is wrong."""

from __future__ import annotations

from typing import Any

NUMBER = {"name": "number", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}

PART = {
    "type": "object",
    "properties": {
        "type": {"enum": ["text", "input_text", "image_url", "input_image", "image", "file", "audio"]},
        "text": {"type": ["string", "null", "integer"]},
        "image_url": {"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "null"}]},
        "file": {"anyOf": [{"type": "object"}, {"type": "string"}]},
        "file_id": {"type": "string"},
    },
}

MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool", ""]},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": PART, "maxItems": 3}, {"type": "null"}]},
        "name": {"type": "string"},
    },
    "required": ["role", "content"],
}

FORMAT = {
    "anyOf": [
        {"enum": [{"type": "text"}, {"type": "json_object"}, {"type": "json_schema"}, None]},
        {
            "type": "object",
            "properties": {
                "type": {"const": "json_schema"},
                "json_schema": {"type": "object", "properties": {"name": {}, "schema": {}}, "required": ["schema"]},
            },
            "required": ["type", "json_schema"],
        },
    ]
}

OWN = {
    "type": "object",
    "properties": {
        "steps": {}, "threshold": {"type": "number"}, "block_size": {"type": "integer"}, "rule": {"type": "string"},
        "budget": {}, "choices": {}, "template": {}, "template_options": {}, "stop_texts": {}, "max_tokens": {},
    },
}  # fmt: skip

COMMON: dict[str, Any] = {
    "model": {"enum": ["toy", "toy", "toy", "nobody", ""]},
    "max_tokens": {"type": "integer", "minimum": -1, "maximum": 20},
    "temperature": {"type": "number", "minimum": -1, "maximum": 3},
    "top_p": {"type": "number", "minimum": -1, "maximum": 2},
    "seed": {"type": "integer"},
    "stream": {"type": ["boolean", "null"]},
    "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
    "stop": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
    "n": {"type": "integer"},
    "user": {"type": "string"},
    "response_format": FORMAT,
    "a2d": OWN,
}

PROMPT = {
    "anyOf": [
        {"type": "string", "maxLength": 30},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 10},
        {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 2},
    ]
}

FUNCTION = {
    "type": "object",
    "properties": {
        "name": {"enum": ["f", "g", ""]},
        "parameters": {"anyOf": [{"enum": [{"type": "object", "properties": {"a": {"type": "integer"}}}]}, {}]},
    },
    "required": ["name"],
}

TOOL = {"type": "object", "properties": {"type": {"const": "function"}, "function": FUNCTION}, "required": ["type"]}

CHOICE = {
    "anyOf": [
        {"enum": ["required", "auto", "none", {"type": "function", "function": {"name": "f"}}, {"type": "function"}]},
        {},
    ]
}

CHAT = {
    "messages": {"type": "array", "items": MESSAGE, "maxItems": 3},
    "max_completion_tokens": {"type": "integer"},
    "tools": {"type": "array", "items": TOOL, "maxItems": 2},
    "tool_choice": CHOICE,
}

VIDEO = {
    "model": {"enum": ["toy", "film", "film"]},
    "prompt": {"type": "string"},
    "seconds": {"anyOf": [{"type": "number"}, {"type": "string"}]},
    "size": {"type": "string"},
    "seed": {"type": "integer"},
    "steps": {"type": "integer"},
    "input_reference": {},
}


def described() -> dict[str, Any]:
    """The description."""
    text = {
        "/v1/chat/completions": CHAT,
        "/v1/completions": {"prompt": PROMPT},
        "/v1/a2d/blocks": CHAT | {"prompt": PROMPT},
    }
    paths: dict[str, Any] = {path: {"post": _posted(COMMON | own, ["model"])} for path, own in text.items()}
    paths["/v1/videos"] = {"post": _posted(VIDEO, ["model", "prompt"]), "get": _got()}
    paths["/v1/files"] = {
        "post": _formed({"file": {"type": "string", "format": "binary"}, "purpose": {"type": "string"}})
    }
    paths["/v1/files"]["get"] = _got()
    for kind in ("files", "videos"):
        paths[f"/v1/{kind}/{{number}}"] = {"get": _got(NUMBER), "delete": _got(NUMBER)}
        paths[f"/v1/{kind}/{{number}}/content"] = {"get": _got(NUMBER)}
    paths["/v1/videos/{number}/events"] = {"get": _got(NUMBER)}
    paths["/v1/models/{number}"] = {"get": _got(NUMBER)}
    for path in ("/v1/models", "/health", "/metrics", "/"):
        paths[path] = {"get": _got()}
    return {"openapi": "3.1.0", "info": {"title": "a2d serve", "version": "1"}, "paths": paths}


def _got(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": list(parameters), "responses": {"200": {"description": "found"}}}


def _posted(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return _got() | {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _formed(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return _got() | {"requestBody": {"content": {"multipart/form-data": {"schema": schema}}}}
