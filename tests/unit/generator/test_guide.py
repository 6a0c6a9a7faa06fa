"""The guided form: what a model may add to a scene, on which ground, and what no ground allows."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from captionstream.contracts.messages import ClaimKind, Decoding, Form
from captionstream.contracts.scene import Certainty, Medium, Scene
from captionstream.contracts.values import ModelReference, Profile
from services.generator.drafts import drafted, room_of
from services.generator.grammar import read, spell
from services.generator.guided.guide import Guide
from services.generator.guided.of_scene import guide_of
from services.generator.guided.reading import may_continue, reading_of
from services.generator.guided.words import Lexicon
from services.generator.prompt import Prompt
from services.generator.sentence import ALLOWED, Request, sentence
from services.generator.speech import Speech
from services.generator.translation import sayable
from services.generator.writer import Piece, Task
from services.generator.writing import Outcome, PatientWriter
from tests.unit.generator.builders import (
    BLUE_SKY,
    PLAIN_WHITE,
    calm,
    english,
    quote,
    scene,
    scenes,
    spanish,
    thing,
    vocabulary,
)
from tests.unit.generator.test_grammar import LANGUAGES, REQUESTS

LEAST = 0.3
DOG_AND_PEOPLE = scene(
    thing("dog", kind="animal"),
    thing("person", plural="people", count=2, kind="person"),
    background=BLUE_SKY,
)
UNSURE = scene(thing("dog", kind="animal", certainty=Certainty.HEDGED, score=0.6), thing("ball"))


def guide(shown: Scene = DOG_AND_PEOPLE, speech: Speech | None = None, least: float = LEAST) -> Guide:
    return guide_of(shown, speech or english(), Profile.ALT, least, vocabulary=vocabulary())


def pieces(text: str, probability: float | None = 0.9, **other: float) -> list[Piece]:
    """The text word by word, each with its probability; `other` are those of single words."""
    words = re.findall(r"\s*[^\s,.]+|\s+|[,.]", text)
    given_ = (other.get(word.strip(), probability) for word in words)
    return [Piece(word, math.log(p) if p else None) for word, p in zip(words, given_, strict=True)]


def says(text: str, shown: Scene = DOG_AND_PEOPLE, speech: Speech | None = None) -> bool:
    return reading_of(guide(shown, speech), pieces(text)) is not None


# ---------------------------------------------------------------- what may be said


@pytest.mark.parametrize(
    "text",
    [
        "A dog.",
        "A dog with two people under a blue sky.",
        "A dog is lying on the grass, near two people.",
        "Two people with a dog on a leash.",
        "Under a blue sky, a dog sits beside two people.",
        "An animal with two people.",
        "A brown dog with two people.",
        "The people are standing in a garden.",
    ],
)
def test_a_model_may_word_the_scene_and_add_what_it_sees(text: str) -> None:
    """Function words are free, the scene's words are there, and a word that the model grounds is taken."""
    assert says(text)


@pytest.mark.parametrize(
    "text",
    [
        "Un perro con dos personas bajo un cielo azul.",
        "Un perro está tumbado sobre la hierba, junto a dos personas.",
        "Bajo un cielo azul, un perro marrón.",
        "Un animal en el jardín.",
        "Un perro sentado sobre el césped.",
    ],
)
def test_a_model_may_do_so_in_spanish(text: str) -> None:
    """Accents, words of several parts and colours behind their noun are no obstacle."""
    assert says(text, speech=spanish())


def test_each_content_word_has_its_ground() -> None:
    """What the scene says keeps the scene's source and score; the rest is signed by the model, with its probability."""
    reading = reading_of(guide(), pieces("A brown dog sitting on grass.", brown=0.5, grass=0.4), "tiny-eye")
    assert reading is not None
    assert [(claim.text, claim.kind, claim.source, round(claim.score, 6)) for claim in reading.claims] == [
        ("brown", ClaimKind.ATTRIBUTE, "model:tiny-eye", 0.5),
        ("dog", ClaimKind.OBJECT, "tagger", 0.9),
        ("grass", ClaimKind.OBJECT, "model:tiny-eye", 0.4),
    ]


def test_a_word_is_as_probable_as_all_its_pieces_together() -> None:
    """The probabilities of its pieces are multiplied, the space before it included, those of its neighbours not."""
    written = [
        Piece("A dog", math.log(0.01)), Piece(" on", math.log(0.02)), Piece(" ", math.log(0.9)),
        Piece("me", math.log(0.8)), Piece("adow", math.log(0.7)), Piece(".", math.log(0.1)),
    ]  # fmt: skip
    reading = reading_of(guide(), written)
    assert reading is not None
    assert reading.claims[-1].text == "meadow"
    assert reading.claims[-1].score == pytest.approx(0.9 * 0.8 * 0.7)


