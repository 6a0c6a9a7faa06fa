"""A memory of reviewed pictures: what it takes, what it answers, and when its word is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from captionstream.contracts.messages import CaptionDrafted, ClaimKind, RefusalReason
from captionstream.contracts.scene import Certainty, Medium, Source
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unprocessable
from services.generator.naming import probabilities
from services.generator.reviewed import (
    FEATURES,
    NAME,
    BadMemory,
    Match,
    NotACommonNoun,
    OtherEncoder,
    Reviewed,
    ReviewedMemory,
    as_file,
    embedding_of,
    probably_right,
    remembered,
    reviewed_thing,
    with_reviewed,
)
from services.generator.settings import GeneratorSettings, WriterKind
from services.generator.stage import GeneratorStage
from services.generator.wiring import languages, open_generator, pipeline_version
from tests.unit.generator.builders import (
    DELIVERY,
    FINGERPRINT,
    WHOLE,
    calm,
    encoded,
    logits,
    scene,
    seen,
    thing,
    vocabulary,
)

Floats = npt.NDArray[np.float32]
ENCODER = FINGERPRINT.digest
GEAR_MOTOR = Reviewed(noun="gear motor", plural="gear motors", kind="artifact")
DOG = Reviewed(noun="golden retriever")
NOTHING_SEEN = probabilities(logits())


def direction(of: int, likeness: float = 1.0) -> Floats:
    """[1280] whose cosine with the `of`-th axis is `likeness`."""
    found = np.zeros(FEATURES, np.float32)
    found[of], found[-1] = likeness, (1 - likeness**2) ** 0.5
    return found


def memory(folder: Path, *rows: Reviewed, encoder: str = ENCODER) -> ReviewedMemory:
    """Each row on an axis of its own."""
    return ReviewedMemory.load(written(folder, *rows, encoder=encoder), vocabulary())


def written(folder: Path, *rows: Reviewed, encoder: str = ENCODER) -> Path:
    path = folder / "memory.safetensors"
    path.write_bytes(as_file(rows, np.stack([direction(at) * 7 for at in range(len(rows))]), encoder))
    return path


def said(match: Match, **masses: float) -> tuple[str, Certainty] | None:
    found = reviewed_thing(match, probabilities(logits(**masses)), vocabulary())
    return None if found is None else (found.noun, found.certainty)


# ---------------------------------------------------------------- the file


def test_what_is_written_is_read_with_its_encoder(tmp_path: Path) -> None:
    """A word of the vocabulary has got its kind and its synset; embeddings have unit length."""
    read = memory(tmp_path, GEAR_MOTOR, DOG)
    assert (GEAR_MOTOR, Reviewed(noun="golden retriever", kind="animal", synset="n02099601")) == read.rows
    assert ENCODER == read.encoder
    assert np.allclose(1, np.linalg.norm(read.embeddings, axis=1), atol=0.001)


def test_two_memories_are_told_apart_by_their_digest(tmp_path: Path) -> None:
    """And with them the captions that they had a part in."""
    one, other = memory(tmp_path, GEAR_MOTOR), memory(tmp_path, DOG)
    told = GeneratorSettings()
    versions = [pipeline_version(vocabulary(), told, each) for each in (None, one, other)]
    assert 3 == len(set(versions))
    assert versions[0] == pipeline_version(vocabulary(), told)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b"", "no safetensors file"),
        (b"GIF89a and so on, and so on", "no safetensors file"),
        (save({"embeddings": np.zeros((1, FEATURES), np.float16)}), "of this version"),
        (save({"embeddings": np.ones((1, 8))}, {"format": "1", "encoder": ENCODER, "rows": "[]"}), "shape"),
        (save({"other": np.ones(1)}, {"format": "1", "encoder": ENCODER, "rows": "[]"}), "no embeddings"),
        (save({"embeddings": np.ones(1)}, {"format": "1", "encoder": "e", "rows": "[]"}), "pattern"),
        (save({"embeddings": np.ones(1)}, {"format": "1", "encoder": ENCODER, "rows": "{"}), "JSON"),
        (
            save(
                {"embeddings": np.full((1, FEATURES), np.nan, np.float16)},
                {"format": "1", "encoder": ENCODER, "rows": '[{"noun": "tabby"}]'},
            ),
            "unit length",
        ),
        (
            save({"embeddings": np.ones(1)}, {"format": "1", "encoder": ENCODER, "rows": '[{"noun": "Ann"}]'}),
            "Ann",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_no_memory_says_why(told: bytes, why: str, tmp_path: Path) -> None:
    """Broken, of another kind, of wrong shape, not finite, or with a name in it that `build` would refuse."""
    path = tmp_path / "memory.safetensors"
    path.write_bytes(told)
    with pytest.raises(BadMemory, match=why):
        ReviewedMemory.load(path, vocabulary())


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """By its path."""
    with pytest.raises(BadMemory, match="nowhere: No such file"):
        ReviewedMemory.load(tmp_path / "nowhere", vocabulary())


def test_a_file_holds_features_and_words_and_nothing_else(tmp_path: Path) -> None:
    """No picture, no file name, no reviewer."""
    path = written(tmp_path, GEAR_MOTOR)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    assert {"embeddings"} == load(path.read_bytes()).keys()
    assert {"format", "encoder", "rows"} == metadata.keys()
    assert [GEAR_MOTOR.model_dump()] == json.loads(metadata["rows"])


# ---------------------------------------------------------------- what may be remembered


@pytest.mark.parametrize("noun", ["tabby cat", "Afghan hound", "jack-o'-lantern", "gear motor", "flat white"])
def test_common_nouns_are_remembered(noun: str) -> None:
    """Those of the vocabulary with their capitals, others in lower case."""
    assert noun == remembered(Reviewed(noun=noun), vocabulary()).noun


@pytest.mark.parametrize(
    "noun",
    [
        "Ana Ruiz", "Barack obama", "ACME pump", "iPhone", "afghan Hound", "a tabby", "the mayor", "", " ", "tabby ",
        "tabby. Buy now", "pump 4711", 'pump" | root ::= [a-z]', "one two three four five six", "x" * 60, "кот",
    ],
)  # fmt: skip
def test_names_and_sentences_are_refused(noun: str) -> None:
    """A capital that the vocabulary does not have may be somebody's, and a noun has no article, number or stop."""
    with pytest.raises(NotACommonNoun):
        remembered(Reviewed(noun=noun), vocabulary())


