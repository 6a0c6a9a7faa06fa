"""The `prefix` engine as a writer: the language half of the very model whose eye saw the image.

    tokens of a model that is not here, or of another width      Unprocessable (mixed-encoders), before a word
    a model that changed or cannot be loaded, an engine away     Unavailable
    a prompt that does not fit, a text that is no sentence       Unusable

A model is loaded when its first visual tokens come, and let go when no alias names it any more and nobody asked for a
while. Models whose class or settings have no decoder for ONNX Runtime are written by the reference engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import httpx
import structlog

from captionstream.contracts import messages as m
from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import RefusalReason, Usage
from captionstream.contracts.values import ModelReference
from captionstream.runtime.errors import Unavailable, Unprocessable
from captionstream.telemetry import metrics
from services.generator.grammar import Literal as Word
from services.generator.prefix import reference
from services.generator.prefix.constraint import Constraint, NothingAllowed
from services.generator.prefix.engine import Asked, Closed, Decoding, PrefixEngine, PrefixError, Room, Token
from services.generator.prefix.gate import Verdict
from services.generator.prefix.grammar_mask import Tokens, constraint_of
from services.generator.prefix.prompt import Message
from services.generator.prefix.reference import ReferenceHalf
from services.generator.prompt import Prompt
from services.generator.writer import Piece, Seen, Task, Unusable
from triton_models.registry import NotThere, Registry, RegistryError, SplitModel
from triton_models.vision_language.decoder_graph import NotServable
from triton_models.vision_language.split import DoesNotFit
from triton_models.vision_language.visual_tokens import VisualTokens

ENGINE = "prefix engine"
KEPT_S = 60.0
"""For so long a model that no alias names stays loaded after its last request: events on the way still name it."""
PROBE = Task(Prompt("You answer in one word.", "Are you there?"), Word("yes"))

log = structlog.get_logger()
Which = Literal["onnxruntime", "reference"]


class Half(Protocol):
    """One language half in one engine. `how` is the engine and the form of its weights."""

    @property
    def how(self) -> str: ...

    def asked(self, messages: Sequence[Message], seen: Sequence[VisualTokens]) -> Asked:
        """Raises DoesNotFit or PrefixError."""
        ...

    def write(self, asked: Asked, decoding: Decoding, task: Task | None) -> AsyncGenerator[Token, None]:
        """Under what binds the task; free without one. Raises Unavailable, Unusable, PrefixError."""
        ...

    async def close(self) -> None: ...


def note(verdict: Verdict) -> None:
    """What the gate found, for those who watch."""
    metrics.GATE.labels(verdict.recipe, "yes").set(verdict.serving.kl)
    for refused in verdict.refused:
        metrics.GATE.labels(refused.recipe, "no").set(refused.kl)


@dataclass(frozen=True)
class OnnxHalf:
    """In this process, by ONNX Runtime."""

    engine: PrefixEngine
    tokens: Tokens = field(repr=False)

    @classmethod
    async def open(cls, model: SplitModel, room: Room) -> OnnxHalf:
        """Raises NotServable."""
        engine = await PrefixEngine.open(_Parts(model), room)
        try:
            ends = sorted(engine.ends)
            tokens = await asyncio.to_thread(Tokens.of, engine.tokenizer, ends, engine.vocabulary)
        except BaseException:
            await engine.close()
            raise
        note(engine.verdict)
        return cls(engine, tokens)

    @property
    def how(self) -> str:
        return f"onnxruntime {self.engine.recipe}"

    def asked(self, messages: Sequence[Message], seen: Sequence[VisualTokens]) -> Asked:
        return self.engine.asked(messages, seen)

    async def write(self, asked: Asked, decoding: Decoding, task: Task | None) -> AsyncGenerator[Token, None]:
        constraint = None if task is None else _constraint(task, self.tokens)
        async with aclosing(self.engine.write(asked, decoding, constraint)) as tokens:
            async for token in tokens:
                yield token

    async def close(self) -> None:
        await self.engine.close()


@dataclass(frozen=True)
class _Parts:
    """A registry's model as the engine takes it."""

    model: SplitModel

    @property
    def split(self) -> Any:
        return self.model.halves.split

    @property
    def language(self) -> Path:
        return self.model.language

    @property
    def serving(self) -> Path:
        return self.model.serving


@dataclass(eq=False)
class _Loaded:
    """A half, or its coming. `running` requests are under way."""

    half: asyncio.Task[Half]
    running: int = 0
    used_at: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        self.running += 1

    def end(self) -> None:
        self.running -= 1
        self.used_at = time.monotonic()

    @property
    def here(self) -> bool:
        return self.half.done() and not self.failed

    @property
    def failed(self) -> bool:
        return self.half.done() and (self.half.cancelled() or self.half.exception() is not None)


