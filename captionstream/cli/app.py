"""All commands of `captionstream`, in the order of a first acquaintance."""

from __future__ import annotations

import typer

from captionstream.cli.caption import caption

app = typer.Typer(
    name="captionstream",
    help="Image events in, governed captions out. Data on stdout, progress on stderr.\n\n"
    "Exit codes: 0 done, 1 some events were not answered as wanted, 2 wrong use, 3 a part is missing or away.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(caption)
