"""Manifests: the round trip, one message per way to be wrong, and fuzzing. Only BundleError comes out of `loads`.

`tests/data/manifests` holds inputs that once did harm or might: each is replayed. A file that fuzzing finds goes there.
"""

from __future__ import annotations

import json
import string
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import MANIFEST, VISION
from counts import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from a2d.engines.errors import BundleError
from a2d.runtime.bundle.manifest import (
    KV_DTYPES,
    MAX_MANIFEST_BYTES,
    SCHEMA,
    FileRecord,
    Manifest,
    ModelShape,
    ParityRow,
    TextFiles,
    Variant,
    Words,
)
from a2d.runtime.bundle.weight_index import GraphIndex, StoredTensor
from a2d.runtime.decode.contract import ALIGNMENTS, CONTEXT_MASKS, POSITIONS, SHIFTS, DecodeContract
from a2d.runtime.decode.rules import SCHEDULES
from a2d.runtime.inputs.images import Letterbox
from a2d.runtime.schema import Violations, to_json

CORPUS = sorted((Path(__file__).parents[2] / "data" / "manifests").iterdir())
GOOD = MANIFEST.dumps().encode()

# -- the round trip

names = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
lines = st.text(st.characters(categories=["L", "N", "P"]), max_size=9)
sizes = st.integers(1, 2**44)
positive = st.floats(0, 1e30)
contracts = st.integers(1, 64).flatmap(
    lambda block: st.builds(
        DecodeContract,
        mask_token_id=st.integers(0, 99),
        stop_token_ids=st.lists(st.integers(0, 99), max_size=3).map(tuple),
        block_size=st.just(block),
        prompt_alignment=st.sampled_from(list(ALIGNMENTS)),
        forbid_token_ids=st.lists(st.integers(0, 99), max_size=2).map(tuple),
        context_mask=st.sampled_from(list(CONTEXT_MASKS)),
        shift=st.sampled_from(list(SHIFTS)),
        positions=st.sampled_from(list(POSITIONS)),
        schedule=st.sampled_from(list(SCHEDULES)),
        steps=st.none() | st.integers(1, block),
        threshold=st.none() | st.floats(0, 1),
        temperature=st.floats(0, 100),
    )
)


