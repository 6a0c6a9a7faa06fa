"""How facts are said in Spanish."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources

from pydantic import Field, TypeAdapter

from captionstream.contracts.messages import Claim, ClaimKind
from captionstream.contracts.scene import Background, Certainty, Medium, QuotedText, Scene, Source, Thing
from captionstream.contracts.values import Value
from services.generator.grammar import Literal, Node, one_of, sequence
from services.generator.speech import appearance_claims, claim, joined_by, quoted, stated, thing_claims

NUMBERS = {2: "dos", 3: "tres", 4: "cuatro", 5: "cinco"}
HEDGES = {
    False: ("lo que parece ser ", "lo que podría ser "),
    True: ("lo que parecen ser ", "lo que podrían ser "),
}
SKIES = {"blue-sky": "cielo azul", "pale-sky": "cielo pálido"}
GREEN = "vegetación"
MEDIA = {Medium.MONOCHROME: "imagen en blanco y negro", Medium.DRAWING: "imagen dibujada"}
SIDES = {"left-of": "a la izquierda de", "right-of": "a la derecha de"}
COLOURS = {
    "red": "rojo roja rojos rojas", "orange": "naranja naranja naranjas naranjas",
    "green": "verde verde verdes verdes",
    "yellow": "amarillo amarilla amarillos amarillas", "blue": "azul azul azules azules",
    "purple": "morado morada morados moradas", "pink": "rosa rosa rosas rosas",
    "brown": "marrón marrón marrones marrones", "turquoise": "turquesa turquesa turquesas turquesas",
    "black": "negro negra negros negras", "white": "blanco blanca blancos blancas",
    "grey": "gris gris grises grises", "beige": "beis beis beis beis",
}  # fmt: skip
"""Masculine, feminine, and the plurals of both."""


class Noun(Value):
    """A word with its forms. `article` where the usual one would sound wrong (un águila)."""

    one: str
    many: str
    gender: str = Field(pattern="^[mf]$")
    article: str | None = None
    plural_only: bool = False

    @property
    def feminine(self) -> bool:
        return self.gender == "f"


@dataclass(frozen=True)
class Spanish:
    """`nouns` by English word, or by word and kind where a word means two things (`crane/animal`)."""

    nouns: Mapping[str, Noun] = field(repr=False)
    language: str = "es"

    @classmethod
    def load(cls) -> Spanish:
        data = resources.files(__package__).joinpath("lexicon/es.json").read_bytes()
        return cls(TypeAdapter(dict[str, Noun]).validate_json(data))

    def knows(self, thing: Thing) -> bool:
        return self._noun(thing) is not None

    def _noun(self, thing: Thing) -> Noun | None:
        return self.nouns.get(f"{thing.noun}/{thing.kind}") or self.nouns.get(thing.noun)

    # ------------------------------------------------------------ nouns

    def phrase(self, thing: Thing) -> Node:
        noun = self._known(thing)
        if thing.count > 1 and not thing.mass_noun and not noun.plural_only:
            return self._several(thing, noun)
        colours = self._colours(thing, noun, plural=noun.plural_only)
        words = " ".join([self._article(thing, noun), noun.one, *colours])
        return self._hedged(words, noun.plural_only, thing, thing_claims(thing, noun.one, colours, ""))

    def label(self, thing: Thing) -> Node:
        noun = self._known(thing)
        colours = self._colours(thing, noun, plural=noun.plural_only)
        if thing.count > 1 or thing.certainty is Certainty.HEDGED or not (colours or " " in noun.one):
            return self.phrase(thing)
        return stated(" ".join([noun.one, *colours]), thing_claims(thing, noun.one, colours, ""))

    def _known(self, thing: Thing) -> Noun:
        noun = self._noun(thing)
        if noun is None:
            raise LookupError(f"no Spanish word for {thing.noun}")
        return noun

    def _several(self, thing: Thing, noun: Noun) -> Node:
        number = self._number(thing, noun)
        colours = self._colours(thing, noun, plural=True)
        words = " ".join([number, noun.many, *colours])
        return self._hedged(words, True, thing, thing_claims(thing, noun.many, colours, number))

    def _hedged(self, words: str, plural: bool, thing: Thing, claims: list[Claim]) -> Node:
        if thing.certainty is Certainty.SURE:
            return stated(words, claims)
        return stated(one_of(*(hedge + words for hedge in HEDGES[plural])), claims, hedged=True)

    def _article(self, thing: Thing, noun: Noun) -> str:
        if noun.plural_only:
            return "unas" if noun.feminine else "unos"
        if thing.mass_noun:
            return "algo de"
        return noun.article or ("una" if noun.feminine else "un")

    def _number(self, thing: Thing, noun: Noun) -> str:
        several = "varias" if noun.feminine else "varios"
        if thing.at_least:
            return "al menos dos" if thing.count == 2 else several
        return NUMBERS.get(thing.count, several)

    def _colours(self, thing: Thing, noun: Noun, plural: bool) -> list[str]:
        return [colour(name, noun.feminine, plural) for name in thing.colours[:1] if name in COLOURS]

    # ------------------------------------------------------------ around the subject

    def beside(self, relation: str, thing: Thing, companion: Node, alone: bool) -> Node:
        if relation in SIDES:
            told = claim(SIDES[relation], ClaimKind.RELATION, Source.DETECTOR, thing.score)
            return sequence(stated(f" {SIDES[relation]} ", [told]), companion)
        equal = alone and thing.certainty is Certainty.SURE
        return sequence(one_of(" con ", " y ") if equal else " con ", companion)

    def listed(self, phrase: Node, last: bool) -> Node:
        return sequence(" y " if last else ", ", phrase)

    def setting(self, background: Background) -> Node:
        name = self._setting_name(background)
        return self._set(background, name, self._placed(background, name))

    def _placed(self, background: Background, name: str) -> Node:
        if background.kind == "plain":
            return one_of(f"sobre un {name}", f"contra un {name}")
        if background.kind in SKIES:
            return one_of(f"bajo un {name}", f"contra un {name}")
        return Literal(f"con {name} en la parte inferior")

    def _setting_name(self, background: Background) -> str:
        if background.kind != "plain":
            return SKIES.get(background.kind, GREEN)
        if background.colour not in COLOURS:
            return "fondo liso"
        return f"fondo {colour(background.colour, feminine=False, plural=False)} liso"

    def _set(self, background: Background, name: str, part: Node | str) -> Node:
        return stated(part, [claim(name, ClaimKind.SETTING, background.source, background.score)])

    def monochrome(self, score: float) -> Node:
        name = "blanco y negro"
        return stated(f", en {name}", appearance_claims([name], ClaimKind.MEDIUM, score))

    def drawing_of(self, phrase: Node, score: float) -> Node:
        return sequence(
            stated("un dibujo de ", appearance_claims(["dibujo"], ClaimKind.MEDIUM, score)), phrase
        )

    def visible(self, phrases: Node) -> Node:
        return sequence("a la vista: ", phrases)

    # ------------------------------------------------------------ without a subject

    def unrecognised(self, scene: Scene) -> Node:
        return sequence(
            self._medium(scene), self._looks(scene), self._with_setting(scene.background),
            "; no se pudo reconocer su contenido",
        )  # fmt: skip

    def _medium(self, scene: Scene) -> Node:
        name = MEDIA.get(scene.medium)
        if name is None:
            return Literal("una imagen")
        return stated(f"una {name}", appearance_claims([name], ClaimKind.MEDIUM, scene.medium_score))

    def _looks(self, scene: Scene) -> Node:
        plain = scene.background is not None and scene.background.kind == "plain"
        if plain or scene.medium is Medium.MONOCHROME or not self._known_colours(scene.colours):
            return Literal("")
        return sequence(", ", self.main_colours(scene))

    def main_colours(self, scene: Scene) -> Node:
        names = self._known_colours(scene.colours)
        claims = appearance_claims(names, ClaimKind.ATTRIBUTE, scene.colour_share)
        return stated(f"mayormente {joined_by(names, 'y')}", claims)

    def _known_colours(self, names: Iterable[str]) -> list[str]:
        return [colour(name, feminine=True, plural=False) for name in names if name in COLOURS]

    def _with_setting(self, background: Background | None) -> Node:
        if background is None:
            return Literal("")
        name = self._setting_name(background)
        article = "" if name == GREEN else "un "
        joined = " con " if background.kind == "plain" else ", con "
        return self._set(background, name, f"{joined}{article}{name}")

    def only_text(self, scene: Scene, quote: QuotedText, whole: bool) -> Node:
        verb = "dice" if whole else "empieza"
        if scene.medium is Medium.PAGE:
            return quoted(f"una página de texto que {verb}", quote)
        return quoted(f"el texto de la imagen {verb}", quote)

    def quotation(self, quote: QuotedText, whole: bool) -> Node:
        return quoted("el texto dice" if whole else "el texto empieza", quote)

    # ------------------------------------------------------------ supplied, not seen

    def supplied_names(self, names: tuple[str, ...]) -> Node:
        claims = [claim(name, ClaimKind.SUPPLIED, Source.SUPPLIED, 1.0) for name in names]
        return stated(
            f"los metadatos suministrados nombran a {joined_by(names, and_before(names[-1]))}", claims
        )

    def link(self, target: str) -> Node:
        return stated(f"enlace a {target}", [claim(target, ClaimKind.SUPPLIED, Source.SUPPLIED, 1.0)])


def colour(name: str, feminine: bool, plural: bool) -> str:
    return COLOURS[name].split()[feminine + 2 * plural]


def and_before(word: str) -> str:
    """`e` before the sound of an i, else `y`."""
    heard = word.lower().removeprefix("h")
    return "e" if heard.startswith(("i", "í")) and not heard.startswith("ie") else "y"
