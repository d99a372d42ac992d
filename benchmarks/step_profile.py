"""Where the time of a step goes: products with weights, attention, the cache, norms and the rest, by a profiler.

    python benchmarks/step_profile.py BUNDLE [--precision int8] [--rows 1,8,16,32] [--past 512,2048] [--rounds 12]

Run it as another kind of processor with `python tests/cpus/played.py AVX2 benchmarks/step_profile.py BUNDLE`. The graph
is the backbone on one thread. `others` are sums, splits, reshapes and transposes; `between` is what the profiler and
the way from node to node take. The least of the rounds is kept for every part.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import onnxruntime as ort
from forms import feeds_of

from a2d.engines.cpu import this_cpu
from a2d.engines.onnxruntime import load

WARM = 2
PARTS = ("products", "attention", "join", "softmax", "quantize", "norms", "others", "between")
WEIGHTS = ("MatMulIntegerToFloat", "MatMulNBits", "DynamicQuantizeMatMul", "QLinearMatMul")
KINDS = {"Softmax": "softmax", "QuantizeLinear": "quantize", "SimplifiedLayerNormalization": "norms"}


def part_of(event: dict[str, Any]) -> str:
    """The part that a node belongs to. Attention multiplies tensors of four axes; the join is theirs as well."""
    kind, shapes = event["args"]["op_name"], event["args"].get("input_type_shape", [])
    axes = [len(next(iter(shape.values()))) for shape in shapes]
    if kind in WEIGHTS:
        return "products"
    if kind in ("MatMul", "FusedMatMul"):
        return "attention" if axes[:2] == [4, 4] else "products"
    if kind == "Concat" and axes == [4, 4]:
        sizes = [next(iter(shape.values())) for shape in shapes]
        return "join" if sizes[0][2] != sizes[1][2] else "others"
    return KINDS.get(kind, "others")


def profiled(graph: Path, precision: str, cases: list[tuple[int, int]], rounds: int) -> list[dict[str, float]]:
    """Milliseconds by part, and in all, for each of (rows, past)."""
    options = ort.SessionOptions()
    with tempfile.TemporaryDirectory(prefix="a2d-") as folder:
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "4")
        for name, value in this_cpu().options_for(precision).items():
            options.add_session_config_entry(name, value)
        session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        ports = load(graph, precision=precision, threads=1)
        for rows, past in cases:
            asked = feeds_of(ports, rows, past, {})
            for _ in range(WARM + rounds):
                session.run(["hidden"], asked)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return split(sorted(events, key=lambda event: event.get("ts", 0)), len(cases), WARM + rounds)


def split(events: list[dict[str, Any]], cases: int, each: int) -> list[dict[str, float]]:
    """The least of the rounds, part by part, of each case."""
    nodes = [event for event in events if event["name"].endswith("_kernel_time")]
    runs: list[Counter[str]] = []
    for run in (event for event in events if event["name"] == "model_run"):
        mine = [node for node in nodes if run["ts"] <= node["ts"] < run["ts"] + run["dur"]]
        parts: Counter[str] = Counter()
        for node in mine:
            parts[part_of(node)] += node["dur"]
        parts["between"] = run["dur"] - sum(parts.values())
        parts["all"] = run["dur"]
        runs.append(parts)
    rounds = [runs[case * each + WARM : (case + 1) * each] for case in range(cases)]
    return [{part: min(run[part] for run in some) / 1e3 for part in (*PARTS, "all")} for some in rounds]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--rows", default="1,8,16,32")
    parser.add_argument("--past", default="512,2048")
    parser.add_argument("--rounds", type=int, default=12)
    asked = parser.parse_args()
    pasts, rows = ([int(n) for n in text.split(",")] for text in (asked.past, asked.rows))
    cases = [(count, past) for past, count in product(pasts, rows)]
    found = profiled(asked.bundle / f"backbone.{asked.precision}.onnx", asked.precision, cases, asked.rounds)
    print(f"{this_cpu().name}, {asked.precision}, ms:\n\n| T | past | all | " + " | ".join(PARTS) + " |")
    print("|---" * (len(PARTS) + 3) + "|")
    for (count, past), parts in zip(cases, found, strict=True):
        cells = [f"{parts[part]:.2f}" for part in PARTS]
        print(f"| {count} | {past} | {parts['all']:.2f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
