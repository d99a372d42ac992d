"""manifest.json: what a bundle holds, as frozen data. docs/bundle.md is its description in words.

Knows the form, not the files: `runtime/bundle/files.py` compares the two.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from ...engines.errors import BundleError
from ...engines.install import update
from ..decode.contract import DecodeContract
from ..film.contract import FilmContract
from ..inputs.patches import VisionSpec
from ..schema import Violations, bounds, from_json, parse, to_json
from .weight_index import GraphIndex

__all__ = ["GRAPHS", "SCHEMA", "FileRecord", "Manifest", "ModelShape", "ParityRow", "TextFiles", "Variant", "Words"]

SCHEMA = 6
"""Version of the manifest's form and of the graphs' ports. A reader refuses every other."""

MAX_MANIFEST_BYTES = 4 << 20

GRAPHS = {
    "backbone": "rows to hidden states and the rows' keys and values",
    "denoise": "hidden states to proposals and the accepted tokens, greedily",
    "sample": "the same with temperature",
    "vision": "pixels to features",
    "text": "tokens of a prompt to the text encoder's rows",
    "cross": "those rows to the keys and values of every layer's cross-attention",
    "frames": "noisy latents of a block to their velocity and the rows' keys and values",
    "frames_merged": "the same under a mask, for a clean block and the next noisy one",
    "velocity": "noisy rows of a whole clip to their velocity, over what the backbone made of a prompt",
    "pixels_first": "the first latent frame of a clip to pixels and the decoder's states",
    "pixels_next": "later latent frames and the states to pixels and the next states",
    "pixels_first_draft": "as pixels_first, by a smaller decoder for drafts",
    "pixels_next_draft": "as pixels_next, by that decoder",
    "encode_first": "a picture to the first latent frame",
}
"""Graphs that a variant may hold, by name."""

WORDS = ("backbone", "denoise", "sample")
FILM = ("text", "cross", "frames", "frames_merged", "pixels_first", "pixels_next")
TOWERS = ("backbone", "velocity", "pixels_first", "pixels_next")
"""Graphs that decoding words, and filming block after block or a whole clip at once, cannot do without."""

PICTURE = "encode_first"
DRAFTS = ("pixels_first_draft", "pixels_next_draft")
"""Graphs that a bundle which films may do without; those of drafts come together."""

KV_DTYPES = ("float32", "float16", "bfloat16")
"""Number types of a cache, by numpy's names."""

