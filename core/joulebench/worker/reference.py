"""In the worker: the reference's answers and logits kept in a folder, and a comparison with them.

The folder holds ``reference.json`` (prompts and answers as token ids) and, for each prompt, a file
``logits-N.npy``: float32, a row for each token of the answer, what the reference expected there.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.agreement import TIE_SHARE, Comparison, Divergence, Forced, ForcedPrompt
from joulebench.api import BackendSession
from joulebench.errors import ModelError, PluginError, ProfileError, UnavailableError

#: Longer prompts are cut: the logits of a whole prompt and its answer are in memory at once.
MOST_PROMPT_TOKENS: Final = 256
#: Tokens of a prompt for a model without tokenizer.
RANDOM_PROMPT_TOKENS: Final = 32
#: Rows of logits that are taken to double precision at once.
_ROWS: Final = 8
_INDEX: Final = "reference.json"

Tokenize = Callable[[str, bool], list[int]]
Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and what the reference wrote after it, as token ids."""

    prompt: list[int]
    answer: list[int]

    @property
    def forced(self) -> list[int]:
        """The sequence that is fed to see what is expected at each token of the answer."""
        return self.prompt + self.answer[:-1]


# -- prompts ------------------------------------------------------------------------------------


def prompt_tokens(
    session: BackendSession, tokenize: Tokenize | None, file: Path, count: int, answer_tokens: int, seed: int
) -> list[list[int]]:
    """The first ``count`` prompts of a file, through the chat template, cut to fit the context.

    A model without tokenizer gets ids drawn evenly from its vocabulary, the same for a seed.
    """
    limit = MOST_PROMPT_TOKENS
    if session.context_length is not None:
        limit = min(limit, session.context_length - answer_tokens)
        if limit < 1:
            raise ProfileError(
                f"{answer_tokens} tokens leave no room for a prompt in the model's context of "
                f"{session.context_length} tokens",
                where="agreement.tokens",
            )
    if tokenize is not None:
        return [tokenize(text, True)[:limit] for text in read_prompts(file)[:count]]
    if session.vocabulary_size is None:
        raise ModelError("the model has no tokenizer, and its vocabulary's size is not known")
    source = random.Random(f"agreement {seed}")  # noqa: S311  prompts, no secret
    length = min(limit, RANDOM_PROMPT_TOKENS)
    return [[source.randrange(session.vocabulary_size) for _ in range(length)] for _ in range(count)]


def read_prompts(file: Path) -> list[str]:
    """Prompts of a file: JSON lines with ``text`` (or ``prompt``), else one prompt a line."""
    prompts: list[str] = []
    # Not splitlines(): a JSON string may hold U+2028 and its like, which end no line here.
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        text: object = line.strip()
        if file.suffix == ".jsonl":
            try:
                record = json.loads(line)
                text = record.get("text", record.get("prompt"))
            except (ValueError, AttributeError):
                text = None
        if not isinstance(text, str) or not text:
            raise ProfileError('is not a JSON object with a "text"', where=f"{file}:{number}")
        prompts.append(text)
    if not prompts:
        raise ProfileError("holds no prompt", where=str(file))
    return prompts


# -- the reference ------------------------------------------------------------------------------


def keep_reference(
    session: BackendSession, prompts: Sequence[list[int]], tokens: int, folder: Path
) -> dict[str, object]:
    """Let the session answer each prompt greedily; keep answers and logits in ``folder``.

    Returns the number of prompts and the smallest gap between a position's two largest logits.
    """
    np = _numpy()
    answered: list[Answered] = []
    smallest = math.inf
    for number, prompt in enumerate(prompts):
        answer = Answered(prompt, list(_greedy(session, prompt, tokens)))
        logits = _forced_logits(session, answer)
        np.save(folder / f"logits-{number}.npy", logits, allow_pickle=False)
        two = np.partition(logits, -2, axis=-1)[:, -2:]
        smallest = min(smallest, float((two[:, 1] - two[:, 0]).min()))
        answered.append(answer)
    index = [{"prompt": answer.prompt, "answer": answer.answer} for answer in answered]
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")
    return {"prompts": len(answered), "smallest_gap": smallest}


def _greedy(session: BackendSession, prompt: Sequence[int], count: int) -> Iterator[int]:
    """The tokens that are written after a prompt, one by one, through ends of text."""
    session.reset()
    yield session.prefill(prompt)
    for _ in range(count - 1):
        yield session.step()


def _forced_logits(session: BackendSession, answer: Answered) -> Any:
    """What is expected at each token of the answer: (tokens, vocabulary), float32."""
    np = _numpy()
    sequence = answer.forced
    session.reset()
    logits = np.asarray(session.logits(sequence), dtype=np.float32)
    if logits.ndim != 2 or len(logits) != len(sequence):
        raise PluginError(f"logits of {len(sequence)} tokens came in the shape {logits.shape}")
    own = logits[len(answer.prompt) - 1 :]
    if not np.isfinite(own).all():
        raise ModelError("its logits are not finite")
    return own


# -- a comparison -------------------------------------------------------------------------------


