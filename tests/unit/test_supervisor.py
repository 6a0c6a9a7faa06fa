"""The supervisor of a local stack, tried on small real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from captionstream.local.keeper import Event, Happening, StartFailed, pause_before
from captionstream.local.ports import choose_port
from captionstream.local.probe import connects
from captionstream.local.process import Broken, Part
from captionstream.local.state import AlreadyRunning, Condition, is_running, read_state, stop_running
from captionstream.local.supervisor import StopAsked, Supervisor, in_levels, line

# Listens on a port after a while, notes in a file that it started and that it was asked to end.
SERVER = """
import signal, socket, sys, time
port, role, diary, delay = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
def note(what):
    with open(diary, "a") as file: file.write(f"{role} {what}\\n")
def end(*_): note("ends"); sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("starts")
time.sleep(delay)
server = socket.create_server(("127.0.0.1", port))
note("listens")
while True: server.accept()[0].close()
"""
STUBBORN = SERVER.replace(
    "signal.signal(signal.SIGTERM, end)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
)
WITH_A_CHILD = "import subprocess; subprocess.Popen(['sleep', '600'])\n" + SERVER


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def part(
    folder: Path, role: str = "server", program: str = SERVER, delay: float = 0, **other: object
) -> Part:
    port = free_port()
    arguments = (str(port), role, str(folder / "diary"), str(delay))
    made = Part(
        name=role.title(),
        role=role,
        argv=(sys.executable, "-S", "-c", program, *arguments),
        port=port,
        ready=lambda: connects(port),
        log_path=folder / "logs" / f"{role}.log",
        ask_every_s=0.05,
        patience_s=0.5,
        fix="Ask the doctor.",
    )
    return replace(made, **other)  # type: ignore[arg-type]


def diary(folder: Path) -> list[str]:
    return (folder / "diary").read_text().splitlines()


def exists(pid: int | None) -> bool:
    return pid is not None and psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def eventually(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    folder: Path, *parts: Part, tell: Callable[[Event], None] = lambda _: None
) -> AsyncIterator[Supervisor]:
    async with Supervisor(folder, parts, tell) as supervisor:
        yield supervisor


class TestStarting:
    async def test_a_part_starts_when_what_it_needs_listens(self, tmp_path: Path) -> None:
        """The slow part below is awaited, although it is named last."""
        parts = [part(tmp_path, "upper", needs=("lower",)), part(tmp_path, "lower", delay=0.4)]
        async with running(tmp_path, *parts):
            assert ["lower starts", "lower listens", "upper starts", "upper listens"] == diary(tmp_path)

    async def test_parts_without_needs_start_side_by_side(self, tmp_path: Path) -> None:
        """Both processes are there before either of them listens."""
        async with running(tmp_path, part(tmp_path, "one", delay=1), part(tmp_path, "two", delay=1)):
            assert {"one starts", "two starts"} == set(diary(tmp_path)[:2])

    async def test_what_follows_a_part_is_done_before_others_build_on_it(self, tmp_path: Path) -> None:
        """Topics are made between the broker's readiness and the first service."""

        async def make_topics() -> None:
            with (tmp_path / "diary").open("a") as file:
                file.write("topics\n")

        parts = [part(tmp_path, "lower", once_ready=make_topics), part(tmp_path, "upper", needs=("lower",))]
        async with running(tmp_path, *parts):
            assert ["lower listens", "topics", "upper starts"] == diary(tmp_path)[1:4]

    async def test_a_part_that_ends_at_once_shows_the_end_of_its_log_and_the_fix(
        self, tmp_path: Path
    ) -> None:
        """The last 20 lines, not the first ones, and no process stays."""
        program = "for n in range(30): print('row', n)\nraise SystemExit(3)"
        good, bad = part(tmp_path, "good"), part(tmp_path, "bad", program, needs=("good",))
        with pytest.raises(StartFailed) as failure:
            async with running(tmp_path, good, bad):
                pass
        shown = str(failure.value).splitlines()
        assert "✗ Bad ended with status 3" in shown[0]
        assert [f"    row {n}" for n in range(10, 30)] == shown[1:-1]
        assert "→ Ask the doctor." == shown[-1]
        state = read_state(tmp_path)
        assert state is not None
        assert (Condition.FAILED, Condition.STOPPED) == (state.part("bad").state, state.part("good").state)
        assert "good ends" == diary(tmp_path)[-1]

    async def test_a_failed_start_does_not_show_the_log_of_an_earlier_run(self, tmp_path: Path) -> None:
        """That one is kept beside it."""
        silent = part(tmp_path, program="raise SystemExit(1)")
        silent.log_path.parent.mkdir()
        silent.log_path.write_text("all was well\n")
        with pytest.raises(StartFailed) as failure:
            async with running(tmp_path, silent):
                pass
        assert [] == failure.value.log_tail
        assert "all was well\n" == (tmp_path / "logs" / "server.previous.log").read_text()

    async def test_a_part_that_never_gets_ready_is_given_up_in_time(self, tmp_path: Path) -> None:
        """Its process is gone afterwards."""
        late = part(tmp_path, delay=600, start_timeout_s=0.3, stop_timeout_s=0.1)
        with pytest.raises(StartFailed, match="was not ready within 0 s"):
            async with running(tmp_path, late):
                pass
        assert not [
            p for p in psutil.process_iter(["cmdline"]) if str(late.port) in (p.info["cmdline"] or [])
        ]

    async def test_a_program_that_does_not_exist_is_a_failed_start(self, tmp_path: Path) -> None:
        """Not an exception of the supervisor itself."""
        with pytest.raises(StartFailed, match="could not be started"):
            async with running(tmp_path, part(tmp_path, argv=("/no/such/program",))):
                pass

    async def test_a_failed_follow_up_is_a_failed_start(self, tmp_path: Path) -> None:
        """Its own words are shown."""

        async def refuse() -> None:
            raise RuntimeError("no room for topics")

        with pytest.raises(StartFailed, match="no room for topics"):
            async with running(tmp_path, part(tmp_path, once_ready=refuse)):
                pass

    async def test_stop_may_be_asked_for_while_parts_start(self, tmp_path: Path) -> None:
        """Ctrl-C during the start ends the stack, and nothing stays."""
        supervisor = Supervisor(tmp_path, [part(tmp_path, delay=600, stop_timeout_s=0.5)])
        asyncio.get_running_loop().call_later(0.5, supervisor.ask_to_stop)
        with pytest.raises(StopAsked):
            await supervisor.__aenter__()
        assert Condition.STOPPED == supervisor.state.part("server").state

    async def test_one_folder_has_one_stack(self, tmp_path: Path) -> None:
        """A second supervisor is refused with the command that helps; the first goes on."""
        async with running(tmp_path, part(tmp_path)) as first:
            with pytest.raises(AlreadyRunning, match="captionstream down"):
                async with running(tmp_path, part(tmp_path, "other")):
                    pass
            assert Condition.READY == first.state.part("server").state


