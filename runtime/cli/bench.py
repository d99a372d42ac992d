"""`a2d bench`: measure decoding on this machine, and against other ways of decoding the same weights.

Peers to compare with, and models that can be made up, are handed in by whoever has an exporter (`__main__`): a device
has neither torch nor one, and `a2d bench BUNDLE` needs none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from ...engines.cpu import this_cpu
from ...engines.errors import EngineError, RequestError
from ...engines.install import extra
from ..bundle.files import MANIFEST, Bundle
from ..decode.block import Prompt
from ..load import load, load_placed
from ..measure.baseline import against_autoregressive
from ..measure.bench import Peer, Report, Settings, VariantPeer, compare, measure
from ..measure.rivals import Rival, Standing, own_ways, rival_ways, standings
from ..measure.side_by_side import side_by_side
from ..model import Model
from .arguments import Parser, add_bundle, add_options, add_placement, frame_size, guarded, options_from, placement_from

__all__ = ["Rivals", "main"]

T = TypeVar("T")


@dataclass(frozen=True)
class Rivals:
    """Other ways of decoding a bundle's weights, and models made up to be measured; none where nobody can make them."""

    peers: Mapping[str, Callable[[Bundle, str, int], Peer]] = field(default_factory=dict)
    """Makers of peers by name, of a bundle, a precision and a number of threads."""
    engines: Mapping[str, Callable[[Bundle, int], AbstractContextManager[Rival]]] = field(default_factory=dict)
    """Other engines by name, which decode a bundle's weights one token per forward with so many threads."""
    synthetic: Mapping[str, str] = field(default_factory=dict)
    """Functions that export a model to a path in some precisions, as `module:function`, by the model's name."""


ITSELF = "autoregressive"
"""The peer that every bundle has: itself, one token per forward."""

SHOWN = {
    "first_block_ms": "time to first block      {:10.1f} ms",
    "prefill_tokens_per_second": "prefill                  {:10.0f} tokens/s",
    "step_ms": "denoising step           {:10.2f} ms median",
    "step_p95_ms": "                         {:10.2f} ms 95th percentile",
    "commit_step_ms": "step that also commits   {:10.2f} ms median",
    "forwards_per_block": "forwards per block       {:10.2f}",
    "tokens_per_forward": "tokens per forward       {:10.2f}",
    "tokens_per_second": "tokens per second        {:10.1f}",
    "python_share": "Python's share           {:10.1%}",
    "read_bandwidth": "read bandwidth           {:10.1f} GB/s",
    "floor_ms": "floor of a step          {:10.2f} ms to read its weights once",
    "floor_share": "share of the floor       {:10.1%}",
    "weights_bytes": "weights                  {:10.1f} MB",
    "cache_bytes": "cache                    {:10.1f} MB",
    "peak_rss_bytes": "peak resident memory     {:10.1f} MB",
}

UNITS = {"read_bandwidth": 1e9, "weights_bytes": 1e6, "cache_bytes": 1e6, "peak_rss_bytes": 1e6}
"""Numbers that are shown in larger units than JSON has them."""


def main(argv: list[str], rivals: Rivals | None = None) -> int:
    """Run the command; returns the exit status."""
    return guarded("a2d bench", lambda: _bench(_parser().parse_args(argv), rivals or Rivals()))


