"""Which engines may write, who may be sent what, and which is asked first: frozen values, as a file has them.

    engines:  {NAME: {kind: prefix | openai | llm | scripted, ...}}
    egress:   {default: nothing, tenants: {TENANT: pixels | embeddings | text | nothing}}
    forms:    {PROFILE: strict | guided}
    routes:   [{engine: NAME, when: {...}, form: ...}, ...]        the first that fits is asked first

The plain sentence stands behind every lineup; a route to `plain` ends there. Secrets are not in the file: it names
them.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Archetype, Egress, Form
from captionstream.contracts.values import Language, Name, Profile, Purpose
from captionstream.runtime.yaml_file import perhaps
from services.generator.openai_settings import ARCHETYPES, MILLION, OpenAISettings, Sends

PLAIN = "plain"
WIDEST_FIRST = (Egress.PIXELS, Egress.EMBEDDINGS, Egress.TEXT, Egress.NOTHING)
LEAST_PROBABILITY = 0.5
"""Of a content word that a guided text takes from the model alone."""
INPUT_TOKENS = {Egress.TEXT: 400, Egress.EMBEDDINGS: 1500, Egress.PIXELS: 1500}
"""Of one caption, about: what an engine is taken to cost until it has told."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# ---------------------------------------------------------------- engines


class Entry(Part):
    """What every engine is told. What is None is as in the settings of the service."""

    required: bool = Field(
        default=False,
        description="an event waits for it, and so does readiness; else the next route is taken",
    )
    probed: bool = Field(default=False, description="readiness asks it, though events may do without it")
    always: bool = Field(default=False, description="asked even where the scene allows one sentence only")
    budget_s: Annotated[float, Field(gt=0)] | None = Field(default=None, description="for one sentence")
    rest_s: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="after it was away, events do without it for so long"
    )

    @property
    @abstractmethod
    def archetype(self) -> Archetype: ...

    @property
    @abstractmethod
    def reads(self) -> Egress:
        """What it must be given, by what that would be if it left."""
        ...

    @property
    def ours(self) -> bool:
        """Whether what it is given stays with us."""
        return True

    @property
    def leaves(self) -> Egress:
        return Egress.NOTHING if self.ours else self.reads

    @property
    def sees(self) -> bool:
        """Whether it is given the picture in some form. Who is not has no ground for a word of its own."""
        return self.reads in (Egress.PIXELS, Egress.EMBEDDINGS)

    @property
    def cost(self) -> float:
        """Of one caption, about: what it is taken to be until the engine has told."""
        return 0.0


class Prefix(Entry):
    """The language half of a split model, in this process or (`reference`) in one of its own."""

    kind: Literal["prefix"] = "prefix"
    engine: Literal["onnxruntime", "reference"] = Field(
        default="onnxruntime",
        description="`reference` is transformers: every class, slower, needs torch beside",
    )
    slots: Annotated[int, Field(gt=0, le=64)] = Field(default=8, description="captions written at once")
    tokens: Annotated[int, Field(gt=0)] = Field(default=2048, description="room of one, prompt and all")
    threads: Annotated[int, Field(gt=0)] = 1
    facts: bool = Field(default=True, description="the scene's facts stand in the prompt, behind the image")
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="above 0 draws by the checkpoint's own settings and the seed"
    )
    constrained: bool = Field(
        default=True, description="the grammar masks tokens; else it only judges the text"
    )

    @property
    def archetype(self) -> Archetype:
        return Archetype.SPLIT

    @property
    def reads(self) -> Egress:
        return Egress.EMBEDDINGS


class LanguageModel(Entry):
    """The language model of the service's own settings (CAPTIONSTREAM_LANGUAGE_MODEL): llama.cpp under a grammar."""

    kind: Literal["llm"] = "llm"
    url: str = Field(default="", exclude=True, description="filled in from the settings, not from a file")

    @property
    def archetype(self) -> Archetype:
        return Archetype.EVIDENCE

    @property
    def reads(self) -> Egress:
        return Egress.TEXT

    @property
    def ours(self) -> bool:
        return is_ours(self.url)


