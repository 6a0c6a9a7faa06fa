"""Which text was given to which picture, as far back as a bounded memory goes. Digests only, no text is kept."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from captionstream.contracts import messages as m

MOST_TEXTS = 20_000  # about 4 MB; the text that was longest unused falls out first


class Texts:
    """Remembers the last picture of each text."""

    def __init__(self, most: int = MOST_TEXTS) -> None:
        self._most = most
        self._pictures: OrderedDict[bytes, tuple[str | None, str | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pictures)

    def had_elsewhere(self, answer: m.CaptionPublished) -> bool:
        """Whether another picture had this text before; remembers this one.

        Pictures of one stream do not count: a camera that looks at one scene rightly says one thing.
        """
        text = hashlib.blake2b(answer.text.encode(), digest_size=16).digest()
        picture, stream = answer.image_digest, answer.event.stream_key
        before = self._pictures.pop(text, None)
        self._pictures[text] = picture, stream
        if len(self._pictures) > self._most:
            self._pictures.popitem(last=False)
        return before is not None and before[0] != picture and (stream is None or before[1] != stream)