@dataclass(frozen=True, slots=True)
class PrefixSettings:
    """`which` engine is tried first. `facts`: the scene's facts stand in the prompt, behind the image."""

    which: Which = "onnxruntime"
    room: Room = Room()  # noqa: RUF009 -- frozen
    facts: bool = True
    kept_s: float = KEPT_S


class PrefixWriter:
    """Writes with every model of a registry. `remote` leads to the reference engine, if there is one."""

    def __init__(
        self,
        registry: Registry,
        decoding: m.Decoding,
        told: PrefixSettings = PrefixSettings(),
        remote: httpx.AsyncClient | None = None,
    ) -> None:
        self.decoding = decoding
        self._registry, self._told, self._remote = registry, told, remote
        self._loaded: dict[str, _Loaded] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        registry: Registry,
        decoding: m.Decoding,
        told: PrefixSettings = PrefixSettings(),
        reference_url: str | None = None,
    ) -> AsyncIterator[PrefixWriter]:
        """Loads nothing yet."""
        async with AsyncExitStack() as stack:
            remote = None
            if reference_url is not None:
                remote = await stack.enter_async_context(reference.connected(reference_url))
            writer = cls(registry, decoding, told, remote)
            stack.push_async_callback(writer.close)
            yield writer

    async def model(self, task: Task | None = None) -> ModelReference:
        """The language half that writes the task, or that of production. Raises Unavailable, Unprocessable."""
        model = self._production() if task is None else on_shelf(self._registry, _seen(task))
        if model is None:
            raise Unavailable(ENGINE, "no model is promoted")
        async with self._half(model) as half:
            return language_reference(model, half.how)

    async def write(self, task: Task) -> AsyncGenerator[Piece | Usage, None]:
        """Raises Unavailable, Unusable, Unprocessable. Closing it ends the writing at the next token."""
        written, last, half_said = 0, None, 0.0
        async with self.writing(task) as (asked, tokens):
            async for last in tokens:
                written, half_said = written + 1, half_said + last.logprob
                if last.text:
                    yield Piece(last.text, half_said)
                    half_said = 0.0
        if last is None or last.finish == "length":
            raise Unusable("the sentence is too long")
        yield Usage(input_tokens=len(asked.ids), output_tokens=written, cached_tokens=last.cached)

    @asynccontextmanager
    async def writing(self, task: Task) -> AsyncIterator[tuple[Asked, AsyncGenerator[Token, None]]]:
        """The prompt of a task and the tokens of its text, as they come. Raises as `write` does."""
        model = on_shelf(self._registry, _seen(task))
        constrained = task if self.decoding.constrained else None
        with _translated():
            async with self._half(model) as half:
                asked = half.asked(messages_of(task, self._told.facts), [_seen(task).tokens])
                written = aclosing(half.write(asked, self._decoding(), constrained))
                with metrics.ENGINE_SECONDS.labels(ENGINE, model.name).time():
                    async with written as tokens:
                        yield asked, tokens

    async def probe(self) -> None:
        """One word under a grammar, by the model of each alias; nothing to ask where no alias is set."""
        for model in self._named():
            with _translated():
                async with self._half(model) as half:
                    text = await _one_word(half)
            if text.strip() != "yes":
                raise Unavailable(ENGINE, f"{model.name} does not keep to a grammar: {text[:80]!r}")

    def why(self, seen: Seen) -> str:
        """Which engine writes for that model, and why: for the reason of a choice. Raises Unprocessable."""
        loaded = self._loaded.get(on_shelf(self._registry, seen).digest)
        if loaded is not None and loaded.here:
            return f"by {loaded.half.result().how}"
        why_not = self._why_not_onnx(self._registry.model(seen.model.digest))
        return f"by the reference engine: {why_not}" if why_not else "by ONNX Runtime"

    async def close(self) -> None:
        for digest in [*self._loaded]:
            await self._let_go(digest)

    @property
    def loaded(self) -> tuple[str, ...]:
        """Digests of the models that are here."""
        return tuple(digest for digest, loaded in self._loaded.items() if loaded.here)

    # ------------------------------------------------------------ which models

    def _named(self) -> list[SplitModel]:
        """Production and canary, as far as they are there. Raises Unavailable."""
        try:
            aliases = self._registry.aliases()
            named = dict.fromkeys(filter(None, (aliases.production, aliases.canary)))
            return [self._registry.model(digest) for digest in named]
        except RegistryError as broken:
            raise Unavailable(ENGINE, str(broken)) from broken

    def _production(self) -> SplitModel | None:
        return next(iter(self._named()), None)

    def _decoding(self) -> Decoding:
        """The checkpoint's own settings shape what is drawn; a temperature of 0 takes the likeliest token."""
        seed = self.decoding.seed if self.decoding.temperature > 0 else None
        return Decoding(self.decoding.max_tokens, seed)

    # ------------------------------------------------------------ which are loaded

    @asynccontextmanager
    async def _half(self, model: SplitModel) -> AsyncIterator[Half]:
        """Whoever gives up while it loads leaves the loading to the next one. Raises Unavailable."""
        loaded = self._loaded.get(model.digest)
        if loaded is None or loaded.failed:
            loaded = self._loaded[model.digest] = _Loaded(asyncio.create_task(self._load(model)))
        loaded.begin()
        try:
            yield await asyncio.shield(loaded.half)
        finally:
            loaded.end()
            await self._let_go_of_the_unnamed()

    async def _load(self, model: SplitModel) -> Half:
        try:
            await asyncio.to_thread(model.check)
            why_not = self._why_not_onnx(model)
            return await (self._reference(model, why_not) if why_not else self._onnx(model))
        except (RegistryError, DoesNotFit, OSError) as broken:
            raise Unavailable(ENGINE, str(broken)) from broken

    def _why_not_onnx(self, model: SplitModel) -> str:
        """Empty where ONNX Runtime is to write, unless its graphs are refused."""
        if self._told.which == "reference":
            return "it is set to be asked"
        return "" if model.servable else "the class has no decoder for ONNX Runtime"

    async def _onnx(self, model: SplitModel) -> Half:
        try:
            return await OnnxHalf.open(model, self._told.room)
        except NotServable as refused:
            log.warning("ONNX Runtime does not serve a model", model=model.name, reason=str(refused))
            return await self._reference(model, str(refused))

    async def _reference(self, model: SplitModel, why: str) -> Half:
        if self._remote is None:
            raise Unavailable(ENGINE, f"{model.name} needs the reference engine, which is not set up: {why}")
        return await ReferenceHalf.open(model, self._remote)

    async def _let_go_of_the_unnamed(self) -> None:
        try:
            aliases = self._registry.aliases()
        except RegistryError:
            return
        before = time.monotonic() - self._told.kept_s
        for digest, loaded in [*self._loaded.items()]:
            if not loaded.running and loaded.used_at <= before and not aliases.names_of(digest):
                await self._let_go(digest)

    async def _let_go(self, digest: str) -> None:
        loaded = self._loaded.pop(digest)
        if not loaded.half.done():
            loaded.half.cancel()
        half = (await asyncio.gather(loaded.half, return_exceptions=True))[0]
        if not isinstance(half, BaseException):
            await half.close()


