"""Personal data that has a form: mail and network addresses, numbers of phones, cards, accounts, identity.

Numbers are validated by the libraries that know their rules (`phonenumbers`, `python-stdnum`), so a serial
number or a date is not taken for one. Names have no form and are not looked for here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import phonenumbers
import stdnum.br.cpf
import stdnum.es.dni
import stdnum.es.nie
import stdnum.fr.nir
import stdnum.iban
import stdnum.it.codicefiscale
import stdnum.luhn
import stdnum.us.ssn

from captionstream.contracts.messages import CheckFinding
from services.safety.checks.check import Check, CheckContext
from services.safety.words import Span, words

NAME = "personal-data"
EMAIL = re.compile(r"""[^\s@<>()\[\],;:"“”«»]+@[^\s@<>()\[\],;:"“”«»]+\.[^\W\d_]{2,}""")
ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:]|\.\d)"
)
CARD = re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])")
CARD_ISSUERS = re.compile(
    r"4\d{15}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d)\d{12}"
)
IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
LEAST_PHONE_DIGITS = 7
PHONE_REGIONS = ("US", "GB", "ES", "FR", "DE", "IT", "PT", "MX", "BR", "IN")
VALID = 1  # phonenumbers.Leniency.VALID
PHONE_WORD_DISTANCE = 3  # words between "call" and a number without any grouping
EXTENSIONS = re.compile(r"e?xt(?:ensi[oó])?n?|доб|anexo|int|x", re.IGNORECASE)  # what phonenumbers knows
LETTERS = re.compile(r"[^\W\d_]+")
ACCOUNT_GROUP = re.compile(r"[A-Z0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class IdentityNumber:
    """A national number: its form in running text, and the library's word on whether it is one."""

    form: re.Pattern[str]
    valid: Callable[[str], bool]


IDENTITY_NUMBERS = (
    IdentityNumber(re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), stdnum.us.ssn.is_valid),
    IdentityNumber(re.compile(r"(?<![\w-])\d{8}-?[A-Z](?![\w-])"), stdnum.es.dni.is_valid),
    IdentityNumber(re.compile(r"(?<![\w-])[XYZ]-?\d{7}-?[A-Z](?![\w-])"), stdnum.es.nie.is_valid),
    IdentityNumber(
        re.compile(r"(?<!\w)[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}(?!\w)"), stdnum.fr.nir.is_valid
    ),
    IdentityNumber(
        re.compile(r"(?<!\w)[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z](?!\w)"), stdnum.it.codicefiscale.is_valid
    ),
    IdentityNumber(re.compile(r"(?<!\w)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\w)"), stdnum.br.cpf.is_valid),
)


def personal_data(text: str, context: CheckContext) -> list[CheckFinding]:
    finders: dict[str, Iterator[Span]] = {
        "email": (match.span() for match in EMAIL.finditer(text)),
        "ip": addresses(text),
        "card": cards(text),
        "iban": accounts(text),
        "national-id": identity_numbers(text),
        "phone": phones(text, context),
    }
    return [
        CheckFinding(check=NAME, rule=rule, start=start, end=end)
        for rule, spans in finders.items()
        for start, end in spans
    ]


def addresses(text: str) -> Iterator[Span]:
    """IPv4 and IPv6. A time (10:30:15) is not an address: the library says so."""
    for match in ADDRESS.finditer(text):
        try:
            ipaddress.ip_address(match.group())
        except ValueError:
            continue
        if any(character.isdigit() for character in match.group()):
            yield match.span()


def cards(text: str) -> Iterator[Span]:
    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if CARD_ISSUERS.fullmatch(digits) and stdnum.luhn.is_valid(digits):
            yield match.span()


def accounts(text: str) -> Iterator[Span]:
    """IBANs. A last group may be a word that follows ("... 19 OK"), so shorter readings are tried as well."""
    for match in IBAN.finditer(text):
        groups = match.group().split(" ")
        for count in range(len(groups), 0, -1):
            reading = " ".join(groups[:count])
            if stdnum.iban.is_valid(reading):
                yield match.start(), match.start() + len(reading)
                break


def identity_numbers(text: str) -> Iterator[Span]:
    for number in IDENTITY_NUMBERS:
        for match in number.form.finditer(text):
            if number.valid(match.group()):
                yield match.span()


def phones(text: str, context: CheckContext) -> Iterator[Span]:
    """Numbers that a region dials. Ungrouped digits count only beside a word such as "call"."""
    if sum(character.isdigit() for character in text) < LEAST_PHONE_DIGITS:
        return
    found = {
        (match.start, match.end)
        for region in PHONE_REGIONS
        for match in phonenumbers.PhoneNumberMatcher(text, region, leniency=VALID)
    }
    for start, end in sorted(found):
        if not text[start:end].isdigit() or announced(text[:start], context):
            yield start, end


def announced(before: str, context: CheckContext) -> bool:
    return any(word.folded in context.lexicon.phone_words for word in words(before)[-PHONE_WORD_DISTANCE:])


def unsettled(text: str, context: CheckContext) -> int:
    """Where the numbers at the end begin. What has a form and no space is settled with its last character."""
    place = len(text)
    for token in reversed(list(re.finditer(r"\S+", text))):
        if not goes_on(token.group()):
            break
        if begins(token.group()):
            place = token.start()
    return place


def begins(token: str) -> bool:
    """Whether a number may begin with this token."""
    return any(character.isdigit() or character in "+＋(（[［" for character in token)


def goes_on(token: str) -> bool:
    """Whether a number that has spaces in it may have this token between its first and its last."""
    letters = LETTERS.findall(token)
    if any(character.isdigit() for character in token) or not letters:
        return True
    return bool(ACCOUNT_GROUP.fullmatch(token)) or all(EXTENSIONS.fullmatch(part) for part in letters)


CHECK = Check(
    name=NAME,
    rules=frozenset({"email", "ip", "card", "iban", "national-id", "phone"}),
    examine=personal_data,
    unsettled=unsettled,
)