class TestWatching:
    async def test_a_killed_part_is_replaced(self, tmp_path: Path) -> None:
        """Another process, counted as one restart, in the state file too."""
        async with running(tmp_path, part(tmp_path)) as supervisor:
            before = supervisor.state.part("server")
            os.kill(before.pid or 0, signal.SIGKILL)
            await eventually(lambda: supervisor.state.part("server").restarts == 1)
            await eventually(lambda: supervisor.state.part("server").state is Condition.READY)
            after = supervisor.state.part("server")
            assert before.pid != after.pid and exists(after.pid)
            assert read_state(tmp_path) == supervisor.state

    async def test_what_a_killed_part_had_started_goes_with_it(self, tmp_path: Path) -> None:
        """A left-over child would hold memory, ports and locks of its successor."""
        async with running(tmp_path, part(tmp_path, program=WITH_A_CHILD)) as supervisor:
            first = psutil.Process(supervisor.state.part("server").pid)
            [grandchild] = first.children()
            first.kill()
            await eventually(lambda: supervisor.state.part("server").restarts == 1)
            await eventually(lambda: not exists(grandchild.pid))

    async def test_a_frozen_part_is_killed_before_it_is_replaced(self, tmp_path: Path) -> None:
        """Thawed later, the old process must not run beside the new one."""
        watched = part(tmp_path)

        async def answers() -> bool:
            return await asyncio.to_thread(greeted, watched.port)

        async with running(tmp_path, replace(watched, alive=answers)) as supervisor:
            frozen = supervisor.state.part("server").pid or 0
            os.kill(frozen, signal.SIGSTOP)
            await eventually(lambda: supervisor.state.part("server").restarts == 1)
            assert not exists(frozen)
            await eventually(lambda: supervisor.state.part("server").state is Condition.READY)

    async def test_a_broken_part_is_replaced_without_patience(self, tmp_path: Path) -> None:
        """A server whose model process died says so; people are told why."""
        told: list[Event] = []
        broken = iter([False, True])

        async def alive() -> bool:
            if next(broken, False):
                raise Broken("1 of 4 model processes are gone")
            return True

        patient = part(tmp_path, alive=alive, patience_s=600.0)
        async with running(tmp_path, patient, tell=told.append) as supervisor:
            await eventually(lambda: supervisor.state.part("server").restarts == 1)
        [lost] = [event for event in told if event.happening is Happening.LOST]
        assert "is broken: 1 of 4 model processes are gone" == lost.detail

    async def test_one_missed_answer_is_forgiven(self, tmp_path: Path) -> None:
        """A part that is busy for a moment is not replaced."""
        answers = iter([True, False, True])
        asked = asyncio.Event()

        async def alive() -> bool:
            answer = next(answers, None)
            if answer is None:
                asked.set()
            return answer is not False

        async with running(tmp_path, part(tmp_path, alive=alive, patience_s=60.0)) as supervisor:
            await asyncio.wait_for(asked.wait(), 20)
            assert 0 == supervisor.state.part("server").restarts

    async def test_a_part_that_fails_again_and_again_is_tried_again(self, tmp_path: Path) -> None:
        """It comes back as soon as its reason is gone; every attempt is counted."""
        gate = tmp_path / "gate"
        gate.touch()
        program = f"import os, sys\nif not os.path.exists({str(gate)!r}): sys.exit(1)\n" + SERVER
        async with running(tmp_path, part(tmp_path, program=program)) as supervisor:
            gate.unlink()
            os.kill(supervisor.state.part("server").pid or 0, signal.SIGKILL)
            await eventually(lambda: supervisor.state.part("server").restarts >= 2)
            assert Condition.RESTARTING == supervisor.state.part("server").state
            gate.touch()
            await eventually(lambda: supervisor.state.part("server").state is Condition.READY)

    def test_pauses_grow_from_nothing_to_a_cap(self) -> None:
        """The first replacement is immediate: a single crash must cost as little time as possible."""
        assert [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0] == [pause_before(n) for n in range(8)]


