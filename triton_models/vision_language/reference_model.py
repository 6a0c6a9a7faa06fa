"""One language half under transformers' `generate`, token for token as it comes. Not for more than one thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, StoppingCriteria

from triton_models.registry import SplitModel
from triton_models.vision_language import decoders
from triton_models.vision_language.language import Decoding, settings
from triton_models.vision_language.reference import Finish, Kind, Wanted
from triton_models.vision_language.rule import Rule, Rules, RulesFor, Vocabulary
from triton_models.vision_language.split import DoesNotFit, Split
from triton_models.vision_language.visual_tokens import NotVisualTokens, VisualTokens, decode

Tell = Callable[[int, float, Finish | None], bool]
"""A token, its log-probability and its finish; answers whether nobody waits any more."""


class Broke(Exception):
    """The request ends without a text."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class ReferenceModel:
    """In fp32, without any weight of the eye."""

    def __init__(self, split: Split, decoder: Any, tokenizer: Path, rules_for: RulesFor) -> None:
        self._split, self._decoder = split, decoder
        self._tokenizer, self._rules_for = tokenizer, rules_for
        self._logits = torch.empty(0)
        self._logprobs: torch.Tensor | None = None
        decoder.register_forward_hook(self._keep)

    @classmethod
    def open(cls, model: SplitModel, rules_for: RulesFor) -> ReferenceModel:
        model_type = json.loads((model.language / "config.json").read_bytes())["model_type"]
        decoder = decoders.load(model.language, model_type)
        return cls(model.halves.split, decoder, model.language / "tokenizer.json", rules_for)

    def write(self, wanted: Wanted, tell: Tell) -> None:
        """Raises DoesNotFit or Broke."""
        seen = [self._seen(data) for data in wanted.seen]
        ids = self._ids(wanted.ids)
        bound = self._bound(wanted) if wanted.bound else None
        watch = _Watch(self, bound, len(wanted.ids) + wanted.most_tokens, tell)
        decoding = Decoding(wanted.most_tokens, wanted.seed)
        if decoding.seed is not None:
            torch.manual_seed(decoding.seed)
        with torch.no_grad():
            self._decoder.generate(
                input_ids=ids,
                inputs_embeds=self._embedded(ids, seen),
                attention_mask=torch.ones_like(ids),
                logits_processor=[] if bound is None else [bound],
                stopping_criteria=[watch],
                **self._positions(wanted.ids, seen),
                **settings(decoding),
            )

    @property
    def ends(self) -> frozenset[int]:
        ends = self._decoder.generation_config.eos_token_id
        return frozenset([ends] if isinstance(ends, int) else ends or ())

    @property
    def newest(self) -> torch.Tensor:
        """Logits [vocabulary] that the newest token was chosen by, as the model gave them."""
        return self._logits

    @property
    def logprobs(self) -> torch.Tensor:
        """The same as logarithms of probabilities, worked out once a token. Raises Broke."""
        if self._logprobs is None:
            if not bool(torch.isfinite(self.newest).all()):
                raise Broke("not-finite", "the model answered with what is no number")
            self._logprobs = torch.log_softmax(self.newest, -1)
        return self._logprobs

    def _keep(self, _decoder: Any, _given: Any, answer: Any) -> None:
        self._logits, self._logprobs = answer.logits[0, -1].float(), None

    def _ids(self, ids: Sequence[int]) -> torch.Tensor:
        most = self._decoder.config.vocab_size
        if not all(0 <= token < most for token in ids):
            raise DoesNotFit(f"a token is none of {most}")
        return torch.tensor([ids])

    def _seen(self, data: bytes) -> VisualTokens:
        try:
            return decode(data, self._split.width)
        except NotVisualTokens as wrong:
            raise DoesNotFit(str(wrong)) from wrong

    def _embedded(self, ids: torch.Tensor, seen: Sequence[VisualTokens]) -> torch.Tensor:
        """[1, l, width], visual tokens where the prompt's images are."""
        embeddings: torch.Tensor = self._decoder.get_input_embeddings()(ids)
        places = ids == self._split.image_token_id
        if int(places.sum()) != sum(map(len, seen)):
            raise DoesNotFit(f"{int(places.sum())} places for {sum(map(len, seen))} visual tokens")
        if seen:
            values = np.concatenate([image.values.astype(np.float32) for image in seen])
            embeddings[places] = torch.from_numpy(values)
        return embeddings

    def _positions(self, ids: Sequence[int], seen: Sequence[VisualTokens]) -> dict[str, torch.Tensor]:
        found = self._split.positions(ids, [image.grid for image in seen])
        return {} if found is None else {"position_ids": torch.from_numpy(found[:, None])}

    @cached_property
    def _rules(self) -> Rules:
        ends, size = tuple(sorted(self.ends)), self._decoder.config.vocab_size
        return self._rules_for(Vocabulary(self._tokenizer, ends, size))

    def _bound(self, wanted: Wanted) -> _Bound:
        rules = self._rules
        with _refused():
            return _Bound(self, rules(wanted))


@contextmanager
def _refused() -> Iterator[None]:
    """What a rule raises, as the end of its request."""
    try:
        yield
    except ValueError as refused:
        raise Broke("bad-grammar", str(refused)[:200]) from refused


class _Bound(LogitsProcessor):  # type: ignore[misc, unused-ignore]
    """Lets through the tokens that a rule allows next."""

    def __init__(self, model: ReferenceModel, rule: Rule) -> None:
        self._model, self._rule = model, rule

    @property
    def finished(self) -> bool:
        return self._rule.finished

    def take(self, token: int) -> None:
        with _refused():
            self._rule.take(token)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` are shaped already, and the rule is asked about the model's own."""
        with _refused():
            allowed = self._rule.mask(self._model.logprobs.numpy())
        if allowed is None:
            return scores
        if not allowed.any():
            raise Broke("bad-grammar", "nothing more is allowed and the text has not ended")
        return scores.masked_fill(~torch.from_numpy(allowed), float("-inf"))


class _Watch(StoppingCriteria):  # type: ignore[misc, unused-ignore]
    """Sees every token, tells it, and says when it was the last."""

    def __init__(self, model: ReferenceModel, bound: _Bound | None, most: int, tell: Tell) -> None:
        self._model, self._bound, self._most, self._tell = model, bound, most, tell
        self._over = False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_more: Any) -> torch.Tensor:
        if not self._over:
            self._over = self._take(int(input_ids[0, -1]), input_ids.shape[1])
        return torch.tensor([self._over])

    def _take(self, token: int, length: int) -> bool:
        logprob = float(self._model.logprobs[token])
        if self._bound is not None:
            self._bound.take(token)
        finish = self._finish(token, length)
        gone = self._tell(token, logprob, finish)
        return gone or finish is not None

    def _finish(self, token: int, length: int) -> Finish | None:
        if token in self._model.ends:
            return "end"
        if self._bound is not None and self._bound.finished:
            return "constraint"
        return "length" if length >= self._most else None