shapes = st.builds(
    ModelShape,
    layers=st.integers(1, 4096),
    hidden=st.integers(1, 2**20),
    kv_heads=st.integers(1, 4096),
    head_dim=st.integers(1, 8192),
    vocab=st.integers(100, 2**26),
    max_context=st.integers(1, 2**26),
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    record = st.builds(FileRecord, st.integers(0, 2**44), st.text("0123456789abcdef", min_size=64, max_size=64))
    files = draw(st.dictionaries(names, record, min_size=1))
    file = st.sampled_from(sorted(files))
    vision = draw(st.none() | st.just(VISION) | st.just(replace(VISION, letterbox=Letterbox(112, 224, (1, 2, 3)))))
    graphs = ["backbone", "denoise", "sample", *(["vision"] if vision else [])]
    row = st.builds(ParityRow, lines, lines, positive, positive, lines)
    numbers = st.lists(st.integers(0, 2**20), max_size=3).map(tuple)
    tensor = st.builds(StoredTensor, st.integers(0, 2**20), st.integers(0, 2**20), numbers, lines)
    positives = st.lists(st.integers(1, 2**44), max_size=2).map(tuple)
    index = st.builds(GraphIndex, st.dictionaries(lines, tensor, max_size=2), positives, st.booleans())
    variant = st.builds(
        Variant,
        graphs=st.fixed_dictionaries(dict.fromkeys(graphs, file)),
        index=st.fixed_dictionaries(dict.fromkeys(graphs, index)),
        weights=file,
        weights_bytes=st.integers(2**21, 2**44),
        step_bytes=sizes,
        kv_dtype=st.sampled_from(KV_DTYPES),
        parity=st.lists(row, max_size=2).map(tuple),
    )
    special = st.dictionaries(names, st.text(), max_size=2)
    text = st.builds(TextFiles, st.none() | file, st.none() | file, special)
    text |= st.builds(TextFiles, file, st.none() | file, special, st.text(min_size=1, max_size=9))
    return Manifest(
        schema=SCHEMA,
        producer=draw(lines),
        name=draw(lines),
        family=draw(lines),
        variants=draw(st.dictionaries(names, variant, min_size=1, max_size=2)),
        files=files,
        words=Words(draw(shapes), draw(contracts), draw(text), vision),
    )


@given(manifests())
def test_manifests_survive_being_written(made):
    assert Manifest.loads(made.dumps().encode()) == made


def test_the_example_is_valid_and_its_text_is_stable():
    assert Manifest.loads(GOOD) == MANIFEST
    assert Manifest.loads(GOOD).dumps().encode() == GOOD
    assert GOOD.endswith(b"}\n")


# -- one message per way to be wrong


def changed(*path, to) -> bytes:
    """The example with one value changed; `to=KeyError` takes it out."""
    data = to_json(MANIFEST)
    place = data
    for step in path[:-1]:
        place = place[step]
    if to is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(data).encode()


def refused(raw: bytes) -> str:
    with pytest.raises(BundleError, match="not a valid manifest") as caught:
        Manifest.loads(raw)
    message = str(caught.value)
    assert "again" in message and len(message) < 20_000
    return message


PLAIN = "a bundle has no folders"
BOX = {"height": 112, "width": 224}
SUM = {"bytes": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (("schema",), SCHEMA + 1, f"schema: got {SCHEMA + 1}, this a2d reads up to {SCHEMA}; update a2d"),
        (("schema",), 0, f"schema: got 0, expected {SCHEMA} to"),
        (("schema",), True, "schema: got True, expected a whole number"),
        (("schema",), "1", "schema: got '1', expected a whole number"),
        (("schema",), KeyError, "schema: missing"),
        (("colour",), 1, "the whole: unknown key 'colour'"),
        (("words", "model", "colour"), 1, "words.model: unknown key 'colour'"),
        (("files", "x"), SUM | {"url": "http://"}, "files['x']: unknown key 'url'"),
        (("words", "model", "layers"), KeyError, "words.model.layers: missing"),
        (("words", "model", "layers"), 10**9, "words.model.layers: got 1000000000, expected 1 to 4096"),
        (
            ("words", "model", "max_context"),
            10**30,
            "words.model.max_context: got 1000000000000000000000000000000, expected",
        ),
        (("words", "model", "hidden"), -1, "words.model.hidden: got -1, expected 1 to"),
        (("files", "x"), SUM | {"bytes": 2**60}, "files['x'].bytes: got"),
        (("files", "x"), SUM | {"bytes": -1}, "files['x'].bytes: got -1"),
        (("files", "x"), SUM | {"sha256": "abc"}, "files['x']: sha256: got 'abc', expected 64 hexadecimal"),
        (("files", "x"), SUM | {"sha256": "G" * 64}, "expected 64 hexadecimal"),
        (("files", "../x"), SUM, f"files['../x']: expected a plain name of letters, digits, '.', '_' and '-': {PLAIN}"),
        (("files", "/etc/passwd"), SUM, PLAIN),
        (("files", "C:\\x"), SUM, PLAIN),
        (("files", "C:x"), SUM, PLAIN),
        (("files", "a/b"), SUM, PLAIN),
        (("files", ".."), SUM, PLAIN),
        (("files", ".hidden"), SUM, PLAIN),
        (("files", ""), SUM, PLAIN),
        (("files", "a\n"), SUM, PLAIN),
        (("files", "a\0b"), SUM, PLAIN),
        (("files", "\u0430"), SUM, PLAIN),
        (("files", "x" * 101), SUM, PLAIN),
        (("files", "manifest.json"), SUM, "files['manifest.json']"),
        (("files", "tokenizer.json"), KeyError, "'tokenizer.json' is used, but not listed in files"),
        (("variants", "fp32", "weights"), "../w", "'../w' is used, but not listed in files"),
        (("variants", "fp32", "index"), KeyError, "variants['fp32'].index: missing"),
        (("variants", "fp32", "index", "vision"), KeyError, "variants['fp32']: index: got ['backbone', 'denoise',"),
        (
            ("variants", "fp32", "index", "backbone", "tensors", "embedding", "offset"),
            201,
            "variants['fp32'].index['backbone'].tensors['embedding']: it ends beyond the 1000 bytes of weights",
        ),
        (("variants", "fp32", "index", "denoise", "states"), [0], "index['denoise'].states[0]: got 0, expected 1 to"),
        (("variants", "fp32", "graphs", "vision"), "/etc/passwd", "'/etc/passwd' is used, but not listed in files"),
        (
            ("variants", "fp32", "graphs", "vision"),
            KeyError,
            "variants['fp32']: graphs: missing ['vision'], not asked for []",
        ),
        (
            (
                "words",
                "vision",
            ),
            None,
            "missing [], not asked for ['vision']",
        ),
        (("variants", "fp32", "graphs", "denoise"), KeyError, "variants['fp32']: graphs: missing ['denoise']"),
        (("variants", "fp32", "graphs", "dream"), "x", "unknown ['dream']; known are backbone"),
        (("variants", "fp32", "kv_dtype"), "object", "kv_dtype: got 'object', expected one of float32, float16"),
        (("variants",), {}, "variants: empty, expected at least one precision"),
        (("variants",), [], "variants: got [], expected an object"),
        (("words", "decode", "mask_token_id"), 100, "words.decode: token id 100 is outside the vocabulary of 100"),
        (("words", "decode", "stop_token_ids"), [2, 500], "words.decode: token id 500 is outside the vocabulary"),
        (("words", "decode", "stop_token_ids"), [-1], "words.decode.stop_token_ids[0]: got -1"),
        (("words", "decode", "shift"), "up", "words.decode: shift: got 'up', expected one of"),
        (("words", "decode", "steps"), 9, "words.decode: steps: got 9, expected at most the block size 8"),
        (("words", "decode", "steps"), 0, "words.decode.steps: got 0, expected 1 to"),
        (("words", "decode", "block_size"), 0, "words.decode.block_size: got 0"),
        (("words", "decode", "threshold"), 1.5, "words.decode.threshold: got 1.5, expected 0 to 1"),
        (("words", "vision", "patch_size"), 0, "words.vision.patch_size: got 0, expected 1 to 256"),
        (("words", "vision", "window_size"), 3, "words.vision.window_size: got 3, expected at least a merge group"),
        (("name",), "\x1b]0;owned\x07", "name: got '\\x1b]0;owned\\x07', expected printable characters"),
        (("name",), "\ud800", "name: got '\\ud800', expected valid Unicode"),
        (
            ("words", "text", "default_prompt"),
            "",
            "words.text: default_prompt: got '', but a prompt has at least one character",
        ),
        (("words", "text", "default_prompt"), 3, "words.text.default_prompt: got 3, expected a text"),
        (
            ("words", "text", "tokenizer"),
            None,
            "default_prompt: got 'read the slate', but there is no tokenizer to read it",
        ),
        (
            ("words", "vision", "letterbox"),
            [112, 224],
            "words.vision.letterbox: got [112, 224], expected an object (Letterbox)",
        ),
        (("words", "vision", "letterbox"), {"height": 112}, "words.vision.letterbox.width: missing"),
        (
            ("words", "vision", "letterbox"),
            BOX | {"height": 10},
            "words.vision.letterbox: got 224x10, expected multiples of a merge",
        ),
        (
            ("words", "vision", "letterbox"),
            BOX | {"width": 10**9},
            "words.vision.letterbox.width: got 1000000000, expected 1 to 16384",
        ),
        (
            ("words", "vision", "letterbox"),
            BOX | {"fill": [0, 0]},
            "words.vision.letterbox.fill: got 2 numbers, expected 3",
        ),
        (
            ("words", "vision", "letterbox"),
            BOX | {"fill": [0, 0, 256]},
            "words.vision.letterbox.fill[2]: got 256, expected 0 to 255",
        ),
        (("words", "vision", "letterbox"), BOX | {"fit": "cut"}, "words.vision.letterbox: unknown key 'fit'"),
        (
            ("words", "text", "special_tokens"),
            {"eos_token": 2},
            "words.text.special_tokens['eos_token']: got 2, expected a text",
        ),
    ],
)
def test_each_fault_has_its_message(path, to, message):
    assert message in refused(changed(*path, to=to))


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_an_older_bundle_is_refused_with_the_command_that_makes_it_anew(schema):
    message = refused(json.dumps(to_json(MANIFEST) | {"schema": schema, "unknown": 1}).encode())
    assert f"schema: got {schema}, this a2d reads {SCHEMA}" in message
    assert "a2d-export CHECKPOINT -o BUNDLE" in message
    assert "unknown" not in message


