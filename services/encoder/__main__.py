"""Run the encoder service: `python -m services.encoder`."""

from captionstream.runtime.allocation import give_memory_back
from captionstream.serve import serve
from services.encoder.wiring import open_encoder

if __name__ == "__main__":
    give_memory_back()
    serve("encoder", open_encoder)
