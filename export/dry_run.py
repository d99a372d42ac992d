"""A dry run: what an export of a checkpoint would write, and everything that it could not find. Writes nothing.

Goes on where an export would stop, so that one look shows all that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..engines.errors import A2DError
from .checkpoint.author_config import asking
from .checkpoint.directory import Checkpoint
from .decode_contract import draft, resolve
from .export_plan import Job, plan
from .families import Family, describe
from .report import REMOTE, decided

__all__ = ["survey"]

FILES: dict[str, Callable[[Checkpoint], bool]] = {
    "generation_config.json": lambda c: bool(c.generation),
    "tokenizer.json": lambda c: c.tokenizer is not None,
    "tokenizer_config.json": lambda c: bool(c.tokenizer_config),
}
"""Files that an export reads and can do without."""


def survey(job: Job) -> tuple[str, bool]:
    """Text to print, and whether the checkpoint can be exported as it was asked for.

    Raises CheckpointError where there is no checkpoint of a known family to look at.
    """
    checkpoint = Checkpoint.open(job.checkpoint)
    family = describe(checkpoint, job.family)
    problems = list(_problems(job, checkpoint, family))
    if not problems:
        lines = [decided(plan(job))]
    else:
        lines = [f"{job.checkpoint}: {family.name}", "decode contract, as far as it is said"]
        lines += [f"  {line}" for line in _drafted(job, checkpoint, family)]
        lines += checkpoint.notes
        lines += [REMOTE] if checkpoint.config.get("auto_map") else []
    absent = [f"  {line}" for line in _absent(job, checkpoint, family)]
    lines += ["not found", *absent] if absent else []
    return "\n".join([*lines, *_verdict(problems)]), not problems


def _drafted(job: Job, checkpoint: Checkpoint, family: Family) -> list[str]:
    try:
        return draft(job.flags, checkpoint, family)
    except A2DError:
        return []  # it is among the problems


def _problems(job: Job, checkpoint: Checkpoint, family: Family) -> Iterator[str]:
    """Findings of each check of an export, one after the other, where the first would end an export."""
    checks: list[Callable[[], object]] = [
        lambda: checkpoint.with_template(job.template),
        lambda: checkpoint.verify(family.sources, family.ignorable),
        lambda: resolve(job.flags, checkpoint, family),
        lambda: asking(job.asking, checkpoint),
        lambda: plan(job),
    ]
    said: list[str] = []
    for check in checks:
        try:
            check()
        except A2DError as error:
            if str(error) not in said:
                said.append(str(error))
    yield from said


def _absent(job: Job, checkpoint: Checkpoint, family: Family) -> Iterator[str]:
    yield from (name for name, there in FILES.items() if not there(checkpoint))
    if not checkpoint.chat_templates:
        yield "a chat template" + ("; the family's is used" if family.chat_template else ": prompts are plain text")
    if family.vision is not None and checkpoint.preprocessor is None:
        yield "preprocessor_config.json, or image_processor in processor_config.json"
    try:
        if asking(job.asking, checkpoint).prompt is None:
            yield "a question of its own (the setting default_prompt): every caller gives a prompt"
    except A2DError:
        return  # it is among the problems


def _verdict(problems: list[str]) -> list[str]:
    if not problems:
        return ["nothing was written; to export: the same without the setting dry_run, and with a bundle to write"]
    return ["cannot be exported; to mend:", *problems]
