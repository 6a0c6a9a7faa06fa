"""A split model behind real Kafka and real Triton writes what the whole one writes. Needs `make setup-models`; no torch
in this process: the whole models answer in the Python that has it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.parity.end_to_end import CLASSES, WAYS, Proof, Row, prove, same, table

pytestmark = [pytest.mark.models, pytest.mark.stack, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    return prove(tmp_path_factory.mktemp("end-to-end"))


def test_every_token_is_that_of_the_whole_model(proof: Proof) -> None:
    """Greedy and sampled, six questions in flight about four sizes, three of them about one picture; both engines."""
    rows = [row for row in proof.rows if row.decoding != "under a grammar"]
    expected = {
        (model, *way[:2]) for model in CLASSES for way in WAYS if servable(model) or way[0] == "reference"
    }
    assert expected == {(row.model, row.engine, row.decoding) for row in rows}
    assert all(row.proved for row in rows), table(proof)
    assert all(row.tokens >= 60 for row in rows), "enough to differ in"


def servable(model: str) -> bool:
    """Positions of several axes are left to the reference engine."""
    return model != "qwen2_5_vl"


def test_the_caption_on_kafka_is_the_whole_models_under_the_same_grammar(proof: Proof) -> None:
    """Through the generator's stage: its prompt, its choice of the engine, its judge."""
    rows = {row.model: row for row in proof.rows if row.decoding == "under a grammar"}
    assert {*CLASSES} == {*rows}
    assert all(row.proved for row in rows.values()), table(proof)
    assert ("onnxruntime", "reference") == (rows["smolvlm"].engine, rows["qwen2_5_vl"].engine)


def test_most_tokens_stay_the_same_in_fp16(proof: Proof) -> None:
    """Random weights leave little between the likeliest tokens; real ones leave more."""
    free = [row for row in proof.rows if row.decoding != "under a grammar"]
    assert sum(row.same_fp16 for row in free) > 0.8 * sum(row.tokens for row in free)


def test_one_wrong_weight_of_a_connector_fails_the_proof(proof: Proof) -> None:
    """The prompts are the same; only what was seen is wrong."""
    assert proof.broken.same_prompts
    assert proof.broken.same_fp32 < proof.broken.tokens
    assert proof.holds
    assert not replace(proof, rows=(*proof.rows, proof.broken)).holds


def test_a_row_that_is_too_long_too_short_or_different_is_not_proved() -> None:
    """Nor is one without a single token."""
    assert [3, 2, 2, 2] == [same([1, 2, 3], found) for found in ([1, 2, 3], [1, 2, 3, 4], [1, 2], [1, 2, 4])]
    row = Row("m", "reference", "greedy", tokens=3, same_prompts=True, same_fp32=3, same_fp16=3)
    assert row.proved
    assert not any(
        replace(row, **change).proved
        for change in ({"same_fp32": 2}, {"same_prompts": False}, {"tokens": 0, "same_fp32": 0})
    )
