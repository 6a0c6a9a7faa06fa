"""What the reference engine is asked over its socket, and what it answers. Neither torch nor transformers.

POST /write     `Wanted` → lines of JSON, one for each token (`Said`), the last with a `finish`; or one line `Failed`
GET  /livez     200 while it serves
GET  /readyz    200 when a model has just read or written a token, 503 when it could not
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from captionstream.contracts.values import Sha256

Finish = Literal["end", "length", "stop", "constraint"]
"""`end`: the model's own end token; `constraint`: the grammar allows nothing more."""
Kind = Literal["does-not-fit", "not-finite", "bad-grammar", "failed"]


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class Wanted(Wire):
    """A prompt as ids, image places included, and each image's visual tokens (`visual_tokens.encode`).

    Ids and not messages: what strangers wrote is made harmless where prompts are made, once for every engine.
    `seed` None takes the likeliest token, else it draws by the checkpoint's own settings. `grammar` is llguidance's
    Lark.
    """

    model: Sha256
    ids: Annotated[tuple[int, ...], Field(min_length=1)]
    seen: tuple[bytes, ...] = ()
    most_tokens: Annotated[int, Field(gt=0)]
    seed: int | None = None
    grammar: str | None = None


class Said(Wire):
    """`logprob` is of the model's own distribution: no temperature, penalty or grammar in it."""

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
