"""How often the text in the making is sent: its first words at once, then about a line at a time.

Every step is a record for the log, a run of all checks in safety, and for who listens to a page another
announcement. So the steps are few: the 32 characters of a row of captions on television (CEA-608), and the beat of
a reader, not of a model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Seconds = Callable[[], float]

EVERY_S = 0.25
STEP_CHARACTERS = 32
OPENING_CHARACTERS = 12
"""Until so much was sent, each further word is: safety may have to know the next one before it shows the first."""
LEAST_WORDS = 2  # "A" tells nobody anything


@dataclass
class Pace:
    """One caption's text, which is looked at whenever it grows. `seconds` never goes back.

    There is no timer: words that are not due wait for the next ones, and the last ones come with the caption.
    """

    seconds: Seconds = time.monotonic
    _sent: str = field(default="", repr=False)
    _sent_at: float = field(default=0.0, repr=False)

    def due(self, text: str) -> str | None:
        """The whole words of `text` with the space after them, if now is the time; the beginning of all later ones.

        A text that does not go on where the last one ended (a second try) shows nothing.
        """
        words = whole_words(text)
        if not (words.startswith(self._sent) and self._is_time(words)):
            return None
        self._sent, self._sent_at = words, self.seconds()
        return words

    def _is_time(self, words: str) -> bool:
        if len(self._sent) < OPENING_CHARACTERS:
            return len(words) > len(self._sent) and len(words.split()) >= LEAST_WORDS
        grown = len(words) - len(self._sent)
        return grown >= STEP_CHARACTERS and self.seconds() - self._sent_at >= EVERY_S


def whole_words(text: str) -> str:
    """Up to the last space, and with it: that ends the word for all who look at the text."""
    return text[: text.rfind(" ") + 1]
