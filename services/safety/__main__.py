"""Run the safety service: `python -m services.safety`."""

from captionstream.serve import serve
from services.safety.wiring import open_safety

if __name__ == "__main__":
    serve("safety", open_safety)
