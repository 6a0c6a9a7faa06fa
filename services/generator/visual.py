"""What the encoder saw for an engine that reads more than words: visual tokens and the small picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from captionstream.contracts.evidence import VisualPrefix
from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.values import Payload
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable, Unprocessable
from services.generator.writer import Picture, Seen
from triton_models.registry import NotThere, Registry, RegistryError
from triton_models.vision_language import visual_tokens
from triton_models.vision_language.visual_tokens import NotVisualTokens


class Shelf(Protocol):
    """The split models whose language halves are here."""

    def is_filled(self) -> bool: ...

    def width(self, digest: str) -> int | None:
        """Of one visual token of that model; None if it is not here. Raises Unavailable if it was changed."""
        ...


@dataclass(frozen=True)
class RegistryShelf:
    """The models that are ready, as the registry has them at this moment."""

    registry: Registry

    def is_filled(self) -> bool:
        return bool(self.registry.models())

    def width(self, digest: str) -> int | None:
        try:
            return self.registry.model(digest).halves.split.width
        except NotThere:
            return None
        except RegistryError as changed:
            raise Unavailable("split model", str(changed)) from changed


@dataclass(frozen=True)
class EmptyShelf:
    def is_filled(self) -> bool:
        return False

    def width(self, digest: str) -> int | None:
        return None


async def seen_of(visual: VisualPrefix, payloads: PayloadStore, shelf: Shelf) -> Seen:
    """The visual tokens of a message. Raises Unprocessable: mixed-encoders when no language half here is of the
    model that made them, internal when they are not what the message says; or Unavailable (payload store).
    """
    width = shelf.width(visual.model.digest)
    if width is None:
        named = f"{visual.model.name} {visual.model.digest[:12]}"
        raise Unprocessable(
            RefusalReason.MIXED_ENCODERS, f"seen by the split model {named}, which is not here"
        )
    data = await payloads.get(visual.tokens)
    try:
        tokens = visual_tokens.decode(data, width)
    except NotVisualTokens as wrong:
        raise Unprocessable(RefusalReason.INTERNAL, f"the visual tokens cannot be read: {wrong}") from wrong
    if (len(tokens), width) != (visual.count, visual.width):
        said = f"{visual.count} x {visual.width} are told of, {len(tokens)} x {width} are there"
        raise Unprocessable(RefusalReason.INTERNAL, f"visual tokens: {said}")
    return Seen(visual.model, tokens)


async def picture_of(picture: Payload, payloads: PayloadStore) -> Picture:
    """Raises Unprocessable or Unavailable as the payload store does."""
    return Picture(picture.media_type, await payloads.get(picture))
