"""Run the ingest service: `python -m services.ingest`."""

from captionstream.serve import serve
from services.ingest.allocation import give_memory_back
from services.ingest.wiring import open_ingest

if __name__ == "__main__":
    give_memory_back()
    serve("ingest", open_ingest, collects_payloads=True)
