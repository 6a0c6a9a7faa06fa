"""How a settings file describes an engine, and what it must not hold."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from captionstream.contracts.messages import Archetype, Egress, Usage
from captionstream.runtime.errors import Misconfigured
from services.generator.openai_settings import OpenAISettings, Output, Parameter, Price

FILE = """
name: managed
url: https://models.example/v1
api_key_from: MANAGED_KEY
model: big-1
sends: pixels
output: schema
price: {input: 2.5, output: 10, cached: 1.25, currency: USD}
max_tokens_as: max_completion_tokens
without: [temperature, seed]
"""


def engine(**changes: Any) -> OpenAISettings:
    return OpenAISettings(**{"name": "engine", "url": "http://127.0.0.1:1/v1"} | changes)


def test_a_file_describes_an_engine() -> None:
    """A managed one, as its makers ask for it."""
    told = OpenAISettings.model_validate(yaml.safe_load(FILE))
    assert (Egress.PIXELS, Output.SCHEMA, False) == (told.sends, told.output, told.local)
    assert {Parameter.TEMPERATURE, Parameter.SEED} == told.without
    assert Archetype.END_TO_END == told.archetype


@pytest.mark.parametrize(
    ("sends", "archetype"),
    [
        (Egress.TEXT, Archetype.EVIDENCE),
        (Egress.PIXELS, Archetype.END_TO_END),
        (Egress.EMBEDDINGS, Archetype.SPLIT),
    ],
)
def test_what_is_sent_names_the_way_from_pixels_to_words(sends: Egress, archetype: Archetype) -> None:
    """One of the three, decided by one field."""
    assert archetype == engine(sends=sends, split_model="0" * 64).archetype


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"api_key": "k-1"}, "api_key"),
        ({"url": "https://user:k-1@models.example/v1"}, "environment"),
        ({"url": "https://models.example/v1?key=k-1"}, "environment"),
        ({"url": "models.example/v1"}, "http"),
        ({"lists_models": False}, "name the model"),
        ({"sends": "embeddings"}, "split_model"),
        ({"sends": "nothing"}, "sends"),
        ({"price": {"input": 1, "output": 1, "currency": "dollars"}}, "currency"),
        ({"price": {"input": -1, "output": 1, "currency": "USD"}}, "input"),
    ],
)
def test_a_description_that_cannot_work_is_refused(changes: dict[str, Any], why: str) -> None:
    """Where it is read, not where it would fail; and no key stands in a file."""
    with pytest.raises(ValidationError, match=why):
        engine(**changes)


def test_the_key_comes_from_the_environment() -> None:
    """Shown to nobody; its absence stops the start and names the variable."""
    told = engine(api_key_from="MANAGED_KEY")
    key = told.key({"MANAGED_KEY": "k-123"})
    assert key is not None
    assert "k-123" == key.get_secret_value()
    assert "k-123" not in repr(told) + repr(key) + told.model_dump_json()
    assert engine().key({}) is None
    for environment in ({}, {"MANAGED_KEY": ""}):
        with pytest.raises(Misconfigured, match="MANAGED_KEY"):
            told.key(environment)


@pytest.mark.parametrize(
    ("cached_price", "cost"),
    [(None, 1000 * 2e-6 + 100 * 10e-6), (0.5, 600 * 2e-6 + 400 * 0.5e-6 + 100 * 10e-6)],
)
def test_a_price_is_for_a_million_tokens(cached_price: float | None, cost: float) -> None:
    """Cached input has a price of its own where one is named."""
    price = Price(input=2, output=10, cached=cached_price, currency="EUR")
    assert cost == pytest.approx(price.of(Usage(input_tokens=1000, output_tokens=100, cached_tokens=400)))


def test_more_cached_than_read_is_no_gain() -> None:
    """A server that counts wrongly never makes a text cheaper than nothing."""
    price = Price(input=2, output=10, cached=0, currency="EUR")
    assert 0 == price.of(Usage(input_tokens=10, output_tokens=0, cached_tokens=400))