@calm
@given(shown=scenes(), request=REQUESTS, speech=LANGUAGES, data=st.data())
def test_every_strict_description_is_a_guided_sentence_too(
    shown: Scene, request: Request, speech: Speech, data: st.DataObject
) -> None:
    """What the grammar writes needs no ground of a model, and claims the same in both forms."""
    said = sayable(shown, speech, vocabulary())
    request = Request(Profile.ALT, people=request.people)
    assume(said.things)
    told = sentence(said, request, speech)
    text = spell(told.head, lambda ways: data.draw(st.integers(0, ways - 1)))
    strict = read(told.head, text)
    guided = reading_of(guide(said, speech), pieces(text, None))
    assert strict is not None
    assert guided is not None, text
    assert sorted(map(repr, guided.claims)) == sorted(map(repr, strict.claims))
    assert guided.hedged == strict.hedged


# ---------------------------------------------------------------- what may not


PLANTED = {
    "a word without ground": ("A dog on grass.", {"grass": 0.29}),
    "another number": ("A dog with three people.", {}),
    "a number that the scene has, at another thing": ("Two dogs.", {}),
    "more than there are": ("Dogs with two people.", {}),
    "fewer than there are": ("A person with a dog.", {}),
    "a vague number": ("Several people with a dog.", {}),
    "digits": ("A dog with 2 people.", {}),
    "a name": ("A dog with John.", {}),
    "a name at the start": ("Rex with two people.", {}),
    "a naming": ("A dog called rex.", {}),
    "a colour of people": ("A dog with two black people.", {}),
    "a colour of people, apart": ("A dog with black people.", {}),
    "a colour of nothing": ("A dog in black.", {}),
    "another colour of the sky": ("A dog under a grey sky.", {}),
    "a colour without ground": ("A brown dog.", {"brown": 0.1}),
    "a trait": ("A happy dog.", {}),
    "an age": ("A dog with young people.", {}),
    "a gender": ("A dog with a woman.", {}),
    "a quotation": ('A dog, the sign reads "STOP".', {}),
    "a quotation without marks": ("A dog near a sign that says stop.", {}),
    "a negation": ("A dog without two people.", {}),
    "nobody": ("No dog.", {}),
    "not": ("A dog that is not sitting.", {}),
    "an alternative": ("A dog or two people.", {}),
    "a thing twice": ("A dog with a dog.", {}),
    "a kind of it twice": ("A dog with an animal.", {}),
    "a word twice": ("A dog with a leash and a leash.", {}),
    "praise": ("A beautiful dog.", {}),
    "the medium": ("A photo of a dog.", {}),
    "a side": ("A dog on the left.", {}),
    "doubt of its own": ("What may be a dog.", {}),
    "two sentences": ("A dog. Two people.", {}),
    "broken off": ("A dog with two people", {}),
    "the end in the middle": ("A dog with.", {}),
    "nothing": (".", {}),
    "nothing but function words": ("Sitting.", {}),
    "a preamble": ("Sure: a dog.", {}),
    "a small letter first": ("a dog.", {}),
    "a hyphen": ("A dog-free garden.", {}),
    "markup": ("A <b>dog</b>.", {}),
    "an instruction": ("A dog; ignore the rest.", {}),
    "too long": ("A dog with " + ", ".join(["leash", "lead", "collar", "garden", "meadow", "hedge"] * 5) + ".", {}),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_falsehood_is_not_taken(planted: str) -> None:
    """However sure the model is of it."""
    text, probabilities = PLANTED[planted]
    assert reading_of(guide(), pieces(text, **probabilities)) is None


@pytest.mark.parametrize(
    "text",
    [
        "Un perro con tres personas.",
        "Perros con dos personas.",
        "Un perro con una persona.",
        "Un perro con dos personas negras.",
        "Un perro sin correa.",
        "Ningún perro.",
        "Un perro feliz.",
        "Un perro con Juan.",
        "Un perro con una mujer.",
        "Un perro o un gato.",
        "Un perro a la izquierda.",
        "Un perro bajo un cielo gris.",
        "Una foto de un perro.",
    ],
)
def test_nor_is_one_in_spanish(text: str) -> None:
    """The same rules stand behind other words."""
    assert not says(text, speech=spanish())


def test_without_probabilities_a_model_grounds_nothing() -> None:
    """An engine that does not tell them may word the scene, and add nothing to it."""
    assert reading_of(guide(), pieces("A dog is with two people.", None)) is not None
    assert reading_of(guide(), pieces("A dog is with two people on grass.", None)) is None


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("What may be a dog with a ball.", True),
        ("A ball beside what looks like a dog.", True),
        ("A ball.", True),
        ("A dog with a ball.", False),
        ("The dog with a ball.", False),
        ("A ball with dogs.", False),
        ("A ball with an animal.", False),
    ],
)
def test_what_is_hedged_keeps_its_hedge(text: str, taken: bool) -> None:
    """The model's own certainty does not make a doubtful thing sure, nor a more general word for it."""
    assert says(text, UNSURE) == taken


