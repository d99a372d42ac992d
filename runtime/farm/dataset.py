"""A bundle over a Ray dataset: the rows, with what the bundle answers to each beside them."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from ...engines.errors import RequestError
from ..bundle.files import Bundle
from ..bundle.names import located
from ..decode.options import OptionFields, Options, plan, with_fields
from ..decode.session import TextResult
from ..each import FAULTS
from ..load import load
from ..model import Model
from .pool import devices

__all__ = ["RowReader", "over_dataset"]

ADDED = ("text", "tokens", "confidence", "error")
"""Columns that are added to a dataset, behind a prefix."""

BATCH = 16
"""Rows of a task: what is done again where a node is lost."""


class RowReader:
    """An actor that keeps a bundle loaded, and answers batches of rows."""

    def __init__(
        self,
        bundle: str,
        image: str | None,
        prompt: str | None,
        prompt_column: str | None,
        prefix: str,
        options: Options,
        precision: str | None,
        threads: int | None,
    ) -> None:
        self._model: Model = load(bundle, precision=precision, threads=threads)
        self._image, self._prompt, self._column = image, prompt, prompt_column
        self._prefix, self._options = prefix, options

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch, with the answers' columns."""
        size = len(next(iter(batch.values())))
        answers = [self._answer({name: column[i] for name, column in batch.items()}) for i in range(size)]
        columns = zip(*answers, strict=True)
        return batch | {f"{self._prefix}{name}": _column(column) for name, column in zip(ADDED, columns, strict=True)}

    def _answer(self, row: dict[str, Any]) -> tuple[str, list[int], list[float], str]:
        """Text, tokens and confidences; or what is wrong with the row."""
        try:
            result = self._generated(row)
        except FAULTS as error:
            return "", [], [], str(error)
        return result.text, list(result.tokens), list(result.confidence), ""

    def _generated(self, row: dict[str, Any]) -> TextResult:
        asked = self._prompt if self._column is None else row[self._column]
        if isinstance(asked, np.ndarray):
            asked = asked.tolist()
        images = () if self._image is None else [row[self._image]]
        return self._model.generate(asked, images=images, options=self._options)


def over_dataset(
    dataset: Any,
    bundle: str,
    *,
    image: str | None = None,
    prompt: str | None = None,
    prompt_column: str | None = None,
    prefix: str = "a2d_",
    precision: str | None = None,
    threads: int | None = None,
    batch_size: int = BATCH,
    options: Options | None = None,
    **chosen: Unpack[OptionFields],
) -> Any:
    """A `ray.data.Dataset` with the columns `a2d_text`, `a2d_tokens`, `a2d_confidence` and `a2d_error`.

    `image` names the column of pictures (paths, or arrays `[H, W, 3]` uint8), `prompt_column` that of prompts (texts or
    token ids); `prompt` is one text for all rows. Without either the bundle asks its own question. One actor a device
    keeps the bundle loaded, which lies at the same path on every node. A row that cannot be read has its error.
    Raises RequestError for what no row could mend.
    """
    path, wanted = located(bundle), with_fields(options, **chosen)
    manifest = Bundle.open(path).manifest
    if prompt is not None and prompt_column is not None:
        raise RequestError("prompt and prompt_column: give one text for all rows, or the column of their own")
    if image is not None and manifest.vision is None:
        raise RequestError(f"image: {path} reads text only; export a vision-language checkpoint, or leave it out")
    if prompt is None and prompt_column is None and (image is None or manifest.text.default_prompt is None):
        raise RequestError("no prompt: name one (prompt), a column of them (prompt_column), or one of images")
    plan(manifest.decode, wanted)
    _check_columns(dataset, [name for name in (image, prompt_column) if name is not None])
    room = devices()
    return dataset.map_batches(
        RowReader,
        batch_size=batch_size,
        batch_format="numpy",
        fn_constructor_kwargs={
            "bundle": str(path),
            "image": image,
            "prompt": prompt,
            "prompt_column": prompt_column,
            "prefix": prefix,
            "options": wanted,
            "precision": precision,
            "threads": threads or room.threads,
        },
        **room.asked(),
    )


def _check_columns(dataset: Any, names: list[str]) -> None:
    held = list(dataset.columns() or ())
    missing = [name for name in names if name not in held]
    if missing:
        raise RequestError(f"the dataset has no column {', '.join(missing)}; it has {', '.join(held)}")


def _column(values: tuple[Any, ...]) -> Any:
    """A column of texts, or of lists of different lengths."""
    made = np.empty(len(values), object)
    for index, value in enumerate(values):
        made[index] = value
    return made