class TestStopping:
    async def test_parts_end_in_the_reverse_order_of_their_needs(self, tmp_path: Path) -> None:
        """A service must find its broker until it has ended."""
        parts = [part(tmp_path, "broker"), part(tmp_path, "service", needs=("broker",))]
        async with running(tmp_path, *parts):
            pass
        assert ["service ends", "broker ends"] == diary(tmp_path)[-2:]

    async def test_no_process_stays(self, tmp_path: Path) -> None:
        """Neither the parts nor what they had started."""
        parts = [part(tmp_path, "one", WITH_A_CHILD), part(tmp_path, "two")]
        async with running(tmp_path, *parts) as supervisor:
            started = [psutil.Process(known.pid) for known in supervisor.state.parts]
            everything = [*started, *(child for process in started for child in process.children())]
            assert 3 == len(everything)
        # who was killed is gone a moment later
        await eventually(lambda: not any(exists(process.pid) for process in everything))
        state = read_state(tmp_path)
        assert state is not None
        assert {Condition.STOPPED} == {known.state for known in state.parts}
        assert {None} == {known.pid for known in state.parts}

    async def test_a_part_that_ignores_the_request_is_killed(self, tmp_path: Path) -> None:
        """Stopping takes no longer than the part may take."""
        async with running(tmp_path, part(tmp_path, program=STUBBORN, stop_timeout_s=0.2)) as supervisor:
            stubborn = supervisor.state.part("server").pid
        assert not exists(stubborn)

    async def test_a_probe_that_swallows_the_cancellation_does_not_hold_up_the_end(
        self, tmp_path: Path
    ) -> None:
        """Libraries do that; the stack must still stop."""
        asked = asyncio.Event()

        async def alive() -> bool:
            asked.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(600)
            return True

        async with running(tmp_path, part(tmp_path, alive=alive, patience_s=600.0)) as supervisor:
            await asyncio.wait_for(asked.wait(), 20)
        assert supervisor.state.part("server").state is Condition.STOPPED

    async def test_a_part_is_cleaned_up_after_however_it_ended(self, tmp_path: Path) -> None:
        """Once for the killed process and once for its successor."""
        cleaned: list[bool] = []
        async with running(tmp_path, part(tmp_path, clean_up=lambda: cleaned.append(True))) as supervisor:
            os.kill(supervisor.state.part("server").pid or 0, signal.SIGKILL)
            await eventually(lambda: supervisor.state.part("server").restarts == 1)
            assert [True] == cleaned
        assert [True, True] == cleaned