def test_a_plural_is_checked_as_well() -> None:
    """It is said of two."""
    with pytest.raises(NotACommonNoun, match="Ana Ruiz"):
        remembered(Reviewed(noun="pump", plural="Ana Ruiz"), vocabulary())


def test_of_people_only_words_for_anybody_are_remembered() -> None:
    """The vocabulary has them; `kind` alone makes no other word one, nor takes it from them."""
    assert "person" == remembered(Reviewed(noun="scuba diver", kind="other"), vocabulary()).kind
    assert "person" == remembered(Reviewed(noun="person", kind="artifact"), vocabulary()).kind
    for told in (Reviewed(noun="ana ruiz", kind="person"), Reviewed(noun="ana ruiz", synset="n00007846")):
        with pytest.raises(NotACommonNoun, match="of people only person"):
            remembered(told, vocabulary())


def test_a_plural_names_nobody() -> None:
    """Two people are called what the language calls them."""
    with pytest.raises(NotACommonNoun, match="ana ruiz"):
        remembered(Reviewed(noun="person", plural="ana ruiz"), vocabulary())


# ---------------------------------------------------------------- what is similar


def test_the_nearest_picture_answers_whatever_the_length_of_its_features(tmp_path: Path) -> None:
    """Cosine: a brighter picture has longer features and shows the same."""
    remembering = memory(tmp_path, GEAR_MOTOR, DOG)
    for length in (0.1, 30.0):
        found = remembering.nearest(direction(1, 0.8).astype(np.float16) * np.float16(length))
        assert found is not None and "golden retriever" == found.shows.noun
        assert found.similarity == pytest.approx(0.8, abs=0.005)


def test_an_image_without_features_is_like_nothing(tmp_path: Path) -> None:
    """Zero has no direction."""
    assert memory(tmp_path, GEAR_MOTOR).nearest(np.zeros(FEATURES, np.float16)) is None


@calm
@given(st.floats(-1, 1), st.floats(-1, 1), st.booleans())
def test_what_is_more_alike_is_more_probably_right(one: float, other: float, too: bool) -> None:
    """And what the tagger sees, too, more than what it does not; always a probability."""
    less, more = sorted((one, other))
    assert 0 < probably_right(less, too) <= probably_right(more, too) < 1
    assert probably_right(less, False) < probably_right(less, True)


def test_a_word_that_the_tagger_lacks_is_said_by_likeness_alone() -> None:
    """Surely of nearly the same picture, hedged of a similar one, not at all of another."""
    assert ("gear motor", Certainty.SURE) == said(Match(GEAR_MOTOR, 0.9))
    assert ("gear motor", Certainty.HEDGED) == said(Match(GEAR_MOTOR, 0.75))
    assert said(Match(GEAR_MOTOR, 0.6)) is None


