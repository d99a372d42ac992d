"""Train the slate reader: autoregressive first, then adapted to block diffusion. CPU or GPU, resumable.

    python examples/slate/train.py --out build/slate-run --minutes 70              both stages, from the shipped weights
    python examples/slate/train.py --out build/slate-run --resume --minutes 140    the same run, longer
    python examples/slate/train.py --out build/slate-gpu --fresh --samples 3000000 --batch 256 --workers 15

`--out` receives `autoregressive/` and `model/` (Hugging Face directories for a2d-export), `state/` (files of at
most 16 MB to resume from, on this machine or another) and `log.jsonl`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from recipe.course import STAGES, Budget, Plan
from recipe.shapes import SHAPES, begin
from recipe.training import Run, Where
from recipe.views import PATHS

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    where = Where(
        source=chosen.source,
        out=chosen.out,
        device=chosen.device,
        workers=chosen.workers,
        save_minutes=chosen.save_minutes,
        fresh=chosen.fresh,
        bf16=not chosen.fp32,
        compile=chosen.compile,
    )
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    shape = chosen.out / "shape"
    if chosen.shape and not chosen.resume:
        begin(chosen.shape, chosen.source, shape)
    if chosen.shape or (chosen.resume and shape.is_dir()):
        where = replace(where, source=shape)
    try:
        run = Run.resumed(where) if chosen.resume else Run(_plan(chosen), where)
        run.train(Budget(chosen.samples, chosen.minutes))
    except KeyboardInterrupt:
        print(f"stopped; go on with --resume --out {chosen.out}", file=sys.stderr)
        return 130
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _plan(chosen: argparse.Namespace) -> Plan:
    return Plan(
        stages=tuple(chosen.stages),
        shares=tuple(chosen.shares),
        batch=chosen.batch,
        draws=chosen.draws,
        rate=chosen.rate,
        d_start=chosen.d_start,
        d_end=chosen.d_end,
        stream=chosen.stream,
        seed=chosen.seed,
        path=chosen.path,
    )


def _parser() -> argparse.ArgumentParser:
    plan = Plan()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--source", type=Path, default=HERE / "model", help="checkpoint to begin with")
    parser.add_argument("--shape", choices=list(SHAPES), help="begin with a reader of this shape, kept in --out/shape")
    parser.add_argument("--fresh", action="store_true", help="take only the shape of --source, not its weights")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out; its own plan counts")
    parser.add_argument("--minutes", type=float, help="length of the whole run, resumed parts included")
    parser.add_argument("--samples", type=int, help="length of the whole run, in samples")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=plan.stages)
    parser.add_argument("--shares", nargs="+", type=float, default=plan.shares, help="of the run, one for each stage")
    parser.add_argument("--batch", type=int, default=plan.batch)
    parser.add_argument("--draws", type=int, default=plan.draws, help="noisy copies per answer")
    parser.add_argument("--rate", type=float, default=plan.rate, help="Muon's peak learning rate")
    parser.add_argument("--d-start", type=float, default=plan.d_start, help="greatest difficulty in the beginning")
    parser.add_argument("--d-end", type=float, default=plan.d_end, help="greatest difficulty in the end")
    parser.add_argument("--stream", default=plan.stream, help="name of the stream of samples")
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--path", choices=list(PATHS), default=plan.path, help="the one drawing path; else all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0, help="rendering processes; 0 renders in this one")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves it alone")
    parser.add_argument("--save-minutes", type=float, default=4.0)
    parser.add_argument("--compile", action="store_true", help="fuse layers; needs a C++ compiler")
    parser.add_argument("--fp32", action="store_true", help="no bfloat16")
    return parser


if __name__ == "__main__":
    sys.exit(main())
