"""captionstream: image events in, governed captions out."""

__version__ = "0.1.0"
