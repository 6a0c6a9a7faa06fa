"""A text-only engine, a split one and one that looks at the picture: doubles of all three behave as engines must."""

from __future__ import annotations

import pytest

from captionstream.contracts.messages import Egress
from captionstream.payloads.store import PayloadStore
from services.generator.lineup import LanguageModel, OpenAI, Prefix
from services.generator.scripted_writer import ScriptedWriter
from tests.contract.engine_behaviour import Candidate, EngineBehaviour
from tests.unit.generator.builders import OneModel, prefix


class TestTextOnly(EngineBehaviour):
    """Told what was seen, in words."""

    @pytest.fixture
    async def candidate(self, payloads: PayloadStore) -> Candidate:
        return Candidate(LanguageModel(), ScriptedWriter(1))


class TestSplit(EngineBehaviour):
    """Reads the visual tokens of its own eye."""

    @pytest.fixture
    async def candidate(self, payloads: PayloadStore) -> Candidate:
        writer = ScriptedWriter(1, reads=Egress.EMBEDDINGS)
        return Candidate(Prefix(), writer, {"visual": await prefix(payloads)}, OneModel())


class TestEndToEnd(EngineBehaviour):
    """Shown the picture, by somebody else."""

    @pytest.fixture
    async def candidate(self, payloads: PayloadStore) -> Candidate:
        entry = OpenAI(name="remote", url="https://api.example/v1", sends=Egress.PIXELS)
        writer = ScriptedWriter(1, reads=Egress.PIXELS)
        return Candidate(entry, writer, {"picture": await payloads.put(b"jpeg", "image/jpeg")})
