"""Rules for alternative text, each a small function with the id under which it is known in the handbook.

Sources: the W3C alt decision tree and tips for images, WCAG 2.2 (1.1.1, technique failures F30 and F39), the
GOV.UK style for alt text, and the IPTC notes on Alt Text (Accessibility). What stands within quotation marks
is the picture's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from captionstream.contracts.messages import CheckFinding
from captionstream.contracts.values import Profile, Purpose
from services.safety.checks.check import Check, CheckContext, Scope
from services.safety.words import Span, Word, fold, quotations, runs_on, unquoted, words

NAME = "alt"
WANTED, LIMIT = 125, 250  # characters
LEAST_WORDS = 2
MOST_SENTENCES = 2
READ_FOR_SURE = 0.8  # the reader's score above which text in the picture is taken for read
QUOTED_SHARE = 0.9  # of the words read
QUOTABLE = 120  # characters; longer texts do not fit in a caption
FILE_NAME = re.compile(
    r"(?<![\w-])[\w-]+\.(?:jpe?g|png|gif|webp|tiff?|bmp|svg|heic|avif|pdf|cr2|nef|psd|mp4)\b"
    r"|\b(?:IMG|DSC|DSCN|DCIM|PXL|MVI|Screenshot)[_-]?\d{3,}\w*\b"
    r"|(?<![\w-])(?=[0-9a-f-]*\d)(?=[0-9a-f-]*[a-f])(?:[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b",
    re.IGNORECASE,
)
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2190-\u21ff\u20e3\ufe0f]")
SPACING = re.compile(r"[\n\r\t\v\f]+|\s{2,}|^\s+|\s+$")
HASHTAG = re.compile(r"#[^\W\d]\w*")
CREDIT_SIGN = re.compile(
    r"©|\(c\)|\b(?:photo|image|picture|credit|source|foto|crédito|fuente):", re.IGNORECASE
)
LIST_ITEMS = 4
SENTENCE_END = re.compile(r"[.!?…]+(?=[\s\"”»)\]]*(?:$|\s+[\"“«(\[]?[^\W\d_a-zà-öø-ÿ]))")
ENDING = re.compile(r"[.!?…][\"”»)\]]*$")
CASED_WORD = re.compile(r"[^\W\d_]{2,}")
Finder = Callable[[str, CheckContext], Iterable[Span | None]]


def a01_empty_only_where_right(text: str, context: CheckContext) -> Iterator[None]:
    """W3C decision tree: empty for decorative pictures, or where the text beside says it all; only there."""
    empty = not text.strip()
    decorative = context.event.purpose is Purpose.DECORATIVE
    if empty != decorative and not (empty and told_beside(context)):
        yield None


def told_beside(context: CheckContext) -> bool:
    """Whether the page names the subject of the picture right beside it."""
    subject = context.scene.subject if context.scene else None
    return subject is not None and bool({fold(subject.noun), fold(subject.plural)} & beside(context))


def beside(context: CheckContext) -> set[str]:
    page = context.event.context
    return {word.folded for word in words(f"{page.nearby_text or ''} {page.visible_caption or ''}")}


def a01_says_what_is_beside(text: str, context: CheckContext) -> Iterator[None]:
    """W3C decision tree: what the text beside already says needs no second telling."""
    own = {word.folded for word in words(text) if word.folded not in context.lexicon.function_words}
    if own and own <= beside(context):
        yield None


def a03_quotes_the_text(text: str, context: CheckContext) -> Iterator[None]:
    """W3C tips, WCAG 1.1.1: text in a picture that informs is part of its alternative."""
    if context.event.profile is not Profile.ALT or context.event.purpose not in (
        Purpose.INFORMATIVE,
        Purpose.TEXT,
    ):
        return
    read = text_read_for_sure(context)
    said = {word.folded for start, end in quotations(text).spans for word in words(text[start:end])}
    if sum(word.folded in said for word in read) < QUOTED_SHARE * len(read):
        yield None


def text_read_for_sure(context: CheckContext) -> Sequence[Word]:
    """The words in the picture, if they are sure and few enough to quote."""
    text = context.scene.text if context.scene else None
    if text is None or text.score < READ_FOR_SURE or len(text.text) > QUOTABLE:
        return []
    return words(text.text)


def a05_no_placeholder(text: str, context: CheckContext) -> Iterator[Span]:
    """WCAG F30: "image", "untitled" and leftovers of a template are no alternative."""
    found = words(text)
    if found and context.lexicon.placeholders.at(found, 0) == len(found):
        yield 0, len(text)


def a06_no_file_name(text: str, context: CheckContext) -> Iterator[Span]:
    """WCAG F30: no file name, no hash."""
    return (match.span() for match in FILE_NAME.finditer(unquoted(text)))


def a07_no_image_of(text: str, context: CheckContext) -> Iterator[Span]:
    """GOV.UK, W3C tips: does not start with "image of"; who listens knows that it is one."""
    found = words(text)
    size = context.lexicon.image_of.at(found, 0) if found else 0
    if size:
        yield 0, found[size - 1].end


def a08_not_too_long(text: str, context: CheckContext) -> Iterator[None]:
    """IPTC: at most 250 characters."""
    if len(text) > LIMIT:
        yield None


def a08_short_wanted(text: str, context: CheckContext) -> Iterator[None]:
    """GOV.UK: short is better; 125 characters are read in one go by common screen readers."""
    if WANTED < len(text) <= LIMIT:
        yield None


def a09_more_than_a_word(text: str, context: CheckContext) -> Iterator[None]:
    """W3C tips: one word describes next to nothing. Controls are named by one word, though."""
    if text.strip() and in_sentences(context) and len(words(text)) < LEAST_WORDS:
        yield None


def a10_ends_like_a_sentence(text: str, context: CheckContext) -> Iterator[None]:
    """GOV.UK: one or two sentences with a full stop, so that a screen reader pauses."""
    if not text.strip() or not in_sentences(context):
        return
    if not ENDING.search(text) or len(SENTENCE_END.findall(unquoted(text))) > MOST_SENTENCES:
        yield None


def in_sentences(context: CheckContext) -> bool:
    return context.event.purpose in (Purpose.INFORMATIVE, Purpose.COMPLEX)


def a11_capital_first(text: str, context: CheckContext) -> Iterator[None]:
    """GOV.UK: normal sentence case. Screen readers may spell out capitals."""
    own = unquoted(text).lstrip(" ([¿¡'")
    cased = CASED_WORD.findall(own)
    shouted = [word for word in cased if word.isupper()]
    if own[:1].islower() or (len(shouted) > 1 and 2 * len(shouted) > len(cased)):
        yield None


def a13_plain_text(text: str, context: CheckContext) -> Iterator[Span]:
    """WCAG F30: no emoji, hashtag, line break or double space: they are read out, or break the reading."""
    own = unquoted(text)
    return (match.span() for pattern in (EMOJI, HASHTAG, SPACING) for match in pattern.finditer(own))


def a14_no_credit(text: str, context: CheckContext) -> Iterator[Span]:
    """IPTC, GOV.UK: who made a picture has a field of its own."""
    own = unquoted(text)
    yield from (match.span() for match in CREDIT_SIGN.finditer(own))
    yield from context.lexicon.credit.spans(words(own))


def a14_no_keyword_list(text: str, context: CheckContext) -> Iterator[None]:
    """W3C tips: an alternative is not a place for keywords."""
    items = [words(item) for item in unquoted(text).split(",")]
    if len(items) >= LIST_ITEMS and all(bare(item, context) for item in items):
        yield None


def bare(item: Sequence[Word], context: CheckContext) -> bool:
    """One or two words, no article, no preposition."""
    return 0 < len(item) <= 2 and not any(word.folded in context.lexicon.function_words for word in item)


def a21_no_praise(text: str, context: CheckContext) -> Iterator[Span]:
    """GOV.UK: describe, do not sell or judge."""
    yield from context.lexicon.praise.spans(words(unquoted(text)))


RULES: dict[str, Finder] = {
    "A01": a01_empty_only_where_right,
    "A01-beside": a01_says_what_is_beside,
    "A03": a03_quotes_the_text,
    "A05": a05_no_placeholder,
    "A06": a06_no_file_name,
    "A07": a07_no_image_of,
    "A08": a08_not_too_long,
    "A08-wanted": a08_short_wanted,
    "A09": a09_more_than_a_word,
    "A10": a10_ends_like_a_sentence,
    "A11": a11_capital_first,
    "A13": a13_plain_text,
    "A14": a14_no_credit,
    "A14-list": a14_no_keyword_list,
    "A21": a21_no_praise,
}


def alt_rules(text: str, context: CheckContext) -> list[CheckFinding]:
    return [finding(rule, span) for rule, find in RULES.items() for span in find(text, context)]


def finding(rule: str, span: Span | None) -> CheckFinding:
    start, end = span if span is not None else (None, None)
    return CheckFinding(check=NAME, rule=rule, start=start, end=end)


def unsettled(text: str, context: CheckContext) -> int:
    """Where a listed phrase begins that the text breaks off; the start while it may yet be an opening."""
    found = words(text)
    openings = (context.lexicon.placeholders, context.lexicon.image_of)
    if not found or (runs_on(text, found) and any(phrases.broken_off(found, 0) for phrases in openings)):
        return 0
    own, lists = unquoted(text), (context.lexicon.credit, context.lexicon.praise)
    return min(phrases.unsettled(own, words(own)) for phrases in lists)


CHECK = Check(name=NAME, rules=frozenset(RULES), examine=alt_rules, scope=Scope.CAPTION, unsettled=unsettled)
