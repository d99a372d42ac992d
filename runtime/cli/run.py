"""`a2d run`: decode one prompt, streamed to a terminal or as JSON lines; or ask the same of many frames (`--each`)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...engines.cpu import this_cpu
from ...engines.errors import RequestError
from ..console.lines import one_line
from ..decode.block import Prompt, Step
from ..decode.options import Options
from ..decode.session import Generation, TextResult
from ..each import Reading
from ..footage.reader import Reader
from ..footage.slate import MIN_CONFIDENCE
from ..inputs.messages import normalised
from ..inputs.prompt import Messages
from ..inputs.windows import WINDOWS
from ..load import load_placed
from ..model import Model
from ..schema import Violations, parse
from .arguments import (
    BAD_INPUT,
    Parser,
    add_bundle,
    add_options,
    add_placement,
    add_template_options,
    guarded,
    loading,
    options_from,
    placement_from,
    tell_passed_over,
    template_options_from,
    token_ids,
    worded,
)
from .chat import talk
from .doubts import Doubts, reads_slates
from .live_block import DIM, PLAIN, BlockView
from .shape import add_shape, form_from, is_shaped

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    return guarded("a2d run", lambda: _run(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(
        prog="a2d run",
        usage="a2d run BUNDLE [--prompt TEXT | --messages FILE | --token-ids IDS] [--image FILE ...] [--each] [...]",
        description="Decode a prompt with a bundle, block by block. Without one, a bundle asks its own question if it "
        "has one; on a terminal, another one opens a conversation.",
        epilog="Exit status: 0 done; 1 the machine failed; 2 bad input, with --each also if a frame could not be read "
        "(the others were); 130 interrupted. Examples: a2d run slate --image frame.png | a2d run slate --each --json "
        "--image day1/ | a2d run chat.a2d --prompt 'Why is the sky blue?' --steps 4 | a2d run chat.a2d",
    )
    add_bundle(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompt", help="a user's message, through the chat template if the bundle has one")
    source.add_argument("--messages", type=Path, metavar="FILE", help='a JSON list of {"role": ..., "content": ...}')
    source.add_argument("--token-ids", type=token_ids, metavar="IDS", help="a prompt as ids: 5,6,7")
    parser.add_argument(
        "--image", action="extend", nargs="+", default=[], metavar="FILE", help="images of the prompt; may be repeated"
    )
    parser.add_argument(
        "--each",
        action="store_true",
        help="read each image by itself, one line each; a folder stands for the images in it",
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        metavar="P",
        default=MIN_CONFIDENCE,
        help=f"mark values of a slate that are less sure than this with ? ({MIN_CONFIDENCE})",
    )
    parser.add_argument(
        "--looks",
        type=int,
        metavar="N",
        help="looks at a slate with an unsure field, at the whole picture and then at windows of it; they vote "
        f"({len(WINDOWS)}; 1 with --budget)",
    )
    parser.add_argument(
        "--together", type=int, default=1, metavar="N", help="with --each, images that are read side by side (1)"
    )
    add_shape(parser)
    parser.add_argument("--raw", action="store_true", help="take --prompt as it is, without the chat template")
    add_template_options(parser)
    parser.add_argument(
        "--continue-final", action="store_true", help="go on with the last of --messages instead of opening a turn"
    )
    parser.add_argument("--threads", type=int, help="threads of one operator; default: all physical cores")
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object per step, per block, and at the end; with --each one per image",
    )
    add_placement(parser)
    add_options(parser)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    options = options_from(arguments)
    if not 0 <= arguments.min_confidence <= 1:
        raise RequestError(f"--min-confidence: got {arguments.min_confidence}, expected 0 to 1")
    if arguments.each:
        _check_each(arguments)
    with loading(arguments.bundle):
        model = load_placed(arguments.bundle, placement_from(arguments))
    tell_passed_over("a2d run", model)
    _check_looks(model, arguments, options)
    if arguments.each:
        return _each(model, arguments, options)
    if _converses(model, arguments):
        return _talk(model, arguments, options)
    generation = model.session().stream(_prompt(model, arguments), options, form_from(model, arguments))
    if arguments.json:
        for event in _events(generation, model):
            print(json.dumps(event, ensure_ascii=False), flush=True)
        doubts = _doubts(generation.result, model, arguments, options, arguments.image)
        print(json.dumps(_done(generation.result, model, doubts), ensure_ascii=False), flush=True)
        return 0 if doubts is None or doubts.sure else BAD_INPUT
    if sys.stdout.isatty():
        _show(generation, model)
        doubts = _doubts(generation.result, model, arguments, options, arguments.image)
        if doubts is not None and doubts.looks > 1:
            print(f"{doubts.text}  {DIM}after {doubts.looks} looks{PLAIN}")
        return _told(doubts, arguments)
    result = generation.run()
    doubts = _doubts(result, model, arguments, options, arguments.image)
    print(_shown(result, model) if doubts is None else doubts.text)
    if cut := _cut(result):
        print(f"a2d run: {cut}", file=sys.stderr)
    return _told(doubts, arguments)


def _doubts(
    result: TextResult, model: Model, arguments: argparse.Namespace, options: Options, pictures: Sequence[str]
) -> Doubts | None:
    """The doubts of a slate reader, after as many looks at the picture as it takes; None for other answers."""
    if not _reads_slates(model, arguments):
        return None
    least, reader = arguments.min_confidence, Reader(model, None, options)
    looks = 1 if options.budget is not None or not pictures else arguments.looks or len(WINDOWS)
    return Doubts.of(reader.still(result, pictures[0] if pictures else "", looks, least), least)


def _reads_slates(model: Model, arguments: argparse.Namespace) -> bool:
    asked = (arguments.messages or arguments.token_ids) if arguments.prompt is None else arguments.prompt
    return not is_shaped(arguments) and reads_slates(model, asked)


def _check_looks(model: Model, arguments: argparse.Namespace, options: Options) -> None:
    """Raise RequestError for looks that cannot be taken: it is before anything is read."""
    looks = arguments.looks
    if looks is None:
        return
    if not 1 <= looks <= len(WINDOWS):
        raise RequestError(f"--looks: got {looks}, expected 1 to {len(WINDOWS)}")
    if not _reads_slates(model, arguments):
        raise RequestError("--looks: only slates are looked at again, and none is asked for; leave it out")
    if looks > 1 and options.budget is not None:
        raise RequestError(f"--looks: got {looks} with a budget, expected 1: a budget is spent by the first look")


def _told(doubts: Doubts | None, arguments: argparse.Namespace) -> int:
    """Say what is unsure; the status is that of bad input where nothing can be relied upon."""
    line = None if doubts is None else doubts.line(arguments.min_confidence)
    if line is not None:
        print(f"a2d run: {worded(line)}", file=sys.stderr)
    return 0 if doubts is None or doubts.sure else BAD_INPUT


def _converses(model: Model, arguments: argparse.Namespace) -> bool:
    """True where nothing is asked, the bundle has no question of its own, and somebody sits at the terminal."""
    a = arguments
    asked = a.prompt is not None or a.messages or a.token_ids is not None or a.image or a.json
    text = model.manifest.text
    own = text.default_prompt is not None or text.tokenizer is None
    return not asked and not own and sys.stdin.isatty() and sys.stdout.isatty()


def _talk(model: Model, arguments: argparse.Namespace, options: Options) -> int:
    print(f"{DIM}A conversation; /bye or the end of the input leaves it.{PLAIN}", file=sys.stderr)
    turn = {"template_options": template_options_from(arguments)}
    talk(model, options, turn, _line, lambda generation: _show(generation, model))
    return 0


def _line() -> str | None:
    try:
        return input("> ")
    except EOFError:
        print()
        return None


def _check_each(arguments: argparse.Namespace) -> None:
    if arguments.messages is not None:
        raise RequestError(
            "--each and --messages: messages name their own images; ask with --prompt, or leave --each out"
        )
    if not arguments.image:
        raise RequestError("--each: no image came; give files or folders with --image")


def _each(model: Model, arguments: argparse.Namespace, options: Options) -> int:
    """A line for each frame; the status is that of bad input if one of them could not be read."""
    asked = arguments.token_ids if arguments.prompt is None else arguments.prompt
    watched = sys.stderr.isatty()
    how = {"raw": arguments.raw, "progress": watched, "template_options": template_options_from(arguments)}
    how |= {"together": arguments.together, "form": form_from(model, arguments)}
    readings = model.each(arguments.image, asked, **how, options=options)
    read = [_tell(reading, model, arguments, options) for reading in readings]
    if all(read):
        return 0
    print(f"a2d run: {read.count(False)} of {len(read)} frames could not be read", file=sys.stderr)
    return BAD_INPUT


def _tell(reading: Reading, model: Model, arguments: argparse.Namespace, options: Options) -> bool:
    """Print a reading; false for one with an error, and for a slate of which nothing is sure."""
    image, fault = str(reading.image), one_line(worded(str(reading.error)))
    result = reading.result
    doubts = None if result is None else _doubts(result, model, arguments, options, [str(reading.image)])
    line = None if doubts is None else doubts.line(arguments.min_confidence)
    if arguments.json:
        event: dict[str, Any] = {"event": "error", "image": image, "message": fault}
        if result is not None:
            event = _done(result, model, doubts, image=image)
        print(json.dumps(event, ensure_ascii=False), flush=True)
        return result is not None and (doubts is None or doubts.sure)
    image = one_line(image)
    if result is None:
        print(f"a2d run: {fault if image in fault else f'{image}: {fault}'}", file=sys.stderr)
    else:
        print(f"{image}\t{one_line(_shown(result, model) if doubts is None else doubts.text)}", flush=True)
    if line is not None:
        print(f"a2d run: {image}: {one_line(worded(line))}", file=sys.stderr)
    return result is not None and (doubts is None or doubts.sure)


def _shown(result: TextResult, model: Model) -> str:
    """The answer: its text, which may be empty, or ids where the bundle has no tokenizer."""
    return result.text if model.manifest.text.tokenizer is not None else " ".join(map(str, result.tokens))


def _prompt(model: Model, arguments: argparse.Namespace) -> Prompt:
    turn = {"template_options": template_options_from(arguments), "continue_final": arguments.continue_final}
    if arguments.messages is not None:
        if arguments.image:
            raise RequestError("--image and --messages: the messages name their images; leave --image out")
        return model.prompt(_messages(arguments.messages), **turn)
    if arguments.continue_final:
        raise RequestError("--continue-final: there is no message to go on with; give --messages")
    prompt = arguments.token_ids if arguments.prompt is None else arguments.prompt
    return model.prompt(prompt, arguments.image, arguments.raw, **turn)


def _messages(path: Path) -> Messages:
    """Messages from a file; the images' paths are relative to it."""
    try:
        messages = parse(path.read_text(encoding="utf-8"))
    except (Violations, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is not a JSON file in UTF-8:\n{error}") from error
    except FileNotFoundError as error:
        raise RequestError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise RequestError(f"{path} is a folder, expected a JSON file with messages") from error
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise RequestError(f'{path}: expected a list of {{"role": "user", "content": ...}}, got {str(messages)[:60]}')
    return [_resolved(message, path.parent) for message in messages]


def _resolved(message: dict[str, Any], folder: Path) -> dict[str, Any]:
    if not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [_in_folder(part, folder) for part in message["content"]]}


