"""Spans go out when the standard variables say where to, cost nothing otherwise, and never cost a caption."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping

import pytest

from captionstream.local.triton import trace_arguments
from captionstream.telemetry.exporting import CLOSE_S, traces_url
from tests.conftest import free_port

NOTHING = """
import sys
import captionstream.cli.app, captionstream.serve, services.pipeline
from captionstream.telemetry.exporting import exporting
from captionstream.telemetry.tracing import active
with exporting("x"):
    print(active(), [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, *arguments], env={**kept, **variables},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "environment"),
    [
        (None, {}),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}),
        ("http://c:4318/v1/traces", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}),
        ("http://c:4318/v1/traces", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}),
        (
            "http://d/t",
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d/t",
            },
        ),
    ],
)
def test_the_standard_variables_say_where_to(expected: str | None, environment: Mapping[str, str]) -> None:
    """The endpoint for traces wins over the common one, to which the path is added."""
    assert expected == traces_url(environment)


def test_nothing_is_installed_when_nobody_listens() -> None:
    """No provider, and not even an import of the SDK or the exporter."""
    done = run("-c", NOTHING)
    assert "False []" == done.stdout.strip(), done.stderr


def test_a_receiver_that_is_away_costs_no_caption() -> None:
    """All events are answered; the log has a line now and then and not one a span; the end comes soon."""
    begun = time.monotonic()
    done = run(
        "-m", "tests.unit.telemetry.away",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}", OTEL_BSP_SCHEDULE_DELAY="200",
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    recording, answers, closing = done.stdout.split("\n")[:3]
    assert ("recording", "40") == (recording, answers)
    assert float(closing) <= CLOSE_S + 5
    about_it = [line for line in done.stderr.splitlines() if "opentelemetry" in line]
    tens = (time.monotonic() - begun) / 10  # of seconds; a message of one place is let through once in each
    assert 1 <= len(about_it) <= 3 * (tens + 1), done.stderr


def test_triton_is_told_only_when_somebody_listens() -> None:
    """Its spans go to the same receiver, for requests that bring a trace: it starts none of its own."""
    assert [] == trace_arguments(None)
    told = trace_arguments("http://c:4318/v1/traces")
    assert "--trace-config=opentelemetry,url=http://c:4318/v1/traces" in told
    assert {"--trace-config=rate=0", "--trace-config=mode=opentelemetry"} <= set(told)
