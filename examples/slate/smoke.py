"""Does the recipe still work? Trains from scratch for a few minutes, then reads frames with what came out.

    python examples/slate/smoke.py --minutes 5

Fails if the loss did not fall in the autoregressive stage, or if a2d cannot decode either checkpoint. What is read so
early is wrong, of course.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import evaluate
import train


def losses(log: Path, stage: str) -> list[float]:
    """The text losses of a stage, in their order."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [line["text"] for line in lines if line["stage"] == stage]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path("build/slate-smoke"))
    parser.add_argument("--frames", type=int, default=5, help="read from each evaluation set")
    chosen = parser.parse_args(arguments)
    shutil.rmtree(chosen.out, ignore_errors=True)
    length = ["--minutes", str(chosen.minutes), "--shares", "0.3", "0.4", "0.3", "--d-end", "0.3"]
    status = train.main(["--out", str(chosen.out), "--fresh", *length])
    if status:
        return status
    falling = losses(chosen.out / "log.jsonl", "ar")
    print(f"text loss of the autoregressive stage: {' '.join(f'{loss:.2f}' for loss in falling)}")
    if len(falling) < 2 or falling[-1] >= falling[0]:
        print("error: the loss did not fall; give it more --minutes, or look for what broke", file=sys.stderr)
        return 1
    model, slow = chosen.out / "model", chosen.out / "autoregressive"
    told = ["--model", str(model), "--autoregressive", str(slow), "--work", str(chosen.out / "bundles")]
    return evaluate.main([*told, "--frames", str(chosen.frames)])


if __name__ == "__main__":
    sys.exit(main())
