"""Reports of an export to its user: decisions, reasons, results."""

from __future__ import annotations

from ..runtime.bundle.manifest import Manifest
from ..runtime.console.lines import size
from .checkpoint.turns import turn_notes
from .checkpoint.vocabulary import Vocabulary
from .export_plan import Plan

__all__ = ["REMOTE", "decided", "done"]

REMOTE = "config.json names remote code (auto_map); it is not run: the family here is a2d's own"


def decided(plan: Plan) -> str:
    """Before the work: the model, the decode contract with its origins, and what it will cost."""
    s, job, weights, peak = plan.family.shape, plan.job, plan.checkpoint.bytes, plan.peak_bytes
    lines = [
        f"{job.checkpoint}: {plan.family.name}, {s.layers} layers, {s.hidden} wide, vocabulary {s.vocab}, "
        f"{size(weights)} of weights",
        "decode contract",
        *(f"  {line}" for line in plan.resolved.lines()),
        f"  {'max_context':<17} {plan.max_context:<14} {_origin(plan)}",
        *plan.resolved.notes(),
        *_asking(plan),
        *plan.checkpoint.notes,
        *plan.family.notes,
        *turn_notes(plan.checkpoint, plan.chat_template, plan.resolved.contract.stop_token_ids),
        *Vocabulary.of(plan.checkpoint).notes(s.vocab, plan.resolved.contract.mask_token_id),
    ]
    if plan.checkpoint.chat_template not in (None, plan.chat_template):
        lines.append("chat template: the checkpoint's knows no pictures; the family's is used")
    if plan.checkpoint.config.get("auto_map"):
        lines.append(REMOTE)
    lines += [
        f"precisions: {', '.join(p.name for p in job.precisions)}; {size(plan.disk_bytes)} on disk",
        *_reference(plan),
        f"peak memory about {size(peak)}, torch's and ONNX Runtime's own part included",
    ]
    return "\n".join(lines)


def done(plan: Plan, manifest: Manifest) -> str:
    """After the work: the bundle and the next command."""
    total = sum(record.bytes for record in manifest.files.values())
    prompt = ' [prompt="..."]' if manifest.text.tokenizer else " [token_ids=5,6,7]"
    image = " [image=FILE]" if manifest.vision else ""
    asked = "" if manifest.text.default_prompt is not None else prompt
    bundle = plan.job.bundle
    return f"{bundle}: {size(total)} in {len(manifest.files) + 1} files\nnext: a2d run {bundle}{image}{asked}"


def _asking(plan: Plan) -> list[str]:
    lines = plan.asking.lines()
    return ["how it is asked", *(f"  {line}" for line in lines)] if lines else []


def _reference(plan: Plan) -> list[str]:
    if plan.job.parity == "own":
        return []
    kept = f"which adds {size(plan.stock_bytes)} for a while; [parity=own] does without"
    return [f"parity: first against transformers, loaded from the checkpoint, {kept}"]


def _origin(plan: Plan) -> str:
    return "command line" if plan.job.max_context else "config.json, max_position_embeddings"
