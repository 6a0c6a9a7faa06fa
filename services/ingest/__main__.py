"""Run the ingest service: `python -m services.ingest`."""

from captionstream.runtime.allocation import give_memory_back
from captionstream.serve import serve
from services.ingest.wiring import open_ingest

if __name__ == "__main__":
    give_memory_back()
    serve("ingest", open_ingest, collects_payloads=True)
