"""`captionstream lineup`: which engine writes for whom, told before anybody is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from captionstream.cli.options import LanguageOption, PurposeOption, fail
from captionstream.contracts.messages import Event
from captionstream.contracts.values import Profile, Purpose
from captionstream.runtime.errors import Misconfigured

if TYPE_CHECKING:
    from services.generator.lineup import Lineup
    from services.generator.routing import Situation

WIDTH = 160  # of the table where nobody looks: lines of a file are not wrapped
ANYBODY = "any other"

lineup = typer.Typer(
    help="Engines that write captions: which one is asked for which profile and tenant, and what may leave.",
    no_args_is_help=True,
)


@lineup.callback()
def main() -> None:
    """Engines that write captions: which one is asked for which profile and tenant, and what may leave."""


@lineup.command("check")
def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="By default what a generator without a file would do.",
                       dir_okay=False),
    ] = None,
    language: LanguageOption = "en",
    purpose: PurposeOption = Purpose.INFORMATIVE,
    left: Annotated[float | None, typer.Option("--left", help="Seconds left to a deadline.")] = None,
    visual: Annotated[bool, typer.Option(help="The encoder sends visual tokens of a split model.")] = True,
    picture: Annotated[bool, typer.Option(help="The encoder sends the small picture.")] = True,
) -> None:  # fmt: skip
    """Read a lineup and show who would write, in the order of asking. Exit code 2 with file and line if it is wrong.

    Example: captionstream lineup check examples/lineups/managed.yaml --no-visual
    """
    from services.generator.routing import Situation

    try:
        event = Event(id="check", language=language, purpose=purpose)
    except ValueError:
        raise fail(f"--lang {language}: no BCP-47 tag") from None
    made = lineup_or_fail(file)
    console = Console(width=None if Console().is_terminal else WIDTH)
    console.print(table(made, event, Situation(left_s=left, has_visual=visual, has_picture=picture)))


def lineup_or_fail(file: Path | None = None) -> Lineup:
    """That of a file, or of the variables that a generator would read; what it would refuse ends the command."""
    from services.generator.lineup_file import lineup_of
    from services.generator.settings import GeneratorSettings

    try:
        return lineup_of(GeneratorSettings(lineup=file) if file else GeneratorSettings())
    except Misconfigured as wrong:
        raise fail(str(wrong)) from None
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        raise fail(
            f"CAPTIONSTREAM_GENERATOR_{'_'.join(map(str, first['loc'])).upper()}: {first['msg']}"
        ) from None


def table(made: Lineup, event: Event, now: Situation) -> Table:
    """A row for each profile and tenant."""
    shown = Table("profile", "tenant", "may leave", "asked, one after the other", "why the first")
    for row in rows(made, event, now):
        shown.add_row(*row)
    return shown


def rows(made: Lineup, event: Event, now: Situation) -> Iterator[tuple[str, str, str, str, str]]:
    from services.generator.routing import in_order

    for profile in Profile:
        for tenant in (*tenants(made), ANYBODY):
            asked = [*in_order(made, event.model_copy(update={"profile": profile, "tenant": tenant}), now)]
            order = " → ".join(
                each.name if each.engine is None else f"{each.name} ({each.form})" for each in asked
            )
            yield str(profile), tenant, str(made.egress.of(tenant)), order, asked[0].choice.reason


def tenants(made: Lineup) -> list[str]:
    """Those whom a rule or a route names."""
    return sorted({*made.egress.tenants, *(name for route in made.routes for name in route.when.tenants)})
