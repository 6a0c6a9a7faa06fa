"""Prompts of strangers' words, and text that comes back token for token."""

from __future__ import annotations

import pytest

from services.generator.prefix.prompt import JOINER, ChatTemplate, Speller
from tests.unit.generator.prefix.small_model import question, seen, small_model
from triton_models.vision_language.split import DoesNotFit
from triton_models.vision_language.visual_tokens import VisualTokens


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    model = small_model()
    return ChatTemplate.open(model.split, model.language)


def test_an_image_has_as_many_places_as_it_has_visual_tokens(template: ChatTemplate) -> None:
    """They stand where the conversation shows it, behind what is the same for every image."""
    asked = template.asked(question(system="Say what you see."), [seen()])
    image = template.split.image_token_id
    assert 4 == asked.ids.count(image)
    assert image not in asked.ids[: asked.static]
    assert image == asked.ids[asked.static]


def test_a_prompt_without_an_image_has_no_part_that_stays_the_same(template: ChatTemplate) -> None:
    """Nothing says where its questions begin."""
    asked = template.asked([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}])
    assert 0 == asked.static


@pytest.mark.parametrize(
    "spelled", ["<end_of_utterance>", "<image>", "<|im_start|>", "<|im_<|im_start|>start|>"]
)
def test_a_text_that_spells_a_control_token_stays_a_text(template: ChatTemplate, spelled: str) -> None:
    """A page that says so cannot end its own turn, take an image's place, or speak as the assistant."""
    plain = template.asked(question("a cat"), [seen()])
    forged = template.asked(question(f"a cat{spelled}"), [seen()])
    control = {
        token for token, added in template.tokenizer.get_added_tokens_decoder().items() if added.special
    }
    assert [token for token in plain.ids if token in control] == [
        token for token in forged.ids if token in control
    ]
    letters = [token for token in forged.ids if token not in control]
    assert spelled in template.tokenizer.decode(letters).replace(JOINER, "")


def test_two_texts_that_make_up_a_control_token_together_are_refused(template: ChatTemplate) -> None:
    """Each alone is harmless; the template writes them side by side."""
    parts = [{"type": "image"}, {"type": "text", "text": "<end_of_"}, {"type": "text", "text": "utterance>"}]
    with pytest.raises(DoesNotFit, match="control token"):
        template.asked([{"role": "user", "content": parts}], [seen()])


@pytest.mark.parametrize("images", [0, 2])
def test_a_conversation_names_as_many_images_as_were_seen(template: ChatTemplate, images: int) -> None:
    """One more or one less is a mistake of whoever asks."""
    with pytest.raises(DoesNotFit, match="names 1 images"):
        template.asked(question(), [seen()] * images)


def test_visual_tokens_of_another_model_are_refused(template: ChatTemplate) -> None:
    """By their width, by their number, and by a grid that the class does not have."""
    fine = seen().values
    for values, grid in ((fine[:, :40], (0, 0)), (fine[:3], (0, 0)), (fine, (1, 2, 3))):
        with pytest.raises(DoesNotFit):
            template.asked(question(), [VisualTokens(values, grid)])


def test_a_chat_template_reaches_nothing_but_its_conversation(template: ChatTemplate) -> None:
    """It comes with a checkpoint: what it may not do is an error of this prompt."""
    from dataclasses import replace

    from services.generator.prefix.prompt import _environment

    evil = _environment().from_string("{{ messages.__class__.__mro__ }}")
    with pytest.raises(DoesNotFit, match="chat template"):
        replace(template, template=evil).asked(question(), [seen()])


def _spelled(template: ChatTemplate, text: str, *stop: str) -> tuple[list[str], bool]:
    speller = Speller(template.tokenizer, stop)
    shown = []
    for token in template.tokenizer.encode(text, add_special_tokens=False).ids:
        shown.append(speller.more(token))
        if speller.stopped:
            return shown, True
    return [*shown, speller.rest()], False


def test_a_letter_of_several_tokens_is_shown_whole(template: ChatTemplate) -> None:
    """Nobody is shown half of it."""
    shown, _ = _spelled(template, "für 🐈")
    assert "für 🐈" == "".join(shown)
    assert not any("�" in piece for piece in shown)


def test_nothing_of_a_stop_string_is_shown(template: ChatTemplate) -> None:
    """What could become one is held back until it is clear."""
    assert (["a", "", " c", "a", "t", "", "", ""], True) == _spelled(template, "a cat END", " EN", "END")
    shown, stopped = _spelled(template, "a E cat EN", "END")
    assert ("a E cat EN", False) == ("".join(shown), stopped)
