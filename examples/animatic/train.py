"""Train the animatic, stage by stage. Each may be killed at any moment; the same command goes on where it was.

    python examples/animatic/train.py render      --out build/animatic --clips 3000        frames for the autoencoder
    python examples/animatic/train.py autoencoder --out build/animatic --minutes 40
    python examples/animatic/train.py words       --out build/animatic --minutes 3         tokenizer and text encoder
    python examples/animatic/train.py latents     --out build/animatic --clips 20000       may run beside the next one
    python examples/animatic/train.py latents     --out build/animatic --clips 20000 --frames 1      first frames alone
    python examples/animatic/train.py network     --out build/animatic --minutes 600 --compile
    python examples/animatic/train.py student     --out build/animatic --minutes 60 --compile       guidance inside
    python examples/animatic/train.py assemble    --out build/animatic                     one checkpoint: model/

With a GPU add `--device cuda`, and to `network` `--batch 64`. `--minutes` counts a stage's whole training, earlier
parts included; on a CPU they are minutes of the process's own time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from studio import checkpoint, compression, corpus, forcing, language, network
from studio.autoencoder import KINDS
from studio.latents import Latents, latent_shards
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

GUIDANCE = 2.5
"""Scale of the shipped student's teacher; 2 and 3.5 measure alike (README)."""


def render(chosen: argparse.Namespace) -> None:
    for path in corpus.render_shards(chosen.out / "clips", corpus.TRAINING, _shards(chosen)):
        print(path, flush=True)


def autoencoder(chosen: argparse.Namespace) -> None:
    made = compression.train(
        chosen.kind, chosen.out / "clips", chosen.out / "autoencoder", chosen.minutes,
        chosen.batch or 4, chosen.rate or 2e-3, chosen.save_minutes, chosen.device,
    )  # fmt: skip
    print(made)


def words(chosen: argparse.Namespace) -> None:
    made, encoder, accuracy = language.learned(chosen.minutes)
    language.write(made, encoder, chosen.out / "words")
    print(f"attributes read right from unseen prompts: {accuracy:.3f}")


def latents(chosen: argparse.Namespace) -> None:
    vae = checkpoint.part(AutoencoderTiny, chosen.out / "autoencoder" / "vae").to(chosen.device)
    folder = chosen.out / ("firsts" if chosen.frames == 1 else "latents")
    shards = latent_shards(
        vae, KINDS[chosen.kind], folder, corpus.TRAINING, _shards(chosen), chosen.device, chosen.frames
    )
    for path in shards:
        print(path, flush=True)


def run_of(chosen: argparse.Namespace, name: str, guidance: float = 0.0) -> forcing.Run:
    """Training of the network, or of its student, as it stands on disk."""
    plan = forcing.Plan(
        batch=chosen.batch or 8, copies=chosen.copies, rate=chosen.rate or 0.01, save_minutes=chosen.save_minutes,
        device=chosen.device, compile=chosen.compile, shift=checkpoint.SHIFT, cool=chosen.cool, guidance=guidance,
    )  # fmt: skip
    told = PreTrainedTokenizerFast.from_pretrained(chosen.out / "words" / "tokenizer")
    encoder = UMT5EncoderModel.from_pretrained(chosen.out / "words" / "text_encoder")
    net = network.fresh(KINDS[chosen.kind].channels, language.WIDTH)
    return forcing.Run(net, told, encoder, chosen.out / name, plan)


def train_network(chosen: argparse.Namespace) -> None:
    _trained(run_of(chosen, "network"), chosen)


def train_student(chosen: argparse.Namespace) -> None:
    """The network goes on with what it says itself under guidance, and then needs no guidance."""
    run = run_of(chosen, "student", chosen.guidance)
    run.follow(checkpoint.part(type(run.net), chosen.out / "network" / "transformer"))
    _trained(run, chosen)


def _trained(run: forcing.Run, chosen: argparse.Namespace) -> None:
    folders = chosen.out / "latents", chosen.out / "firsts"
    whole, firsts = (Latents(folder, corpus.TRAINING) if folder.is_dir() else None for folder in folders)
    run.train(whole or Latents(folders[0], corpus.TRAINING), chosen.minutes, firsts=firsts)


def assemble(chosen: argparse.Namespace) -> None:
    """Of the student if there is one."""
    run = run_of(chosen, "student" if (chosen.out / "student").is_dir() else "network")
    run.save()
    net = checkpoint.part(type(run.net), run.out / "transformer")
    vae = checkpoint.part(AutoencoderTiny, chosen.out / "autoencoder" / "vae")
    size = checkpoint.write(checkpoint.Checkpoint(net, vae, run.encoder, run.words), chosen.out / "model")
    print(f"{chosen.out / 'model'}: {size / 1e6:.1f} MB, after {run.steps} steps")


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "render": render,
    "autoencoder": autoencoder,
    "words": words,
    "latents": latents,
    "network": train_network,
    "student": train_student,
    "assemble": assemble,
}


def _shards(chosen: argparse.Namespace) -> range:
    first = chosen.first // corpus.SHARD
    return range(first, first + -(-chosen.clips // corpus.SHARD))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument(
        "--first", type=int, default=0, help="the first clip, so that several processes can share a corpus"
    )
    parser.add_argument("--frames", type=int, choices=(1,), help="of `latents`: the first frame alone, into firsts/")
    parser.add_argument("--cool", type=float, default=0.0, help="share of --minutes over which the rate falls to zero")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help=f"of the student's teacher ({GUIDANCE})")
    parser.add_argument("--kind", choices=KINDS, default="packed-32", help="of autoencoder")
    parser.add_argument("--batch", type=int, help="default: 4 windows of the autoencoder, 8 clips of the network")
    parser.add_argument("--copies", type=int, default=2, help="noisy copies of a clip in one pass")
    parser.add_argument(
        "--rate", type=float, help="default: 0.002 of AdamW for the autoencoder, 0.01 of Muon for the network"
    )
    parser.add_argument("--save-minutes", type=float, default=4.0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves it alone")
    parser.add_argument("--compile", action="store_true", help="fuse the network's layers; needs a C++ compiler")
    chosen = parser.parse_args(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    try:
        STAGES[chosen.stage](chosen)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
