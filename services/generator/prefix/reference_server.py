"""The reference engine as a process: every class under transformers' `generate`, bound as every engine here is.

    python -m services.generator.prefix.reference_server --port 8190 --models .captionstream/models

Runs where torch and transformers are, beside the generator, which has neither. `reference` asks it. It listens on
127.0.0.1 unless `--host` says otherwise: who reaches the port may have texts written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from services.generator.prefix.binding import rules_for
from triton_models.vision_language import serve


def main() -> None:
    """Serve the language halves of a registry until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m services.generator.prefix.reference_server", description=main.__doc__
    )
    reached = "where it listens; who reaches the port may have texts written (default: %(default)s)"
    parser.add_argument("--host", default=serve.HOST, help=reached)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1, help="of one forward pass")
    told = parser.parse_args()
    serve.run(serve.server(told.models, rules_for), told.port, told.threads, told.host)


if __name__ == "__main__":
    main()
