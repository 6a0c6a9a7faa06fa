"""What counts as a right name."""

from __future__ import annotations

import pytest

from captionstream.evaluation.judging import Category, Judge, Verdict
from captionstream.evaluation.nouns import Nouns
from captionstream.evaluation.phrases import noun_phrases
from tests.unit.evaluation.small_wordnet import small_nouns, synset

EXACT, WITHIN_TWO, VAGUE, WRONG, HEDGED_WRONG, ABSTAINED = Category


@pytest.fixture(scope="module")
def nouns() -> Nouns:
    return small_nouns()


def verdict(
    nouns: Nouns,
    text: str,
    accepted: str,
    meant: str | None = None,
    hedged: bool = False,
    abstained: bool = False,
) -> Verdict:
    intended = synset(nouns, meant) if meant else None
    return Judge(nouns).judge(text, hedged, abstained, intended, accepted.split())


@pytest.mark.parametrize(
    ("expected", "text", "accepted"),
    [
        (EXACT, "A dog.", "dog"),
        (EXACT, "A domestic dog on a plain white background.", "dog"),
        (EXACT, "A poodle.", "dog"),
        (WITHIN_TWO, "A dog.", "poodle"),
        (WITHIN_TWO, "A dog.", "golden_retriever"),
        (WITHIN_TWO, "A canine.", "poodle"),
        (VAGUE, "A carnivore.", "poodle"),
        (VAGUE, "An animal.", "dog"),
        (WRONG, "A poodle.", "bulldog"),
        (WRONG, "A cat.", "dog"),
        (WRONG, "A florb.", "dog"),
        (EXACT, "A dog.", "cat dog"),
    ],
)  # fmt: skip
def test_a_name_is_exact_near_vague_or_wrong(
    nouns: Nouns, expected: Category, text: str, accepted: str
) -> None:
    """A synonym or a kind is exact, a hypernym within two edges is near, a higher one vague, the rest wrong."""
    assert expected == verdict(nouns, text, accepted).category


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ("dog", "A dog with a ball under a blue sky."),
        ("dog", "Under a blue sky, a dog with a ball."),
        ("dog", "On a plain white background, what may be a dog."),
        ("dogs", "At least two dogs and a person."),
        ("dogs", "Several dogs to the left of a car."),
        ("dog", "A drawing of a dog."),
        ("dog", "A black and white picture of a dog, in black and white."),
        ("black and white dog", "A black and white dog."),
        ("golden retriever", "Visible: a golden retriever, two people."),
        ("dog", "What looks like a dog."),
        ("pair of red scissors", "A pair of red scissors."),
        ("monkey or ape", "A monkey or ape, in black and white."),
        ("jack-o'-lantern", "A jack-o'-lantern."),
        ("dog", 'A dog. The text reads "A cat".'),
    ],
)
def test_the_head_is_found_in_any_wording(head: str, text: str) -> None:
    """Hedges, places, numbers, articles and the medium do not hide what a caption is about."""
    assert head == " ".join(noun_phrases(text)[0].words)


@pytest.mark.parametrize(
    ("expected", "text", "accepted"),
    [
        (EXACT, "At least two people.", "person"),
        (EXACT, "Five knives.", "knife"),
        (EXACT, "A payphone.", "pay-phone"),
        (EXACT, "A pair of red scissors.", "scissors"),
        (EXACT, "Two brown bears.", "bear"),
    ],
)
def test_plurals_and_spellings_are_read(nouns: Nouns, expected: Category, text: str, accepted: str) -> None:
    """A plural counts as its singular; hyphens and spaces make no difference."""
    assert expected == verdict(nouns, text, accepted).category


def test_the_message_tells_which_sense_of_its_word_is_meant(nouns: Nouns) -> None:
    """A kite that the message means as a bird is a bird, and no toy."""
    assert EXACT == verdict(nouns, "A kite.", "hawk", meant="kite:2").category
    assert WRONG == verdict(nouns, "A kite.", "kite:1", meant="kite:2").category
    assert EXACT == verdict(nouns, "A hen.", "hen:1", meant="hen:2").category


def test_without_the_message_the_two_commonest_senses_are_read(nouns: Nouns) -> None:
    """A reader of "kite" thinks of the toy and of the bird."""
    assert EXACT == verdict(nouns, "A kite.", "kite:1").category
    assert EXACT == verdict(nouns, "A kite.", "hawk").category