def _in_folder(part: Any, folder: Path) -> Any:
    """A part in its normal spelling, with the paths of its pictures below `folder`."""
    (message,) = normalised([{"content": [part]}])
    (made,) = message["content"]
    kind = made["type"]
    if kind == "video":
        return {**made, kind: [_placed(frame, folder) for frame in made[kind]]}
    return {**made, kind: _placed(made[kind], folder)} if kind == "image" else made


def _placed(source: Any, folder: Path) -> Any:
    return str(folder / source) if isinstance(source, str) else source


def _show(generation: Generation, model: Model) -> None:
    view = BlockView(sys.stdout, model.text)
    try:
        for step in generation:
            view.show(step)
    finally:
        view.close()
    result = generation.result
    pace = f"{len(result.tokens)} tokens in {result.forwards} forwards, {result.seconds:.2f} s"
    where = f"{model.placement.precision}, {model.engine('backbone').describe}"
    cut = "".join(f"; {said}" for said in (_cut(result),) if said)
    print(f"{DIM}{pace} ({result.stop_reason}){cut}; {where}{PLAIN}", file=sys.stderr)


CUT = {
    "pictures": "no time for the pictures",
    "prompt": "no time for the prompt and a step",
    "answer": "the answer cut where the time was spent",
}
"""Part of the work at which a budget was spent, in words."""


