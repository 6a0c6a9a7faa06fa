"""Where spans go: to an OTLP/HTTP endpoint when the standard environment variables name one, else nowhere.

`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` turns tracing on, `OTEL_TRACES_SAMPLER` and
`OTEL_TRACES_SAMPLER_ARG` choose what is kept, `OTEL_BSP_*` bound the queue (2,048 spans; the oldest go first).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from captionstream import __version__
from captionstream.telemetry import names

CLOSE_S = 2.0  # for the last spans; a receiver that is away must not hold up an end


def traces_url(environment: Mapping[str, str]) -> str | None:
    """The URL that spans are posted to, or None when nobody wants them."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if own := environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        return own
    base = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return f"{base.rstrip('/')}/v1/traces" if base else None


@contextmanager
def exporting(service: str, instance: str | None = None) -> Iterator[None]:
    """Spans of this process go out while the block runs, in batches, from a thread. At most once in a process.

    Nothing is imported and nothing installed when no endpoint is named.
    """
    if traces_url(os.environ) is None:
        yield
        return
    close = install(service, instance)
    try:
        yield
    finally:
        ending = threading.Thread(target=close, daemon=True)
        ending.start()
        ending.join(CLOSE_S)


def install(service: str, instance: str | None) -> Callable[[], None]:
    """Install a provider; returns what closes it, which may take as long as the receiver does."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    told = {
        names.SERVICE_NAME: f"captionstream-{service}",
        names.SERVICE_VERSION: __version__,
        names.SERVICE_INSTANCE: instance or str(os.getpid()),
    }
    provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown
