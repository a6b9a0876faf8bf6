"""The contract of backends and their sessions, on a tiny model."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from joulebench.api import Artifact, Backend, BackendSession, Device, Kernel, MemoryUse, Traffic
from joulebench.testing.contracts.base import (
    BrokenContractError,
    PluginContract,
    Subject,
    environment,
    expect,
    expect_record,
    not_here,
    require_available,
    subject_of,
)
from joulebench.testing.contracts.checkpoints import config_of, in_format, tiny_checkpoint

#: Token ids that every vocabulary of a language model has.
PROMPT: Final = (5, 17, 33, 8, 90, 41, 77, 5, 120, 64, 3, 29)
OTHER: Final = (101, 44, 9, 12)
PROMPTS: Final = (PROMPT, OTHER, (101,), (34, 44), (72, 105, 115), (116, 104, 101))
_STEPS: Final = 6
#: Two logits this near, as a share of the largest over the mean, are a tie that rounding decides.
TIE: Final = 2e-3
#: What two ways to one log-probability may differ by, in nats: float16 arithmetic and less.
NATS: Final = 2e-2


class BackendContract(PluginContract):
    """The promises of a backend, tested on a llama-type checkpoint of 1.3 MB.

    Skipped are capabilities that the backend does not name, models that its ``check``
    refuses, and devices that are not here.
    """

    kind = "backend"

    def test_it_states_formats_capabilities_and_devices(self, plugin: Any) -> None:
        """Some format, some device; what is stated holds for the settings' own answers too."""
        subject = subject_of(plugin)
        backend, settings = subject.plugin, subject.complete_settings()
        formats: object = backend.formats(settings)
        expect(
            isinstance(formats, tuple) and bool(formats),
            f"it accepts {formats!r}",
            "name the artifact formats that open() takes, best first: accepts = ('hf',)",
        )
        require_available(backend)
        devices = backend.devices()
        expect(
            bool(devices) and all(isinstance(device, Device) for device in devices),
            f"devices() gave {devices!r}",
            "return a tuple of Device; on a processor (Device('cpu'),)",
        )
        names = [device.name for device in devices]
        expect(len(set(names)) == len(names), f"devices {names}", "give each its own name")
        asked = backend.environment(names[0], settings)
        expect(
            all(isinstance(part, str) for pair in asked.items() for part in pair),
            f"environment() gave {dict(asked)!r}",
            "variables and their values are texts",
        )

    def test_a_session_can_be_closed_twice(self, plugin: Any) -> None:
        """A failing run may close a session twice."""
        with opened(plugin) as session:
            session.close()

    def test_greedy_tokens_repeat_after_a_reset(self, plugin: Any) -> None:
        """The same prompt, the same answer, whatever was written before."""
        with opened(plugin, "generate") as session:
            first = _answer(session, PROMPT)
            _answer(session, OTHER)
            again = _answer(session, PROMPT)
        expect(
            first == again,
            f"one prompt was answered {first}, and after a reset {again}",
            "reset() must empty the KV cache and positions; greedy takes the largest logit",
        )

    def test_tokens_are_plain_ids_of_the_vocabulary(self, plugin: Any) -> None:
        """Each is an ``int`` from 0 to vocabulary_size - 1."""
        with opened(plugin, "generate") as session:
            size = session.vocabulary_size
            expect(
                isinstance(size, int) and size > 0,
                f"vocabulary_size is {size!r}",
                "state it: prompts of random ids and the agreement check need it",
            )
            for token in _answer(session, PROMPT):
                expect(
                    type(token) is int and 0 <= token < (size or 0),
                    f"a token is {token!r} in a vocabulary of {size}",
                    "return int(token), known on the host",
                )

    def test_steps_go_on_as_a_longer_prompt_would(self, plugin: Any) -> None:
        """A prompt with the first tokens of its answer has the same next token."""
        with opened(plugin, "generate") as session:
            answer = _answer(session, PROMPT)
            for length in (1, 3):
                longer = [*PROMPT, *answer[:length]]
                session.reset()
                token = session.prefill(longer)
                if token != answer[length] and not _is_tie(session, longer, token, answer[length]):
                    raise BrokenContractError(
                        f"step {length} gave the token {answer[length]}; the prompt with the "
                        f"tokens before it gives {token}",
                        "step() must feed the token that was returned last, at its own position",
                    )

    def test_the_answer_depends_on_the_prompt(self, plugin: Any) -> None:
        """Prompts that differ have answers that differ, on a model that looks at them."""
        with opened(plugin, "generate") as session:
            answers = {tuple(_answer(session, prompt)) for prompt in PROMPTS}
        expect(
            len(answers) > 1,
            f"{len(PROMPTS)} prompts have one answer",
            "prefill() must read the prompt that it is given",
        )

    def test_each_sequence_of_a_batch_is_what_it_is_alone(self, plugin: Any) -> None:
        """``prefill_batch`` and ``step_batch`` write what ``prefill`` and ``step`` do."""
        other = [token + 1 for token in PROMPT]
        with opened(plugin, "generate", "batch") as session:
            alone = [_answer(session, prompt) for prompt in (PROMPT, other)]
            session.reset()
            columns = [session.prefill_batch((PROMPT, other))]
            columns.extend(session.step_batch() for _ in alone[0][1:])
            for place, (own, written) in enumerate(zip(alone, zip(*columns, strict=True), strict=True)):
                expect(
                    list(written) == own or _first_is_tie(session, (PROMPT, other)[place], own, written),
                    f"sequence {place} of a batch of 2 writes {list(written)}, alone {own}",
                    "keep each sequence's positions, keys and values apart from the others'",
                )
            expect(
                _answer(session, PROMPT) == alone[0], "one sequence after a batch writes otherwise", "reset() forgets"
            )

    def test_scores_are_log_probabilities(self, plugin: Any) -> None:
        """One for each token except the first; natural logarithms, none above 0."""
        with opened(plugin, "score") as session:
            session.reset()
            scores = [float(score) for score in session.score(PROMPT)]
            session.reset()
            again = [float(score) for score in session.score(PROMPT)]
        expect(
            len(scores) == len(PROMPT) - 1,
            f"{len(PROMPT)} tokens have {len(scores)} scores",
            "score() is of tokens[1:], each given what stands before it",
        )
        expect(
            all(math.isfinite(score) and score <= 1e-4 for score in scores),
            f"scores are {scores}",
            "return log-probabilities (natural logarithm): log_softmax of the logits",
        )
        expect(
            all(math.isclose(a, b, abs_tol=NATS) for a, b in zip(scores, again, strict=True)),
            "the same tokens are scored differently the second time",
            "score() must start from an empty sequence",
        )

    def test_scores_are_those_of_its_own_logits(self, plugin: Any) -> None:
        """log_softmax of ``logits`` at the tokens is what ``score`` gives."""
        with opened(plugin, "score", "logits") as session:
            session.reset()
            scores = [float(score) for score in session.score(PROMPT)]
            rows = _logits(session, PROMPT)
        for place, score in enumerate(scores):
            own = _log_softmax(rows[place])[PROMPT[place + 1]]
            expect(
                abs(own - score) <= NATS,
                f"score() gives {score:.4f} for token {place + 1}, its logits {own:.4f}",
                "both must be of the same model, in nats: check the row that score() reads",
            )

    def test_logits_have_a_row_for_each_token(self, plugin: Any) -> None:
        """float32, (tokens, vocabulary), all finite."""
        with opened(plugin, "logits") as session:
            rows = _logits(session, PROMPT)
            shape = (len(PROMPT), session.vocabulary_size)
        expect(
            tuple(rows.shape) == shape and str(rows.dtype) == "float32",
            f"logits() gave {rows.dtype} of the shape {tuple(rows.shape)}",
            f"return a numpy array of float32, here {shape}",
        )
        expect(
            bool((abs(rows) < float("inf")).all()),
            "some logits are not finite",
            "look for an overflow (float16) or memory that was never written",
        )

    def test_logits_do_not_look_ahead(self, plugin: Any) -> None:
        """The logits after a token do not depend on later tokens."""
        with opened(plugin, "logits") as session:
            whole, part = _logits(session, PROMPT), _logits(session, PROMPT[:5])
            other = _logits(session, [*PROMPT[:5], *OTHER])
        spread = float(whole.max() - whole.min()) or 1.0
        for rows in (whole, other):
            apart = float(abs(rows[:5] - part).max()) / spread
            expect(
                apart <= 5 * TIE,
                f"logits of the first tokens change by {apart:.1%} with what stands behind them",
                "mask the attention: a position sees itself and what stands before it",
            )

    def test_greedy_tokens_are_its_own_largest_logits(self, plugin: Any) -> None:
        """The written tokens are those with the largest ``logits``."""
        with opened(plugin, "generate", "logits") as session:
            answer = _answer(session, PROMPT)
            sequence = [*PROMPT, *answer]
            rows = _logits(session, sequence)
        for place, token in enumerate(answer):
            row = rows[len(PROMPT) - 1 + place]
            best = int(row.argmax())
            expect(
                best == token or _near(row, best, token),
                f"token {place} of the answer is {token}, the largest logit is at {best}",
                "prefill() and step() must take the largest logit: no sampling, no penalty",
            )

    def test_memory_is_counted_or_unknown(self, plugin: Any) -> None:
        """``memory()`` gives a MemoryUse of bytes; what the runtime does not say is None."""
        with opened(plugin) as session:
            use: object = session.memory()
            if "generate" in _abilities(plugin):
                _answer(session, PROMPT)
                use = session.memory()
            expect(
                isinstance(use, MemoryUse),
                f"memory() gave {use!r}",
                "return MemoryUse(weights_bytes=…); leave out what is not known",
            )
            assert isinstance(use, MemoryUse)  # noqa: S101
            for name in MemoryUse.__slots__:
                value = getattr(use, name)
                expect(
                    value is None or (type(value) is int and value >= 0),
                    f"memory().{name} is {value!r}",
                    "give bytes as an int, or None where they are not known",
                )
            used, allocated = use.kv_used_bytes, use.kv_allocated_bytes
            expect(
                used is None or allocated is None or used <= allocated,
                f"the KV cache uses {used} of {allocated} allocated bytes",
                "kv_used_bytes is what the sequence fills of what is allocated",
            )

    def test_facts_and_traffic_can_be_recorded(self, plugin: Any) -> None:
        """``facts()`` holds plain values, ``traffic()`` is a Traffic."""
        with opened(plugin) as session:
            expect_record(session.facts(), "facts()")
            traffic: object = session.traffic()
        expect(isinstance(traffic, Traffic), f"traffic() gave {traffic!r}", "return a Traffic, or none")

    def test_more_than_fits_is_an_error(self, plugin: Any) -> None:
        """A prompt beyond ``context_length`` raises; the session still works afterwards."""
        with opened(plugin, "generate") as session:
            limit = session.context_length
            if limit is None or limit > 1 << 14:
                not_here("its context is too long to be filled in a test")
            try:
                session.reset()
                session.prefill([PROMPT[index % len(PROMPT)] for index in range(limit + 1)])
            except Exception:
                _answer(session, OTHER)
                return
        raise BrokenContractError(
            f"{limit + 1} tokens were read into a context of {limit}",
            "raise a JoulebenchError: what is measured would be another prompt than the record has",
        )

    def test_an_embedding_is_numbers(self, plugin: Any) -> None:
        """``encode`` gives finite floats, the same twice, whatever else is in the batch."""
        with opened(plugin, "encode") as session:
            first = [float(value) for value in session.encode([PROMPT])[0]]
            again = [float(value) for value in session.encode([PROMPT])[0]]
            batch = session.encode([PROMPT[:-1], PROMPT])
        expect(
            bool(first) and all(map(math.isfinite, first)) and first == again,
            f"encode() gave {first[:4]}… and then {again[:4]}…",
            "return the same finite floats for the same tokens",
        )
        beside = [float(value) for value in batch[1]]
        scale = max(map(abs, first))
        expect(
            len(batch) == 2 and all(abs(a - b) <= 1e-3 * scale for a, b in zip(first, beside, strict=True)),
            f"encode() gave {first[:4]}… alone and {beside[:4]}… beside a shorter sequence",
            "mask what a shorter sequence is filled up with",
        )

    def test_a_train_step_gives_its_loss(self, plugin: Any) -> None:
        """``train_step`` returns a positive loss in nats per token."""
        with opened(plugin, "train") as session:
            loss = session.train_step(PROMPT)
        expect(
            type(loss) is float and math.isfinite(loss) and loss > 0,
            f"train_step() gave {loss!r}",
            "return float(loss), the mean over the tokens in nats",
        )

    def test_kernels_run(self, plugin: Any) -> None:
        """Pieces of work on the bare device, and the model's operators, can be repeated and leave the model alone."""
        abilities = _abilities(plugin)
        if not abilities & {"hardware", "operators"}:
            not_here("it has neither capability, 'hardware' nor 'operators'")
        with opened(plugin) as session:
            kernels: list[Kernel] = []
            if "hardware" in abilities:
                kernels += [session.hardware_kernel(*kernel) for kernel in _HARDWARE]
            if "operators" in abilities:
                operators = list(session.operators(4))
                names = [operator.name for operator in operators]
                expect(len(set(names)) == len(names) > 0, f"operators {names}", "name each once")
                kernels += operators
            before = _answer(session, PROMPT) if "generate" in abilities else None
            for kernel in kernels:
                kernel.run(2)
            after = _answer(session, PROMPT) if "generate" in abilities else None
        expect(
            before == after,
            f"one prompt was answered {before}, and after its kernels had run {after}",
            "a kernel must work on arrays of its own: the model stays what it was",
        )


