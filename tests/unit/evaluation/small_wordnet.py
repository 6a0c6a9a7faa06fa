"""A few dozen nouns with the kinds above them as WordNet 3.0 has them, so that tests need no download."""

from __future__ import annotations

from captionstream.evaluation.nouns import IRREGULAR, Nouns
from triton_models.vocabulary import WordNet

SYNSETS = """
entity
thing_physical: physical_entity < entity
object < physical_entity
living_thing < object
person: person individual someone < living_thing
animal: animal beast creature < living_thing
mammal < animal
carnivore < mammal
canine: canine canid < carnivore
dog: dog domestic_dog < canine
boxer: boxer < dog
bulldog: bulldog < dog
toy_dog < dog
poodle < dog
retriever < dog
golden_retriever < retriever
feline: feline felid < carnivore
true_cat: cat true_cat < feline
big_cat: big_cat cat < feline
tiger < big_cat
bear < carnivore
brown_bear: brown_bear bruin < bear
ungulate: ungulate hoofed_mammal < mammal
bovid < ungulate
cow < bovid
deer < ungulate
elephant < mammal
african_elephant < elephant
indian_elephant < elephant
primate < mammal
monkey < primate
ape < primate
gorilla < ape
bird < animal
bird_of_prey: bird_of_prey raptor < bird
hawk < bird_of_prey
prey: prey quarry < animal
kite_bird: kite < hawk
fowl_bird: hen chicken < bird
female_bird: hen < bird
artifact < object
kite_toy: kite < artifact
flesh: chicken poulet < object
guitar < artifact
ball < artifact
glass_vessel: glass drinking_glass < artifact
wine: wine vino < object
red_wine < wine
scissors < artifact
knife < artifact
car: car automobile < artifact
sign_mark: sign mark < entity
sign_board: sign < artifact
label_words: label < entity
record_label: label < entity
isotope: label < entity
label_marker: label < artifact
page < artifact
text < entity
pay_phone: pay-phone pay-station < artifact
fire_truck < car
couple_car: truck motortruck < artifact
"""

ORDER = {
    "chicken": ["flesh", "fowl_bird"],
    "kite": ["kite_toy", "kite_bird"],
    "cat": ["true_cat", "big_cat"],
    "label": ["label_words", "record_label", "isotope", "label_marker"],
    "sign": ["sign_mark", "sign_board"],
}
"""Senses as WordNet orders them, where a lemma has several."""


def small_nouns() -> Nouns:
    names, lemmas, parents = [], {}, {}
    for line in SYNSETS.strip().splitlines():
        left, _, above = line.partition("<")
        name, _, told = left.strip().partition(":")
        names.append((name.strip(), told.split() or [name.strip()], above.split()))
    offset = {word: place for place, (name, words, _) in enumerate(names, 1) for word in [*words[:1], name]}
    senses: dict[str, tuple[int, ...]] = {}
    for name, words, above in names:
        lemmas[offset[name]] = tuple(words)
        parents[offset[name]] = tuple(offset[parent] for parent in above)
        for word in words:
            senses[word] = (*senses.get(word, ()), offset[name])
    senses |= {word: tuple(offset[name] for name in ordered) for word, ordered in ORDER.items()}
    return Nouns(WordNet(senses, lemmas, parents), {**IRREGULAR, "knives": ["knife"]})


def synset(nouns: Nouns, name: str) -> str:
    """As messages write it."""
    return f"n{nouns.sense(name):08d}"
