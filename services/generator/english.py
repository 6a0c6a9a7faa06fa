"""How facts are said in English."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources

from captionstream.contracts.messages import Claim, ClaimKind
from captionstream.contracts.scene import Background, Certainty, Medium, QuotedText, Scene, Source, Thing
from services.generator.grammar import Literal, Node, one_of, sequence
from services.generator.speech import appearance_claims, claim, joined_by, quoted, stated, thing_claims

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
HEDGES = ("what may be ", "what looks like ")
SKIES = {"blue-sky": "blue sky", "pale-sky": "pale sky"}
GREEN = "greenery"
MEDIA = {Medium.MONOCHROME: "black and white picture", Medium.DRAWING: "drawing", Medium.PAGE: "page of text"}
SIDES = {"left-of": ("to the left of", "left of"), "right-of": ("to the right of", "right of")}


@dataclass(frozen=True)
class English:
    """`articles` and `plurals` are exceptions, by first and last word; `pairs` come in pairs."""

    articles: Mapping[str, str] = field(repr=False)
    plurals: Mapping[str, str] = field(repr=False)
    pairs: frozenset[str] = field(repr=False)
    language: str = "en"

    @classmethod
    def load(cls) -> English:
        told = json.loads(resources.files(__package__).joinpath("lexicon/en.json").read_text("utf-8"))
        return cls(told["article"], told["plural"], frozenset(told["pair"]))

    def knows(self, thing: Thing) -> bool:
        return True

    # ------------------------------------------------------------ nouns

    def phrase(self, thing: Thing) -> Node:
        counted = self._is_counted(thing)
        number = self._number(thing) if counted else ""
        noun = self._plural(thing) if counted else thing.noun
        described = self._described(thing, noun)
        words = f"{number} {described}" if counted else self._one(described, thing)
        return self._hedged(words, thing, thing_claims(thing, noun, thing.colours[:1], number))

    def label(self, thing: Thing) -> Node:
        if (
            self._is_counted(thing)
            or thing.certainty is Certainty.HEDGED
            or not (thing.colours or " " in thing.noun)
        ):
            return self.phrase(thing)
        words = self._described(thing, thing.noun)
        return stated(words, thing_claims(thing, thing.noun, thing.colours[:1], ""))

    def _described(self, thing: Thing, noun: str) -> str:
        """`red car`; of things that come in pairs, `pair of red scissors`."""
        words = " ".join([*thing.colours[:1], noun])
        if thing.noun not in self.pairs:
            return words
        return f"{'pairs' if thing.count > 1 else 'pair'} of {words}"

    def _is_counted(self, thing: Thing) -> bool:
        return thing.count > 1 and not (thing.mass_noun and thing.noun not in self.pairs)

    def _hedged(self, words: str, thing: Thing, claims: list[Claim]) -> Node:
        if thing.certainty is Certainty.SURE:
            return stated(words, claims)
        return stated(one_of(*(hedge + words for hedge in HEDGES)), claims, hedged=True)

    def _one(self, described: str, thing: Thing) -> str:
        uncounted = thing.mass_noun and thing.noun not in self.pairs
        return f"some {described}" if uncounted else f"{self.article(described)} {described}"

    def article(self, words: str) -> str:
        first = words.split()[0]
        return self.articles.get(first) or ("an" if first[0].lower() in "aeiou" else "a")

    def _number(self, thing: Thing) -> str:
        if thing.at_least and thing.count == 2:
            return "at least two"
        return "several" if thing.at_least else NUMBERS.get(thing.count, "several")

    def _plural(self, thing: Thing) -> str:
        return thing.noun if thing.noun in self.pairs else thing.plural or self.plural(thing.noun)

    def plural(self, noun: str) -> str:
        """Of `a or b`, both; of `a of b`, a; else the last word."""
        if " or " in noun:
            return " or ".join(map(self.plural, noun.split(" or ")))
        if " of " in noun:
            first, _, rest = noun.partition(" of ")
            return f"{self.plural(first)} of {rest}"
        before, space, last = noun.rpartition(" ")
        return self.plurals.get(noun) or before + space + (self.plurals.get(last) or regular_plural(last))

    # ------------------------------------------------------------ around the subject

    def beside(self, relation: str, thing: Thing, companion: Node, alone: bool) -> Node:
        """Above and below in a picture are not above and below in the world, so they are not said."""
        if relation in SIDES:
            told = claim(SIDES[relation][1], ClaimKind.RELATION, Source.DETECTOR, thing.score)
            return sequence(stated(one_of(*(f" {words} " for words in SIDES[relation])), [told]), companion)
        equal = alone and thing.certainty is Certainty.SURE
        return sequence(one_of(" with ", " and ") if equal else " with ", companion)

    def listed(self, phrase: Node, last: bool) -> Node:
        return sequence(" and " if last else ", ", phrase)

    def setting(self, background: Background) -> Node:
        name = self._setting_name(background)
        return self._set(background, name, self._placed(background, name))

    def _placed(self, background: Background, name: str) -> Node:
        if background.kind == "plain":
            return one_of(f"on a {name}", f"against a {name}")
        if background.kind in SKIES:
            return one_of(f"under a {name}", f"against a {name}", f"beneath a {name}")
        return Literal(f"with {name} below")

    def _setting_name(self, background: Background) -> str:
        if background.kind == "plain":
            return f"plain {background.colour} background" if background.colour else "plain background"
        return SKIES.get(background.kind, GREEN)

    def _set(self, background: Background, name: str, part: Node | str) -> Node:
        return stated(part, [claim(name, ClaimKind.SETTING, background.source, background.score)])

    def monochrome(self, score: float) -> Node:
        name = "black and white"
        return stated(f", in {name}", appearance_claims([name], ClaimKind.MEDIUM, score))

    def drawing_of(self, phrase: Node, score: float) -> Node:
        return sequence(
            stated("a drawing of ", appearance_claims(["drawing"], ClaimKind.MEDIUM, score)), phrase
        )

    def visible(self, phrases: Node) -> Node:
        return sequence("visible: ", phrases)

    # ------------------------------------------------------------ without a subject

    def unrecognised(self, scene: Scene) -> Node:
        return sequence(
            self._medium(scene), self._looks(scene), self._with_setting(scene.background),
            "; its subject could not be recognised",
        )  # fmt: skip

    def _medium(self, scene: Scene) -> Node:
        name = MEDIA.get(scene.medium)
        if name is None:
            return Literal("a picture")
        return stated(f"a {name}", appearance_claims([name], ClaimKind.MEDIUM, scene.medium_score))

    def _looks(self, scene: Scene) -> Node:
        plain = scene.background is not None and scene.background.kind == "plain"
        if plain or scene.medium is Medium.MONOCHROME or not scene.colours:
            return Literal("")
        return sequence(", ", self.main_colours(scene))

    def main_colours(self, scene: Scene) -> Node:
        claims = appearance_claims(scene.colours, ClaimKind.ATTRIBUTE, scene.colour_share)
        return stated(f"mostly {joined_by(scene.colours, 'and')}", claims)

    def _with_setting(self, background: Background | None) -> Node:
        if background is None:
            return Literal("")
        name = self._setting_name(background)
        article = "" if name == GREEN else "a "
        joined = " with " if background.kind == "plain" else ", with "
        return self._set(background, name, f"{joined}{article}{name}")

    def only_text(self, scene: Scene, quote: QuotedText, whole: bool) -> Node:
        verb = "reads" if whole else "begins"
        if scene.medium is Medium.PAGE:
            return quoted(f"a page of text that {verb}", quote)
        return quoted(f"text in the picture {verb}", quote)

    def quotation(self, quote: QuotedText, whole: bool) -> Node:
        return quoted("the text reads" if whole else "the text begins", quote)

    # ------------------------------------------------------------ supplied, not seen

    def supplied_names(self, names: tuple[str, ...]) -> Node:
        claims = [claim(name, ClaimKind.SUPPLIED, Source.SUPPLIED, 1.0) for name in names]
        return stated(f"the supplied metadata names {joined_by(names, 'and')}", claims)

    def link(self, target: str) -> Node:
        return stated(f"link to {target}", [claim(target, ClaimKind.SUPPLIED, Source.SUPPLIED, 1.0)])


def regular_plural(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"
