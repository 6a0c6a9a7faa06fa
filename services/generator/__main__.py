"""Run the generator service: `python -m services.generator`."""

from captionstream.serve import serve
from services.generator.wiring import open_generator

if __name__ == "__main__":
    serve("generator", open_generator)
