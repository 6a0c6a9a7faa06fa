"""The reference engine: the language halves of every class under transformers' own `generate`, as a server.

It listens on 127.0.0.1 unless told otherwise and speaks as `reference` says. It asks nobody who they are: who reaches
its port may have texts written. What binds a text is made by whoever starts it (`rule`). A model is loaded when it is
first asked for and let go when no alias names it any more and nobody asked for a while. One thread generates, one
request at a time: a request whose asker has gone ends at its next token. Needs torch and transformers.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from triton_models.registry import Registry, RegistryError
from triton_models.vision_language.reference import Failed, Finish, Line, Said, Wanted, probed
from triton_models.vision_language.reference_model import Broke, ReferenceModel
from triton_models.vision_language.rule import RulesFor
from triton_models.vision_language.split import DoesNotFit

HOST = "127.0.0.1"
KEPT_S = 60.0
"""For so long a model that no alias names stays loaded after its last request: events on the way still name it."""
FRESH_S = 5.0
"""A token that is younger is as good as a probe."""
PROBE_WITHIN_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """One request on its way. `say` hands a line to whoever asked; `gone` is set when nobody waits any more."""

    wanted: Wanted
    say: Callable[[Line], None]
    gone: bool = False


@dataclass
class Loaded:
    model: ReferenceModel
    used_at: float = field(default_factory=time.monotonic)


class Generating(threading.Thread):
    """The one thread that owns the models."""

    def __init__(self, registry: Registry, rules_for: RulesFor) -> None:
        super().__init__(name="generate", daemon=True)
        self._registry, self._rules_for = registry, rules_for
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._loaded: dict[str, Loaded] = {}
        self.spoke_at = float("-inf")

    @property
    def loaded(self) -> tuple[str, ...]:
        return tuple(self._loaded)

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def run(self) -> None:
        while True:
            with suppress(queue.Empty):
                self._work(self._jobs.get(timeout=KEPT_S))
            self._let_go()

    def _work(self, job: Job) -> None:
        """Whatever goes wrong ends this request only."""
        if job.gone:
            return
        try:
            self._write(job)
        except Broke as broke:
            job.say(Failed(failed=broke.kind, detail=str(broke)))
        except DoesNotFit as unfit:
            job.say(Failed(failed="does-not-fit", detail=str(unfit)))
        except Exception as problem:
            _log.exception("a request failed")
            job.say(Failed(failed="failed", detail=type(problem).__name__))

    def _write(self, job: Job) -> None:
        model = self._model(job.wanted.model)

        def tell(token: int, logprob: float, finish: Finish | None) -> bool:
            self.spoke_at = time.monotonic()
            job.say(Said(id=token, logprob=logprob, finish=finish))
            return job.gone

        model.write(job.wanted, tell)

    def _model(self, digest: str) -> ReferenceModel:
        """Loads it where it is not. Raises RegistryError."""
        if digest not in self._loaded:
            split_model = self._registry.model(digest)
            split_model.check()
            self._loaded[digest] = Loaded(ReferenceModel.open(split_model, self._rules_for))
        loaded = self._loaded[digest]
        loaded.used_at = time.monotonic()
        return loaded.model

    def _let_go(self) -> None:
        try:
            aliases = self._registry.aliases()
        except RegistryError:
            return
        before = time.monotonic() - KEPT_S
        for digest in [*self._loaded]:
            if self._loaded[digest].used_at < before and not aliases.names_of(digest):
                del self._loaded[digest]


@dataclass(frozen=True)
class Server:
    """The routes, over one registry and one thread."""

    registry: Registry
    generating: Generating

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/write", self.write, methods=["POST"]),
                Route("/livez", self.live),
                Route("/readyz", self.ready),
            ],
            lifespan=self._started,
        )

    @asynccontextmanager
    async def _started(self, _app: Starlette) -> AsyncIterator[None]:
        self.generating.start()
        yield

    async def live(self, _request: Request) -> Response:
        alive = self.generating.is_alive()
        return PlainTextResponse("alive" if alive else "the thread is gone", 200 if alive else 500)

    async def ready(self, _request: Request) -> Response:
        """A token of a model, now or a moment ago. Without a model that needs it there is nothing to wait for."""
        if time.monotonic() - self.generating.spoke_at < FRESH_S:
            return PlainTextResponse("a token was written a moment ago")
        try:
            digest = await run_in_threadpool(probed, self.registry, self.generating.loaded)
            if digest is None:
                return PlainTextResponse("no model needs this engine yet")
            async with asyncio.timeout(PROBE_WITHIN_S):
                said = [line async for line in self._lines(Wanted(model=digest, ids=(0,), most_tokens=1))]
        except (RegistryError, TimeoutError) as problem:
            return PlainTextResponse(str(problem) or "took too long", 503)
        works = bool(said) and isinstance(said[-1], Said)
        return PlainTextResponse("a token was written" if works else f"{said}", 200 if works else 503)

    async def write(self, request: Request) -> Response:
        try:
            wanted = Wanted.model_validate_json(await request.body())
            await run_in_threadpool(self.registry.model, wanted.model)
        except ValidationError as wrong:
            return PlainTextResponse(str(wrong.errors(include_url=False, include_input=False)[0]["msg"]), 422)
        except RegistryError as missing:
            return PlainTextResponse(str(missing), 404)
        return StreamingResponse(self._json(wanted), media_type="application/x-ndjson")

    async def _json(self, wanted: Wanted) -> AsyncIterator[str]:
        async for said in self._lines(wanted):
            yield said.model_dump_json() + "\n"

    async def _lines(self, wanted: Wanted) -> AsyncIterator[Line]:
        """Closing it ends the work. The last line has a finish, or says what failed."""
        loop, inbox = asyncio.get_running_loop(), asyncio.Queue[Line]()
        job = Job(wanted, lambda said: _hand(loop, inbox, said))
        self.generating.submit(job)
        try:
            while True:
                said = await inbox.get()
                yield said
                if isinstance(said, Failed) or said.finish is not None:
                    return
        finally:
            job.gone = True


def _hand(loop: asyncio.AbstractEventLoop, inbox: asyncio.Queue[Line], said: Line) -> None:
    """From the models' thread into the loop, which may have ended meanwhile."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(inbox.put_nowait, said)


def server(models: Path, rules_for: RulesFor) -> Server:
    registry = Registry(models)
    return Server(registry, Generating(registry, rules_for))


def run(server: Server, port: int, threads: int, host: str = HOST) -> None:
    """On `host` until SIGTERM. `threads` are of one forward pass."""
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    uvicorn.run(server.app, host=host, port=port, log_level="warning", access_log=False)
