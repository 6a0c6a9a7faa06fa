"""Checkpoints of every class that can be split, with random weights: small enough for a test, whole all the same.

Each is what a published checkpoint is: weights as safetensors, configuration, tokenizer, image processor, chat
template, generation settings and a model card. The weights say nothing about pictures, but they say it through
every layer that the real ones have, so a split that is wrong anywhere says something else. They are drawn wide
(`SPREAD`), because narrow ones answer the same token whatever they are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
)
from transformers import (
    GenerationConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

SPREAD = 0.2
"""Standard deviation of the weights; published checkpoints start at 0.02."""

CARD = """---
license: apache-2.0
---
Random weights for tests. They have seen no picture and no word.
"""

IDEFICS3_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{part['text']}}"
    "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ '\n' + part['text'] }}{% endfor %}"
    "{{'<|im_end|>'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
DECODER = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}


def write(name: str, folder: Path, seed: int = 0) -> Path:
    """The checkpoint of that class in `folder`, the same for the same seed. `name` is one of `CLASSES`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model, processor = CLASSES[name]()
    _give_biases_and_scales(model)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return folder


def _give_biases_and_scales(model: Any) -> None:
    """Fresh biases are zero and fresh norms one: a split that lost them would not be noticed."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * SPREAD / 2)


# ---------------------------------------------------------------- the classes


def _idefics3() -> tuple[Any, Any]:
    """Cut into tiles: several pictures a picture, and tokens that name row and column. Embeddings are tied."""
    tokens = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    tokens += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = _tokenizer(tokens, IDEFICS3_TEMPLATE, eos="<end_of_utterance>")
    config = Idefics3Config(
        vision_config={**TOWER, "image_size": 32, "patch_size": 8, "initializer_range": SPREAD},
        text_config=_decoder("llama", tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=True,
        **_special(tokenizer),
    )
    images = Idefics3ImageProcessor(size={"longest_edge": 96}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=IDEFICS3_TEMPLATE)
    return _with_settings(Idefics3ForConditionalGeneration(config), tokenizer), processor


def _smolvlm() -> tuple[Any, Any]:
    """One square a picture, pixel shuffle by three."""
    tokens = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    tokenizer = _tokenizer(tokens, IDEFICS3_TEMPLATE, eos="<end_of_utterance>")
    config = SmolVLMConfig(
        vision_config={**TOWER, "image_size": 48, "patch_size": 8, "initializer_range": SPREAD},
        text_config=_decoder("llama", tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=3,
        **_special(tokenizer),
    )
    images = SmolVLMImageProcessor(
        size={"longest_edge": 96}, max_image_size={"longest_edge": 48}, do_image_splitting=False
    )
    processor = SmolVLMProcessor(
        images, tokenizer, SmolVLMVideoProcessor(), image_seq_len=4, chat_template=IDEFICS3_TEMPLATE
    )
    return _with_settings(SmolVLMForConditionalGeneration(config), tokenizer), processor


def _llava_onevision() -> tuple[Any, Any]:
    """Any resolution, a newline after each row; from 9 tiles' worth of tokens on they are made fewer."""
    tokenizer = _tokenizer(["<image>", "<video>", "<|im_end|>"], LLAVA_TEMPLATE, eos="<|im_end|>")
    pinpoints = [[24 * rows, 24 * columns] for rows in range(1, 6) for columns in range(1, 6)]
    config = LlavaOnevisionConfig(
        vision_config={
            **TOWER,
            "model_type": "siglip_vision_model",
            "image_size": 24,
            "patch_size": 8,
            "vision_use_head": False,
            "initializer_range": SPREAD,
        },
        text_config=_decoder("qwen2", tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
        initializer_range=SPREAD,
        **_special(tokenizer),
    )
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size={"height": 24, "width": 24}, image_grid_pinpoints=pinpoints),
        tokenizer,
        LlavaOnevisionVideoProcessor(size={"height": 24, "width": 24}),
        num_image_tokens=9,
        vision_feature_select_strategy="full",
        chat_template=LLAVA_TEMPLATE,
    )
    return _with_settings(LlavaOnevisionForConditionalGeneration(config), tokenizer), processor


def _qwen2_5_vl() -> tuple[Any, Any]:
    """Any resolution without tiles: windows of 2 x 2 tokens, every second layer sees all; M-RoPE."""
    tokens = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_end|>"]
    tokenizer = _tokenizer(tokens, QWEN_TEMPLATE, eos="<|im_end|>")
    names = ("image", "video", "vision_start", "vision_end")
    ids = dict(zip(names, tokenizer.convert_tokens_to_ids(tokens[:4]), strict=True))
    text = _decoder("qwen2_5_vl_text", tokenizer)
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1, 3],
            "out_hidden_size": DECODER["hidden_size"],
            "initializer_range": SPREAD,
        },
        text_config=text,
        initializer_range=SPREAD,
        **{f"{name}_token_id": value for name, value in ids.items()},
        **_special(tokenizer),
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 40}
    images, videos = Qwen2VLImageProcessor(size=size), Qwen2VLVideoProcessor(size=size)
    processor = Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=QWEN_TEMPLATE)
    model = _with_settings(Qwen2_5_VLForConditionalGeneration(config), tokenizer, repetition_penalty=1.05)
    return model, processor


CLASSES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "smolvlm": _smolvlm,
    "idefics3": _idefics3,
    "llava_onevision": _llava_onevision,
    "qwen2_5_vl": _qwen2_5_vl,
}


# ---------------------------------------------------------------- what they share


def _tokenizer(special: Sequence[str], template: str, eos: str) -> Any:
    """A token for each byte, and the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    named = ["<|pad|>", "<|im_start|>", *special]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in named])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        bos_token="<|im_start|>",
        eos_token=eos,
        padding_side="left",
        chat_template=template,
    )


def _special(tokenizer: Any) -> dict[str, int]:
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _decoder(model_type: str, tokenizer: Any) -> dict[str, Any]:
    special = _special(tokenizer)
    return {
        "model_type": model_type,
        **DECODER,
        **special,
        "vocab_size": len(tokenizer),
        "initializer_range": SPREAD,
    }


def _with_settings(model: Any, tokenizer: Any, **more: float) -> Any:
    """Sampling is what a checkpoint's own settings say: temperature, top-k and top-p all take part."""
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.9, top_k=40, top_p=0.95, **_special(tokenizer), **more
    )
    return model
