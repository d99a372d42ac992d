"""A bundle with its engines, and the ways in: `generate`, `stream`, `each`, `session`, `film`.

Joins the pieces and holds them; every decision is made in the pieces. Does not know how it came to be: see `load`.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

import numpy as np
from numpy.typing import NDArray

from ..engines import Engine, load_engine
from ..engines.errors import BundleError, RequestError
from .bundle.files import Bundle, prompt_template_of, template_of, text_of
from .bundle.manifest import Words
from .bundle.profile import profile_of, tuned
from .console.lines import Progress
from .decode.block import Prompt
from .decode.budget import Clock
from .decode.cache import CacheShape
from .decode.options import OptionFields, Options, plan, with_fields
from .decode.sequence import FREE, Form
from .decode.session import Generation, Session, TextResult, until
from .deploy.placement import Placement
from .each import Reading, readings
from .inputs.messages import check_list
from .inputs.prompt import Messages, Picture, Prepared, PromptBuilder, Turn
from .inputs.sources import Frames, counted
from .pace.kept import KeptTimes

if TYPE_CHECKING:
    from .film.film import Film, Snapshot
    from .film.loop import Step as FilmStep
    from .film.options import FilmOptionFields, FilmOptions
    from .film.studio import Studio

__all__ = ["Asked", "Model"]

Asked: TypeAlias = "str | Messages | Sequence[int] | NDArray[np.int64]"
"""A prompt: a text, a conversation (a list of messages), or token ids."""

MOST_TOGETHER = 1024
"""Frames that are read side by side at most; each takes a cache of its own."""

KEPT_IMAGES = 8
"""Images whose features are kept for the next turn of a conversation."""


class Model:
    """One variant of a bundle with its engines. May be used from several threads, each with its own session."""

    def __init__(self, bundle: Bundle, placement: Placement) -> None:
        self.bundle, self.placement = bundle, placement
        self.variant = bundle.variant(placement.variant or placement.precision)
        self._engines: dict[str, Engine] = {}
        self._features: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.RLock()
        self.profile = profile_of(bundle)
        self.manifest = tuned(bundle.manifest, self.profile)
        """The bundle's manifest, with the defaults of its profile if it has one."""
        self._text = text_of(bundle)
        self._studio: Studio | None = None
        self.times = KeptTimes(self)

    def __repr__(self) -> str:
        t = self.placement
        return f"Model({str(self.bundle.path)!r}, {t.precision} by {t.engine} on {t.device})"

    @cached_property
    def words(self) -> Words:
        """The contracts of words, with the profile's defaults. Raises BundleError where the bundle decodes none."""
        return self.manifest.spoken()

    @cached_property
    def _builder(self) -> PromptBuilder:
        m = self.words
        return PromptBuilder(
            positions=m.decode.positions,
            vocab=m.model.vocab,
            text=self._text,
            template=template_of(self.bundle),
            vision=m.vision,
            encode=self._encode,
        )

    def engine(self, graph: str) -> Engine:
        """The engine of one graph, loaded when it is first asked for. Raises BundleError, EngineError."""
        with self._lock:
            if graph not in self._engines:
                if graph not in self.variant.graphs:
                    raise BundleError(f"{self.bundle.path} has no graph {graph!r}; export the checkpoint again")
                t = self.placement
                path = self.bundle.file(self.variant.graphs[graph]) if t.built is None else t.built.file(graph)
                self._engines[graph] = load_engine(
                    t.engine,
                    path,
                    precision=t.precision,
                    device=t.device,
                    threads=t.threads,
                    spinning=t.spinning,
                )
            return self._engines[graph]

    def unload(self, graph: str) -> None:
        """Let go of a graph's engine; it is loaded again when it is asked for. A text encoder may be gigabytes."""
        with self._lock:
            self._engines.pop(graph, None)

    def film(
        self,
        prompt: str | None = None,
        *,
        image: Picture | None = None,
        noise: NDArray[np.float32] | None = None,
        renoise: NDArray[np.float32] | None = None,
        start: Snapshot | None = None,
        on_step: Callable[[FilmStep], None] | None = None,
        options: FilmOptions | None = None,
        **chosen: Unpack[FilmOptionFields],
    ) -> Film:
        """A clip; iterate for its blocks, whose `frames` are `[n, H, W, 3]` uint8. See `Studio.film` and `FilmOptions`.

        Raises RequestError with what to change, BundleError where the bundle does not film.
        """
        return self.studio.film(
            prompt,
            image=image,  # type: ignore[arg-type]
            noise=noise,
            renoise=renoise,
            start=start,
            on_step=on_step,
            options=options,
            **chosen,
        )

    @property
    def studio(self) -> Studio:
        """The part of the bundle that films. Raises BundleError where there is none."""
        with self._lock:
            contract = self.manifest.film
            if contract is None:
                raise BundleError(f"{self.bundle.path} decodes words and does not film; export a video checkpoint")
            if self._studio is None:
                from .film.studio import Studio  # noqa: PLC0415 - whoever decodes words does not pay for films

                built = self.placement.built
                kv_dtype = self.variant.kv_dtype if built is None else built.record.kv_dtype
                text = self._text
                assert text is not None, "a contract of film names a tokenizer"
                pictures = "encode_first" in self.variant.graphs
                template = None if contract.towers is None else prompt_template_of(self.bundle, contract.towers.chat)
                drafts = "pixels_next_draft" in self.variant.graphs
                self._studio = Studio(self.engine, contract, kv_dtype, text, pictures, template, drafts)
            return self._studio

    def session(self, exact: bool = False, beside: Session | None = None) -> Session:
        """A new conversation; its cache is its own, the weights are everybody's. `exact`: see `Session`.

        `beside`: a session of this model whose generations `Together` may run by one forward with this one's.
        """
        shape, decode, built = self.words.model, self.words.decode, self.placement.built
        kv_dtype = self.variant.kv_dtype if built is None else built.record.kv_dtype
        longest = shape.max_context if built is None else min(shape.max_context, built.record.context)
        cache = CacheShape(shape.layers, shape.kv_heads, shape.head_dim, kv_dtype)
        # Built engines have profiles for one session's rows and context.
        pool = None if beside is None or built is not None else beside.share()
        return Session(self.engine, decode, cache, longest, self.detokenize, exact, pool, self.prompt, self.times)

    def prompt(
        self,
        prompt: Asked | None = None,
        images: Sequence[Picture] = (),
        raw: bool = False,
        template_options: Mapping[str, Any] | None = None,
        continue_final: bool = False,
        clock: Clock | None = None,
    ) -> Prompt:
        """The rows of a text, a conversation (a list of messages) or token ids; None asks the bundle's own question.

        `images` are paths, arrays `[H, W, 3]` uint8, or lists of these (the frames of a video), in order. A text goes
        through the chat template, if the bundle has one, unless `raw`. `template_options` are variables for it, as
        `{"enable_thinking": False}`; `continue_final` goes on with the last message instead of opening a turn.
        `clock`: the answer's (`Session.clock`), which has run out if there is no time for the pictures.
        Raises RequestError (ImageError for an image) with what to change.
        """
        check_list(images)
        if not isinstance(template_options, Mapping | None):
            raise RequestError(
                f"template_options: got {type(template_options).__name__}, expected variables of the chat template, as "
                '{"enable_thinking": False}'
            )
        if prompt is None:
            prompt = self._question()
            if self.words.vision is not None and not len(images):
                raise RequestError(f"no image and no prompt: this bundle asks {prompt!r} of an image; give an image")
        self._check_one(len(images))
        turn = Turn(template_options or {}, continue_final)
        builder = replace(self._builder, encode=partial(self._encode, clock=clock))
        if isinstance(prompt, str):
            return builder.from_text(prompt, images, raw, turn)
        if not isinstance(prompt, Sequence | np.ndarray):
            raise RequestError(
                f"prompt: got {type(prompt).__name__}, expected a text, a conversation (a list of messages, "
                '[{"role": "user", "content": ...}]) or a list of token ids'
            )
        if len(prompt) and isinstance(prompt[0], dict):
            return builder.from_messages(prompt, images or None, turn)  # type: ignore[arg-type]
        return builder.from_tokens(prompt, images)  # type: ignore[arg-type]

    def shape(self, template: str | None = None, choices: Sequence[str] | None = None, schema: object = None) -> Form:
        """A form that holds answers to a template, choices or a JSON schema, one of them; pass it as `form`.

        A template is text with values, as `"scene {scene:[0-9]+[A-Z]*} take {take:int}"`; a schema is what `json.loads`
        makes of one. Where it asks for values of the bundle's own sentences, the model writes such a sentence, and the
        answer's text is the object made of it. Raises RequestError: it is not supported, or this model's tokens cannot
        write it.
        """
        from .shapes.make import form_of, vocabulary_of  # noqa: PLC0415 - few answers have a shape

        words = self.words
        spelled = None if self._text is None else (self._text.token_bytes(), self._text.encode)
        vocabulary = vocabulary_of(spelled, words.decode, words.model.vocab)
        own = {"sentences": words.text.sentences, "unknown": words.text.unknown}
        return form_of(vocabulary, template, choices, schema, **own)  # type: ignore[arg-type]

    def stream(
        self,
        prompt: Asked | None = None,
        *,
        images: Sequence[Picture] = (),
        raw: bool = False,
        template_options: Mapping[str, Any] | None = None,
        continue_final: bool = False,
        form: Form = FREE,
        options: Options | None = None,
        **chosen: Unpack[OptionFields],
    ) -> Generation:
        """Generate in a session of its own; iterate for Steps, then read `.result`. See `Options` for the rest.

        `form` restricts the answer: see `shape`.
        """
        session, wanted = self.session(), with_fields(options, **chosen)
        clock = session.clock(wanted)  # a budget counts from before the prompt is read
        rows = self.prompt(prompt, images, raw, template_options, continue_final, clock)
        return session.stream(rows, wanted, form, clock=clock)

    def generate(
        self,
        prompt: Asked | None = None,
        *,
        images: Sequence[Picture] = (),
        raw: bool = False,
        template_options: Mapping[str, Any] | None = None,
        continue_final: bool = False,
        form: Form = FREE,
        options: Options | None = None,
        **chosen: Unpack[OptionFields],
    ) -> TextResult:
        """Generate to the end; arguments as for `stream`."""
        asked = {"images": images, "raw": raw, "template_options": template_options, "continue_final": continue_final}
        return self.stream(prompt, **asked, form=form, options=options, **chosen).run()  # type: ignore[arg-type]

    def each(
        self,
        frames: Frames,
        prompt: Asked | None = None,
        *,
        raw: bool = False,
        strict: bool = False,
        progress: bool = False,
        together: int = 1,
        form: Form = FREE,
        template_options: Mapping[str, Any] | None = None,
        options: Options | None = None,
        **chosen: Unpack[OptionFields],
    ) -> Iterator[Reading]:
        """Ask the same of each frame, in one session; readings come as they are made.

        `together`: frames that are read side by side, by forwards that they share; the same readings in the same order.

        `frames`: a folder, whose images come in natural order, or any iterable of paths, folders and pictures, which is
        read no faster than the readings are taken. None as `prompt` asks the bundle's own question. A frame that cannot
        be read gives a Reading with its error; `strict` raises it instead. `progress` shows an estimate on stderr.
        Raises RequestError at once for what no frame could mend: options, a bundle that reads no images, no question.
        """
        wanted = with_fields(options, **chosen)
        plan(self.words.decode, wanted)
        if self.words.vision is None:
            raise RequestError("got frames, but this bundle reads text only; export a vision-language checkpoint")
        question = self._question() if prompt is None else prompt
        pictures, total = counted(frames)
        shown = Progress("reading", total, "frames", quiet=not progress)
        if not isinstance(together, int) or isinstance(together, bool) or not 1 <= together <= MOST_TOGETHER:
            raise RequestError(f"together: got {together!r}, expected 1 to {MOST_TOGETHER} frames side by side")
        first, most = self.session(exact=True), together if total is None else min(together, max(total, 1))
        sessions = [first, *(self.session(exact=True, beside=first) for _ in range(most - 1))]

        def asked(frame: Picture, clock: Clock | None) -> Prompt:
            return self.prompt(question, [frame], raw, template_options, clock=clock)

        return readings(pictures, asked, sessions, wanted, strict, shown, form)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of token ids; empty where the bundle has no tokenizer."""
        return "" if self._text is None else self._text.decode(tokens)

    def text(self, tokens: Sequence[int]) -> str:
        """Text of `tokens` for a reader: up to a stop token, or ids where there is no tokenizer."""
        if self._text is None:
            return "".join(f"{token} " for token in tokens)
        return self.detokenize(until(list(tokens), self.words.decode.stop_token_ids))

    def _check_one(self, images: int) -> None:
        """Raise RequestError for several images where the model was made for one frame of one size."""
        vision = self.words.vision
        if images > 1 and vision is not None and vision.letterbox is not None:
            raise RequestError(
                f"got {images} images, and this model was made for one frame at a time; ask of each by itself (`each`)"
            )

    def _question(self) -> str:
        """The bundle's own question. Raises RequestError where it has no question."""
        question = self.words.text.default_prompt
        if question is None:
            raise RequestError(
                "no prompt, and this bundle has none of its own: give one (a text, or token ids), or export "
                "the checkpoint with the setting default_prompt"
            )
        return question

    def _encode(self, patches: Prepared, clock: Clock | None = None) -> NDArray[np.float32]:
        """Features `[tokens, N]` of one picture; the last few pictures are remembered.

        Where the clock has no time for it, they are zeros, and behind such a prompt nothing is run.
        """
        key = patches.digest
        with self._lock:
            if key not in self._features:
                if clock is not None and not clock.may_read(patches.tokens):
                    known = next(iter(self._features.values()), np.empty((0, 1)))
                    return np.zeros((patches.tokens, known.shape[1]), np.float32)
                began = time.perf_counter()
                groups = [self.engine("vision").run(feeds)["features"] for feeds in patches.feeds()]
                self._features[key] = patches.joined([np.asarray(group) for group in groups])
                if clock is not None:
                    clock.note_picture(patches.tokens, time.perf_counter() - began)
                while len(self._features) > KEPT_IMAGES:
                    self._features.popitem(last=False)
            self._features.move_to_end(key)
            return self._features[key]
