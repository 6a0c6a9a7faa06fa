"""What the reference engine is asked over its socket, and what it answers. Neither torch nor transformers.

POST /write     `Wanted` → lines of JSON, one for each token (`Said`), the last with a `finish`; or one line `Failed`
GET  /livez     200 while it serves
GET  /readyz    200 when a model has just read or written a token, 503 when it could not
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from captionstream.contracts.values import Sha256
from triton_models.registry import Registry

Finish = Literal["end", "length", "stop", "constraint"]
"""`end`: the model's own end token; `constraint`: what binds the text allows nothing more."""
Kind = Literal["does-not-fit", "not-finite", "bad-grammar", "failed"]


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class Wanted(Wire):
    """A prompt as ids, image places included, and each image's visual tokens (`visual_tokens.encode`).

    Ids and not messages: what strangers wrote is made harmless where prompts are made, once for every engine.
    `seed` None takes the likeliest token, else it draws by the checkpoint's own settings. What binds the text is
    one of two, or nothing: `grammar` is llguidance's Lark, `guide` is JSON for whoever makes the server's rules.
    """

    model: Sha256
    ids: Annotated[tuple[int, ...], Field(min_length=1)]
    seen: tuple[bytes, ...] = ()
    most_tokens: Annotated[int, Field(gt=0)]
    seed: int | None = None
    grammar: str | None = None
    guide: str | None = None

    @model_validator(mode="after")
    def _has_one_rule(self) -> Wanted:
        if self.grammar is not None and self.guide is not None:
            raise ValueError("a text is bound by a grammar or by a guide")
        return self

    @property
    def bound(self) -> bool:
        return self.grammar is not None or self.guide is not None


class Said(Wire):
    """`logprob` is of the model's own distribution: no temperature, penalty or mask in it."""

    id: int
    logprob: float
    finish: Finish | None = None


class Failed(Wire):
    failed: Kind
    detail: str = ""


Line = Said | Failed
_LINE: TypeAdapter[Line] = TypeAdapter(Line)


def line(data: str | bytes) -> Line:
    """Raises pydantic's ValidationError."""
    return _LINE.validate_json(data)


def probed(registry: Registry, loaded: Sequence[str]) -> str | None:
    """The model to ask, of those that an alias names: one that is loaded, else one that has no other engine.

    None where there is neither: a model that nobody uses is not loaded by a question, nor kept. Raises RegistryError.
    """
    aliases = registry.aliases()
    alone = [model.digest for model in registry.models() if not model.servable]
    return next((digest for digest in [*loaded, *alone] if aliases.names_of(digest)), None)