def test_precisions_and_parity_cannot_steer_a_terminal():
    for changes in ({"variants": {"fp\x1b[2J": MANIFEST.variants["fp32"]}}, {"variants": {"fp32": replaced_parity()}}):
        with pytest.raises(Violations, match=r"\\x1b\[2J', expected printable characters"):
            replace(MANIFEST, **changes)


def replaced_parity() -> Variant:
    return replace(MANIFEST.variants["fp32"], parity=(ParityRow("backbone", "hidden", 0.0, 0.0, "PASS\x1b[2J"),))


def test_all_faults_are_listed_together():
    data = to_json(MANIFEST)
    data["colour"] = data["words"]["model"]["layers"] = "red"
    data["words"]["decode"]["shift"] = "up"
    del data["words"]["text"]
    message = refused(json.dumps(data).encode())
    for line in ("unknown key 'colour'", "words.model.layers: got 'red'", "decode: shift: got 'up'", "text: missing"):
        assert line in message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "it is not JSON"),
        (GOOD[: len(GOOD) // 2], "it is not JSON"),
        (GOOD + b"x", "it is not JSON"),
        (GOOD.replace(b'"slate"', b'"slate", "name": "slate"'), "key 'name' stands 2 times"),
        (GOOD.replace(b'"temperature": 0.0', b'"temperature": NaN'), "NaN is not a number of JSON"),
        (
            GOOD.replace(b'"temperature": 0.0', b'"temperature": 1e999'),
            "words.decode.temperature: got inf, expected a number",
        ),
        (GOOD.replace(b"slate", b"sl\xe4te"), "it is not UTF-8"),
        (b"\xef\xbb\xbf" + GOOD, "it is not JSON"),
        (GOOD.decode().encode("utf-16"), "it is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (GOOD + b" " * MAX_MANIFEST_BYTES, f"expected at most {MAX_MANIFEST_BYTES}"),
        (b"[]", "got [], expected an object (Manifest)"),
        (b"null", "got None, expected an object (Manifest)"),
        (b"3", "got 3, expected an object (Manifest)"),
    ],
)
def test_what_is_no_manifest(raw, message):
    assert message in refused(raw)


# -- fuzzing


def survives(raw: bytes) -> None:
    """Either a manifest that can be written again, or a BundleError of readable size."""
    try:
        made = Manifest.loads(raw)
    except BundleError as error:
        assert len(str(error).encode("utf-8")) < 20_000
    else:
        assert Manifest.loads(made.dumps().encode()) == made


@pytest.mark.parametrize("path", CORPUS, ids=[path.name for path in CORPUS])
def test_the_corpus_is_refused(path):
    refused(path.read_bytes())


@given(st.binary(max_size=300))
@example(b"\xff\xfe\x00")
def test_random_bytes(raw):
    survives(raw)


@given(st.data())
def test_damaged_manifests(data):
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        gone = data.draw(st.integers(0, 12))
        raw[at : at + gone] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b'"', b"{", b"}", b"1e9", b"-", b"null"])
        )
    survives(bytes(raw))


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(trees)
def test_random_json(tree):
    survives(json.dumps(tree).encode())


@settings(max_examples=examples(100))
@given(st.data())
def test_manifests_with_strange_values(data):
    root = place = to_json(MANIFEST)
    key = data.draw(st.sampled_from(list(root)))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(trees)
    survives(json.dumps(root).encode())
