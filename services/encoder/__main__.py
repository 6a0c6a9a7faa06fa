"""Run the encoder service: `python -m services.encoder`."""

from captionstream.serve import serve
from services.encoder.wiring import open_encoder

if __name__ == "__main__":
    serve("encoder", open_encoder)
