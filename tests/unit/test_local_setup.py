"""Setting up, checking and composing a local stack, without starting one."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from captionstream.local import uv
from captionstream.local.doctor import checks
from captionstream.local.installed import Installed, MissingPart
from captionstream.local.jars import Jar, faults, fetch, locked
from captionstream.local.kafka import settings
from captionstream.local.lock import without_time
from captionstream.local.setup import Step, do_steps, is_up_to_date, steps
from captionstream.local.stack import local_stack
from captionstream.local.triton import link_backends, server_environment, zero_request

HERE = Installed.here()


class TestSteps:
    def test_a_second_run_does_nothing(self, tmp_path: Path) -> None:
        """`make demo` after `make setup` starts at once."""
        done, step = counted(tmp_path)
        assert (
            do_steps([[step]], tmp_path / "stamps", print),
            do_steps([[step]], tmp_path / "stamps", print),
        ) == (1, 0)
        assert done == ["made"]

    def test_a_changed_lock_file_is_followed(self, tmp_path: Path) -> None:
        """One changed byte in what a step is made from is enough."""
        done, step = counted(tmp_path)
        do_steps([[step]], tmp_path / "stamps", print)
        (tmp_path / "lock").write_text("two")
        do_steps([[step]], tmp_path / "stamps", print)
        assert done == ["made", "made"]

    def test_a_removed_result_is_made_again(self, tmp_path: Path) -> None:
        """Somebody removed .venv: the stamp alone proves nothing."""
        done, step = counted(tmp_path)
        do_steps([[step]], tmp_path / "stamps", print)
        step.proof.unlink()
        do_steps([[step]], tmp_path / "stamps", print)
        assert done == ["made", "made"]

    def test_a_failed_step_is_not_taken_for_done(self, tmp_path: Path) -> None:
        """Also when an earlier run had made it."""
        _, step = counted(tmp_path)
        do_steps([[step]], tmp_path / "stamps", print)

        def fail() -> None:
            raise MissingPart("No network.", "Plug it in.")

        (tmp_path / "lock").write_text("two")
        failing = replace(step, do=fail)
        told: list[str] = []
        with pytest.raises(MissingPart, match=r"No network\. Plug it in\."):
            do_steps([[failing]], tmp_path / "stamps", told.append)
        assert told == ["✗ packages"]
        assert not is_up_to_date(failing, tmp_path / "stamps")

    def test_each_step_says_how_long_it_took(self, tmp_path: Path) -> None:
        """One visible line a step."""
        told: list[str] = []
        _, step = counted(tmp_path)
        do_steps([[step]], tmp_path / "stamps", told.append)
        [row] = told
        assert (row.split()[:2], row.split()[-1]) == (["✓", "packages"], "s")

    def test_set_up_runs_before_anything_is_installed(self) -> None:
        """Python alone, without site-packages, can say what there is to do."""
        program = "from captionstream.local import installed, setup\n"
        program += "print(len(setup.steps(installed.Installed.here(), dev=True)))"
        command = [sys.executable, "-S", "-E", "-c", program]
        over = subprocess.run(command, cwd=HERE.source, capture_output=True, text=True, check=False)
        assert (over.stdout.strip(), over.stderr) == (str(len(steps(HERE, dev=True))), "")


def counted(folder: Path) -> tuple[list[str], Step]:
    """A step that notes when it is done."""
    done: list[str] = []
    (folder / "lock").write_text("one")

    def make() -> None:
        done.append("made")
        (folder / "result").touch()

    return done, Step("packages", (folder / "lock", "Python 3.11"), folder / "result", make)


class TestLockFiles:
    def test_every_package_and_jar_has_its_digest(self) -> None:
        """Nothing is installed that was not looked at when it was locked."""
        for lock in HERE.requirements.glob("*.txt"):
            text = lock.read_text()
            if "overrides" not in lock.name:
                named = [row for row in text.splitlines() if "==" in row and not row.lstrip().startswith("#")]
                assert named
                assert [] == [row for row in named if not row.endswith("\\")], lock.name
        assert len(locked(HERE.requirements / "jgo.lock.toml")) > 30

    def test_no_lock_file_names_the_address_of_a_registry(self) -> None:
        """Where packages come from is a matter of the machine."""
        files = [file for file in HERE.requirements.rglob("*") if file.is_file()]
        sign = {"package-lock.json": '"resolved"'}  # it names the homes of projects, too
        assert [] == [file.name for file in files if sign.get(file.name, "://") in file.read_text()]

    def test_the_product_is_locked_without_torch(self) -> None:
        """5 GB that only exporting models needs."""
        named = {row.split("==")[0] for row in (HERE.requirements / "dev.txt").read_text().splitlines()}
        assert {"aiokafka", "pytest"} <= named
        assert named.isdisjoint({"torch", "transformers", "opencv-python"})

    def test_tests_run_on_the_versions_that_users_get(self) -> None:
        """runtime.txt is a part of dev.txt."""
        runtime, dev = (packages(HERE.requirements / f"{name}.txt") for name in ("runtime", "dev"))
        assert runtime < dev

    def test_the_same_jars_give_the_same_file(self) -> None:
        """A lock file holds no time."""
        text = '[metadata]\ngenerated = "2026-01-02T03:04:05+00:00"\njgo_version = "2.0.0"\n'
        assert without_time(text) == '[metadata]\njgo_version = "2.0.0"\n'

    def test_a_jar_without_a_digest_is_refused(self, tmp_path: Path) -> None:
        """It could be anything."""
        (tmp_path / "lock").write_text('[[dependencies]]\ngroupId="g"\nartifactId="a"\nversion="1"\n')
        with pytest.raises(ValueError, match="no sha256 for a"):
            locked(tmp_path / "lock")

    def test_a_jar_that_is_missing_or_changed_is_named(self, tmp_path: Path) -> None:
        """And one that is as locked is not."""
        digest = hashlib.sha256(b"good").hexdigest()
        good, changed, missing = (Jar("g", name, "1", digest) for name in ("good", "changed", "missing"))
        (tmp_path / good.file_name).write_bytes(b"good")
        (tmp_path / changed.file_name).write_bytes(b"bad")
        expected = ["missing-1.jar is missing", "changed-1.jar is not the locked file"]
        assert faults([good, changed, missing], tmp_path) == expected


class TestJars:
    def test_only_what_is_not_as_locked_is_downloaded(self, tmp_path: Path) -> None:
        """A changed jar is replaced, a missing one added, a good one left alone, one of an old lock removed."""
        good, changed, missing = (jar(name) for name in ("good", "changed", "missing"))
        (tmp_path / good.file_name).write_bytes(b"good")
        (tmp_path / changed.file_name).write_bytes(b"something else")
        (tmp_path / "good-0.jar").write_bytes(b"older")
        assert "good-0.jar is not in the lock file" in faults([good, changed, missing], tmp_path)
        asked: list[str] = []

        def download(wanted: Jar, cache: Path) -> Path:
            asked.append(wanted.artifact)
            (cache / wanted.artifact).write_bytes(wanted.artifact.encode())
            return cache / wanted.artifact

        fetch([good, changed, missing], tmp_path, download)
        assert sorted(asked) == ["changed", "missing"]
        assert faults([good, changed, missing], tmp_path) == []

    def test_a_download_that_is_not_the_locked_file_is_refused(self, tmp_path: Path) -> None:
        """It never gets to where Java would load it."""

        def tampered(wanted: Jar, cache: Path) -> Path:
            (cache / wanted.artifact).write_bytes(b"tampered")
            return cache / wanted.artifact

        with pytest.raises(MissingPart, match="not the locked file"):
            fetch([jar("kafka")], tmp_path / "jars", tampered)
        assert list((tmp_path / "jars").iterdir()) == []


def jar(name: str) -> Jar:
    """A jar whose content is its name."""
    return Jar("group", name, "1", hashlib.sha256(name.encode()).hexdigest())


def packages(lock: Path) -> set[str]:
    return {row.split(" ")[0] for row in lock.read_text().splitlines() if "==" in row}


class TestUv:
    def test_a_failed_command_shows_its_end_and_the_fix(self) -> None:
        """People see why, not only that."""
        with pytest.raises(MissingPart) as failure:
            uv.run(
                [sys.executable, "-c", "print('no such index'); raise SystemExit(2)"],
                fix="Check the network.",
            )
        assert "no such index" in failure.value.what
        assert failure.value.fix == "Check the network."

    def test_the_index_that_pip_uses_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A company's mirror is set up for pip; uv would not look there by itself."""
        monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
        monkeypatch.delenv("UV_INDEX_URL", raising=False)
        monkeypatch.delenv("UV_CONFIG_FILE", raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        assert uv.environment()["UV_DEFAULT_INDEX"] == "http://127.0.0.1:9/simple"
        monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.2:9/simple")
        assert uv.environment()["UV_DEFAULT_INDEX"] == "http://127.0.0.2:9/simple"


class TestDoctor:
    def test_an_empty_machine_gets_a_fix_for_everything_that_is_missing(self, tmp_path: Path) -> None:
        """Each ✗ ends with what to do; what is there is not complained about."""
        empty = Installed(home=tmp_path, source=HERE.source)
        found = {check.name: check for check in checks(empty)}
        wrong = {name for name, check in found.items() if not check.ok}
        assert {"packages", "Kafka", "tritonserver", "language model"} <= wrong
        assert {"Python", "Java", "model files", "ports"}.isdisjoint(wrong)
        assert [] == [name for name, check in found.items() if check.ok == bool(check.fix)]

    def test_a_taken_port_is_named_and_is_no_failure(self, tmp_path: Path) -> None:
        """The next free one is used."""
        import socket

        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            [ports] = [check for check in checks(ports={"kafka": port}) if check.name == "ports"]
        assert ports.ok and f"{port} (kafka)" in ports.detail


class TestStack:
    def test_services_wait_for_their_engine_and_know_every_address(self, tmp_path: Path) -> None:
        """No two parts share a port, no two replicas a slot."""
        parts = local_stack(tmp_path, replicas={"encoder": 2})
        known = {part.label: part for part in parts}
        expected = {"kafka-0", "triton-0", "language-model-0", "ingest-0", "encoder-0", "encoder-1"}
        assert known.keys() == expected | {"generator-0", "safety-0", "monitor-0"}
        assert known["encoder-1"].needs == ("kafka", "triton")
        told = known["encoder-1"].env
        assert told["CAPTIONSTREAM_KAFKA"] == f"127.0.0.1:{known['kafka-0'].port}"
        assert told["CAPTIONSTREAM_TRITON"] == f"127.0.0.1:{known['triton-0'].port}"
        model = f"http://127.0.0.1:{known['language-model-0'].port}/v1"
        assert told["CAPTIONSTREAM_LANGUAGE_MODEL"] == model
        assert (told["CAPTIONSTREAM_SLOT"], known["encoder-0"].env["CAPTIONSTREAM_SLOT"]) == ("1", "0")
        assert told["CAPTIONSTREAM_PROBE_PORT"] == str(known["encoder-1"].port)
        assert len({part.port for part in parts}) == len(parts)

    def test_scripted_engines_need_no_servers(self, tmp_path: Path) -> None:
        """Only Kafka is real then."""
        parts = local_stack(tmp_path, engines="scripted")
        assert [part.role for part in parts] == ["kafka", "ingest", "encoder", "generator", "safety"]
        assert parts[2].env["CAPTIONSTREAM_ENCODER_ENGINE"] == "scripted"
        assert parts[3].env["CAPTIONSTREAM_GENERATOR_WRITER"] == "scripted"

    def test_what_the_caller_tells_a_service_wins(self, tmp_path: Path) -> None:
        """One service alone, on a broker that runs elsewhere."""
        [ingest] = local_stack(tmp_path, roles={"ingest"}, env={"CAPTIONSTREAM_KAFKA": "elsewhere:9092"})
        assert ingest.env["CAPTIONSTREAM_KAFKA"] == "elsewhere:9092"

    @pytest.mark.parametrize("wrong", [{"roles": {"encoderr"}}, {"replicas": {"kafkaa": 2}}])
    def test_an_unknown_part_is_refused(self, tmp_path: Path, wrong: dict[str, object]) -> None:
        """With the names there are."""
        with pytest.raises(ValueError, match="there are kafka, triton"):
            local_stack(tmp_path, **wrong)  # type: ignore[arg-type]

    def test_kafka_tells_clients_the_address_of_a_proxy(self, tmp_path: Path) -> None:
        """So that a fault test can stand between."""
        text = settings(tmp_path, port=9092, controller_port=9093, advertised="127.0.0.1:19092")
        assert "advertised.listeners=PLAINTEXT://127.0.0.1:19092\n" in text
        assert "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n" in text


class TestTriton:
    def test_a_request_of_zeros_fits_the_stated_inputs(self) -> None:
        """A free batch is 1, another free dimension small; a text input gets one empty text each."""
        stated = {
            "inputs": [
                {"name": "images", "datatype": "UINT8", "shape": [-1, -1, 8, 3]},
                {"name": "scores", "datatype": "FP32", "shape": [2]},
            ]
        }
        header, zeros = zero_request(stated)
        assert b'"shape": [1, 64, 8, 3]' in header
        assert len(zeros) == 64 * 8 * 3 + 2 * 4

    def test_the_models_process_finds_its_own_environment(self, tmp_path: Path) -> None:
        """Its `python3` comes first on PATH; without that it would use the packages of the system."""
        told = server_environment(tmp_path / "venv", {"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/opt/lib"})
        assert told["PATH"].split(":")[0] == str(tmp_path / "venv" / "bin")
        assert told["LD_LIBRARY_PATH"].split(":")[-1] == "/opt/lib"

    def test_the_backend_is_put_together_from_links(self, tmp_path: Path) -> None:
        """Copies would not find the libraries of the wheel. A second start replaces them."""
        server = tmp_path / "server"
        for file in (
            "backends/python/libtriton_python.so",
            "python_backend_stubs/3.11/triton_python_backend_stub",
        ):
            (server / file).parent.mkdir(parents=True)
            (server / file).touch()
        link_backends(server, tmp_path / "backends")
        link_backends(server, tmp_path / "backends")
        made = {file.name: file.resolve() for file in (tmp_path / "backends" / "python").iterdir()}
        assert made.keys() == {"libtriton_python.so", "triton_python_backend_stub"}
        assert all(target.is_relative_to(server.resolve()) for target in made.values())
