"""The language model of each class as a model of its own, with transformers' own `generate`.

Those of Idefics3, SmolVLM and LLaVA-OneVision are plain Llama, Qwen2 and the like: any engine can load them. That of
Qwen2.5-VL is known to transformers only inside the whole model, because of its positions of several axes; here it
stands alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLPreTrainedModel, Qwen2_5_VLTextModel

ALONE = "qwen2_5_vl_text"


class Qwen25VLDecoder(Qwen2_5_VLPreTrainedModel, GenerationMixin):  # type: ignore[misc, unused-ignore]
    """Ids or embeddings [b, l] with positions [4, b, l] → logits [b, kept, vocabulary]."""

    config_class = Qwen2_5_VLTextConfig
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012  # transformers' own form

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Qwen2_5_VLTextModel(config)
        self.lm_head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        cache: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **_more: Any,
    ) -> Any:
        read = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
        )
        logits = self.lm_head(read.last_hidden_state[:, -logits_to_keep:])
        return CausalLMOutputWithPast(logits=logits, cache=read.cache)


def decoder_of(whole: Any) -> Any:
    """The language model of a whole vision-language model: the same weights, none of the vision's."""
    inner = whole.model
    text = getattr(inner, "text_model", None) or inner.language_model
    config = text.config
    config.tie_word_embeddings = whole.lm_head.weight is text.get_input_embeddings().weight
    made = Qwen25VLDecoder(config) if config.model_type == ALONE else AutoModelForCausalLM.from_config(config)
    made.model.load_state_dict(text.state_dict())
    made.lm_head.load_state_dict(whole.lm_head.state_dict())
    made.generation_config = whole.generation_config
    return made.eval()


def load(folder: Path, model_type: str) -> Any:
    """In fp32. `model_type` is of the decoder's own configuration."""
    from_folder = Qwen25VLDecoder if model_type == ALONE else AutoModelForCausalLM
    how = {"local_files_only": True, "use_safetensors": True, "dtype": torch.float32}
    return from_folder.from_pretrained(folder, **how).eval()