# ---------------------------------------------------------------- what is asked


def on_shelf(registry: Registry, seen: Seen) -> SplitModel:
    """The model that made these visual tokens. Raises Unprocessable (mixed-encoders) where its language half is not
    here or takes other tokens, Unavailable where it is here and is not what was proved."""
    try:
        model = registry.model(seen.model.digest)
    except NotThere:
        named = f"{seen.model.name} {seen.model.digest[:12]}"
        raise Unprocessable(
            RefusalReason.MIXED_ENCODERS, f"the language half of {named} is not here"
        ) from None
    except RegistryError as changed:
        raise Unavailable(ENGINE, str(changed)) from changed
    width = seen.tokens.values.shape[1]
    if width != model.halves.split.width:
        said = f"visual tokens of {width} values, {model.name} takes {model.halves.split.width}"
        raise Unprocessable(RefusalReason.MIXED_ENCODERS, said)
    return model


def language_reference(model: SplitModel, how: str) -> ModelReference:
    """The language half as it writes: its own files, the engine and the form of the weights."""
    files = [file.model_dump_json() for file in model.halves.files if file.name.startswith("language/")]
    version = f"{model.reference.version} {how}"
    return ModelReference(name=model.name, version=version, digest=sha256_hex("\n".join(files).encode()))


def messages_of(task: Task, facts: bool = True) -> list[Message]:
    """The image, then the instruction, then the facts: one turn, since not every class has a system's turn."""
    told = f"{task.prompt.system}\n{task.prompt.user}" if facts else task.prompt.system
    image = [{"type": "image"}] if task.seen is not None else []
    return [{"role": "user", "content": [*image, {"type": "text", "text": told}]}]


def _seen(task: Task) -> Seen:
    if task.seen is None:
        raise Unusable("there are no visual tokens to write from")
    return task.seen


async def _one_word(half: Half) -> str:
    asked = half.asked(messages_of(PROBE), [])
    async with aclosing(half.write(asked, Decoding(8), PROBE)) as tokens:
        return "".join([token.text async for token in tokens])


def _constraint(task: Task, tokens: Tokens) -> Constraint:
    try:
        return constraint_of(task, tokens)
    except ValueError as refused:
        raise Unusable(f"the grammar cannot be used: {refused}"[:200]) from refused


# ---------------------------------------------------------------- the world's edges


@contextmanager
def _translated() -> Iterator[None]:
    """What engines raise, as what writers raise."""
    try:
        yield
    except Closed as away:
        raise Unavailable(ENGINE, str(away)) from away
    except (DoesNotFit, PrefixError, NothingAllowed) as unfit:
        raise Unusable(f"{type(unfit).__name__}: {unfit}"[:200]) from unfit
