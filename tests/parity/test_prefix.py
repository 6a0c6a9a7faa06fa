"""The serving engine writes what transformers writes, and its gate knows a bad graph of a real model. Needs torch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.conftest import Folders

pytestmark = [pytest.mark.models, pytest.mark.timeout(400)]

SERVED = ("smolvlm", "idefics3", "llava_onevision")


@pytest.mark.parametrize("name", SERVED)
def test_the_serving_engine_writes_what_the_whole_model_writes(
    name: str, checkpoint_of: Folders, halves_of: Folders
) -> None:
    """Greedy and by the same noise, alone, joining a batch at different times, several prompts on one picture."""
    from triton_models.vision_language.parity import asked_how, served_row
    from triton_models.vision_language.questions import cases, pictures
    from triton_models.vision_language.sides import Sides

    sides = Sides.of(checkpoint_of(name), halves_of(name))
    rows = [row for one in asked_how(cases(pictures(1)), 20) for row in served_row(sides, *one)]
    sides.close()
    assert 6 == len(rows)
    assert all(row.proved for row in rows), rows
    assert sum(row.same_fp16 for row in rows) > 0.8 * sum(row.tokens for row in rows)


def test_a_proof_fails_when_only_the_serving_engine_differs(
    checkpoint_of: Folders, halves_of: Folders, tmp_path: Path
) -> None:
    """One wrong row of weights in its graph, made and judged by itself: its gate sees nothing, the proof does."""
    from safetensors.numpy import load_file, save_file

    from triton_models.vision_language import decoder_graph
    from triton_models.vision_language.parity import compare

    folder = shutil.copytree(halves_of("smolvlm"), tmp_path / "halves")
    wrong = shutil.copytree(folder / "language", tmp_path / "wrong")
    weights = load_file(wrong / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"][3] *= -3
    save_file(weights, wrong / "model.safetensors", {"format": "pt"})
    decoder_graph.write(wrong, folder / "serving", "fp32")
    proof = compare("wrong", checkpoint_of("smolvlm"), folder, tokens=8)
    assert all(row.proved for row in proof.rows)
    assert any(row.same_fp32 < row.tokens for row in proof.served)
    assert not proof.holds


def test_a_graph_that_its_own_gate_refuses_is_no_proof(
    checkpoint_of: Folders, halves_of: Folders, tmp_path: Path
) -> None:
    """Else a spoilt graph would count like a class that has none."""
    from triton_models.vision_language import decoder_graph
    from triton_models.vision_language.parity import compare

    folder = shutil.copytree(halves_of("smolvlm"), tmp_path / "halves")
    decoder_graph.write(folder / "language", folder / "serving", "fp32")
    data = decoder_graph.graph_file(folder / "serving", "fp32").with_name("model.onnx.data")
    data.write_bytes(bytes(byte ^ 0x31 if n % 7 == 0 else byte for n, byte in enumerate(data.read_bytes())))
    with pytest.raises(decoder_graph.NotServable, match="near enough"):
        compare("spoilt", checkpoint_of("smolvlm"), folder, tokens=2)


def test_positions_of_several_axes_have_no_graph(halves_of: Folders, tmp_path: Path) -> None:
    """transformers serves those models; nothing is left behind."""
    from triton_models.vision_language import decoder_graph

    with pytest.raises(decoder_graph.NotServable, match="qwen2_5_vl_text"):
        decoder_graph.write(halves_of("qwen2_5_vl") / "language", tmp_path / "serving")
    assert not (tmp_path / "serving").exists()


@pytest.mark.parametrize("name", SERVED)
def test_prompts_are_those_of_transformers(name: str, halves_of: Folders) -> None:
    """Whatever language, white space, and number of turns; the chat template included."""
    from services.generator.prefix.prompt import ChatTemplate
    from triton_models.vision_language import halves
    from triton_models.vision_language.eye import Eye
    from triton_models.vision_language.language import LanguageHalf, Prompt
    from triton_models.vision_language.questions import pictures

    folder = halves_of(name)
    split = halves.open_halves(folder).split
    reference = LanguageHalf.open(split, folder / "language")
    template = ChatTemplate.open(split, folder / "language")
    image = Eye(split, halves.graph_file(folder)).see(split.lay(split.prepare(pictures(3)[1])))
    for text in ("What is it?", "  ¿Qué hay aquí?\n\n", "Straße, 北京 🐈 \t end", "a < b | c > d", "x" * 300):
        asked = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
        system = {"role": "system", "content": [{"type": "text", "text": text}]}
        answer = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        again = {"role": "user", "content": [{"type": "text", "text": text}]}
        for talk in ((asked,), (system, asked), (asked, answer, again)):
            expected = reference.ids(Prompt(talk, (image,)))
            assert expected == list(template.asked(talk, [image]).ids)


@pytest.mark.parametrize("seed", range(5))
def test_sampling_follows_the_rules_of_transformers(seed: int) -> None:
    """The same tokens are left, with the same probabilities, after every rule in its order."""
    import torch
    from transformers.generation import logits_process as rules

    from services.generator.prefix.sampling import Shaping, chances, penalised

    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, 500).astype(np.float32)
    said = random.integers(0, 500, 60)
    shaping = Shaping(temperature=0.7, top_k=40, top_p=0.9, repetition_penalty=1.1)
    scores = torch.from_numpy(logits[None].copy())
    for rule in (
        rules.RepetitionPenaltyLogitsProcessor(1.1),
        rules.TemperatureLogitsWarper(0.7),
        rules.TopKLogitsWarper(40),
        rules.TopPLogitsWarper(0.9),
    ):
        scores = rule(torch.from_numpy(said[None]), scores)
    expected = torch.softmax(scores[0].double(), -1).numpy()
    repeated = np.isin(np.arange(500), said)
    found = chances(penalised(logits, repeated, 1.1), shaping)
    assert np.array_equal(expected > 0, found > 0)
    assert np.allclose(expected, found, atol=1e-6)


@pytest.mark.parametrize("rope", ["default", "linear", "llama3"])
def test_every_kind_of_rotary_positions_that_has_a_graph_is_that_of_transformers(
    rope: str, tmp_path: Path
) -> None:
    """The graph says what transformers says, heads of an odd size and biases included."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    from services.generator.prefix import gate
    from triton_models.vision_language import decoder_graph

    how: dict[str, Any] = {"rope_type": rope, "rope_theta": 5000.0}
    if rope != "default":
        how["factor"] = 4.0
    if rope == "llama3":
        how |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=60, intermediate_size=96, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
        vocab_size=270, max_position_embeddings=256, rope_parameters=how, initializer_range=0.2,
        attention_bias=True, mlp_bias=True, bos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).eval().save_pretrained(tmp_path / "language")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.save(str(tmp_path / "language" / "tokenizer.json"))
    facts = decoder_graph.write(tmp_path / "language", tmp_path / "serving", "fp32")
    assert 16 == facts.head
    _, verdict = gate.opened(tmp_path / "serving", 4, 128, 1, gate.Limits())
    assert verdict.serving.kl < 1e-6
    assert 1.0 == verdict.serving.top_1


@pytest.mark.timeout(1500)
def test_the_broken_8_bit_recipe_is_rejected_on_a_real_model(tmp_path: Path) -> None:
    """SmolLM2-135M: the recipe that a library has by default is refused, ours serve, and fp32 takes its place."""
    from services.generator.prefix import gate
    from services.generator.prefix.decoder import Decoder
    from triton_models.vision_language import decoder_graph, probe, smollm2

    serving = tmp_path / "serving"
    decoder_graph.write(smollm2.convert(), serving, "broken8")
    _, verdict = gate.opened(serving, 4, 64, 1, gate.Limits())
    assert ["broken8"] == [refused.recipe for refused in verdict.refused], str(verdict)
    assert "fp32" == verdict.recipe
    reference, fp32 = probe.read(serving), decoder_graph.graph_file(serving, "fp32")
    for recipe, most in (("blocks8", 0.02), ("dynamic8", 0.1)):
        decoder_graph.quantise(fp32, decoder_graph.graph_file(serving, recipe), recipe)  # type: ignore[arg-type]
        found = gate.nearness(recipe, Decoder.open(serving, recipe, 4, 64), reference)  # type: ignore[arg-type]
        assert found.within(gate.Limits()), str(found)
        assert found.kl < most, str(found)
