"""A task as the body of a chat completion: a plain value, and nothing that its engine may not be sent."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
import numpy.typing as npt

from captionstream.contracts.messages import Egress, Form
from services.generator.grammar import gbnf
from services.generator.openai.torch_file import torch_file
from services.generator.openai_settings import Carrier, OpenAISettings, Output
from services.generator.schema import json_schema
from services.generator.writer import Picture, Seen, Task, Unusable

Json = dict[str, Any]
MROPE_AXES = 3  # frames, rows, columns: the grid of models that place tokens in time and space


class NotForThisEngine(Unusable):
    """The task cannot be put to this engine; no try will change that."""


def request(task: Task, model: str, told: OpenAISettings) -> Json:
    """Raises NotForThisEngine where the task lacks what the engine reads, or carries what it cannot read."""
    body: Json = {
        "model": model,
        "messages": [
            {"role": "system", "content": task.prompt.system},
            {"role": "user", "content": content(task, told)},
        ],
        "stream": True,
        told.max_tokens_as: told.max_tokens,
        "seed": told.seed,
        "temperature": told.temperature,
        "stream_options": {"include_usage": True},
    }
    body |= _bounds(task, told) | ({"logprobs": True} if asks_logprobs(task, told) else {})
    return {name: value for name, value in body.items() if name not in told.without}


def asks_logprobs(task: Task, told: OpenAISettings) -> bool:
    """A free text in guided form is nothing without them; llama.cpp has them, of others the settings know."""
    return told.logprobs or (told.output is Output.GRAMMAR and task.form is Form.GUIDED)


def _bounds(task: Task, told: OpenAISettings) -> Json:
    """What keeps the answer to the scene. A grammar binds letter by letter: a guided text does without."""
    if told.output is Output.GRAMMAR and task.form is Form.STRICT:
        return {"grammar": gbnf(task.allowed)}
    if told.output is Output.SCHEMA:
        schema = {"name": "caption", "strict": True, "schema": json_schema(task)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {}


def content(task: Task, told: OpenAISettings) -> str | list[Json]:
    """What the user says: the facts, after what the engine is shown of the picture."""
    match told.sends:
        case Egress.TEXT:
            return task.prompt.user
        case Egress.PIXELS:
            return [_picture(task.picture), _text(task.prompt.user)]
        case Egress.EMBEDDINGS:
            return [*_seen(task.seen, told), _text(task.prompt.user)]


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _picture(picture: Picture | None) -> Json:
    if picture is None:
        raise NotForThisEngine("the engine was not given the picture")
    address = f"data:{picture.media_type};base64,{b64encode(picture.data).decode()}"
    return {"type": "image_url", "image_url": {"url": address}}


def _seen(seen: Seen | None, told: OpenAISettings) -> list[Json]:
    if seen is None:
        raise NotForThisEngine("the engine was not given the visual tokens")
    if seen.model.digest != told.split_model:
        raise NotForThisEngine("mixed-encoders: the visual tokens are of another model")
    if told.carrier is Carrier.IMAGE:
        return [_image_embeds(seen)]
    before, after = map(_text, told.around)
    return [part for part in (before, _prompt_embeds(seen), after) if part.get("text") != ""]


def _prompt_embeds(seen: Seen) -> Json:
    """vLLM gives such tokens positions in a row: wrong for M-RoPE, and up to 0.23 the end of the server
    (CVE-2026-55514)."""
    if len(seen.tokens.grid) == MROPE_AXES:
        raise NotForThisEngine("prompt_embeds cannot carry the grid of an M-RoPE model: use image_embeds")
    return {"type": "prompt_embeds", "data": _tensor(seen.tokens.values)}


def _image_embeds(seen: Seen) -> Json:
    """The grid goes with the tokens where positions depend on it; other classes are told by their number."""
    values = _tensor(seen.tokens.values)
    if len(seen.tokens.grid) != MROPE_AXES:
        return {"type": "image_embeds", "image_embeds": values}
    grid = _tensor(np.array(seen.tokens.grid, np.int64))
    return {"type": "image_embeds", "image_embeds": {"image_embeds": values, "image_grid_thw": grid}}


def _tensor(values: npt.NDArray[Any]) -> str:
    return b64encode(torch_file(values)).decode()