def _cut(result: TextResult) -> str:
    """The cuts of a budget, for people; nothing without one, or where nothing was cut."""
    made = result.budget
    early = 0 if made is None else sum(len(one.tokens) for one in made.early)
    if made is None or not (early or made.cut or made.over):
        return ""
    said = f"{made.steps} steps a block in {1e3 * made.seconds:.4g} ms"
    said += f", {early} tokens accepted early in {len(made.early)} blocks" if early else ""
    said += f", {CUT[made.cut]}" if made.cut else ""
    return said + (f", {1e3 * made.over:.4g} ms over" if made.over else "")


def _events(generation: Generation, model: Model) -> Iterator[dict[str, Any]]:
    for step in generation:
        yield {"event": "step", **_step(step)}
        if step.final:
            tokens = step.tokens[step.prompt :].tolist()
            yield {"event": "commit", "block": step.block, "tokens": tokens, "text": model.detokenize(tokens)}


def _done(result: TextResult, model: Model, doubts: Doubts | None, **more: Any) -> dict[str, Any]:
    """The last event of an answer."""
    judged = {} if doubts is None else doubts.facts()
    return {"event": "done", **more, **_facts(result, model), **judged}


def _facts(result: TextResult, model: Model) -> dict[str, Any]:
    return {
        **asdict(result),
        "tokens_per_forward": len(result.tokens) / result.forwards if result.forwards else 0.0,
        "precision": model.placement.precision,
        "engine": model.engine("backbone").describe,
        "processor": this_cpu().name,
    }


def _step(step: Step) -> dict[str, Any]:
    """A step as JSON; masked rows are null, so that nobody needs to know the mask id."""
    return {
        "block": step.block,
        "step": step.index,
        "fixed": step.prompt,
        "tokens": [None if hidden else int(t) for t, hidden in zip(step.tokens, step.masked, strict=True)],
        "accepted": step.accepted.tolist(),
        "confidence": [round(float(c), 6) for c in step.confidence],
    }
