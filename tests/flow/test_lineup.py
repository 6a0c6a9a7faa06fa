"""A lineup at work in the whole pipeline: each tenant's picture goes only as far as its rule lets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from captionstream.cli.demo_pictures import sign
from captionstream.contracts import messages as m
from captionstream.contracts.messages import Archetype, Egress
from captionstream.runtime.asking import ask
from services.encoder.settings import EncoderSettings, Engine
from services.generator.settings import GeneratorSettings, WriterKind
from services.pipeline import embedded
from tests.faults.harness import plate_event

LINEUP = """
engines:
  eye: {kind: scripted, sends: pixels, local: false, always: true}
  words: {kind: scripted, sends: text, local: false, always: true}
  ours: {kind: scripted, always: true}
egress: {default: nothing, tenants: {open: pixels, careful: text}}
routes: [{engine: eye}, {engine: words}, {engine: ours}]
"""


def settings(folder: Path) -> GeneratorSettings:
    file = folder / "lineup.yaml"
    file.write_text(LINEUP)
    return GeneratorSettings(writer=WriterKind.PLAIN, lineup=file)


def submitted(tenant: str, number: int) -> m.ImageSubmitted:
    return plate_event(number, "lineup").model_copy(update={"tenant": tenant})


async def test_each_tenant_gets_the_engine_that_its_rule_allows_and_the_answer_says_so(
    tmp_path: Path,
) -> None:
    """From the event to the published caption; the encoder sends a small picture because an engine looks at it."""
    events = [submitted(tenant, number) for number, tenant in enumerate(("open", "careful", "closed"))]
    encoder = EncoderSettings(engine=Engine.SCRIPTED)
    told: dict[str, tuple[str, Archetype, Egress]] = {}
    async with embedded(encoder=encoder, generator=settings(tmp_path)) as log:
        async for answer in ask(log, events, 60):
            assert isinstance(answer, m.CaptionPublished)
            assert answer.provenance is not None
            choice = answer.provenance.choice
            assert choice is not None
            told[answer.event.tenant] = (choice.engine, choice.archetype, choice.sent)
    assert {
        "open": ("eye", Archetype.END_TO_END, Egress.PIXELS),
        "careful": ("words", Archetype.EVIDENCE, Egress.TEXT),
        "closed": ("ours", Archetype.EVIDENCE, Egress.NOTHING),
    } == told


def captioned(folder: Path, lineup: str) -> subprocess.CompletedProcess[str]:
    """`captionstream caption` on a picture of a sign, with this lineup."""
    (folder / "sign.png").write_bytes(sign("OPEN"))
    (folder / "lineup.yaml").write_text(lineup)
    command = [
        sys.executable,
        "-m",
        "captionstream",
        "caption",
        "sign.png",
        "--lineup",
        "lineup.yaml",
        "-o",
        "jsonl",
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)


def test_the_command_takes_a_lineup(tmp_path: Path) -> None:
    """One process, no server: the engines of the file write; a wrong file is refused with its line."""
    done = captioned(tmp_path, LINEUP)
    assert 0 == done.returncode, done.stderr
    assert "OPEN" in json.loads(done.stdout)["text"]
    wrong = captioned(tmp_path, LINEUP.replace("sends: text", "sendz: text"))
    assert (2, "") == (wrong.returncode, wrong.stdout)
    assert "lineup.yaml:4: engines.words.sendz: unknown key; did you mean `sends`?" in wrong.stderr
