"""What a wrong answer of a split model means, and which model an event is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from captionstream.contracts.messages import Event
from captionstream.runtime.errors import Unavailable
from services.encoder.scripted import ScriptedSeer
from services.encoder.seer import Given, Inputs, RegistrySeer, Seer, blank
from services.encoder.vision import RejectedByModel
from tests.unit.encoder.builders import registry_with, solid
from tests.unit.encoder.seer_behaviour import SeerBehaviour
from triton_models.registry import Aliases, Registry, SplitModel

Look = Callable[[Inputs], object]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_with(tmp_path, "one", "other")


@pytest.fixture
def seer(registry: Registry) -> Seer:
    return ScriptedSeer(registry)


class TestScriptedSeer(SeerBehaviour):
    """The double keeps the same promises."""


class EyesThat:
    """Eyes that answer what a test wants; `asked` are the inputs so far."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self.asked: list[Inputs] = []

    async def look(self, model: SplitModel, inputs: Inputs) -> object:
        self.asked.append(inputs)
        return self._look(inputs)


async def outcome(registry: Registry, look: Look) -> object:
    seer = RegistrySeer(registry, EyesThat(look))
    try:
        return await seer.see(registry.models()[0], solid((200, 10, 10)))
    except Exception as failure:
        return failure


def tokens(inputs: Inputs) -> np.ndarray:  # type: ignore[type-arg]
    """Four of 8 values that tell how bright the picture is."""
    return np.full((4, 8), inputs["images"].mean(), np.float32)


async def test_a_picture_is_prepared_as_its_model_wants_it(registry: Registry) -> None:
    """One square of 16 pixels, uint8."""
    eyes = EyesThat(tokens)
    seen = await RegistrySeer(registry, eyes).see(registry.models()[0], solid((200, 10, 10)))
    assert [((1, 16, 16, 3), np.uint8)] == [(one["images"].shape, one["images"].dtype) for one in eyes.asked]
    assert np.float32(220 / 3) == pytest.approx(seen.values[0, 0])


@pytest.mark.parametrize(
    "answer",
    [
        None,
        np.zeros((0, 8), np.float32),
        np.zeros((4, 7), np.float32),
        np.zeros((3, 8), np.float32),
        np.zeros((4, 8), np.float16),
        np.zeros((1, 4, 8), np.float32),
    ],
    ids=["missing", "empty", "another width", "too few", "another type", "a batch"],
)
async def test_an_answer_of_another_shape_is_waited_for(registry: Registry, answer: object) -> None:
    """The server serves something else than what was proved."""
    assert isinstance(await outcome(registry, lambda inputs: answer), Unavailable)


async def test_a_model_that_gives_no_numbers_for_anything_is_waited_for(registry: Registry) -> None:
    """Not even for a blank picture."""
    assert isinstance(
        await outcome(registry, lambda inputs: np.full((4, 8), np.nan, np.float32)), Unavailable
    )


async def test_a_picture_that_overflows_a_working_model_is_a_defect(registry: Registry) -> None:
    """Blank pictures have numbers: waiting would not help this one."""
    failure = await outcome(
        registry, lambda inputs: np.where(tokens(inputs) > 0, np.float32(np.inf), tokens(inputs))
    )
    assert isinstance(failure, RejectedByModel)


async def test_a_probe_notices_a_model_without_numbers(registry: Registry) -> None:
    """Only that of a model in use."""
    seer = RegistrySeer(registry, EyesThat(lambda inputs: np.full((4, 8), np.nan, np.float32)))
    await seer.probe()
    registry.write(Aliases(production=registry.models()[0].digest))
    with pytest.raises(Unavailable):
        await seer.probe()


def test_blank_inputs_are_the_smallest_of_each(registry: Registry) -> None:
    """One black square."""
    inputs = blank(registry.models()[0].halves.split)
    assert {"images": (1, 16, 16, 3)} == {name: values.shape for name, values in inputs.items()}


def test_an_event_keeps_its_model_and_a_canary_its_share(registry: Registry) -> None:
    """Of a thousand events 150 to 250 at a fifth, the same ones again; at a larger share these and more."""
    one, other = registry.models()
    seer = ScriptedSeer(registry)
    events = [Event(id=f"camera-{number}") for number in range(1000)]

    def canaries(share: float) -> set[str]:
        registry.write(Aliases(production=one.digest, canary=other.digest, share=share))
        return {event.id for event in events if seer.choose(event) == Given(other, "canary")}

    fifth = canaries(0.2)
    assert 150 < len(fifth) < 250
    assert fifth == canaries(0.2)
    assert fifth < canaries(0.5)


def test_the_model_of_an_event_does_not_depend_on_what_it_asks_for(registry: Registry) -> None:
    """Language, purpose and priority aside, it is the same event."""
    one, other = registry.models()
    registry.write(Aliases(production=one.digest, canary=other.digest, share=0.5))
    seer = ScriptedSeer(registry)
    for number in range(100):
        event = Event(id=f"e-{number}")
        assert seer.choose(event) == seer.choose(event.model_copy(update={"language": "es"}))


async def test_broken_aliases_are_waited_for_without_a_path_in_the_reason(registry: Registry) -> None:
    """Publishers may read the reason; operators find the path in the log."""
    (registry.folder / "aliases.json").write_text("{")
    with pytest.raises(Unavailable) as away:
        ScriptedSeer(registry).choose(Event(id="e-1"))
    assert "split models: AliasesBroken" == str(away.value)