def test_a_hedge_is_known_as_one() -> None:
    """A sentence is hedged when it says what the scene hedges."""
    with_dog, without = (
        reading_of(guide(UNSURE), pieces(text)) for text in ("What may be a dog with a ball.", "A ball.")
    )
    assert with_dog is not None
    assert without is not None
    assert (with_dog.hedged, without.hedged) == (True, False)


def test_a_compound_is_said_whole_or_not_as_the_scenes() -> None:
    """A hot dog is no dog: half of a word of the scene is the model's own word, with its own ground."""
    half, whole = (
        reading_of(guide(scene(thing("hot dog"))), pieces(text), "eye") for text in ("A dog.", "A hot dog.")
    )
    assert half is not None
    assert whole is not None
    assert [claim.source for claim in half.claims] == ["model:eye"]
    assert [claim.source for claim in whole.claims] == ["tagger"]


def test_a_thing_keeps_the_colour_that_it_has() -> None:
    """A red car is no blue one, and its colour is no other thing's."""
    shown = scene(thing("car", colours=("red",)), thing("ball"))
    assert says("A red car with a ball.", shown)
    assert not says("A blue car with a ball.", shown)
    assert reading_of(guide(shown), pieces("A car with a red ball.", red=0.1)) is None


def test_an_inspection_leaves_nothing_to_the_model_and_a_product_no_colour() -> None:
    """Records are for machines, and what a shop sells has its colour from the catalogue."""
    for profile, text in ((Profile.INSPECTION, "A dog on grass."), (Profile.PRODUCT, "A brown dog.")):
        told = guide_of(DOG_AND_PEOPLE, english(), profile, LEAST)
        assert reading_of(guide(), pieces(text)) is not None
        assert reading_of(told, pieces(text)) is None
        assert reading_of(told, pieces("A dog.")) is not None


@pytest.mark.parametrize("least", [0.0, -1.0, math.nan])
def test_some_ground_is_needed(least: float) -> None:
    """A threshold that lets everything pass is refused."""
    with pytest.raises(ValueError, match="least"):
        guide(least=least)


@pytest.mark.parametrize("language", ["en", "es"])
def test_no_free_word_denies_counts_or_paints(language: str) -> None:
    """The lists of a language do not contradict each other."""
    words = Lexicon.load(language)
    parts = {part for text in words.function for part in text.split()}
    assert (parts | words.colours) & words.never == set()
    assert parts & words.colours == set()


# ---------------------------------------------------------------- while it is written


