"""The cost of a block and memory as the context grows, and of answers side by side; a process for each size.

    python benchmarks/growth.py BUNDLE [--precision int8] [--contexts 16,512,2048,8064] [--together 1,2,4,8]

A block is what its forwards took in the median: its first step, which also commits the one before, and its plain ones.
`line` is what a straight line through the first and the last context says; what a block takes beyond it is curvature.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any


def bench(bundle: str, *flags: str) -> dict[str, Any]:
    """What `a2d bench` says as JSON."""
    line = [sys.executable, "-m", "a2d", "bench", bundle, "--json", *flags]
    made = subprocess.run(line, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(made.stdout)
    return found


def block_ms(found: dict[str, Any]) -> float:
    """Milliseconds of a block."""
    return float(found["commit_step_ms"] + (found["forwards_per_block"] - 1) * found["step_ms"])


def contexts(bundle: str, sizes: list[int], flags: list[str]) -> None:
    """Print the table of contexts."""
    made = [bench(bundle, "--prompt-tokens", str(n), "--max-tokens", "64", "--repeats", "2", *flags) for n in sizes]
    blocks = [block_ms(found) for found in made]
    slope = (blocks[-1] - blocks[0]) / max(sizes[-1] - sizes[0], 1)
    print(f"{made[0]['bundle']} {made[0]['precision']}, kind {made[0]['processor']}, {made[0]['threads']} thread(s)\n")
    print("| context | step, ms | block, ms | line, ms | prompt, tokens/s | cache, MB | peak memory, MB |")
    print("|---|---|---|---|---|---|---|")
    for size, found, block in zip(sizes, made, blocks, strict=True):
        line, memory = blocks[0] + slope * (size - sizes[0]), (found["peak_rss_bytes"] or 0) / 1e6
        cells = f"{found['step_ms']:.1f} | {block:.1f} | {line:.1f} | {found['prefill_tokens_per_second']:.0f}"
        print(f"| {size} | {cells} | {found['cache_bytes'] / 1e6:.0f} | {memory:.0f} |")


def together(bundle: str, counts: str, flags: list[str]) -> None:
    """Print the table of answers side by side."""
    found = bench(bundle, "--prompt-tokens", "64", "--max-tokens", "64", "--repeats", "2", "--together", counts, *flags)
    print("\n| side by side | tokens/s in all | of one by one | same tokens |\n|---|---|---|---|")
    for row in found["together"]:
        cells = f"{row['tokens_per_second']:.0f} | {row['ratio']:.2f} | {row['same_tokens']:.1%}"
        print(f"| {row['together']} | {cells} |")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--contexts", default="16,512,1024,2048,4096,8064")
    parser.add_argument("--together", default="1,2,4,8")
    asked = parser.parse_args()
    flags = ["--precision", asked.precision, "--threads", asked.threads]
    contexts(asked.bundle, [int(size) for size in asked.contexts.split(",")], flags)
    together(asked.bundle, asked.together, flags)


if __name__ == "__main__":
    main()
