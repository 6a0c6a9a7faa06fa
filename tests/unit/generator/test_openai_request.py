"""What an engine is sent: as much as its settings allow, in the words of its API."""

from __future__ import annotations

import base64
import io
import pickletools
import zipfile
from typing import Any

import numpy as np
import pytest

from captionstream.contracts.messages import Form
from captionstream.contracts.values import ModelReference
from services.generator.grammar import Literal
from services.generator.openai.request import NotForThisEngine, request
from services.generator.openai.torch_file import torch_file
from services.generator.openai_settings import OpenAISettings
from services.generator.prompt import Prompt
from services.generator.schema import json_schema
from services.generator.writer import Picture, Seen, Task
from triton_models.vision_language.visual_tokens import Grid, VisualTokens

SPLIT = "5" * 64
TASK = Task(Prompt("Write.", "facts"), Literal("A red car."))
VALUES = np.arange(8, dtype=np.float16).reshape(4, 2)


def seen(grid: Grid = (), digest: str = SPLIT) -> Seen:
    return Seen(ModelReference(name="tiny", version="1", digest=digest), VisualTokens(VALUES, grid))


def task(**changes: Any) -> Task:
    return Task(**{"prompt": TASK.prompt, "allowed": TASK.allowed} | changes)


def engine(**changes: Any) -> OpenAISettings:
    return OpenAISettings(**{"name": "engine", "url": "http://127.0.0.1:1/v1"} | changes)


def embedding(**changes: Any) -> OpenAISettings:
    return engine(**{"sends": "embeddings", "split_model": SPLIT} | changes)


def said(shown: Task, told: OpenAISettings) -> Any:
    return request(shown, "m", told)["messages"][1]["content"]


def test_evidence_travels_as_text_and_nothing_else_does() -> None:
    """An engine that reads text gets neither picture nor tokens, whatever the task holds."""
    full = task(picture=Picture("image/jpeg", b"pixels"), seen=seen())
    assert request(TASK, "m", engine()) == request(full, "m", engine())
    assert "facts" == said(full, engine())


def test_a_picture_travels_as_a_data_address_before_the_facts() -> None:
    """Byte for byte, and never as an address that somebody else would fetch."""
    picture, facts = said(task(picture=Picture("image/jpeg", b"\xff\xd8pixels")), engine(sends="pixels"))
    head, _, data = picture["image_url"]["url"].partition(",")
    assert ("image_url", "data:image/jpeg;base64") == (picture["type"], head)
    assert b"\xff\xd8pixels" == base64.b64decode(data)
    assert {"type": "text", "text": "facts"} == facts


def test_visual_tokens_travel_as_image_embeds() -> None:
    """Alone where their number says enough, with the grid where positions depend on it."""
    plain, facts = said(task(seen=seen((2, 2))), embedding())
    assert ("image_embeds", "text") == (plain["type"], facts["type"])
    assert torch_file(VALUES) == base64.b64decode(plain["image_embeds"])
    placed, _ = said(task(seen=seen((1, 4, 4))), embedding())
    assert torch_file(VALUES) == base64.b64decode(placed["image_embeds"]["image_embeds"])
    grid = torch_file(np.array([1, 4, 4], np.int64))
    assert grid == base64.b64decode(placed["image_embeds"]["image_grid_thw"])


def test_visual_tokens_travel_as_prompt_embeds_inside_the_template() -> None:
    """For language models that know no pictures: what stands around one is text from the settings."""
    told = embedding(carrier="prompt_embeds", around=("<image>", ""))
    before, tokens, facts = said(task(seen=seen((2, 2))), told)
    assert ["<image>", "facts"] == [before["text"], facts["text"]]
    assert ("prompt_embeds", torch_file(VALUES)) == (tokens["type"], base64.b64decode(tokens["data"]))


@pytest.mark.parametrize(
    ("shown", "told", "why"),
    [
        (task(seen=seen((1, 4, 4))), embedding(carrier="prompt_embeds"), "M-RoPE"),
        (task(seen=seen(digest="6" * 64)), embedding(), "mixed-encoders"),
        (task(), embedding(), "visual tokens"),
        (task(seen=seen()), engine(sends="pixels"), "picture"),
    ],
    ids=["M-RoPE", "another model", "no tokens", "no picture"],
)
def test_what_an_engine_cannot_read_is_not_sent(shown: Task, told: OpenAISettings, why: str) -> None:
    """Tokens of another model are noise, and some servers die of positions that they do not know."""
    with pytest.raises(NotForThisEngine, match=why):
        request(shown, "m", told)


def test_each_engine_is_bound_as_it_can_be() -> None:
    """By a grammar, by a schema, or by nothing but the judge afterwards."""
    bounds = {"grammar", "response_format", "logprobs"}
    assert 'root ::= "A red car."' == request(TASK, "m", engine(output="grammar"))["grammar"]
    told = request(TASK, "m", engine(output="schema"))["response_format"]
    assert ("json_schema", True) == (told["type"], told["json_schema"]["strict"])
    assert json_schema(TASK) == told["json_schema"]["schema"]
    assert set() == bounds & request(TASK, "m", engine()).keys()


def test_a_guided_text_is_free_and_asks_how_probable_it_is() -> None:
    """A grammar binds letter by letter; in guided form the model's own probabilities ground its words."""
    body = request(task(form=Form.GUIDED), "m", engine(output="grammar"))
    assert "grammar" not in body
    assert body["logprobs"]
    assert request(TASK, "m", engine(logprobs=True))["logprobs"]


def test_parameters_that_a_server_refuses_are_left_out() -> None:
    """Reasoning models know no temperature and another name for the limit."""
    told = engine(
        max_tokens=9, max_tokens_as="max_completion_tokens", without=["temperature", "seed", "stream_options"]
    )
    body = request(TASK, "m", told)
    assert {"model", "messages", "stream", "max_completion_tokens"} == body.keys()
    assert 9 == body["max_completion_tokens"]
    assert {"include_usage": True} == request(TASK, "m", engine())["stream_options"]


def test_a_tensor_file_is_a_stored_archive_with_one_storage() -> None:
    """As torch reads it: the values little-endian, and a pickle that names no code but torch's own."""
    archive = zipfile.ZipFile(io.BytesIO(torch_file(VALUES[::2])))
    assert VALUES[::2].tobytes() == archive.read("archive/data/0")
    names = [
        told for op, told, _ in pickletools.genops(archive.read("archive/data.pkl")) if op.name == "GLOBAL"
    ]
    assert ["torch._utils _rebuild_tensor_v2", "torch HalfStorage", "collections OrderedDict"] == names