@calm
@given(shown=scenes(), speech=LANGUAGES, data=st.data())
def test_every_beginning_of_a_sentence_may_continue(
    shown: Scene, speech: Speech, data: st.DataObject
) -> None:
    """A stream is never stopped before it has said what may not be said, wherever its pieces end."""
    said = sayable(shown, speech, vocabulary())
    assume(said.things)
    text = spell(sentence(said, Request(), speech).head, lambda ways: data.draw(st.integers(0, ways - 1)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    cut = [Piece(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    told = guide(said, speech)
    assert all(may_continue(told, cut[:end]) for end in range(len(cut) + 1))
    assert reading_of(told, cut) == reading_of(told, [Piece(text)])
    assert not may_continue(told, [*cut, Piece("x", 0.0)])


@pytest.mark.parametrize(
    ("text", "stopped_at"),
    [
        ("A dog on Monday", "A dog on M"),
        ("A dog with three people", "A dog with three "),
        ("A dog with no people", "A dog with no "),
        ("A dog and a dog on", "A dog and a dog "),
        ("A black person", "A black p"),
        ("A dog on a zebra", "A dog on a z"),
    ],
)
def test_a_falsehood_is_stopped_as_soon_as_it_can_be_told(text: str, stopped_at: str) -> None:
    """Nothing of it is shown: not even its first word is whole before."""
    letters = [Piece(letter, math.log(0.2) if letter == "z" else 0.0) for letter in text]
    ends = next(end for end in range(len(text) + 1) if not may_continue(guide(), letters[:end]))
    assert text[:ends] == stopped_at


# ---------------------------------------------------------------- what becomes of it


@dataclass(frozen=True)
class Written:
    """Writes what it is given."""

    told: tuple[Piece, ...]

    @property
    def decoding(self) -> Decoding:
        return Decoding(seed=0, temperature=0.0, max_tokens=9, constrained=False, form=Form.GUIDED)

    async def model(self, task: Task | None = None) -> ModelReference:
        return ModelReference(name="tiny-eye", version="1", digest="0" * 64)

    async def write(self, task: Task) -> AsyncGenerator[Piece, None]:
        for piece in self.told:
            yield piece

    async def probe(self) -> None:
        return None


def task(shown: Scene, form: Form = Form.GUIDED) -> Task:
    told = sentence(shown, Request(), english())
    return Task(Prompt("", ""), told.head, form, guide(shown))


async def outcome_of(asked: Task, told: Iterable[Piece]) -> tuple[Outcome, list[str]]:
    outcome = Outcome()
    writer = PatientWriter(Written(tuple(told)))
    shown = [text async for text in writer.write(asked, outcome)]
    return outcome, shown


GUIDED = "A dog is lying on the grass with two people."


async def test_a_guided_sentence_is_shown_as_it_comes_and_becomes_a_draft() -> None:
    """Whole words only; the draft is as sure as its weakest claim, and the scene's quotation follows."""
    shown = DOG_AND_PEOPLE.model_copy(update={"text": quote("Exit 12")})
    told = sentence(shown, Request(), english())
    asked = task(shown)
    outcome, partial = await outcome_of(asked, pieces(GUIDED, grass=0.5))
    draft = drafted(told, asked, outcome)
    assert draft is not None
    assert draft.text == GUIDED + ' The text reads "Exit 12".'
    assert (draft.writer, draft.hedged) == ("tiny-eye", False)
    assert draft.confidence == pytest.approx(0.5)
    assert ("grass", "model:tiny-eye") in [(claim.text, claim.source) for claim in draft.claims]
    assert [claim.text for claim in draft.claims if claim.kind is ClaimKind.QUOTATION] == ["Exit 12"]
    assert partial
    assert all(GUIDED.startswith(text) for text in partial)


async def test_of_a_false_sentence_nothing_false_is_shown_and_no_draft_is_made() -> None:
    """What was written is kept for the record; the plain sentence stands."""
    asked = task(DOG_AND_PEOPLE)
    outcome, partial = await outcome_of(asked, pieces("A dog is lying on the grass with no people."))
    assert outcome.problem == "says what the scene does not support"
    assert drafted(sentence(DOG_AND_PEOPLE, Request(), english()), asked, outcome) is None
    assert not [text for text in partial if "no" in text.split()]


async def test_a_strict_task_does_not_become_guided_by_having_a_guide() -> None:
    """The form decides, not what else lies in the task."""
    outcome, _ = await outcome_of(task(DOG_AND_PEOPLE, Form.STRICT), pieces(GUIDED))
    assert outcome.problem == "says what the scene does not support"


async def test_a_strict_sentence_becomes_the_same_draft_in_either_form() -> None:
    """Both forms read the scene's own wording alike."""
    told = sentence(DOG_AND_PEOPLE, Request(), english())
    text = "A dog with two people under a blue sky."
    drafts = []
    for form in Form:
        asked = task(DOG_AND_PEOPLE, form)
        outcome, _ = await outcome_of(asked, pieces(text))
        drafts.append(drafted(told, asked, outcome))
    assert drafts[0] is not None
    assert drafts[0] == drafts[1]


async def test_an_unrecognised_scene_may_be_described_by_the_model_alone() -> None:
    """Where the scene names nothing, every claim is the model's, and the draft is no abstention."""
    unknown = scene(colours=("blue",))
    asked = task(unknown)
    outcome, _ = await outcome_of(asked, pieces("A boat on the water.", boat=0.6))
    draft = drafted(sentence(unknown, Request(), english()), asked, outcome)
    assert draft is not None
    assert not draft.abstained
    assert draft.confidence == pytest.approx(0.6)
    assert {claim.source for claim in draft.claims} == {"model:tiny-eye"}


@calm
@given(shown=scenes(), request=REQUESTS, speech=LANGUAGES)
def test_there_is_room_for_the_tail(shown: Scene, request: Request, speech: Speech) -> None:
    """The longest guided sentence and what follows it are an alternative text's length."""
    told = sentence(sayable(shown, speech, vocabulary()), request, speech)
    assert room_of(told) + len(spell(told.tail, lambda ways: 0)) <= ALLOWED


def test_a_drawing_may_be_called_one_and_a_photograph_not() -> None:
    """The medium is the scene's to name."""
    assert says("A drawing of a dog.", scene(thing("dog"), medium=Medium.DRAWING))
    assert not says("A drawing of a dog.", scene(thing("dog"), background=PLAIN_WHITE))
