"""a2d-export: a checkpoint directory to a bundle.

Exit status as for every command (`runtime/cli/arguments.py`); a failed check is 2. Nothing is left behind unless it
is 0.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..engines.errors import BundleError, CheckpointError, RequestError
from ..engines.install import extra
from ..runtime.cli.arguments import BAD_INPUT, add_settings, given, guarded, teller, worded
from ..runtime.decode.contract import CONTRACTS, DecodeContract
from ..runtime.inputs.images import Letterbox
from ..runtime.schema import check
from .film.flags import add_film_settings, film_values

if TYPE_CHECKING:
    from .quantized import Quantizers

__all__ = ["main"]

_PARSERS = {
    "int": {"type": int, "metavar": "N"},
    "float": {"type": float, "metavar": "P"},
    "token": {"metavar": "ID_OR_TEXT"},
    "tokens": {"metavar": "ID_OR_TEXT", "action": "append"},
    "choice": {"metavar": "NAME"},  # the contract prints the table of meanings
}
"""Keywords by which argparse reads a field of the contract, by its type."""


def main(argv: list[str] | None = None, quantizers: Quantizers | None = None) -> int:
    """Run the command; returns the exit status. `quantizers` make the precisions that this room does not."""
    arguments = _parser().parse_args(argv)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return guarded(
            "a2d-export", lambda: _export(arguments, quantizers or {}), "interrupted; nothing was left behind"
        )
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _export(arguments: argparse.Namespace, quantizers: Quantizers) -> int:
    if arguments.output is None and not arguments.dry_run:
        raise RequestError("give -o BUNDLE, the directory to write, or --dry-run, which writes nothing")
    if not arguments.checkpoint.exists():
        raise CheckpointError(_no_directory(arguments.checkpoint))
    # Here, because torch takes seconds to import and --help should not.
    try:
        from .checkpoint.author_config import Asking  # noqa: PLC0415
        from .checkpoint.pipeline import is_pipeline  # noqa: PLC0415
        from .decode_contract import Flags  # noqa: PLC0415
        from .dry_run import survey  # noqa: PLC0415
        from .job import Job  # noqa: PLC0415
        from .quantized import export_all, split  # noqa: PLC0415
    except ImportError as error:
        raise BundleError(f"exporting needs more than running: {error}. {extra('export')}") from error
    if is_pipeline(arguments.checkpoint):
        return _export_film(arguments, quantizers)
    said = given(arguments, DecodeContract)
    flags = Flags({name: _listed(v) if isinstance(v, list) else v for name, v in said.items()}, arguments.contract)
    floats, quantized = split(arguments.precision, quantizers)
    job = Job(
        checkpoint=arguments.checkpoint,
        bundle=arguments.output or Path(),
        name="" if arguments.output is None else arguments.output.name.removesuffix(".a2d"),
        family=arguments.family,
        template=arguments.chat_template,
        precisions=floats,
        flags=flags,
        asking=Asking(arguments.default_prompt, arguments.letterbox),
        max_context=arguments.max_context,
        force=arguments.force,
        parity=arguments.parity,
        quiet=arguments.quiet,
        quantized=quantized,
        data=arguments.data,
        prompt=arguments.prompt,
        samples=arguments.samples,
    )
    if arguments.dry_run:
        text, exportable = survey(job)
        print(worded(text))
        return 0 if exportable else BAD_INPUT
    export_all(job, quantizers, teller(arguments.quiet))
    return 0


def _no_directory(path: Path) -> str:
    """A line on a checkpoint that is none, before torch is loaded."""
    missing = f"{path}: nothing there, expected a checkpoint directory with config.json and model.safetensors"
    if str(path).count("/") != 1 or path.parent.exists():
        return missing
    return (
        f"{missing}. If it is a Hugging Face id: a2d downloads nothing; "
        f"hf download {path} --local-dir {path.name}, then a2d-export {path.name} -o {path.name}.a2d"
    )


def _export_film(arguments: argparse.Namespace, quantizers: Quantizers) -> int:
    """A diffusers directory. Its contract is another one, with settings of its own."""
    from .film.job import export_film  # noqa: PLC0415 - as above
    from .film.plan import plan_film  # noqa: PLC0415
    from .job import Job  # noqa: PLC0415
    from .quantized import export_all, split  # noqa: PLC0415

    floats, quantized = split(arguments.precision, quantizers)
    job = Job(
        checkpoint=arguments.checkpoint,
        bundle=arguments.output or Path(),
        precisions=floats,
        parts=arguments.parts,
        draft=arguments.draft_vae,
        film=film_values(arguments),
        parity=arguments.parity,
        force=arguments.force,
        quiet=arguments.quiet,
        quantized=quantized,
        data=arguments.data,
        samples=arguments.samples,
    )
    if arguments.dry_run:
        print(worded(plan_film(job).decided()))
        return 0
    export_all(job, quantizers, teller(arguments.quiet), export_film, films=True)
    return 0


def _listed(values: list[str]) -> tuple[str, ...]:
    """`--stop-token 2,5 --stop-token 7` to three."""
    return tuple(part for value in values for part in value.split(",") if part)


def _letterbox(text: str) -> Letterbox:
    try:
        width, height = map(int, text.lower().split("x"))
        box = Letterbox(height, width)
        check(box)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected WIDTHxHEIGHT in pixels, as 224x112") from error
    return box


def _table(names: dict[str, str]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in names.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="a2d-export",
        description="A Hugging Face checkpoint directory to a bundle that `a2d run` decodes.",
        epilog="What a checkpoint says in an object `a2d` of its generation_config.json (the decode contract under the "
        'manifest\'s names, "prompt": TEXT, "letterbox": {"height": H, "width": W}) is taken from there, and what a '
        "release says in its own keys from those; flags go before.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="directory with config.json and safetensors"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="BUNDLE", help="directory to write")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be written and what was not found; write nothing"
    )
    parser.add_argument(
        "--family", metavar="NAME", help="family of the checkpoint, if its config.json says another one"
    )
    parser.add_argument(
        "--precision", default="fp32", help="fp32, fp16, bf16, int8, fp8, ...; or several by comma (default fp32)"
    )
    parser.add_argument(
        "--max-context", type=int, metavar="N", help="rows (tokens and image features) that a session may hold"
    )
    parser.add_argument(
        "--parity",
        default="transformers",
        metavar="NAME",
        help="what the checkpoint is held against; default transformers: its own class, tokenizer and image processor, "
        "and diffusers' for one that films; "
        "own: a2d's reading alone, for a machine with little memory",
    )
    parser.add_argument("--force", action="store_true", help="replace a bundle that exists")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    quantized = parser.add_argument_group("calibration, for int8, int8-avx2, fp8, int8-weight, int4-weight")
    quantized.add_argument("--data", type=Path, metavar="PATH", help="JSONL file of prompts, or folder of images")
    quantized.add_argument("--prompt", metavar="TEXT", help="prompt for each image of a folder")
    quantized.add_argument("--samples", type=int, default=64, metavar="N", help="samples at most (64)")
    contract = parser.add_argument_group("decode contract")
    contract.add_argument("--contract", choices=list(CONTRACTS), help=_table(CONTRACTS))
    add_settings(contract, DecodeContract, _PARSERS)
    asked = parser.add_argument_group("how the model is asked")
    asked.add_argument("--default-prompt", metavar="TEXT", help="question that `a2d run` asks if it is given no prompt")
    asked.add_argument(
        "--letterbox",
        type=_letterbox,
        metavar="WxH",
        help="the one size in pixels of the model's frames: scaled to fit, centred, bars black; default: as "
        "transformers resizes them",
    )
    asked.add_argument("--chat-template", metavar="NAME", help="chat template to take, if the checkpoint has several")
    add_film_settings(parser)
    return parser
