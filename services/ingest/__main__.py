"""Run the ingest service: `python -m services.ingest`."""

from captionstream.serve import serve
from services.ingest.wiring import open_ingest

if __name__ == "__main__":
    serve("ingest", open_ingest, collects_payloads=True)
