"""The lineup of a file, or the one that the settings of the service make."""

from __future__ import annotations

from pathlib import Path

from captionstream.contracts.messages import Egress
from captionstream.runtime import yaml_file
from captionstream.runtime.yaml_file import BadFile
from services.generator import lineup as told
from services.generator.lineup import EgressRule, Lineup, Route
from services.generator.settings import GeneratorSettings, WriterKind

PARTS = (
    told.Lineup, told.EgressRule, told.Route, told.When, told.Prefix, told.OpenAI, told.LanguageModel, told.Scripted,
)  # fmt: skip
SPLIT, LANGUAGE_MODEL, SCRIPTED = "split", "llm", "scripted"


class BadLineup(BadFile):
    """The lineup cannot be used. The message says file and line, what is wrong, and a way out."""


def lineup_of(settings: GeneratorSettings) -> Lineup:
    """Raises BadLineup."""
    made = load(settings.lineup) if settings.lineup else usual(settings.writer, settings.writer_required)
    return with_address(made, settings.language_model)


def load(path: Path) -> Lineup:
    """Raises BadLineup."""
    keys = (key for part in PARTS for key in part.model_fields)
    try:
        read = yaml_file.load(path, Lineup, keys)
    except BadFile as bad:
        raise BadLineup(*bad.args) from None
    if problems := [f"{read.at(*place)}: {what}" for place, what in read.value.problems()]:
        raise BadLineup("\n".join(problems))
    return read.value


def usual(writer: WriterKind, required: bool = False) -> Lineup:
    """Without a file. A language model that was named is told facts in words; who was seen by the eye of a split
    model is described by its language half. `plain` asks nobody, whatever was seen.
    """
    match writer:
        case WriterKind.PLAIN:
            return Lineup()
        case WriterKind.SCRIPTED:
            return Lineup(engines={SCRIPTED: told.Scripted()}, routes=(Route(engine=SCRIPTED),))
        case WriterKind.LLM:
            return Lineup(
                engines={
                    SPLIT: told.Prefix(),
                    LANGUAGE_MODEL: told.LanguageModel(required=required, probed=True),
                },
                egress=EgressRule(default=Egress.TEXT),
                routes=(Route(engine=SPLIT), Route(engine=LANGUAGE_MODEL)),
            )


def with_address(lineup: Lineup, url: str) -> Lineup:
    """With the address of the service's own language model, which tells whether it is ours."""
    engines = {
        name: engine.model_copy(update={"url": url}) if isinstance(engine, told.LanguageModel) else engine
        for name, engine in lineup.engines.items()
    }
    return lineup.model_copy(update={"engines": engines})
