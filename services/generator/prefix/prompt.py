"""A conversation → ids, and ids → text, by the model's own tokenizer and chat template, without transformers.

The ids are those that transformers makes of the same conversation. Only texts that spell one of the model's control
tokens come out otherwise: a caption's context is written by strangers, and `<|im_end|>` in it must stay a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from triton_models.vision_language.split import DoesNotFit, Split
from triton_models.vision_language.visual_tokens import VisualTokens

Message = Mapping[str, Any]
"""`{"role": ..., "content": [{"type": "image"}, {"type": "text", "text": ...}]}`, or a text as content."""

JOINER = "\u2060"
"""A word joiner, which nobody sees: it stands behind the first letter of what would else be a control token."""


class Asked(NamedTuple):
    """A prompt as ids, image places included; the first `static` of them stand before the first image."""

    ids: tuple[int, ...]
    static: int
    seen: tuple[VisualTokens, ...]


@dataclass(frozen=True)
class ChatTemplate:
    """What a checkpoint's folder says about prompts."""

    split: Split
    tokenizer: Any
    template: jinja2.Template
    special: Mapping[str, Any]
    control: re.Pattern[str] | None

    @classmethod
    def open(cls, split: Split, language: Path) -> ChatTemplate:
        tokenizer = Tokenizer.from_file(str(language / "tokenizer.json"))
        told = json.loads((language / "tokenizer_config.json").read_bytes())
        added = tokenizer.get_added_tokens_decoder().values()
        return cls(
            split=split,
            tokenizer=tokenizer,
            template=_environment().from_string(_template(language, told)),
            special={name: _content(value) for name, value in told.items() if name.endswith("_token")},
            control=_any_of([token.content for token in added if token.special] + [split.image_token]),
        )

    def asked(self, messages: Sequence[Message], seen: Sequence[VisualTokens] = ()) -> Asked:
        """The conversation, each image's place as many `image_token` as it has visual tokens.

        Raises DoesNotFit when it names more or fewer images than were seen, or when texts that stand side by
        side make up a control token.
        """
        safe = [self._neutralised(message) for message in messages]
        text = self._rendered(safe)
        if self._controls(text) != self._controls(self._rendered([_emptied(message) for message in safe])):
            raise DoesNotFit("texts of the prompt make up a control token")
        whole = self._with_places(text, seen)
        ids = self.tokenizer.encode(whole, add_special_tokens=not self._begun(whole)).ids
        image = self.split.image_token_id
        places = ids.count(image)
        if places != sum(map(len, seen)):
            raise DoesNotFit(f"{places} places for {sum(map(len, seen))} visual tokens")
        return Asked(tuple(ids), ids.index(image) if image in ids else 0, tuple(seen))

    def _rendered(self, messages: Sequence[Message]) -> str:
        try:
            return self.template.render(messages=messages, add_generation_prompt=True, **self.special)
        except jinja2.TemplateError as problem:
            raise DoesNotFit(f"the chat template does not take this conversation: {problem}") from problem

    def _with_places(self, text: str, seen: Sequence[VisualTokens]) -> str:
        parts = text.split(self.split.image_token)
        if len(parts) != len(seen) + 1:
            raise DoesNotFit(f"the prompt names {len(parts) - 1} images and has {len(seen)}")
        places = [self._place(image) for image in seen]
        return "".join(part + place for part, place in zip(parts, [*places, ""], strict=True))

    def _place(self, image: VisualTokens) -> str:
        if image.values.shape[1] != self.split.width:
            raise DoesNotFit(f"visual tokens of width {image.values.shape[1]}, not {self.split.width}")
        try:
            return self.split.placeholder(len(image), image.grid)
        except ValueError as problem:
            raise DoesNotFit(f"a grid of {image.grid}: {problem}") from problem

    def _begun(self, text: str) -> bool:
        """A template may write the first token itself; the tokenizer must not write it again."""
        first = self.special.get("bos_token")
        return first is not None and text.startswith(first)

    def _controls(self, text: str) -> list[str]:
        return self.control.findall(text) if self.control else []

    def _neutralised(self, message: Message) -> Message:
        return _with_texts(message, lambda text: neutralised(text, self.control))


def neutralised(text: str, control: re.Pattern[str] | None) -> str:
    """The same text to a reader, and only a text to the model."""
    while control and control.search(text):
        text = control.sub(lambda found: found[0][0] + JOINER + found[0][1:], text)
    return text


def _emptied(message: Message) -> Message:
    """With texts that can make up nothing; a template may ask whether there is one at all."""
    return _with_texts(message, lambda text: "x" if text.strip() else text)


def _with_texts(message: Message, change: Any) -> Message:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": change(content)}
    parts = [{**part, "text": change(part["text"])} if "text" in part else part for part in content]
    return {**message, "content": parts}


def _any_of(tokens: Sequence[str]) -> re.Pattern[str] | None:
    """A token of one letter cannot be broken, and is none that a text should not have."""
    longest_first = sorted({token for token in tokens if len(token) > 1}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _content(value: Any) -> Any:
    return value["content"] if isinstance(value, dict) else value


# ---------------------------------------------------------------- the template, as transformers renders it


def _template(language: Path, told: Mapping[str, Any]) -> str:
    file = language / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    if not isinstance(told.get("chat_template"), str):
        raise DoesNotFit("the model has no chat template")
    return str(told["chat_template"])


def _environment() -> ImmutableSandboxedEnvironment:
    """A template is of the checkpoint's author: it may loop over messages, and reach nothing else."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _refuse
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made


def _to_json(value: Any, **how: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **how})


def _refuse(reason: str) -> NoReturn:
    raise jinja2.TemplateError(reason)


# ---------------------------------------------------------------- back into text


class Speller:
    """The text of one answer, token by token, up to the first of its stop strings, which is no part of it."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, [text for text in stop if text]
        self._stream = DecodeStream(skip_special_tokens=True)
        self._held = ""
        self.stopped = False

    def more(self, token: int) -> str:
        """What may be shown now: no half letter, and nothing that a stop string may have begun with."""
        self._held += self._stream.step(self._tokenizer, token) or ""
        found = [place for place in map(self._held.find, self._stop) if place >= 0]
        if found:
            self.stopped = True
            return self._shown(min(found), forget=True)
        return self._shown(
            len(self._held) - max((_begun(self._held, text) for text in self._stop), default=0)
        )

    def rest(self) -> str:
        """What was held back for a stop string that did not come."""
        return self._shown(len(self._held))

    def _shown(self, end: int, forget: bool = False) -> str:
        shown, self._held = self._held[:end], "" if forget else self._held[end:]
        return shown


def _begun(text: str, stop: str) -> int:
    """How many letters at the end of `text` are the first ones of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
