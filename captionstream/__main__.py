"""`python -m captionstream`."""

from captionstream.cli import main

main()
