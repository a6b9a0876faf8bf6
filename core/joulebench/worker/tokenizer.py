"""The model's own tokenizer, so that every backend gets the same ids. Used in the worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from joulebench.api import ModelTokenizer
from joulebench.checkpoint import read_json
from joulebench.errors import ModelError, UnavailableError


class TextTokenizer(Protocol):
    """Turns texts into ids and back."""

    eos_tokens: frozenset[int]

    def encode(self, text: str, chat: bool) -> list[int]:
        """Token ids of a text; ``chat`` puts it through the model's template as a user's turn."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""


class CheckpointTokenizer:
    """``tokenizer.json`` of a checkpoint, and its chat template if it has one.

    Ids from ``vocabulary_size`` on, which the model has not, are a :class:`ModelError`.
    """

    def __init__(self, folder: Path, vocabulary_size: int | None = None) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise UnavailableError("reading text needs 'tokenizers'", hint="pip install tokenizers") from None
        self._file = file = folder / "tokenizer.json"
        self._vocabulary_size = vocabulary_size
        if not file.is_file():
            raise ModelError("is no file", where=str(file))
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises a bare Exception
            raise ModelError(f"cannot be read: {error}", where=str(file)) from None
        config = _read_json(folder / "tokenizer_config.json")
        template = _chat_template(folder, config)
        names = {key: _token_text(config.get(key)) for key in ("bos_token", "eos_token")}
        self._chat = None if template is None else ChatTemplate(template, names, str(folder))
        self.eos_tokens = _eos(folder)

    def encode(self, text: str, chat: bool) -> list[int]:
        """Token ids of a text; ``chat`` puts it through the model's template as a user's turn."""
        if chat and self._chat is not None:
            return self._ids(self._chat.render(text), special=False)
        return self._ids(text, special=True)

    def _ids(self, text: str, *, special: bool) -> list[int]:
        try:
            ids = list(self._tokenizer.encode(text, add_special_tokens=special).ids)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the library is no Exception
            raise ModelError(f"cannot cut a text into tokens: {error}", where=str(self._file)) from None
        last = max(ids, default=0)
        if self._vocabulary_size is not None and last >= self._vocabulary_size:
            raise ModelError(
                f"gives the token {last:,} where the model has {self._vocabulary_size:,}",
                where=str(self._file),
                hint="take the tokenizer.json that belongs to these weights",
            )
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


class SessionTokenizer:
    """The tokenizer that the open model's own file brings."""

    def __init__(self, own: ModelTokenizer, where: str) -> None:
        self._own = own
        template = own.chat_template
        self._chat = None if template is None else ChatTemplate(template, own.special_texts, where)
        self.eos_tokens = own.eos_tokens

    def encode(self, text: str, chat: bool) -> list[int]:
        """Token ids of a text; ``chat`` puts it through the model's template as a user's turn."""
        if chat and self._chat is not None:
            return self._own.encode(self._chat.render(text), False)
        return self._own.encode(text, True)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        return self._own.decode(tokens)


class ChatTemplate:
    """A chat template in Jinja, as checkpoints and GGUF files have them.

    It comes with the model: it is run in a sandbox that cannot reach Python.
    """

    def __init__(self, template: str, special_texts: Mapping[str, str], where: str) -> None:
        self._template = template
        self._special_texts = {"bos_token": "", "eos_token": "", **special_texts}
        self._where = where

    def render(self, text: str) -> str:
        """The text as a user's turn, with what begins the answer. Raises :class:`ModelError`."""
        try:
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError:
            raise UnavailableError("a chat template needs 'jinja2'", hint="pip install jinja2") from None
        # As transformers has it (utils/chat_template_utils.py), but for the date of today, with which
        # a prompt would change from day to day: templates have a date of their own for want of it.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _as_json
        environment.globals["raise_exception"] = _refuse
        try:
            rendered: str = environment.from_string(self._template).render(
                messages=[{"role": "user", "content": text}], add_generation_prompt=True, **self._special_texts
            )
        except (Exception, MemoryError) as error:  # a template divides by zero, recurses or fills memory
            raise ModelError(
                f"its chat template does not work: {str(error) or type(error).__name__}",
                where=self._where,
                hint="set chat = false in the workload to use prompts as they are",
            ) from None
        return rendered


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    alone = folder / "chat_template.jinja"
    if alone.is_file():
        try:
            return alone.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot be read: {error}", where=str(alone)) from None
    template = config.get("chat_template")
    return template if isinstance(template, str) else None


def _eos(folder: Path) -> frozenset[int]:
    for name in ("generation_config.json", "config.json"):
        value = _read_json(folder / name).get("eos_token_id")
        if value is not None:
            tokens = value if isinstance(value, list) else [value]
            return frozenset(token for token in tokens if type(token) is int)
    return frozenset()


def _as_json(value: object, ensure_ascii: bool = False, indent: int | None = None) -> str:
    """Jinja's own filter writes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _refuse(message: str) -> str:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _token_text(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("content", ""))
    return value if isinstance(value, str) else ""


def _read_json(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    return read_json(file)
