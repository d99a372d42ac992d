"""Shapes over a real tokenizer: `Model.shape`, the flags of `a2d run`, and the bytes that tokens stand for."""

from __future__ import annotations

import json

import jsonschema
import pytest
from conftest import DATA
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from a2d.engines.errors import RequestError
from a2d.runtime.cli.run import main
from a2d.runtime.inputs.tokenizer import Text


def text(tmp_path, model, decoder, pre=None) -> Text:
    tokenizer = Tokenizer(model)
    if decoder is not None:
        tokenizer.decoder = decoder
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return Text(tmp_path / "tokenizer.json")


def test_byte_level_tokens_are_their_bytes(tmp_path):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate(alphabet)} | {"Ġa": 256, "Ã©": 257}
    made = text(
        tmp_path, models.BPE(vocabulary, []), decoders.ByteLevel(), pre_tokenizers.ByteLevel(False)
    ).token_bytes()
    assert sorted(made[:256]) == [bytes([byte]) for byte in range(256)]
    assert made[256:] == [b" a", "é".encode(), b""]


def test_sentencepiece_tokens_are_their_bytes(tmp_path):
    decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made = text(tmp_path, models.BPE({"▁take": 0, "<0x0A>": 1, "é": 2}, []), decoder).token_bytes()
    assert made == [b" take", b"\n", "é".encode(), b""]


def test_tokens_that_are_no_bytes_are_refused(tmp_path):
    made = text(tmp_path, models.WordLevel({"a": 0}, "a"), decoders.WordPiece())
    with pytest.raises(RequestError, match="its decoder is WordPiece"):
        made.token_bytes()


SCHEMA = {
    "type": "object",
    "properties": {
        "scene": {"type": "string", "pattern": "^[0-9]{1,3}[A-Z]?$"},
        "take": {"type": "integer", "minimum": 1},
    },
    "required": ["scene", "take"],
    "additionalProperties": False,
}


def run(bundle, *arguments, capsys) -> tuple[int, str, str]:
    picture = str(DATA.parent.parent / "examples" / "slate" / "frames" / "easy-06.png")
    status = main([str(bundle), "--precision", "fp32", "--image", picture, *arguments])
    return status, *capsys.readouterr()


def test_a_schema_a_template_and_choices(slate, tmp_path, capsys):
    pytest.importorskip("outlines_core", reason='the extra "shapes"')
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    status, said, _ = run(slate, "--schema", str(tmp_path / "schema.json"), capsys=capsys)
    jsonschema.validate(json.loads(said), SCHEMA)
    assert status == 0
    _, said, _ = run(slate, "--template", "scene {scene:[0-9]+[A-Z]*} take {take:int}{rest:.*}", capsys=capsys)
    assert said.startswith("scene 6M take 6 roll N539")
    _, said, _ = run(slate, "--choices", "scene 7M", "scene 6M", "no slate", "--each", "--json", capsys=capsys)
    assert json.loads(said)["text"] == "scene 6M"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--template", "a {x"], "has no end"),
        (["--schema", "nowhere.json"], "--schema nowhere.json cannot be read"),
        (
            ["--template", "{x:int} and on", "--max-tokens", "2"],
            "max_tokens: the shortest answer of this shape has",
        ),
    ],
)
def test_shapes_that_cannot_be(slate, asked, message, capsys):
    pytest.importorskip("outlines_core", reason='the extra "shapes"')
    status, said, error = run(slate, *asked, capsys=capsys)
    assert (status, said) == (2, "") and message in error