def test_the_text_counts_and_not_what_the_message_means_beyond_it(nouns: Nouns) -> None:
    """ "Elephant", said of an Indian one, is right for an African one; "cat", said of felines, is no dog."""
    assert WITHIN_TWO == verdict(nouns, "An elephant.", "african_elephant", meant="indian_elephant").category
    assert VAGUE == verdict(nouns, "An animal.", "poodle", meant="poodle").category
    assert WRONG == verdict(nouns, "A cat.", "dog", meant="feline").category


def test_words_that_narrow_a_name_must_be_true(nouns: Nouns) -> None:
    """A boxer dog is a dog to the reader, but no bulldog; unknown words earn no credit."""
    assert WITHIN_TWO == verdict(nouns, "A boxer dog.", "boxer", meant="boxer").category
    assert WRONG == verdict(nouns, "A boxer dog.", "bulldog", meant="boxer").category


def test_a_colour_narrows_nothing(nouns: Nouns) -> None:
    """A bear that is brown need not be a brown bear."""
    assert EXACT == verdict(nouns, "A brown bear.", "bear", meant="bear").category
    assert WITHIN_TWO == verdict(nouns, "A brown dog.", "poodle", meant="dog").category


def test_phrases_that_no_dictionary_has_are_read_as_people_read_them(nouns: Nouns) -> None:
    """A hoofed animal is an ungulate whatever the message means by it, and no bear."""
    assert WITHIN_TWO == verdict(nouns, "A hoofed animal.", "deer", meant="bovid").category
    assert WRONG == verdict(nouns, "A hoofed animal.", "bear", meant="bovid").category


def test_one_of_two_names_is_near_but_never_exact(nouns: Nouns) -> None:
    """Who says "monkey or ape" has not said which."""
    assert WITHIN_TWO == verdict(nouns, "A monkey or ape.", "monkey").category
    assert WRONG == verdict(nouns, "A monkey or ape.", "cow").category


def test_a_vessel_and_its_content_are_both_named(nouns: Nouns) -> None:
    """A glass of red wine is a glass, and wine; a bird of prey is one name."""
    assert EXACT == verdict(nouns, "A glass of red wine.", "glass").category
    assert EXACT == verdict(nouns, "A glass of red wine.", "wine").category
    assert WRONG == verdict(nouns, "A bird of prey.", "prey").category


def test_a_person_may_lead_the_caption_of_a_thing(nouns: Nouns) -> None:
    """A user finds the guitar beside the person; alone, a person is no guitar, and a dog leads for itself."""
    assert EXACT == verdict(nouns, "A person with a guitar.", "guitar").category
    assert WRONG == verdict(nouns, "A person.", "guitar").category
    assert WRONG == verdict(nouns, "A dog with a guitar.", "guitar").category
    assert EXACT == verdict(nouns, "A person with a guitar.", "person").category


def test_a_false_name_is_worse_when_it_is_stated_surely(nouns: Nouns) -> None:
    """The hedge counts where it stands before the name; a hedged companion saves no false head."""
    assert HEDGED_WRONG == verdict(nouns, "What may be a cat.", "dog", hedged=True).category
    assert WRONG == verdict(nouns, "A cat.", "dog").category
    assert WRONG == verdict(nouns, "A cat with what may be a ball.", "dog", hedged=True).category
    assert EXACT == verdict(nouns, "What may be a dog.", "dog", hedged=True).category


def test_what_names_no_subject_abstains(nouns: Nouns) -> None:
    """Quoting a text is not naming what is on the picture, and neither is "a picture"."""
    text = "A picture, mostly blue; its subject could not be recognised."
    assert ABSTAINED == verdict(nouns, text, "dog", abstained=True).category
    assert ABSTAINED == verdict(nouns, text, "dog").category
    assert ABSTAINED == verdict(nouns, 'Text in the picture reads "a dog".', "dog").category


def test_a_page_and_a_sign_are_names_like_others(nouns: Nouns) -> None:
    """Right where the labels have them, wrong on a dog."""
    assert EXACT == verdict(nouns, 'A page of text that begins "dog".', "page").category
    assert WITHIN_TWO == verdict(nouns, 'A sign or label that reads "dog".', "sign:2").category
    assert WRONG == verdict(nouns, 'A sign or label that reads "dog".', "dog").category


def test_a_true_name_is_right_at_any_height(nouns: Nouns) -> None:
    """Confidence is about truth: a vague name is right, but it does not count as named."""
    vague = verdict(nouns, "An animal.", "dog")
    assert (True, False) == (vague.right, vague.named)
