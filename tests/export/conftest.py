"""Tiny checkpoints and their bundles, each made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from shared import Shared

import a2d

if TYPE_CHECKING:
    from published import Opened

TINY = {"layers": 2, "hidden": 32, "heads": 4, "kv_heads": 2, "head_dim": 8, "intermediate": 48, "vocab": 160}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that spin beside other workers are slower than one."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a complete contract."""
    from a2d.export.synthetic import Synthetic, checkpoint

    return checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", Synthetic(**TINY, max_context=128, tied=True))


@pytest.fixture(scope="session")
def bundle(tiny: Path, shared: Shared) -> Path:
    """Its bundle in two precisions."""
    from a2d.export.job import Job, export
    from a2d.export.precision import precisions

    return shared("tiny-16.a2d", lambda path: export(Job(tiny, path, precisions("fp32,fp16"), quiet=True)))


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Opened]:
    """transformers' model and the loaded bundle of a published family, by its model_type."""
    import published

    from a2d.export.job import Job, export

    @cache
    def opened(name: str) -> Opened:
        folder = tmp_path_factory.mktemp(name)
        model = published.PUBLISHED[name](folder / "checkpoint")
        export(Job(folder / "checkpoint", folder / "bundle", quiet=True, decode_parity=False))
        return model, a2d.load(folder / "bundle", threads=1)

    return opened
