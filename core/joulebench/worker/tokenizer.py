"""The checkpoint's own tokenizer, so that every backend gets the same ids. Used in the worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from joulebench.checkpoint import read_json
from joulebench.errors import ModelError, UnavailableError

_CURE: Final = "pip install 'joulebench[torch]'"


class CheckpointTokenizer:
    """``tokenizer.json`` of a checkpoint, and its chat template if it has one.

    Ids from ``vocabulary_size`` on, which the model has not, are a :class:`ModelError`.
    """

    def __init__(self, folder: Path, vocabulary_size: int | None = None) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise UnavailableError("reading text needs 'tokenizers'", hint=_CURE) from None
        self._folder = folder
        self._vocabulary_size = vocabulary_size
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise ModelError("is no file", where=str(file))
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises a bare Exception
            raise ModelError(f"cannot be read: {error}", where=str(file)) from None
        self._config = _read_json(folder / "tokenizer_config.json")
        self._template = self._chat_template(folder)
        self.eos_tokens = self._eos(folder)

    def _chat_template(self, folder: Path) -> str | None:
        alone = folder / "chat_template.jinja"
        if alone.is_file():
            try:
                return alone.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ModelError(f"cannot be read: {error}", where=str(alone)) from None
        template = self._config.get("chat_template")
        return template if isinstance(template, str) else None

    def _eos(self, folder: Path) -> frozenset[int]:
        for name in ("generation_config.json", "config.json"):
            value = _read_json(folder / name).get("eos_token_id")
            if value is not None:
                tokens = value if isinstance(value, list) else [value]
                return frozenset(token for token in tokens if type(token) is int)
        return frozenset()

    @property
    def has_template(self) -> bool:
        """Whether the checkpoint has a chat template."""
        return self._template is not None

    def encode(self, text: str, chat: bool) -> list[int]:
        """Token ids of a text; ``chat`` puts it through the model's template as a user's turn."""
        if chat and self._template is not None:
            text = self._render(text)
            return self._ids(text, special=False)
        return self._ids(text, special=True)

    def _ids(self, text: str, *, special: bool) -> list[int]:
        file = self._folder / "tokenizer.json"
        try:
            ids = list(self._tokenizer.encode(text, add_special_tokens=special).ids)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the library is no Exception
            raise ModelError(f"cannot cut a text into tokens: {error}", where=str(file)) from None
        last = max(ids, default=0)
        if self._vocabulary_size is not None and last >= self._vocabulary_size:
            raise ModelError(
                f"gives the token {last:,} where the model has {self._vocabulary_size:,}",
                where=str(file),
                hint="take the tokenizer.json that belongs to these weights",
            )
        return ids

    def _render(self, text: str) -> str:
        try:
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError:
            raise UnavailableError("a chat template needs 'jinja2'", hint=_CURE) from None
        # The template comes with the model: it is run in a sandbox that cannot reach Python.
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        names = {key: _token_text(self._config.get(key)) for key in ("bos_token", "eos_token")}
        environment.globals["raise_exception"] = _refuse  # what templates on the hub call
        try:
            rendered: str = environment.from_string(self._template or "").render(
                messages=[{"role": "user", "content": text}], add_generation_prompt=True, **names
            )
        except (Exception, MemoryError) as error:  # a template divides by zero, recurses or fills memory
            raise ModelError(
                f"its chat template does not work: {str(error) or type(error).__name__}",
                where=str(self._folder),
                hint="set chat = false in the workload to use prompts as they are",
            ) from None
        return rendered

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


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