_HARDWARE: Final = (
    ("read", 1 << 16),
    ("copy", 1 << 16),
    ("triad", 1 << 16),
    ("matmul", 32),
    ("matvec", 32),
    ("launch", 0),
)


def _abilities(plugin: Backend | Subject[Backend]) -> frozenset[str]:
    subject = subject_of(plugin)
    return subject.plugin.abilities(subject.complete_settings())


def prepared(subject: Subject[Backend]) -> tuple[Artifact, str, dict[str, Any]]:
    """(model, device, settings) that the subject can open, or a skip that says why not."""
    backend = subject.plugin
    require_available(backend)
    settings = subject.complete_settings()
    devices = backend.devices()
    if not devices:
        not_here("it offers no device here")
    device = subject.device or devices[0].name
    checkpoint = subject.model or tiny_checkpoint()
    fault = backend.check(device, settings, config_of(checkpoint))
    if fault:
        not_here(f"its check() refuses the model: {fault}")
    formats = backend.formats(settings)
    return in_format(checkpoint, formats, backend.conversion_settings(settings)), device, settings


@contextlib.contextmanager
def opened(plugin: Backend | Subject[Backend], *capabilities: str) -> Iterator[BackendSession]:
    """An open session of the plugin; skips where it lacks one of the capabilities."""
    subject = subject_of(plugin)
    lacking = sorted(set(capabilities) - _abilities(plugin))
    if lacking:
        not_here(f"it does not have the capability '{lacking[0]}'")
    artifact, device, settings = prepared(subject)
    backend = subject.plugin
    with environment(backend.environment(device, settings)):
        session: object = backend.open(artifact, device, settings)
        expect(
            isinstance(session, BackendSession),
            f"open() gave {session!r}",
            "return an instance of a subclass of BackendSession",
        )
        assert isinstance(session, BackendSession)  # noqa: S101
        with session:
            yield session


