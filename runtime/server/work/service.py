"""One server's parts, joined: models by name, the scheduler, uploads, films, metrics. Knows no HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...decode.session import Generation
from ...model import Model
from ..request.asked import Question
from ..request.forms import Forms
from ..request.limits import Limits
from ..request.pictures import PictureSources
from ..request.refusal import Refusal
from .films import FilmJobs, Filmmaker
from .metrics import Metrics
from .outbox import Outbox
from .scheduler import Scheduler
from .ticket import Ended, Event, Stepped, Ticket, is_last
from .turns import Neighbours, Turns
from .uploads import Uploads

__all__ = ["Counted", "Service"]


class Service:
    """All that the routes need."""

    def __init__(
        self,
        models: Mapping[str, Model],
        films: Mapping[str, Filmmaker] | None = None,
        limits: Limits | None = None,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        """`models`, `films`: by the names that clients use. `hosts`: see `PictureSources`."""
        self.models, self.limits = dict(models), limits or Limits()
        self._aliases = _aliases(self.models)
        self.started = int(time.time())
        self._neighbours = Neighbours()
        places = max(self.limits.places, self.limits.together)
        self.scheduler = Scheduler(Turns(), places, self.limits.together, self.limits.waiting)
        self.uploads = Uploads(self.limits)
        self.films = FilmJobs(dict(films or {}), self.uploads.folder, self.limits)
        self.forms = Forms(self.limits)
        self.sources = PictureSources(self._path, self.limits, hosts)
        self.metrics = Metrics(
            {
                "a2d_running": ("answers that are being decoded", lambda: self.scheduler.running),
                "a2d_waiting": ("requests that wait for a place", lambda: self.scheduler.waiting),
                "a2d_uploaded_bytes": ("bytes of uploaded files", lambda: self.uploads.bytes),
            }
        )

    def _path(self, number: str) -> Path:
        return self.uploads.get(number).path

    def model(self, name: str) -> Model:
        """The model of a name, its own or its folder's. Raises Refusal (404) that lists the names there are."""
        name = self._aliases.get(name, name)
        if name not in self.models:
            raise Refusal(
                404,
                f"no model {name[:60]!r} for this; this server has {', '.join(self.models) or 'none'}",
                "model_not_found",
                "model",
            )
        return self.models[name]

    async def prepare(self, question: Question) -> Question:
        """The question with the form of its answer.

        Raises RequestError or Refusal for what is wrong with it, Refusal (429) where too many shapes are compiled.
        """
        model = self.model(question.model)
        question.check(model)
        return replace(question, form=await self.forms.get(model.bundle.path, question.shape))

    def submit(self, question: Question, client: Hashable) -> tuple[Ticket, Outbox[Event]]:
        """Put a question into the queue; the events of its answer come to the outbox.

        Raises Refusal (429) where too many wait.
        """
        model = self.model(question.model)
        loop = asyncio.get_running_loop()
        outbox: Outbox[Event] = Outbox(loop, self.limits.unread, is_last, self.scheduler.poke)
        ticket = Ticket((client, question.user), partial(self._begin, question, model), outbox, question.stops)
        self.scheduler.submit(ticket)
        return ticket, outbox

    def _begin(self, question: Question, model: Model) -> Generation:
        """The generation, its prompt read, in a session that shares forwards with its neighbours."""
        if self.limits.together == 1:
            return question.begin(model, model.session())
        made = self._neighbours.session(id(model), lambda beside: model.session(beside=beside))
        return question.begin(model, made)

    def cancel(self, ticket: Ticket) -> None:
        """End a ticket whose client has gone."""
        ticket.cancel()
        self.scheduler.poke()

    def close(self) -> None:
        """End all work, and remove all files."""
        self.forms.close()
        self.scheduler.close()
        self.films.close()
        self.uploads.close()


def _aliases(models: Mapping[str, Model]) -> dict[str, str]:
    """Names of the bundles' folders, with and without the ending, to the models' own, where they are one model's."""
    found: dict[str, set[str]] = {}
    for name, model in models.items():
        for alias in {model.bundle.path.name, model.bundle.path.name.removesuffix(".a2d")}:
            found.setdefault(alias, set()).add(name)
    return {alias: names.pop() for alias, names in found.items() if len(names) == 1 and alias not in models}


class Counted:
    """One answer's share of the metrics."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics, self._model, self._started = metrics, model, time.perf_counter()
        self._first = True

    def saw(self, event: Event) -> None:
        """Count an event."""
        passed = time.perf_counter() - self._started
        if isinstance(event, Stepped) and event.step.final and self._first:
            self._first = False
            self._metrics.observe("a2d_first_block_seconds", passed)
        if isinstance(event, Ended):
            result, model = event.result, self._model
            self._metrics.observe("a2d_answer_seconds", passed)
            self._metrics.count("a2d_answers_total", model=model, reason=event.reason)
            self._metrics.count("a2d_tokens_total", len(result.tokens), model=model)
            self._metrics.count("a2d_prompt_tokens_total", result.prompt_tokens, model=model)
            self._metrics.count("a2d_forwards_total", result.forwards, model=model)
        elif is_last(event):
            self._metrics.count("a2d_answers_total", model=self._model, reason="failed")
