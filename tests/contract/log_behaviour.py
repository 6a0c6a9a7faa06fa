"""What every message log must do. One suite; the log in memory and the one on Kafka both pass it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest
from aiorwlock import RWLock

from captionstream.contracts.codec import marker
from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import (
    CAPTION_MARKERS,
    CAPTIONS,
    CAPTIONS_DRAFTED,
    IMAGE_EVENTS,
    IMAGES_PREPARED,
)
from captionstream.contracts.values import StageName
from captionstream.runtime.message_log import Lane, MessageLog, Progress, Subscription
from captionstream.runtime.ordering import Handling, publish, relay

WAIT_S = 30.0


class Crash(Exception):
    """Stands for the death of a process: nothing after it is acknowledged."""


def event(name: str, value: bytes = b"x", topic: str = IMAGE_EVENTS.name) -> Outgoing:
    return Outgoing(topic, name.encode(), value, (("trace", name.encode()),))


def subscription(
    topic: str = IMAGE_EVENTS.name, *, transactional: bool = False, markers: str | None = None
) -> Subscription:
    return Subscription(topic, f"group-{uuid.uuid4().hex[:8]}", "0", transactional, markers)


async def work_until(
    log: MessageLog,
    reads: Subscription,
    through: Callable[[Lane], Awaitable[None]],
    done: Callable[[], bool | Awaitable[bool]],
) -> None:
    """Work until `done`, or fail after WAIT_S."""
    stop = asyncio.Event()
    working = asyncio.create_task(log.work(reads, through, stop))
    try:
        async with asyncio.timeout(WAIT_S):
            while not working.done():
                holds = done()
                if holds if isinstance(holds, bool) else await holds:
                    break
                await asyncio.sleep(0.02)
    finally:
        stop.set()
        await asyncio.wait_for(working, WAIT_S)


async def present(log: MessageLog, topic: str, names: set[str]) -> list[Record]:
    """The records on `topic` whose key is in `names`: tests share a broker, keys are theirs alone."""
    return [r async for r in log.read(topic, follow=False) if r.key is not None and r.key.decode() in names]


def answers_on(log: MessageLog, topic: str, wanted: list[str]) -> Callable[[], Awaitable[bool]]:
    """Whether each of `wanted` has a record on `topic`."""

    async def answered() -> bool:
        return len({record.key for record in await present(log, topic, set(wanted))}) == len(wanted)

    return answered


def names(count: int) -> list[str]:
    tag = uuid.uuid4().hex[:8]
    return [f"{tag}-{number}" for number in range(count)]


def nothing_poisoned(record: Record, deaths: int) -> tuple[Outgoing, ...]:
    raise AssertionError("no record was expected to be refused unseen")


class LogBehaviour:
    """Mixin: subclasses give a `log` fixture."""

    async def test_a_published_record_is_read_as_it_was(self, log: MessageLog) -> None:
        """Key, value and headers survive; the log adds the time of the append."""
        [name] = names(1)
        await log.publish([event(name, b"\x00value")])
        [record] = await present(log, IMAGE_EVENTS.name, {name})
        assert (name.encode(), b"\x00value", name) == (record.key, record.value, record.header("trace"))
        assert record.appended_at.tzinfo is not None

    async def test_records_of_one_key_are_read_in_order(self, log: MessageLog) -> None:
        """A stream keeps its order from publisher to reader."""
        [name] = names(1)
        await log.publish([event(name, str(number).encode()) for number in range(50)])
        assert [str(n).encode() for n in range(50)] == [
            r.value for r in await present(log, IMAGE_EVENTS.name, {name})
        ]

    async def test_following_sees_what_comes_later(self, log: MessageLog) -> None:
        """A reader that starts at the end gets the next record, and no earlier one."""
        early, late = names(2)
        await log.publish([event(early)])
        reading = log.read(IMAGE_EVENTS.name, "end")
        first = asyncio.ensure_future(anext(reading))
        await asyncio.sleep(0.5)
        await log.publish([event(late)])
        assert late.encode() == (await asyncio.wait_for(first, WAIT_S)).key
        await reading.aclose()  # type: ignore[attr-defined]

    async def test_the_last_of_a_partition_are_records_whatever_lies_between(self, log: MessageLog) -> None:
        """Each record in a transaction of its own, whose end takes an offset too: the last two are two records."""
        [key] = names(1)
        reads = subscription(CAPTIONS_DRAFTED.name, transactional=True)

        async def one_by_one(lane: Lane) -> None:
            while not lane.stopping:
                for record in await lane.take(1):
                    answer = [Outgoing(CAPTIONS.name, record.key, record.value)]
                    await lane.commit(answer if record.key == key.encode() else (), record.offset + 1)

        async def answered() -> bool:
            return len(await present(log, CAPTIONS.name, {key})) == 6

        await log.publish([event(key, str(number).encode(), CAPTIONS_DRAFTED.name) for number in range(6)])
        await work_until(log, reads, one_by_one, answered)
        for count in (0, 2, 5):
            found = [r async for r in log.read(CAPTIONS.name, count, follow=False)]
            of_key = [int(r.value) for r in found if r.key == key.encode()]
            assert list(range(6))[6 - count :] == of_key
            partitions = [r.partition for r in found]
            assert all(partitions.count(one) <= count for one in partitions)

    async def test_reading_from_known_ends_misses_nothing(self, log: MessageLog) -> None:
        """Who asks for the ends, publishes and then reads from them sees what was published, and nothing older."""
        early, late = names(2)
        await log.publish([event(early)])
        ends = await log.ends(IMAGE_EVENTS.name)
        await log.publish([event(late)])
        found = [r.key async for r in log.read(IMAGE_EVENTS.name, ends, follow=False)]
        assert [late.encode()] == found

    async def test_relay_answers_every_record(self, log: MessageLog) -> None:
        """What goes in comes out, once, when nothing fails."""
        sent = names(40)
        done: list[str] = []

        async def work(record: Record):  # type: ignore[no-untyped-def]
            done.append(record.header("trace") or "")
            yield Outgoing(IMAGES_PREPARED.name, record.key, record.value)

        await log.publish([event(name) for name in sent])
        await work_until(
            log, subscription(), lambda lane: relay(lane, Handling(work, nothing_poisoned)),
            lambda: set(sent) <= set(done),
        )  # fmt: skip
        found = [r.key.decode() for r in await present(log, IMAGES_PREPARED.name, set(sent)) if r.key]
        assert sorted(sent) == sorted(found)

    async def test_a_key_stays_in_order_while_others_overtake(self, log: MessageLog) -> None:
        """A slow record holds back its own stream and no other."""
        slow, quick = names(2)
        finished: list[tuple[str, bytes]] = []

        async def work(record: Record):  # type: ignore[no-untyped-def]
            name = (record.key or b"").decode()
            if (name, record.value) == (slow, b"0"):
                await asyncio.sleep(0.5)
            if name in (slow, quick):
                finished.append((name, record.value))
            yield Outgoing(IMAGES_PREPARED.name, record.key, record.value)

        await log.publish([event(slow, b"0"), event(slow, b"1"), event(slow, b"2"), event(quick, b"0")])
        await work_until(
            log, subscription(), lambda lane: relay(lane, Handling(work, nothing_poisoned)),
            lambda: len(finished) >= 4,
        )  # fmt: skip
        assert [b"0", b"1", b"2"] == [value for name, value in finished if name == slow]
        assert (quick, b"0") == finished[0]

    async def test_what_a_crash_left_open_is_worked_again(self, log: MessageLog) -> None:
        """A record that was in hand at a crash comes to the successor."""
        [name] = names(1)
        reads = subscription()
        seen: list[str] = []

        async def dying(record: Record):  # type: ignore[no-untyped-def]
            if (record.key or b"").decode() == name:
                raise Crash
            yield Outgoing(IMAGES_PREPARED.name, record.key, record.value)

        async def living(record: Record):  # type: ignore[no-untyped-def]
            seen.append((record.key or b"").decode())
            yield Outgoing(IMAGES_PREPARED.name, record.key, record.value)

        await log.publish([event(name)])
        with pytest.raises(Crash):
            await work_until(
                log, reads, lambda lane: relay(lane, Handling(dying, nothing_poisoned)), lambda: False
            )
        await work_until(
            log, reads, lambda lane: relay(lane, Handling(living, nothing_poisoned)), lambda: name in seen
        )
        assert [name] == [r.key.decode() for r in await present(log, IMAGES_PREPARED.name, {name}) if r.key]

    async def test_a_record_that_kills_its_worker_is_refused_in_the_end(self, log: MessageLog) -> None:
        """After deaths from one offset records go alone; the one that kills alone is refused, the rest is answered."""
        before, poison, after = names(3)
        reads = subscription()
        refused: list[str] = []

        async def work(record: Record):  # type: ignore[no-untyped-def]
            if record.value == b"poison" and (record.key or b"").decode() == poison:
                raise Crash
            yield Outgoing(IMAGES_PREPARED.name, record.key, record.value)

        def poisoned(record: Record, deaths: int) -> tuple[Outgoing, ...]:
            refused.append((record.key or b"").decode())
            return (Outgoing(IMAGES_PREPARED.name, record.key, b"refused"),)

        async def one_life() -> None:
            """What one process does until it dies."""
            handling = Handling(work, poisoned, company=RWLock())
            await work_until(log, reads, lambda lane: relay(lane, handling), lambda: bool(refused))

        await log.publish([event(before), event(poison, b"poison"), event(after)])
        crashes = 0
        while not refused and crashes < 12:
            try:
                await one_life()
            except Crash:
                crashes += 1
        await work_until(
            log, reads, lambda lane: relay(lane, Handling(work, poisoned)),
            answers_on(log, IMAGES_PREPARED.name, [before, poison, after]),
        )  # fmt: skip
        assert [poison] == refused
        assert 2 <= crashes <= 6
        assert b"refused" in [r.value for r in await present(log, IMAGES_PREPARED.name, {poison})]

    async def test_a_crash_in_the_middle_of_a_batch_publishes_nothing_of_it(self, log: MessageLog) -> None:
        """Output, marker and offset of a batch appear together: after the crash the answer is there once."""
        sent = names(5)
        reads = subscription(CAPTIONS_DRAFTED.name, transactional=True)

        async def dying(record: Record):  # type: ignore[no-untyped-def]
            yield Outgoing(CAPTIONS.name, record.key, b"answer")
            if (record.key or b"").decode() == sent[-1]:
                raise Crash

        async def living(record: Record):  # type: ignore[no-untyped-def]
            yield Outgoing(CAPTIONS.name, record.key, b"answer")

        await log.publish([event(name, topic=CAPTIONS_DRAFTED.name) for name in sent])
        with pytest.raises(Crash):
            await work_until(
                log, reads, lambda lane: publish(lane, Handling(dying, nothing_poisoned)), lambda: False
            )
        await work_until(
            log, reads, lambda lane: publish(lane, Handling(living, nothing_poisoned)),
            answers_on(log, CAPTIONS.name, sent),
        )  # fmt: skip
        found = [r.key.decode() for r in await present(log, CAPTIONS.name, set(sent)) if r.key]
        assert sorted(sent) == sorted(found)

    async def test_markers_tell_the_successor_what_is_answered(self, log: MessageLog) -> None:
        """The ids that were answered are known at the next assignment, before the first record is taken."""
        [name] = names(1)
        caption, digest = uuid.uuid4().hex * 2, "ab" * 32
        reads = subscription(CAPTIONS_DRAFTED.name, transactional=True, markers=CAPTION_MARKERS.name)
        found: list[bool] = []

        async def answering(record: Record):  # type: ignore[no-untyped-def]
            yield Outgoing(CAPTIONS.name, record.key, b"answer")
            yield marker(caption, digest, StageName.SAFETY)

        async def look(lane: Lane) -> None:
            found.append(lane.answers.has(caption))

        await log.publish([event(name, topic=CAPTIONS_DRAFTED.name)])
        answered: list[bool] = []

        async def answer_and_tell(lane: Lane) -> None:
            await publish(lane, Handling(answering, nothing_poisoned))
            answered.append(True)

        stop = asyncio.Event()
        working = asyncio.create_task(log.work(reads, answer_and_tell, stop))
        async with asyncio.timeout(WAIT_S):
            while not await present(log, CAPTIONS.name, {name}):
                await asyncio.sleep(0.1)
        stop.set()
        await working
        await work_until(log, reads, look, lambda: len(found) >= 8)
        assert 1 <= found.count(True)

    async def test_progress_is_kept_beside_the_offset(self, log: MessageLog) -> None:
        """What `mark` notes, the successor finds; a commit wipes it."""
        reads = subscription()
        found: dict[str, Progress] = {}

        async def note(lane: Lane) -> None:
            if lane.partition == 0:
                await lane.mark(0, Progress(begun=3, alone=1))
                found["noted"] = lane.progress

        async def read_and_wipe(lane: Lane) -> None:
            if lane.partition == 0:
                found["found"] = lane.progress
                await lane.commit((), 0)

        async def read(lane: Lane) -> None:
            if lane.partition == 0:
                found["wiped"] = lane.progress

        await log.publish([event(name) for name in names(1)])
        for step, through in (("noted", note), ("found", read_and_wipe), ("wiped", read)):
            await work_until(log, reads, through, lambda step=step: step in found)  # type: ignore[misc]
        assert {"noted": Progress(), "found": Progress(3, 1), "wiped": Progress()} == found