def _parser() -> Parser:
    parser = Parser(prog="a2d bench", description="Measure decoding on this machine.")
    add_bundle(parser, nargs="?")
    parser.add_argument("--synthetic", metavar="NAME", help="make a bundle of random weights instead: 100m")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the synthetic bundle there, and use it again")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME",
        help="compare: autoregressive (the same graphs, one token per forward: 1 to 8 steps and threshold 0.9, or what "
        "is asked for), torch, transformers, or a precision of the bundle; llama.cpp, onnxruntime-genai or openvino: "
        "other engines on the same weights, each in an environment of its own that is made when first asked for, "
        "all in one table",
    )
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help="prompt to decode; default: random tokens, or with --image the bundle's own question",
    )
    parser.add_argument(
        "--image", type=Path, action="append", default=[], metavar="FILE", help="picture of the prompt; may be repeated"
    )
    parser.add_argument(
        "--together",
        type=_counts,
        default=(),
        metavar="N,...",
        help="also measure so many answers side by side, in shared forwards, against one by one: 2,4,8",
    )
    parser.add_argument("--prompt-tokens", type=int, default=512, metavar="N", help="length of the random prompt (512)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="times that each decode is measured (3)")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of one operator, for a2d and what it is compared with (1)"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="length of the clip, if the bundle films")
    parser.add_argument(
        "--size", type=frame_size, metavar="HxW", help="size of the clip in pixels, if the bundle films"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_placement(parser)
    add_options(parser)
    return parser


def _bench(arguments: argparse.Namespace, rivals: Rivals) -> int:
    _check(arguments)
    arguments.max_tokens = 64 if arguments.max_tokens is None else arguments.max_tokens
    settings = Settings(arguments.prompt_tokens, arguments.repeats, options_from(arguments))
    engines = [name for name in dict.fromkeys(arguments.against) if name in rivals.engines]
    with _bundle(arguments, rivals) as path:
        peers = {
            name: _peer(name, path, arguments, rivals) for name in arguments.against if name not in (ITSELF, *engines)
        }
        model = load_placed(path, placement_from(arguments))
        if model.manifest.words is None or (model.manifest.film is not None and not _of_words(arguments)):
            return _film(model, arguments)
        prompt = model.prompt(arguments.prompt, arguments.image) if arguments.prompt or arguments.image else None
        report = measure(model, settings, prompt)
        found = _report(model, report, arguments) | {"made_up": prompt is None}
        if not arguments.json:
            print("\n".join(_lines(found)))
        for name, peer in peers.items():
            found |= _against(name, peer, model, settings)
        if ITSELF in arguments.against:
            found[ITSELF] = asdict(against_autoregressive(model, settings, prompt, not sys.stderr.isatty()))
        further = [name for name in peers if name in model.manifest.variants]
        if engines:
            found["engines"] = [asdict(row) for row in _beside(engines, further, model, settings, prompt, rivals)]
        if arguments.together:
            rows = side_by_side(model, settings, prompt, arguments.together)
            found["together"] = [asdict(row) for row in rows]
    print(
        json.dumps(found)
        if arguments.json
        else "\n".join([*_ratios(found, list(peers)), *_engines(found), *_table(found)])
    )
    return 0


def _of_words(arguments: argparse.Namespace) -> bool:
    """The question is about words, also to a bundle that films as well."""
    return bool(arguments.against or arguments.together or arguments.prompt or arguments.image)


FILMED = {
    "prefill_ms": "prompt                   {:10.1f} ms to read",
    "step_ms": "denoising forward        {:10.1f} ms median",
    "denoise_fps": "denoise alone            {:10.2f} frames/s",
    "commit_fps": "commit alone             {:10.2f} frames/s",
    "pixels_fps": "VAE alone                {:10.2f} frames/s",
    "end_to_end_fps": "end to end               {:10.2f} frames/s",
    "overlap": "commits beside pixels    {:10.2f} times as fast end to end",
    "first_block_ms": "time to first block      {:10.1f} ms",
    "python_share": "Python's share           {:10.1%}",
    "floor_ms": "floor of a forward       {:10.1f} ms",
    "floor_share": "share of the floor       {:10.1%}",
}


def _film(model: Model, arguments: argparse.Namespace) -> int:
    """Measure a bundle that films."""
    if arguments.against or arguments.together:
        raise RequestError("a bundle that films is measured by itself: leave --against and --together out")
    height, width = arguments.size or (None, None)
    from ..film.options import FilmOptions  # noqa: PLC0415 - for bundles that film
    from ..measure.film_bench import film_measured  # noqa: PLC0415 - likewise

    options = FilmOptions(frames=arguments.frames, height=height, width=width)
    report = asdict(film_measured(model, options, arguments.repeats))
    engine = model.engine(model.studio.contract.denoiser).describe
    named = {"bundle": model.manifest.name, "precision": model.placement.precision, "engine": engine}
    found = {**named, "processor": this_cpu().name, "threads": arguments.threads, **report}
    if arguments.json:
        print(json.dumps(found))
        return 0
    print(f"{found['bundle']} {found['precision']}, {engine}, {arguments.threads} thread(s)")
    print(f"{report['frames']} frames of {report['height']}x{report['width']}, {report['forwards']} forwards")
    print("\n".join(f"  {form.format(report[name])}" for name, form in FILMED.items() if report[name] is not None))
    print(f"  the floor is bound by {report['bound']}")
    return 0


def _counts(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected whole numbers above 0 by comma, as 2,4,8")
    return tuple(int(part) for part in parts)


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.bundle is None) == (arguments.synthetic is None):
        raise RequestError("give a BUNDLE or --synthetic NAME, one of them")
    if arguments.bundle is not None and set(arguments.against) & {"torch", "transformers"} and not find_spec("torch"):
        raise RequestError(f"--against {', '.join(arguments.against)}: torch is not installed; {extra('export')}")
    for name in ("prompt_tokens", "repeats", "threads"):
        if getattr(arguments, name) < 1:
            raise RequestError(f"--{name.replace('_', '-')}: got {getattr(arguments, name)}, expected at least 1")


MakePeer = Callable[[Model], Peer]


def _peer(name: str, path: Path, arguments: argparse.Namespace, rivals: Rivals) -> MakePeer:
    """Function that makes a peer, once a2d was measured alone: another precision of the bundle, or an installed one."""
    held = Bundle.open(path).manifest.variants if (path / MANIFEST).is_file() else {}
    if name in held:
        return lambda _: VariantPeer(load(path, precision=name, threads=arguments.threads))
    make = _named(name, rivals.peers, [ITSELF, *held, *rivals.engines])
    return lambda model: make(model.bundle, model.placement.precision, model.placement.threads or 1)


def _named(name: str, table: Mapping[str, T], others: Iterable[str] = ()) -> T:
    if name not in table:
        known = ", ".join([*others, *sorted(table)]) or f"none ({extra('export')})"
        raise RequestError(f"got {name!r}, expected one of: {known}")
    return table[name]


@contextmanager
def _bundle(arguments: argparse.Namespace, rivals: Rivals) -> Iterator[Path]:
    """The bundle to measure. A synthetic one is made by a process of its own: its memory is not ours."""
    if arguments.bundle is not None:
        yield arguments.bundle
        return
    maker = _named(arguments.synthetic, rivals.synthetic)
    with tempfile.TemporaryDirectory(prefix="a2d-") as scratch:
        path = (arguments.keep or Path(scratch)) / f"{arguments.synthetic}.a2d"
        wanted = [name for name in (arguments.precision, *arguments.against) if name] or ["fp32"]
        if not (path / MANIFEST).is_file() or arguments.precision not in (None, *Bundle.open(path).manifest.variants):
            path.parent.mkdir(parents=True, exist_ok=True)
            precisions = dict.fromkeys(
                ["fp32", *(n for n in wanted if n not in (ITSELF, *rivals.peers, *rivals.engines))]
            )
            _make(arguments.synthetic, maker, path, ",".join(precisions))
        yield path


def _make(name: str, maker: str, path: Path, precisions: str) -> None:
    if find_spec("torch") is None:
        raise EngineError(f"making {name!r} needs the exporter, and torch is not installed: {extra('export')}")
    module, function = maker.split(":")
    code = f"import sys, pathlib, {module} as m; m.{function}(pathlib.Path(sys.argv[1]), sys.argv[2])"
    print(f"making the synthetic model {name}, {precisions} ...", file=sys.stderr)
    made = subprocess.run([sys.executable, "-c", code, str(path), precisions], stdout=sys.stderr, check=False)
    if made.returncode:
        raise EngineError(f"making {name!r} failed; what it said stands above")


def _beside(
    names: Sequence[str],
    precisions: Sequence[str],
    model: Model,
    settings: Settings,
    prompt: Prompt | None,
    rivals: Rivals,
) -> list[Standing]:
    """The model and other engines in turn, each with as many threads. Raises EngineError where one does not run."""
    threads, quiet = model.placement.threads or 1, not sys.stderr.isatty()
    wanted = _by_fp32(model, settings, prompt)
    with ExitStack() as stack:
        own = [model, *(load(model.bundle.path, precision=name, threads=threads) for name in precisions)]
        ways = [way for one in own for way in own_ways(one, settings, prompt)]
        for name in names:
            rival = stack.enter_context(rivals.engines[name](model.bundle, threads))
            ways += rival_ways(rival, model, settings, prompt)
        return standings(ways, settings.repeats, wanted, quiet)


def _by_fp32(model: Model, settings: Settings, prompt: Prompt | None) -> tuple[int, ...] | None:
    """The answer of the bundle's fp32 variant, one token per forward; None where it has no such variant."""
    if "fp32" not in model.manifest.variants:
        return None
    exact = model
    if model.placement.precision != "fp32":
        exact = load(model.bundle.path, precision="fp32", threads=model.placement.threads)
    *_, single = own_ways(exact, settings, prompt)
    return single.decode().tokens


def _report(model: Model, report: Report, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "bundle": model.manifest.name,
        "precision": model.placement.precision,
        "engine": model.engine("backbone").describe,
        "processor": this_cpu().name,
        "threads": arguments.threads,
        **asdict(report),
    }


def _against(name: str, make: MakePeer, model: Model, settings: Settings) -> dict[str, Any]:
    """Compare with a peer, after a2d was measured alone: the peer's memory is not ours."""
    found = compare(model, settings, make(model))
    steps = {} if found.step_ratio is None else {f"step_ratio_to_{name}": found.step_ratio}
    return steps | {
        f"{name}_tokens_per_second": found.tokens_per_second,
        f"{name}_forwards": found.forwards,
        f"{name}_same_tokens": found.same_tokens,
        f"ratio_to_{name}": found.ratio,
    }


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['bundle']} {found['precision']}, {found['engine']}, {found['threads']} thread(s)"
    sizes = f"{found['prompt_tokens']} + {found['tokens']} tokens"
    yield f"{sizes}, blocks of {found['block_size']}, {found['steps']} steps"
    if found["made_up"]:
        yield "the prompt is random tokens, of which a model may be surer than of real ones: give --prompt or --image"
    for name, form in SHOWN.items():
        if found[name] is not None:
            yield "  " + form.format(found[name] / UNITS.get(name, 1))