class OpenAI(OpenAISettings, Entry):
    """Any engine behind an OpenAI-compatible API. It is not ours unless `local` says so."""

    @property
    def reads(self) -> Egress:
        return self.sends

    @property
    def ours(self) -> bool:
        return self.local

    @property
    def cost(self) -> float:
        if self.price is None:
            return 0.0
        input_tokens = INPUT_TOKENS[self.sends]
        return (input_tokens * self.price.input + self.max_tokens * self.price.output) / MILLION


class Scripted(Entry):
    """The double: writes any of the allowed sentences, and stands for an engine of any archetype."""

    kind: Literal["scripted"] = "scripted"
    sends: Sends = Egress.TEXT
    local: bool = True

    @property
    def archetype(self) -> Archetype:
        return ARCHETYPES[self.sends]

    @property
    def reads(self) -> Egress:
        return self.sends

    @property
    def ours(self) -> bool:
        return self.local


Engine = Annotated[Prefix | OpenAI | LanguageModel | Scripted, Field(discriminator="kind")]

# ---------------------------------------------------------------- rules and routes


class EgressRule(Part):
    """What may leave for an engine that is not ours. Who is not named gets `default`."""

    default: Egress = Egress.NOTHING
    tenants: dict[Name, Egress] = {}

    def of(self, tenant: str) -> Egress:
        return self.tenants.get(tenant, self.default)


class When(Part):
    """All that is given must hold. `languages`: `en` holds for en-GB too."""

    profiles: tuple[Profile, ...] = ()
    languages: tuple[Language, ...] = ()
    purposes: tuple[Purpose, ...] = ()
    tenants: tuple[Name, ...] = ()
    least_s: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="seconds that must be left to the deadline"
    )
    most_cost: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="of one caption, in the engine's currency"
    )


class Route(Part):
    engine: Name
    when: When = When()
    form: Form | None = Field(default=None, description="else that of the profile")


class Lineup(Part):
    engines: dict[Name, Engine] = {}
    egress: EgressRule = EgressRule()
    forms: dict[Profile, Form] = Field(default={}, description="strict where nothing is said")
    least_probability: Annotated[float, Field(gt=0, le=1)] = LEAST_PROBABILITY
    routes: tuple[Route, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _named_by_their_key(cls, told: Any) -> Any:
        """An engine behind an API knows its name; the file says it once, as its key."""
        engines = told.get("engines") if isinstance(told, dict) else None
        if not isinstance(engines, dict):
            return told
        return {**told, "engines": {name: _with_name(name, engine) for name, engine in engines.items()}}

    @cached_property
    def digest(self) -> str:
        """Changes with everything that may change a caption."""
        return sha256_hex(json.dumps(self.model_dump(), sort_keys=True, default=sorted).encode())

    def form(self, route: Route, profile: Profile) -> Form:
        """Guided only where the engine sees."""
        wanted = route.form or self.forms.get(profile, Form.STRICT)
        return wanted if self.engines[route.engine].sees else Form.STRICT

    def problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What would never be asked, or could not be: where, and what is wrong with it."""
        names = (*self.engines, PLAIN)
        for number, route in enumerate(self.routes):
            if route.engine not in names:
                yield (
                    ("routes", number, "engine"),
                    f"unknown engine `{route.engine}`{perhaps(route.engine, names)}",
                )
            elif route.form is Form.GUIDED and not (
                route.engine in self.engines and self.engines[route.engine].sees
            ):
                yield (
                    ("routes", number, "form"),
                    f"`{route.engine}` does not see the picture; guided is for who does",
                )
        named = {route.engine for route in self.routes}
        for name in self.engines:
            if name == PLAIN:
                yield (
                    ("engines", name),
                    "`plain` is the name of the plain sentence; call the engine otherwise",
                )
            elif name not in named:
                yield ("engines", name), f"no route names `{name}`: add one, or leave the engine out"


def _with_name(name: Any, engine: Any) -> Any:
    behind_api = isinstance(engine, dict) and engine.get("kind") == "openai"
    return {"name": name, **engine} if behind_api else engine


def allows(rule: Egress, leaves: Egress) -> bool:
    return WIDEST_FIRST.index(rule) <= WIDEST_FIRST.index(leaves)


def widest(sent: Iterator[Egress]) -> Egress:
    return min(sent, key=WIDEST_FIRST.index, default=Egress.NOTHING)


def is_ours(url: str) -> bool:
    """Whether an address is of this machine or its own network: what goes there has not left."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))
