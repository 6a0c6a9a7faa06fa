"""/metrics, /livez and /readyz of one process. Ready: partitions owned, and the engine answered a real request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Checks = Callable[[], Mapping[str, bool]]  # name of a condition -> whether it holds now


def application(alive: Checks, ready: Checks) -> Starlette:
    """The probes as an ASGI application; 200 when every check holds, else 503 naming those that do not."""

    async def livez(request: Request) -> Response:
        return verdict(alive())

    async def readyz(request: Request) -> Response:
        return verdict(ready())

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/healthz", readyz),
            Route("/metrics", metrics),
        ]
    )


def verdict(checks: Mapping[str, bool]) -> JSONResponse:
    return JSONResponse(dict(checks), status_code=200 if all(checks.values()) else 503)


class ProbeServer(uvicorn.Server):
    """uvicorn inside a service's own event loop: the service, not the server, answers signals."""

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, lifespan="off")
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
