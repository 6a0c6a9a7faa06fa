"""The writer's double, and a language model over HTTP in each of its forms, behave as a writer must."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from services.generator.language_model import LanguageModel
from services.generator.openai_settings import OpenAISettings
from services.generator.scripted_writer import ScriptedWriter
from services.generator.writer import Writer
from tests.contract.writer_behaviour import RemoteWriterBehaviour, WriterBehaviour
from tests.unit.generator.loopback_model import Answering, LoopbackModel, loopback

COUNT = {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 16}}


async def says_again(request: Answering) -> None:
    """What an obedient model answers, in the form that was asked for. Knows the probe's word."""
    asked = request.body["messages"][-1]["content"]
    said = asked if isinstance(asked, str) else asked[-1]["text"]
    said = "yes" if said == "Are you there?" else said
    told = json.dumps({"sentence": said}) if "response_format" in request.body else said
    await request.say(*(told[at : at + 5] for at in range(0, len(told), 5)), usage=COUNT)


def engine(server: LoopbackModel, **changes: Any) -> OpenAISettings:
    return OpenAISettings(**{"name": "double", "url": server.url} | changes)


class TestScriptedWriter(WriterBehaviour):
    counts = True

    @pytest.fixture
    def writer(self) -> Writer:
        return ScriptedWriter(seed=3)


class OverHttp(RemoteWriterBehaviour):
    counts = True
    told: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    async def writer(self) -> AsyncIterator[Writer]:
        async with loopback(says_again) as server, LanguageModel.open(engine(server, **self.told)) as model:
            yield model

    @pytest.fixture
    async def away(self) -> AsyncIterator[Writer]:
        async with loopback(says_again) as server:
            gone = engine(server, **self.told)
        async with LanguageModel.open(gone) as model:
            yield model


class TestGrammarEngine(OverHttp):
    told: ClassVar[dict[str, Any]] = {"output": "grammar"}


class TestSchemaEngine(OverHttp):
    told: ClassVar[dict[str, Any]] = {"output": "schema"}


class TestFreeEngine(OverHttp):
    told: ClassVar[dict[str, Any]] = {"lists_models": False, "model": "double"}