def _answer(session: BackendSession, prompt: Sequence[int]) -> list[int]:
    """What the session writes after a prompt, greedily."""
    session.reset()
    answer = [session.prefill(list(prompt))]
    answer += [session.step() for _ in range(_STEPS)]
    return answer


def _logits(session: BackendSession, tokens: Sequence[int]) -> Any:
    import numpy as np

    session.reset()
    return np.asarray(session.logits(list(tokens)))


def _log_softmax(row: Any) -> Any:
    import numpy as np

    wide = row.astype(np.float64)
    wide -= wide.max()
    return wide - np.log(np.exp(wide).sum())


def _near(row: Any, first: int, second: int) -> bool:
    """Whether two logits are so near that rounding decides between them."""
    gap = abs(float(row[first]) - float(row[second]))
    return gap <= TIE * max(float(row.max() - row.mean()), 1e-9)


def _is_tie(session: BackendSession, tokens: Sequence[int], first: int, second: int) -> bool:
    try:
        return _near(_logits(session, tokens)[-1], first, second)
    except NotImplementedError:
        return False


def _first_is_tie(session: BackendSession, prompt: Sequence[int], own: Sequence[int], written: Sequence[int]) -> bool:
    """Whether the tokens part at two logits that are nearly equal."""
    place = next(place for place, pair in enumerate(zip(own, written, strict=True)) if pair[0] != pair[1])
    return _is_tie(session, [*prompt, *own[:place]], own[place], written[place])