def test_a_word_that_the_tagger_has_is_said_only_where_it_sees_that() -> None:
    """It must see something of it to have it said, and most of it to have it said surely."""
    alike = Match(remembered(DOG, vocabulary()), 0.95)
    assert ("golden retriever", Certainty.SURE) == said(alike, golden_retriever=0.6)
    assert ("golden retriever", Certainty.HEDGED) == said(alike, golden_retriever=0.2)
    assert said(alike, sports_car=0.9) is None
    assert said(Match(alike.shows, 0.47), golden_retriever=0.9) is None


# ---------------------------------------------------------------- what becomes of the scene

MOTOR = thing("gear motor", source=Source.REVIEWED, score=0.95)
PERHAPS = MOTOR.model_copy(update={"certainty": Certainty.HEDGED, "score": 0.8})


def nouns(*things: Any, reviewed: Any = MOTOR, **changes: Any) -> list[str]:
    return [each.noun for each in with_reviewed(scene(*things, **changes), reviewed, vocabulary()).things]


def test_without_a_match_the_scene_is_as_it_was() -> None:
    """The very same."""
    before = scene(thing("dog"))
    assert before is with_reviewed(before, None, vocabulary())


def test_a_reviewed_noun_stands_where_nothing_was_named_or_something_vaguer() -> None:
    """The rest of the scene stays, and relations are those of the new subject."""
    assert ["gear motor"] == nouns()
    told = with_reviewed(scene(thing("device"), thing("ball", box=WHOLE)), MOTOR, vocabulary())
    assert (["gear motor", "ball"], [1]) == (
        [each.noun for each in told.things], [relation.object for relation in told.relations],
    )  # fmt: skip
    assert Source.REVIEWED is told.things[0].source


def test_what_is_surely_seen_gives_way_only_to_what_is_surely_remembered() -> None:
    """A doubtful memory replaces a doubtful sight."""
    sight = thing("tool", score=0.9)
    doubtful = sight.model_copy(update={"certainty": Certainty.HEDGED, "score": 0.6})
    assert (["tool"], ["gear motor"], ["gear motor"]) == (
        nouns(sight, reviewed=PERHAPS), nouns(sight), nouns(doubtful, reviewed=PERHAPS),
    )  # fmt: skip


def test_a_more_certain_name_as_specific_stays() -> None:
    """The tagger's own single class at 0.98 says as much and is surer."""
    assert ["golden retriever"] == nouns(thing("golden retriever", score=0.98, synset="n02099601"))


def test_where_somebody_is_seen_a_thing_names_nobody() -> None:
    """As subject or beside it: whatever word a memory holds, it does not get to a person."""
    person = thing("person", kind="person", score=0.7, certainty=Certainty.HEDGED)
    assert ["person"] == nouns(person)
    assert ["bench", "person"] == nouns(thing("bench"), person)


def test_a_page_stays_what_it_is() -> None:
    """Its text is what counts, and pages are all alike."""
    assert [] == nouns(medium=Medium.PAGE)


def test_number_place_and_colour_stay_with_the_same_kind_of_thing() -> None:
    """Two blue tools are two pumps, blue if the noun describes nothing; of an animal nothing is kept."""
    tools = thing("tool", count=2, box=WHOLE, colours=("blue",), score=0.5, certainty=Certainty.HEDGED)
    pump, motor = (
        with_reviewed(scene(tools), each, vocabulary()).things[0]
        for each in (MOTOR.model_copy(update={"noun": "pump"}), MOTOR)
    )
    assert (2, WHOLE, ("blue",)) == (pump.count, pump.box, pump.colours)
    assert (2, WHOLE, ()) == (motor.count, motor.box, motor.colours)
    animal = tools.model_copy(update={"kind": "animal"})
    assert MOTOR == with_reviewed(scene(animal), MOTOR, vocabulary()).things[0]


def test_a_companion_of_the_same_name_is_not_said_twice() -> None:
    """`A gear motor with a gear motor` says nothing."""
    assert ["gear motor"] == nouns(thing("tool", score=0.5), thing("gear motor"))


# ---------------------------------------------------------------- in the stage


async def drafted(
    remembering: ReviewedMemory | None, features: Floats | None, **changes: Any
) -> CaptionDrafted:
    """What becomes of an image in which the tagger sees nothing, with those features."""
    payloads = PayloadStore.open("memory")
    tensors = {"class_logits": logits().astype(np.float16)}
    tensors |= {} if features is None else {"embedding": features.astype(np.float16)}
    payload = await payloads.put(save(tensors), "application/x-safetensors")
    message = await encoded(payloads, evidence={"tensors": payload} | changes.pop("evidence", {}), **changes)
    made = GeneratorStage(vocabulary(), None, payloads, languages(), "test", reviewed=remembering)
    [answer] = [produced async for produced in made.advance(message, DELIVERY)]
    assert isinstance(answer, CaptionDrafted)
    return answer


