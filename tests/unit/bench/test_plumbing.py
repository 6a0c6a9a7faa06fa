"""What the scripted stack is asked with."""

from __future__ import annotations

from captionstream.bench.plumbing import plate_event


def test_no_two_events_show_the_same_picture() -> None:
    """In whichever round: the encoder knows a picture by its pixels, and an overload of known ones is none."""
    events = [plate_event(number, tag) for tag in ("peak", "usual", "over") for number in range(300)]
    assert 900 == len({event.image.inline for event in events}) == len({event.id for event in events})