def _engines(found: dict[str, Any]) -> Iterator[str]:
    """The table of other engines; the first line is a2d as it was asked for."""
    if "engines" not in found:
        return
    yield f"  beside other engines, {found['threads']} thread(s), all in turn: tokens a second behind the first (block)"
    yield f"  {'':<42}  tokens/forward  tokens/s   lowest..highest  a CPU second   first over it   as fp32"
    for row in found["engines"]:
        alike = "" if row["agreement"] is None else f"{row['agreement']:8.1%}"
        spread = f"{row['lowest']:.1f}..{row['highest']:.1f}"
        pace = f"{row['tokens_per_forward']:14.2f}  {row['tokens_per_second']:8.1f}"
        rest = f"{spread:>16}  {row['tokens_per_cpu_second']:12.1f}  {row['ratio']:14.2f}  {alike}"
        yield f"  {row['name']:<42}  {pace}  {rest}"


def _table(found: dict[str, Any]) -> Iterator[str]:
    for row in found.get("together", ()):
        spread = f"{row['lowest']:.2f}..{row['highest']:.2f}, {row['same_tokens']:.1%} the same tokens"
        speed = f"{row['tokens_per_second']:10.1f} tokens/s, {row['ratio']:.2f} times one by one"
        yield f"  {row['together']:>2} side by side          {speed} ({spread})"
    if ITSELF not in found:
        return
    base = found[ITSELF]
    yield f"  one token per forward    {base['tokens_per_second']:10.1f} tokens/s, after {base['prompt_tokens']} tokens"
    yield "  steps  threshold  tokens/forward  tokens/s  against it   lowest..highest"
    for row in base["pairs"]:
        pace = f"{row['steps'] or '':>7}  {'' if row['threshold'] is None else row['threshold']:>9}"
        speeds = f"{row['tokens_per_forward']:14.2f}  {row['tokens_per_second']:8.1f}"
        yield f"{pace}  {speeds}  {row['ratio']:10.2f}   {row['lowest']:.2f}..{row['highest']:.2f}"


def _ratios(found: dict[str, Any], names: list[str]) -> Iterator[str]:
    for name in names:
        yield f"  against {name:<17}{found[f'ratio_to_{name}']:10.2f} times its tokens/s"
        if (steps := found.get(f"step_ratio_to_{name}")) is not None:
            yield f"  of a plain step          {steps:10.2f} times as fast"
        yield f"  the same tokens          {found[f'{name}_same_tokens']:10.1%}"
