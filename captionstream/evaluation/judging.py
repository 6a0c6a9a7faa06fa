"""Whether a caption names what stands on the picture: its text is read as a person reads it.

The head noun is found by an extractor of its own (`phrases`): it knows no grammar of ours. What the noun
means is decided by WordNet; where a word has several meanings, one is taken by these rules, in this order:

1. Phrases that WordNet lacks and every reader understands stand in READ_AS.
2. The message says which synset it means. If that is a sense of the word, it is the sense of the word (with
   common ones of the same kind: "hen" is a female bird and a female chicken); else those senses of the word
   that lie above or below it are ("elephant", said of an Indian elephant, is any elephant; "cat", said of the
   cat family, is a house cat or a big cat, but no lynx).
3. Without such help, the more favourable of the word's two commonest senses.

Words before the noun that WordNet does not know together with it ("boxer dog", "weasel-like animal") narrow
its meaning. If the message means something of that kind, the worse of both readings counts: no credit for
words that were not said, none for a narrower claim that is false.

`A or b` is true if one of them is, and never exact. Of a measure or vessel with its content (`a cup of
coffee`) either is accepted. People may lead a caption: where the labels know no person, what stands beside
the person may name the subject as well. The medium (`a drawing of a dog`) is passed over. A page of text, a
sign or label is a claim like any other; `Text in the picture reads ...` names nothing and abstains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from captionstream.evaluation.nouns import Ending, Nouns
from captionstream.evaluation.phrases import NounPhrase, hedge_at, noun_phrases, without_colours

NEAR = 2  # edges up from an accepted sense within which a name is still good
COMMON = 2  # senses of a word that a reader thinks of

READ_AS = {
    "hoofed animal": ("ungulate",),
    "sea mammal": ("aquatic_mammal",),
    "weasel-like animal": ("musteline_mammal",),
    "small animal": ("animal",),
    "religious building": ("place_of_worship",),
    "train engine": ("locomotive",),
    "landscape": ("landscape", "geological_formation", "body_of_water"),
    "label": ("label:4", "label"),
    "sticking plaster": ("adhesive_bandage",),
    "chicken": ("chicken:2", "chicken"),
}
"""What a reader understands by phrases for which WordNet has no entry, or has it too far down."""


class Relation(IntEnum):
    """How a name stands to what is there, best first."""

    EXACT = 0  # a synonym or a kind of an accepted sense
    WITHIN_TWO = 1  # a kind it belongs to, at most two edges up
    VAGUE = 2  # a kind it belongs to, further up
    WRONG = 3


class Category(IntEnum):
    EXACT = 0
    WITHIN_TWO = 1
    VAGUE = 2
    WRONG = 3  # stated surely, and false
    HEDGED_WRONG = 4  # false, and said to be unsure
    ABSTAINED = 5


@dataclass(frozen=True)
class Verdict:
    """`head` is the name that was judged, None where none was given."""

    category: Category
    head: str | None = None
    hedged: bool = False

    @property
    def named(self) -> bool:
        return self.category in (Category.EXACT, Category.WITHIN_TWO)

    @property
    def right(self) -> bool:
        """What confidence is about: whether what was stated is true."""
        return self.named or self.category is Category.VAGUE


ABSTAINED = Verdict(Category.ABSTAINED)


@dataclass(frozen=True)
class Judge:
    nouns: Nouns

    def judge(
        self, text: str, hedged: bool, abstained: bool, subject_synset: str | None, accepted: Sequence[str]
    ) -> Verdict:
        """`text`, `hedged` and `abstained` as the message has them, `subject_synset` its `n` and eight digits.

        `accepted` are senses as `lemma[:number]`. Raises KeyError or IndexError where WordNet lacks one.
        """
        senses = [self.nouns.sense(name) for name in accepted]
        phrases = [] if abstained else noun_phrases(text)
        if not phrases:
            return ABSTAINED
        intended = int(subject_synset[1:]) if subject_synset else None
        lead, *others = phrases
        relation, head = self._of_phrase(lead, intended, senses), lead
        if relation is Relation.WRONG and self._passes_over(lead, senses):
            judged = [(self._of_phrase(other, None, senses), other) for other in others]
            relation, head = min([(relation, lead), *judged], key=lambda pair: pair[0])
        unsure = hedged and hedge_at(text, head)
        return Verdict(_category(relation, unsure), " ".join(head.words), unsure)

    def _passes_over(self, lead: NounPhrase, accepted: Iterable[int]) -> bool:
        """Whether a person leads a caption of a picture whose labels know none."""
        meant = [sense for part in lead.parts for sense in self._senses(part, None)]
        people = [self.nouns.is_kind(sense, "person") for sense in accepted]
        return any(self.nouns.is_kind(sense, "person") for sense in meant) and not any(people)

    def _of_phrase(self, phrase: NounPhrase, intended: int | None, accepted: Sequence[int]) -> Relation:
        parts = [phrase.words] if self._is_one_name(phrase) else phrase.parts
        best = min((self._of_words(words, intended, accepted) for words in parts), default=Relation.WRONG)
        return max(best, Relation.WITHIN_TWO) if phrase.alternatives else best

    def _is_one_name(self, phrase: NounPhrase) -> bool:
        """Whether WordNet has the whole of it: a bird of prey is no bird beside a prey."""
        longest = next(self.nouns.endings(phrase.words), None)
        return longest is not None and not without_colours(longest.before)

    def _of_words(self, words: Sequence[str], intended: int | None, accepted: Sequence[int]) -> Relation:
        read = self._best(self._senses(words, intended), accepted)
        narrower = self._narrowed(words, intended)
        return read if narrower is None else max(read, self._best([narrower], accepted))

    def _senses(self, words: Sequence[str], intended: int | None) -> list[int]:
        """What the words mean to a reader, as synsets. None at all for words that WordNet lacks."""
        told = READ_AS.get(" ".join(without_colours(words)))
        if told:
            return [self.nouns.sense(name) for name in told]
        endings = list(self.nouns.endings(words))
        if not endings:
            return []
        of_longest = self._senses_of(endings[0])
        if intended is None:
            return self._common(endings[0])
        meaning_it = [ending for ending in endings if intended in self._senses_of(ending)]
        if meaning_it:
            return [intended, *self._beside(intended, meaning_it[0])]
        kin = [sense for sense in of_longest if self._related(sense, intended)]
        return kin or self._common(endings[0])

    def _narrowed(self, words: Sequence[str], intended: int | None) -> int | None:
        """The intended synset where unknown words narrow a noun of which it is a kind."""
        ending = next(self.nouns.endings(words), None)
        if intended is None or ending is None or not without_colours(ending.before):
            return None
        if " ".join(without_colours(words)) in READ_AS:
            return None
        above = self.nouns.above(intended)
        senses = self._senses_of(ending)
        return intended if intended not in senses and any(sense in above for sense in senses) else None

    def _senses_of(self, ending: Ending) -> list[int]:
        return [sense for lemma in ending.lemmas for sense in self.nouns.senses(lemma)]

    def _common(self, ending: Ending) -> list[int]:
        return [sense for lemma in ending.lemmas for sense in self.nouns.senses(lemma)[:COMMON]]

    def _beside(self, intended: int, ending: Ending) -> list[int]:
        """Common senses of the word that are of the kind right above the intended one, too."""
        kinds = self.nouns.wordnet.parents[intended]
        return [s for s in self._common(ending) if any(kind in self.nouns.above(s) for kind in kinds)]

    def _related(self, one: int, other: int) -> bool:
        return one in self.nouns.above(other) or other in self.nouns.above(one)

    def _best(self, senses: Iterable[int], accepted: Sequence[int]) -> Relation:
        return min((self._relation(s, a) for s in senses for a in accepted), default=Relation.WRONG)

    def _relation(self, said: int, accepted: int) -> Relation:
        if accepted in self.nouns.above(said):
            return Relation.EXACT
        edges = self.nouns.above(accepted).get(said)
        if edges is None:
            return Relation.WRONG
        return Relation.WITHIN_TWO if edges <= NEAR else Relation.VAGUE


def _category(relation: Relation, unsure: bool) -> Category:
    return Category.HEDGED_WRONG if relation is Relation.WRONG and unsure else Category(relation)
