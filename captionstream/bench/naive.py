"""The rival: the script that one writes first. Pillow decodes all of a picture, torch in fp32 looks at it, `generate`
writes, one picture after another. Runs in the models' environment: `python -m captionstream.bench.naive FOLDER`.

It reads a JSON line of requests, {"pictures": [path, ...]} or {"judge": path, "to": file}, and answers with one.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

QUESTION = "Describe this image in one sentence."
WRITTEN = 24
"""Tokens of every caption."""


class Naive:
    """The bench's model whole, in transformers."""

    def __init__(self, folder: Path) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModelForCausalLM, Dinov2Model

        from captionstream.bench import making

        connector = dict(np.load(folder / "connector.npz"))
        self._tower = making.tower_of(Dinov2Model.from_pretrained(folder / "eye"), connector)
        self._side, self._token = making.SIDE, making.IMAGE_TOKEN
        self._model = AutoModelForCausalLM.from_pretrained(folder / "language", dtype=torch.float32).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "language" / "tokenizer.json"))
        self._ids = self._tokenizer.encode(prompt(self._token, making.TOKENS)).ids

    def caption(self, file: Path) -> list[int]:
        import torch

        with torch.inference_mode():
            found = self._model.generate(
                inputs_embeds=self._embedded(file), max_new_tokens=WRITTEN, do_sample=False,
                pad_token_id=0,
            )  # fmt: skip
        ids: list[int] = found[0].tolist()
        return ids

    def judge(self, file: Path, to: Path) -> list[int]:
        """The caption, and what the model thinks before each of its tokens: log-probabilities [24, vocabulary]."""
        import torch

        ids = self.caption(file)
        with torch.inference_mode():
            prompt = self._embedded(file)
            words = self._model.get_input_embeddings()(torch.tensor([ids[:-1]]))
            logits = self._model(inputs_embeds=torch.cat([prompt, words], 1)).logits[0, -len(ids) :]
            seen = self._tower(self._pixels(file))
        said = torch.log_softmax(logits.float(), -1).numpy()
        np.savez(to, ids=np.array(ids), prompt=np.array(self._ids), logprobs=said, seen=seen.numpy())
        return ids

    def _embedded(self, file: Path) -> Any:
        import torch

        ids = torch.tensor([self._ids])
        embeddings = self._model.get_input_embeddings()(ids).clone()
        embeddings[ids == self._tokenizer.token_to_id(self._token)] = self._tower(self._pixels(file))
        return embeddings

    def _pixels(self, file: Path) -> Any:
        import torch

        image = Image.open(file).convert("RGB").resize((self._side, self._side), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(image))[None]


def prompt(image_token: str, tokens: int) -> str:
    """The conversation as the bench's template has it, each image's place as many tokens as it has."""
    return f"<|im_start|>user\n{image_token * tokens}{QUESTION}<|im_end|>\n<|im_start|>assistant\n"


def main() -> None:
    naive = Naive(Path(sys.argv[1]))
    print(json.dumps({"ready": True, **versions()}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        cpu, wall = time.process_time(), time.perf_counter()
        if "judge" in asked:
            captions = [naive.judge(Path(asked["judge"]), Path(asked["to"]))]
        else:
            captions = [naive.caption(Path(file)) for file in asked["pictures"]]
        cost = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        print(json.dumps({**cost, "captions": captions}), flush=True)


def versions() -> dict[str, Any]:
    import torch
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    main()
