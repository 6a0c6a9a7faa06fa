"""From evidence to the scene: which observations become facts that a caption may state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from captionstream.contracts.evidence import Appearance, ColourShare, ImageEvidence
from captionstream.contracts.scene import Background, Certainty, Medium, QuotedText, Scene, Thing
from services.generator.quotation import quoted_text
from services.generator.things import Sight, relations_of, things_of
from services.generator.vocabulary import Floats, Vocabulary

CROWDED = 0.1  # companions larger than this share the foreground: its colour is not the subject's own

CHROMATIC = {"red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "turquoise"}
HALF = 0.5
DOMINANT, DOMINANT_PAIR = 0.4, 0.6

BLUE_SKY, PALE_SKY, GREENERY = 0.45, 0.75, 0.6
FLAT = 0.9
PAGE_AREA, PAGE_LINES = 0.12, 6
PAGES = frozenset({"web page", "menu", "book cover", "comic book", "crossword puzzle", "envelope", "binder"})
BORNE = 0.2  # least probability of them, beside the lines of text: much that is written on is no page


def scene_of(evidence: ImageEvidence, classes: Floats, vocabulary: Vocabulary) -> Scene:
    """What may be said of an image. `classes` are the tagger's [1000] probabilities."""
    text = quoted_text(evidence.lines)
    things = things_of(Sight(evidence.detections, classes, vocabulary))
    page = float(classes @ vocabulary.classes_called(PAGES))
    medium = _medium(evidence, text, things, page)
    dominant = _dominant(evidence.appearance.colours)
    return Scene(
        medium=medium,
        medium_score=evidence.appearance.flatness if medium is Medium.DRAWING else 1.0,
        things=_coloured(things, evidence.appearance, medium),
        text=text,
        colours=tuple(colour.name for colour in dominant),
        colour_share=min(1.0, sum(colour.share for colour in dominant)),
        background=_background(evidence.appearance, medium),
        relations=relations_of(things),
        content_score=evidence.content_score,
    )


# ---------------------------------------------------------------- how it looks


def _coloured(things: tuple[Thing, ...], appearance: Appearance, medium: Medium) -> tuple[Thing, ...]:
    """The subject with the colour of the foreground, where that is its own and is worth a word."""
    crowd = sum(thing.box.area for thing in things[1:] if thing.box)
    ranked = _basic(appearance.subject_colours)
    if (
        not things
        or not ranked
        or medium is Medium.MONOCHROME
        or crowd > CROWDED
        or things[0].kind == "person"
    ):
        return things
    main = ranked[0]
    if main.share < HALF or main.name not in CHROMATIC or main.name in things[0].noun.split():
        return things
    told = {"colours": (main.name,), "colour_share": main.share}
    return (things[0].model_copy(update=told), *things[1:])


def _basic(shares: Iterable[ColourShare]) -> list[ColourShare]:
    """Light, dark and plain shades of a colour taken together, largest share first."""
    total: dict[str, float] = {}
    for share in shares:
        name = share.name.removeprefix("light ").removeprefix("dark ")
        total[name] = min(1.0, total.get(name, 0.0) + share.share)
    together = [ColourShare(name=name, share=share) for name, share in total.items()]
    return sorted(together, key=lambda colour: -colour.share)


def _dominant(shares: Iterable[ColourShare]) -> list[ColourShare]:
    """The one or two colours that most of the picture has, if it has such."""
    ranked = _basic(shares)[:2]
    if ranked and ranked[0].share >= HALF:
        return ranked[:1]
    if sum(share.share for share in ranked) >= DOMINANT_PAIR:
        return ranked
    return ranked[:1] if ranked and ranked[0].share >= DOMINANT else []


def _background(look: Appearance, medium: Medium) -> Background | None:
    """The strongest thing that can be said of where the subject stands."""
    if look.plain_background is not None:
        plain = look.plain_background
        return Background(kind="plain", colour=_basic([plain])[0].name, score=plain.share)
    if medium is not Medium.PHOTO:
        return None
    if look.blue_sky > BLUE_SKY:
        return Background(kind="blue-sky", score=look.blue_sky)
    if look.blue_sky + look.pale_sky > PALE_SKY:
        return Background(kind="pale-sky", score=min(1.0, look.blue_sky + look.pale_sky))
    if look.greenery > GREENERY:
        return Background(kind="greenery", score=look.greenery)
    return None


def _medium(evidence: ImageEvidence, text: QuotedText | None, things: Sequence[Thing], page: float) -> Medium:
    """What kind of picture it is, by cheap cues: share of text, monochrome pixels, few flat colours.

    `page` is the tagger's mass on such; a sign is a thing like any other. A white sock on a white ground has no
    colours either, so a plain background tells nothing of the medium.
    """
    area = sum(line.box.area for line in evidence.lines) if text else 0.0
    named_surely = bool(things) and things[0].certainty is Certainty.SURE
    if text and page >= BORNE and text.lines >= PAGE_LINES and area >= PAGE_AREA and not named_surely:
        return Medium.PAGE
    if evidence.appearance.monochrome and evidence.appearance.plain_background is None:
        return Medium.MONOCHROME
    if evidence.appearance.flatness > FLAT and not text:
        return Medium.DRAWING
    return Medium.PHOTO
