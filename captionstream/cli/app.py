"""All commands of `captionstream`, in the order of a first acquaintance."""

from __future__ import annotations

import typer

from captionstream import __version__
from captionstream.cli.bench import bench
from captionstream.cli.caption import caption
from captionstream.cli.contracts import contracts
from captionstream.cli.demo import demo
from captionstream.cli.eval import evaluate
from captionstream.cli.lineup import lineup
from captionstream.cli.models import models
from captionstream.cli.reviewed import reviewed
from captionstream.cli.stack import doctor, down, status, up
from captionstream.cli.submit import submit
from captionstream.cli.topics import dead_letters, topics, watch

app = typer.Typer(
    name="captionstream",
    help="Image events in, governed captions out. Data on stdout, progress on stderr.\n\n"
    "Exit codes: 0 done, 1 some events were not answered as wanted, 2 wrong use, 3 a part is missing or away.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (caption, demo, up, down, status, submit, watch, doctor, bench):
    app.command()(command)
app.command("eval")(evaluate)
app.add_typer(topics, name="topics")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(contracts, name="contracts")
app.add_typer(reviewed, name="reviewed")
app.add_typer(models, name="models")
app.add_typer(lineup, name="lineup")


@app.command()
def version() -> None:
    """The version of this copy."""
    typer.echo(__version__)
