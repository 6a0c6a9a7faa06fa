"""Vision tower and connector of each class as one torch module: laid pixels → visual tokens [n, width].

The layers are those of transformers, with the weights of the checkpoint. Only what goes round them is written anew,
where the original decides by the picture's size in Python and so cannot become a graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

from triton_models.vision_language.split import Split, SplitFacts


def tower_of(split: Split, model: Any) -> nn.Module:
    """`model` is the whole model as transformers loads it. The module takes `split.tensors` in their order."""
    tower: nn.Module = _TOWERS[split.kind](split, model).eval()
    return tower


class Normal(nn.Module):  # type: ignore[misc, unused-ignore]  # Any without torch
    """uint8 pixels → what the tower was trained on, computed in the order in which transformers computes it."""

    def __init__(self, facts: SplitFacts, *channel_first: int) -> None:
        super().__init__()
        for name in ("mean", "std"):
            values = torch.tensor(getattr(facts, name)) * (1.0 / facts.scale)
            self.register_buffer(name, values.reshape(*channel_first) if channel_first else values)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels.float() - self.mean) / self.std


class Idefics3Tower(nn.Module):  # type: ignore[misc, unused-ignore]
    """images uint8 [t, side, side, 3] → [t * tokens_a_tile, width]."""

    def __init__(self, split: Any, model: Any) -> None:
        super().__init__()
        self.normal = Normal(split)
        self.tower, self.connector = model.model.vision_model, model.model.connector
        self.register_buffer("places", _places(self.tower.embeddings, split.side))

    def forward(self, images: Tensor) -> Tensor:
        pixels = self.normal(images).permute(0, 3, 1, 2)
        seen = self.tower.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2) + self.places
        for layer in self.tower.encoder.layers:
            seen = layer(seen, None)
        return self.connector(self.tower.post_layernorm(seen)).flatten(0, 1)


def _places(embeddings: Any, side: int) -> Tensor:
    """[1, patches, hidden] what is added to the patches of a full tile, as the model's own code works it out.

    It sorts fractions into buckets, with all that rounding does there; that is looked up once and not done again.
    """
    found: list[Tensor] = []
    hook = embeddings.position_embedding.register_forward_hook(lambda _module, _given, out: found.append(out))
    patches = side // embeddings.patch_size
    with torch.no_grad():
        embeddings(torch.zeros(1, 3, side, side), torch.ones(1, patches, patches, dtype=torch.bool))
    hook.remove()
    return found[0]


class LlavaOnevisionTower(nn.Module):  # type: ignore[misc, unused-ignore]
    """images uint8 [t, side, side, 3], sources int64 [n, k], weights [n, k] → [n, width]."""

    def __init__(self, split: Any, model: Any) -> None:
        super().__init__()
        inner = model.model
        self.normal = Normal(split)
        self.tower, self.connector, self.newline = (
            inner.vision_tower,
            inner.multi_modal_projector,
            inner.image_newline,
        )
        told = model.config.vision_feature_layer
        count = model.config.vision_config.num_hidden_layers + 1
        self.taken = [layer % count for layer in ([told] if isinstance(told, int) else told)]

    def forward(self, images: Tensor, sources: Tensor, weights: Tensor) -> Tensor:
        tokens = self.connector(self.features(self.normal(images).permute(0, 3, 1, 2))).flatten(0, 1)
        tokens = torch.cat([tokens, self.newline[None]])
        return (tokens[sources] * weights[..., None]).sum(1)

    def features(self, pixels: Tensor) -> Tensor:
        """[t, patches, hidden * layers taken]; number 0 is what goes into the first layer."""
        seen = [self.tower.embeddings(pixels)]
        for layer in self.tower.encoder.layers[: max(self.taken)]:
            seen.append(layer(seen[-1], None))
        return torch.cat([seen[number] for number in self.taken], -1)


class Qwen25VLTower(nn.Module):  # type: ignore[misc, unused-ignore]
    """patches uint8 [w, p, 3, side, side], places int64 [w, p, 2], filled bool [w, p], order int64 [n] → [n, width]."""

    def __init__(self, split: Any, model: Any) -> None:
        super().__init__()
        self.normal = Normal(split, 3, 1, 1)
        self.tower, self.frames = model.model.visual, split.frames

    def forward(self, patches: Tensor, places: Tensor, filled: Tensor, order: Tensor) -> Tensor:
        windows, count = filled.shape
        pixels = self.normal(patches).flatten(0, 1)[:, :, None].expand(-1, -1, self.frames, -1, -1)
        seen = self.tower.patch_embed(pixels.flatten(1)).unflatten(0, (windows, count))
        angles = tuple(
            angle.unflatten(0, (windows, count))
            for angle in self.tower.rotary_pos_emb(seen, places.flatten(0, 1))
        )
        for number, block in enumerate(self.tower.blocks):
            everything = number in self.tower.fullatt_block_indexes
            seen = seen + self.attend(block.attn, block.norm1(seen), angles, filled, everything)
            seen = seen + block.mlp(block.norm2(seen))
        return self.tower.merger(seen.flatten(0, 1))[order]

    def attend(
        self, layer: Any, seen: Tensor, angles: tuple[Tensor, ...], filled: Tensor, everything: bool
    ) -> Tensor:
        """[w, p, hidden], within each window or over all of the picture, never to a place that is not filled."""
        windows, count = filled.shape
        query, key, value = layer.qkv(seen).unflatten(-1, (3, layer.num_heads, -1)).unbind(2)
        query, key = apply_rotary_pos_emb_vision(query, key, *angles)
        if everything:
            query, key, value = (part.flatten(0, 1)[None] for part in (query, key, value))
            filled = filled.flatten()[None]
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        found = nn.functional.scaled_dot_product_attention(query, key, value, filled[:, None, None, :])
        return layer.proj(found.transpose(1, 2).reshape(windows, count, -1))


_TOWERS: dict[str, Any] = {
    "idefics3": Idefics3Tower,
    "llava_onevision": LlavaOnevisionTower,
    "qwen2_5_vl": Qwen25VLTower,
}