def compare(
    session: BackendSession, capabilities: frozenset[str], folder: Path, decode: Decode | None, batch: int = 1
) -> Comparison:
    """Hold the session's greedy tokens, and its logits if it has them, to those in ``folder``.

    The tokens of ``batch`` answers are written at once, each held against its own; the logits are of one sequence.
    """
    if "generate" not in capabilities:
        raise PluginError("the backend writes no text (it lacks the capability 'generate')")
    np = _numpy()
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    answered = [Answered(name["prompt"], name["answer"]) for name in index]
    divergences: list[Divergence] = []
    sums = _Sums()
    writings = _batches(session, answered, batch) if batch > 1 else _one_by_one(session, answered)
    for number, (answer, written) in enumerate(zip(answered, writings, strict=True)):
        # Mapped, so that only the rows in use are in memory.
        kept = np.load(folder / f"logits-{number}.npy", mmap_mode="r", allow_pickle=False)
        parted = _first_divergence(number, answer, written, kept, decode)
        if parted is not None:
            divergences.append(parted)
        if "logits" in capabilities:
            sums.add(answer, kept, _forced_logits(session, answer))
    return Comparison(len(answered), len(answered[0].answer), tuple(divergences), sums.forced())


def _one_by_one(session: BackendSession, answered: Sequence[Answered]) -> Iterator[Iterator[int]]:
    return (_greedy(session, answer.prompt, len(answer.answer)) for answer in answered)


def _batches(session: BackendSession, answered: Sequence[Answered], batch: int) -> Iterator[Sequence[int]]:
    """What is written after each prompt where ``batch`` are read at once; the first ones fill the last batch up."""
    for start in range(0, len(answered), batch):
        chosen = [answered[place % len(answered)] for place in range(start, start + batch)]
        session.reset()
        columns = [session.prefill_batch([answer.prompt for answer in chosen])]
        columns.extend(session.step_batch() for _ in range(len(chosen[0].answer) - 1))
        yield from list(zip(*columns, strict=True))[: len(answered) - start]


def _first_divergence(
    number: int, answer: Answered, written: Iterable[int], kept: Any, decode: Decode | None
) -> Divergence | None:
    for position, (token, expected) in enumerate(zip(written, answer.answer, strict=True)):
        if token == expected:
            continue
        row = kept[position].astype("float64")
        if not 0 <= token < len(row):
            raise PluginError(f"wrote the token {token}, which the reference does not have")
        return Divergence(
            prompt=number,
            position=position,
            reference_token=expected,
            token=token,
            gap=float(row[expected] - row[token]),
            tolerance=TIE_SHARE * float(row.max() - row.mean()),
            reference_text=decode([expected]) if decode else None,
            text=decode([token]) if decode else None,
        )
    return None


class _Sums:
    """Adds up what both models expect, over all positions of all answers."""

    def __init__(self) -> None:
        self._kl_nats: list[float] = []
        self._by_prompt: list[ForcedPrompt] = []

    def add(self, answered: Answered, kept: Any, logits: Any) -> None:
        """One answer: the reference's logits and the session's, shaped alike."""
        np = _numpy()
        if kept.shape != logits.shape:
            raise PluginError(f"its logits are over {logits.shape[-1]} tokens, the reference's over {kept.shape[-1]}")
        first, top1, nll_nats, reference_nll_nats = len(self._kl_nats), 0, 0.0, 0.0
        for start in range(0, len(answered.answer), _ROWS):
            rows = slice(start, start + _ROWS)
            reference, own = _log_softmax(kept[rows]), _log_softmax(logits[rows])
            kl = (np.exp(reference) * (reference - own)).sum(-1)
            # Never negative but by rounding.
            self._kl_nats.extend(np.maximum(kl, 0.0).tolist())
            top1 += int((kept[rows].argmax(-1) == logits[rows].argmax(-1)).sum())
            answer = np.asarray(answered.answer[rows])
            place = np.arange(len(answer))
            nll_nats -= float(own[place, answer].sum())
            reference_nll_nats -= float(reference[place, answer].sum())
        own_kl = self._kl_nats[first:]
        self._by_prompt.append(ForcedPrompt(len(own_kl), top1, math.fsum(own_kl), nll_nats, reference_nll_nats))

    def forced(self) -> Forced | None:
        """The sums, if anything was added."""
        if not self._kl_nats:
            return None
        return Forced(
            positions=len(self._kl_nats),
            top1=sum(forced.top1 for forced in self._by_prompt),
            kl_nats_mean=math.fsum(self._kl_nats) / len(self._kl_nats),
            kl_nats_max=max(self._kl_nats),
            nll_nats=math.fsum(forced.nll_nats for forced in self._by_prompt),
            reference_nll_nats=math.fsum(forced.reference_nll_nats for forced in self._by_prompt),
            by_prompt=tuple(self._by_prompt),
        )


def _log_softmax(logits: Any) -> Any:
    np = _numpy()
    rows = logits.astype(np.float64)
    rows -= rows.max(-1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(-1, keepdims=True))


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError:
        raise UnavailableError("the agreement check needs numpy", hint="pip install numpy") from None
    return np