_NUMBERS = re.compile(r"\[\n[\d,\s]+\]")
"""A list of whole numbers over several lines, which no text of JSON holds."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class FileRecord:
    """One file of the bundle."""

    bytes: int = field(metadata=bounds(0, 2**44))
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256: got {self.sha256[:70]!r}, expected 64 hexadecimal digits")


@dataclass(frozen=True)
class ModelShape:
    """Sizes of the network that the runtime needs to own its cache."""

    layers: int = field(metadata=bounds(1, 4096))
    hidden: int = field(metadata=bounds(1, 1 << 20))
    kv_heads: int = field(metadata=bounds(1, 4096))
    head_dim: int = field(metadata=bounds(1, 8192))
    vocab: int = field(metadata=bounds(1, 1 << 26))
    max_context: int = field(metadata=bounds(1, 1 << 26))


@dataclass(frozen=True)
class ParityRow:
    """One line of the parity table: torch against an exported graph."""

    graph: str
    check: str
    max_error: float = field(metadata=bounds(0, float("inf")))
    mean_error: float = field(metadata=bounds(0, float("inf")))
    verdict: str


@dataclass(frozen=True)
class Variant:
    """The graphs and the weights of one precision."""

    graphs: dict[str, str]
    weights: str
    weights_bytes: int = field(metadata=bounds(1, 2**44))
    """Size of the weights file: what a device downloads."""
    step_bytes: int = field(metadata=bounds(1, 2**44))
    """Bytes of weights that one denoising step reads: layers and output projection."""
    kv_dtype: str
    index: dict[str, GraphIndex]
    """Stored tensors by graph."""
    parity: tuple[ParityRow, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.graphs) - set(GRAPHS))
        if unknown:
            raise ValueError(f"graphs: unknown {unknown}; known are {', '.join(GRAPHS)}")
        if self.kv_dtype not in KV_DTYPES:
            raise ValueError(f"kv_dtype: got {self.kv_dtype!r}, expected one of {', '.join(KV_DTYPES)}")
        beyond = [
            f"index[{graph!r}].tensors[{name!r}]"
            for graph, one in self.index.items()
            for name in one.beyond(self.weights_bytes)
        ]
        if beyond:
            raise Violations([f"{place}: it ends beyond the {self.weights_bytes} bytes of weights" for place in beyond])


@dataclass(frozen=True)
class TextFiles:
    """Files and names that turn text into tokens; absent for checkpoints that are driven by token ids."""

    tokenizer: str | None = None
    chat_template: str | None = None
    special_tokens: dict[str, str] = field(default_factory=dict)
    """Names that a chat template may use: `bos_token`, `eos_token`, ..."""
    default_prompt: str | None = None
    """Prompt where the caller gives none; None where the caller must."""
    sentences: tuple[str, ...] = ()
    """Templates of the answers that the model was taught, of which objects are made (`runtime/shapes/sentence.py`)."""
    unknown: str | None = None
    """Text of a value in them that is not known."""

    def __post_init__(self) -> None:
        if self.sentences and self.tokenizer is None:
            raise ValueError(f"sentences: got {self.sentences[0][:60]!r}, but there is no tokenizer to write it")
        if self.unknown == "":
            raise ValueError("unknown: got '', but nothing at all cannot be told from a value; expected null")
        if self.default_prompt is None:
            return
        if not self.default_prompt or self.tokenizer is None:
            but = (
                "there is no tokenizer to read it" if self.tokenizer is None else "a prompt has at least one character"
            )
            raise ValueError(f"default_prompt: got {self.default_prompt[:60]!r}, but {but}; expected null")


@dataclass(frozen=True)
class Words:
    """Contracts of a bundle that decodes words."""

    model: ModelShape
    decode: DecodeContract
    text: TextFiles
    vision: VisionSpec | None = None

    def __post_init__(self) -> None:
        d, vocab = self.decode, self.model.vocab
        ids = {d.mask_token_id or 0, *d.stop_token_ids, *d.forbid_token_ids}
        outside = [f"decode: token id {i} is outside the vocabulary of {vocab}" for i in ids if i >= vocab]
        if outside:
            raise Violations(outside)


@dataclass(frozen=True)
class Manifest:
    """The whole manifest: files, and the contracts of what can be done with them."""

    schema: int = field(metadata=bounds(SCHEMA, SCHEMA))
    producer: str
    name: str
    family: str
    variants: dict[str, Variant]
    files: dict[str, FileRecord]
    words: Words | None = None
    """Set where the bundle decodes words."""
    film: FilmContract | None = None
    """Set where the bundle films."""

    def __post_init__(self) -> None:
        lines = [*self._bad_texts(), *self._bad_names(), *self._bad_references(), *self._bad_graphs()]
        if self.words is None and self.film is None:
            lines.append("words, film: both are null, expected at least one")
        if lines:
            raise Violations(lines)

    @property
    def model(self) -> ModelShape:
        """See `Words` and `spoken`."""
        return self.spoken().model

    @property
    def decode(self) -> DecodeContract:
        """See `Words` and `spoken`."""
        return self.spoken().decode

    @property
    def text(self) -> TextFiles:
        """See `Words` and `spoken`."""
        return self.spoken().text

    @property
    def vision(self) -> VisionSpec | None:
        """See `Words` and `spoken`."""
        return self.spoken().vision

    @property
    def stepped(self) -> str:
        """Name of the graph that every step runs; of a bundle that does both, that of words."""
        return "backbone" if self.words is not None or self.film is None else self.film.denoiser

    def spoken(self) -> Words:
        """The contracts of words. Raises BundleError where the bundle decodes none."""
        if self.words is None:
            raise BundleError(f"{self.name}: this bundle films, and decodes no words; use a2d film, or Model.film")
        return self.words

    def texts(self) -> list[str]:
        """Names of the files that turn text into tokens and back."""
        spoken = [] if self.words is None else [self.words.text.tokenizer, self.words.text.chat_template]
        filmed = [] if self.film is None else [self.film.text.tokenizer]
        filmed += [self.film.towers.chat.template] if self.film is not None and self.film.towers is not None else []
        return list(dict.fromkeys(name for name in (*spoken, *filmed) if name is not None))

    def required(self) -> tuple[str, ...]:
        """Names of the graphs that each variant has to hold."""
        seeing = self.words is not None and self.words.vision is not None
        words = () if self.words is None else (*WORDS, *(["vision"] if seeing else []))
        film = () if self.film is None else FILM if self.film.towers is None else TOWERS
        return tuple(dict.fromkeys((*words, *film)))

    def _bad_texts(self) -> list[str]:
        """Texts that `a2d inspect` prints must not be able to steer a terminal."""
        texts = [("name", self.name), ("producer", self.producer), ("family", self.family)]
        texts += [("variants", precision) for precision in self.variants]
        if self.words is not None:
            texts += [("words.text.sentences", text) for text in self.words.text.sentences]
        if self.film is not None:
            texts += [("film.licence", self.film.licence or "")]
            texts += [("film.presets", text) for name, one in self.film.presets.items() for text in (name, one.what)]
        rows = [row for v in self.variants.values() for row in v.parity]
        texts += [("parity", text) for row in rows for text in (row.graph, row.check, row.verdict)]
        return [
            f"{where}: got {text!r}, expected printable characters" for where, text in texts if not text.isprintable()
        ]

    def _bad_names(self) -> list[str]:
        expected = "expected a plain name of letters, digits, '.', '_' and '-': a bundle has no folders"
        return [
            f"files[{name!r}]: {expected}"
            for name in self.files
            if not _FILE_NAME.fullmatch(name) or name == "manifest.json"
        ]

    def _bad_references(self) -> list[str]:
        wanted = [name for v in self.variants.values() for name in (*v.graphs.values(), v.weights)]
        missing = [
            f"{name!r} is used, but not listed in files" for name in (*wanted, *self.texts()) if name not in self.files
        ]
        return missing if self.variants else ["variants: empty, expected at least one precision"]

    def _bad_graphs(self) -> list[str]:
        required = self.required()
        allowed = {*required, *([] if self.film is None else [PICTURE, *DRAFTS])}
        lines = []
        for precision, v in self.variants.items():
            drafts = DRAFTS if set(DRAFTS) & set(v.graphs) else ()
            missing = [name for name in (*required, *drafts) if name not in v.graphs]
            beyond = sorted(set(v.graphs) - allowed)
            if missing or beyond:
                lines.append(f"variants[{precision!r}]: graphs: missing {missing}, not asked for {beyond}")
            if set(v.index) != set(v.graphs):
                lines.append(f"variants[{precision!r}]: index: got {sorted(v.index)}, expected {sorted(v.graphs)}")
        return lines

    def dumps(self) -> str:
        """The manifest as JSON text."""
        text = json.dumps(to_json(self), indent=1, ensure_ascii=False, sort_keys=False) + "\n"
        return _NUMBERS.sub(lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text)

    @staticmethod
    def loads(raw: bytes) -> Manifest:
        """Read a manifest from untrusted bytes. Raises BundleError that lists everything wrong with it."""
        try:
            data = parse(_text(raw))
            _check_schema(data)
            return from_json(Manifest, data)
        except Violations as error:
            hint = "Export the checkpoint again, or fetch the bundle again."
            raise BundleError(f"manifest.json is not a valid manifest:\n{error}\n{hint}") from error


def _text(raw: bytes) -> str:
    if len(raw) > MAX_MANIFEST_BYTES:
        raise Violations([f"it holds {len(raw)} bytes, expected at most {MAX_MANIFEST_BYTES}"])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Violations([f"it is not UTF-8: {error}"]) from error


def _check_schema(data: Any) -> None:
    """Another schema first says what to do, not which of its keys we do not know."""
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1 or schema == SCHEMA:
        return
    if schema > SCHEMA:
        raise Violations([f"schema: got {schema}, this a2d reads up to {SCHEMA}; update a2d ({update()})"])
    raise Violations(
        [
            f"schema: got {schema}, this a2d reads {SCHEMA}, which says more of graphs; export the checkpoint "
            "again: a2d-export CHECKPOINT -o BUNDLE"
        ]
    )