# A supervisor as a process of its own: argv is folder, then the arguments of one server.
SUPERVISOR = f"""
import asyncio, sys
from pathlib import Path
from captionstream.local.probe import connects
from captionstream.local.process import Part
from captionstream.local.supervisor import Supervisor
folder, port = Path(sys.argv[1]), int(sys.argv[2])
program = {SERVER!r}
argv = (sys.executable, "-S", "-c", program, str(port), "server", str(folder / "diary"), "0")
part = Part("Server", "server", argv, port, lambda: connects(port), folder / "log")
async def main():
    supervisor = Supervisor(folder, [part])
    supervisor.ask_to_stop_on_signals()
    async with supervisor:
        await supervisor.until_asked_to_stop()
asyncio.run(main())
"""


async def start_supervisor(folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(folder), str(free_port())])
    await eventually(
        lambda: (known := read_state(folder)) is not None and known.parts[0].state is Condition.READY
    )
    return process


class TestFromOutside:
    async def test_down_stops_a_stack_of_another_process(self, tmp_path: Path) -> None:
        """`stop_running` returns when the stack is gone, and says whether there was one."""
        process = await start_supervisor(tmp_path)
        assert is_running(tmp_path)
        assert await asyncio.to_thread(stop_running, tmp_path, 20.0)
        assert 0 == process.wait(10)
        assert "server ends" == diary(tmp_path)[-1]
        assert (False, False) == (is_running(tmp_path), stop_running(tmp_path))

    async def test_a_killed_supervisor_leaves_no_part_behind(self, tmp_path: Path) -> None:
        """The kernel ends the parts; the folder is free for the next stack."""
        process = await start_supervisor(tmp_path)
        state = read_state(tmp_path)
        assert state is not None and state.supervisor_pid == process.pid
        process.kill()
        process.wait()
        await eventually(lambda: not exists(state.part("server").pid))
        assert not is_running(tmp_path)

    async def test_the_state_file_says_what_runs_where(self, tmp_path: Path) -> None:
        """Plain JSON that any tool can read, with times in UTC."""
        known = part(tmp_path, slot=2)
        async with running(tmp_path, known) as supervisor:
            told = json.loads((tmp_path / "state.json").read_text())
            [row] = told["parts"]
            since = datetime.fromisoformat(row.pop("since"))
            assert 0 == since.utcoffset().total_seconds()  # type: ignore[union-attr]
            assert os.getpid() == told["supervisor_pid"]
            expected = {"role": "server", "slot": 2, "name": "Server", "port": known.port, "state": "ready"}
            assert {**expected, "restarts": 0, "pid": supervisor.state.part("server", 2).pid} == row

    def test_a_folder_without_a_stack_has_no_state(self, tmp_path: Path) -> None:
        """Not an error: `status` says that nothing runs."""
        assert (None, False) == (read_state(tmp_path), is_running(tmp_path))


class TestPlanning:
    def test_levels_follow_needs_and_take_absent_ones_for_granted(self, tmp_path: Path) -> None:
        """A stack may use a broker that runs elsewhere."""
        parts = [
            part(tmp_path, "c", needs=("b",)),
            part(tmp_path, "a", needs=("elsewhere",)),
            part(tmp_path, "b", needs=("a",)),
        ]
        assert [["a"], ["b"], ["c"]] == [[known.role for known in level] for level in in_levels(parts)]

    def test_two_parts_in_one_slot_are_refused(self, tmp_path: Path) -> None:
        """Two members with one name would evict each other for ever."""
        with pytest.raises(ValueError, match="same role and slot"):
            in_levels([part(tmp_path), part(tmp_path)])

    def test_a_taken_port_is_avoided(self) -> None:
        """Another program on the usual port is no reason to fail."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = other.getsockname()[1]
            chosen = choose_port(taken)
            assert taken < chosen
            assert chosen < choose_port(taken, taken={chosen})

    def test_a_line_names_part_time_and_address(self, tmp_path: Path) -> None:
        """What `up` prints for each part."""
        known = part(tmp_path, name="Kafka 4.4.0", port=9092)
        shown = line(Event(Happening.READY, known, 2.14))
        assert ["✓", "Kafka", "4.4.0", "2.1", "s", "127.0.0.1:9092"] == shown.split()


def greeted(port: int) -> bool:
    """A frozen process still accepts connections: the kernel does that. It closes none."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.3) as connection:
        return connection.recv(1) == b""