async def test_a_similar_image_gets_the_reviewed_noun_and_says_from_where(tmp_path: Path) -> None:
    """In the text, its claim, the scene, and among the models that had a part in it."""
    remembering = memory(tmp_path, GEAR_MOTOR)
    told = await drafted(remembering, direction(0, 0.95))
    [claim] = [claim for claim in told.candidates[0].claims if claim.kind is ClaimKind.OBJECT]
    assert "A gear motor." == told.candidates[0].text
    assert ("gear motor", "reviewed") == (claim.text, claim.source)
    assert claim.score == pytest.approx(probably_right(0.95, False), abs=0.01)
    assert [(NAME, remembering.digest)] == [(model.name, model.digest) for model in told.provenance.models]


async def test_an_image_that_is_like_none_is_captioned_as_without_a_memory(tmp_path: Path) -> None:
    """The same draft, and no word of the memory in its provenance."""
    assert await drafted(None, direction(5)) == await drafted(memory(tmp_path, GEAR_MOTOR), direction(5))


async def test_features_of_another_encoder_are_not_compared(tmp_path: Path) -> None:
    """While encoders change, evidence of two kinds arrives: the memory speaks of its own alone."""
    told = await drafted(memory(tmp_path, GEAR_MOTOR, encoder="b" * 64), direction(0))
    assert [] == list(told.scene.things)


async def test_a_language_without_the_word_keeps_what_was_seen(tmp_path: Path) -> None:
    """Spanish has no gear motor, and has a tabby cat."""
    remembering = memory(tmp_path, GEAR_MOTOR, Reviewed(noun="tabby cat"))
    in_spanish = [await drafted(remembering, direction(at), event={"language": "es"}) for at in (0, 1)]
    assert [[], ["tabby cat"]] == [[each.noun for each in told.scene.things] for told in in_spanish]


async def test_somebody_in_the_image_is_a_person_whatever_it_is_like(tmp_path: Path) -> None:
    """The same picture again, with a person whom the detector sees."""
    told = await drafted(
        memory(tmp_path, GEAR_MOTOR), direction(0), evidence={"detections": (seen("person", 0.9),)}
    )  # fmt: skip
    assert "A person." == told.candidates[0].text


@pytest.mark.parametrize("features", [None, direction(0)[:8], direction(0) * np.nan])
async def test_an_encoding_without_features_is_refused(features: Floats | None, tmp_path: Path) -> None:
    """Only where they are asked for."""
    with pytest.raises(Unprocessable) as refused:
        await drafted(memory(tmp_path, GEAR_MOTOR), features)
    assert RefusalReason.INTERNAL is refused.value.reason
    assert "not named" not in (await drafted(None, features)).candidates[0].text


def test_features_are_read_as_the_encoder_writes_them() -> None:
    """fp16 [1280], under the name `embedding`."""
    assert np.array_equal(direction(3), embedding_of(save({"embedding": direction(3).astype(np.float16)})))


# ---------------------------------------------------------------- at the start


@pytest.mark.parametrize("accepted", [frozenset(), frozenset({"b" * 64})])
async def test_a_memory_of_another_encoder_ends_the_start(accepted: frozenset[str], tmp_path: Path) -> None:
    """Which one it is of, which are accepted, and what to do; accepting any encoder accepts no memory."""
    told = GeneratorSettings(
        writer=WriterKind.PLAIN, reviewed=written(tmp_path, GEAR_MOTOR), encoder_fingerprints=accepted
    )
    with pytest.raises(OtherEncoder, match=f"encoded by {ENCODER[:12]}.*build again"):
        async with open_generator(PayloadStore.open("memory"), told):
            pass


async def test_a_memory_of_an_accepted_encoder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by its variable; without it there is none."""
    told = GeneratorSettings(writer=WriterKind.PLAIN, encoder_fingerprints=frozenset({ENCODER, "b" * 64}))
    monkeypatch.setenv("CAPTIONSTREAM_GENERATOR_REVIEWED", str(written(tmp_path, GEAR_MOTOR)))
    named = GeneratorSettings(writer=WriterKind.PLAIN, encoder_fingerprints=told.encoder_fingerprints)
    found = []
    for each in (told, named):
        async with open_generator(PayloadStore.open("memory"), each) as service:
            assert isinstance(service.stage, GeneratorStage)
            found.append(service.stage.reviewed and service.stage.reviewed.rows)
    assert [None, (GEAR_MOTOR,)] == found
