"""The main job, visibly: export a trained checkpoint, read frames with it, hold the readings against the truth.

Run it with `make demo`. It uses nothing but the public commands and API.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import a2d
from a2d.export.cli import main as export
from a2d.runtime.terminal import BlockView

HERE = Path(__file__).parent
QUESTION = "read the slate"


def read(model: a2d.Model, frame: Path, steps: int, pace: float) -> a2d.Result:
    """Read one frame; the masks fill in on a terminal, or one line a step where there is none."""
    generation = model.stream(QUESTION, images=[frame], steps=steps, max_tokens=64)
    if not sys.stdout.isatty():
        return generation.run()
    view = BlockView(sys.stdout, model.text)
    for step in generation:
        view.show(step)
        time.sleep(pace)  # a step takes a few milliseconds: too fast to watch
    view.close()
    return generation.result


def filling_in(model: a2d.Model, frame: Path, steps: int) -> None:
    """One frame, one printed line per step, for logs and pipes."""
    for step in model.stream(QUESTION, images=[frame], steps=steps, max_tokens=64):
        shown = "".join(
            "\u2591\u2591" if hidden else model.detokenize([int(token)])
            for token, hidden in zip(step.tokens, step.masked, strict=True)
        )
        print(f"    block {step.block} step {step.index}  |{shown}|")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("build/slate.a2d"))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--pace", type=float, default=0.04, help="seconds to wait after a step, on a terminal")
    arguments = parser.parse_args()

    arguments.bundle.parent.mkdir(parents=True, exist_ok=True)
    status = export([str(HERE / "model"), "-o", str(arguments.bundle), "--precision", "fp32", "--force"])
    if status:
        return status
    model = a2d.load(arguments.bundle)
    frames = json.loads((HERE / "frames" / "readings.json").read_text(encoding="utf-8"))
    print(f"\nReading {len(frames)} frames, {arguments.steps} steps per block of {model.manifest.decode.block_size}\n")
    if not sys.stdout.isatty():
        filling_in(model, HERE / "frames" / frames[0]["file"], arguments.steps)
    right = fields = tokens = forwards = 0
    seconds = 0.0
    for entry in frames:
        print(f"{entry['file']}")
        result = read(model, HERE / "frames" / entry["file"], arguments.steps, arguments.pace)
        matches = [a == b for a, b in zip(result.text.split(), entry["truth"].split(), strict=False)][1::2]
        print(f"  read   {result.text}\n  truth  {entry['truth']}   {sum(matches)} of 5 fields")
        right += result.text == entry["truth"]
        fields += sum(matches)
        tokens, forwards, seconds = tokens + len(result.tokens), forwards + result.forwards, seconds + result.seconds
    print(f"\n{right} of {len(frames)} slates fully right, {fields} of {5 * len(frames)} fields.")
    print(f"{tokens} tokens in {forwards} forwards ({tokens / forwards:.2f} tokens per forward), {seconds:.2f} s.")
    print("The checkpoint is a weak first one; a2d reads exactly what the checkpoint reads.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
