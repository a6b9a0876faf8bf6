"""The embedded model itself, through the product's own fetch, conversion, backend and run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from joulebench.api import Artifact, BackendSession
from joulebench.models.catalogue import read_catalogue, resolve_model
from joulebench.registry.loading import default_registry
from joulebench.session import Session
from joulebench.worker.tokenizer import CheckpointTokenizer

PROMPT = "The capital of France is"
PROMPT_IDS = [504, 3575, 282, 4649, 314]

pytest.importorskip("torch", reason="the torch extra is not installed")


@pytest.fixture(scope="module")
def backend_session(smollm2: Path) -> Iterator[BackendSession]:
    backend = default_registry().backend("torch")
    artifact = Artifact("hf", smollm2, "", 0)
    with backend.open(artifact, "cpu", {**backend.default_settings(), "threads": 2}) as session:
        yield session


def test_the_prompt_of_the_field_has_the_ids_that_every_runtime_must_see(smollm2: Path) -> None:
    assert CheckpointTokenizer(smollm2).encode(PROMPT, chat=False) == PROMPT_IDS


def test_the_catalogue_knows_its_sizes_before_it_is_fetched(smollm2: Path) -> None:
    registry = default_registry()
    ref = resolve_model("smollm2-135m-instruct", read_catalogue(registry.profile_dirs()), Path.cwd())
    config = json.loads((smollm2 / "config.json").read_text(encoding="utf-8"))
    assert ref.config is not None
    known = {key: ref.config[key] for key in config if key in ref.config}
    assert {"hidden_size", "num_key_value_heads", "rope_parameters", "model_type"} <= set(known)
    # What tokens are called and in which type the weights are written is the file's affair.
    for key in ("dtype", "bos_token_id", "eos_token_id", "pad_token_id"):
        known.pop(key, None)
    assert known == {key: config[key] for key in known}


def test_the_chat_template_puts_a_question_between_the_models_own_marks(smollm2: Path) -> None:
    tokenizer = CheckpointTokenizer(smollm2)
    text = tokenizer._tokenizer.decode(tokenizer.encode("Hi", chat=True), skip_special_tokens=False)
    assert "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" in text


def test_it_answers_paris(smollm2: Path, backend_session: BackendSession) -> None:
    backend_session.reset()
    answer = [backend_session.prefill(PROMPT_IDS)]
    answer += [backend_session.step() for _ in range(3)]
    assert CheckpointTokenizer(smollm2).decode(answer).startswith(" Paris.")


def test_scores_are_those_of_a_plain_forward_pass(smollm2: Path, backend_session: BackendSession) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    text = "Water boils at a lower temperature on a mountain, because the air there is thinner."
    tokens = CheckpointTokenizer(smollm2).encode(text, chat=False)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(torch.tensor([tokens])).logits[0, :-1].log_softmax(-1)
    expected = logits.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist()
    backend_session.reset()
    assert backend_session.score(tokens) == pytest.approx(expected, abs=1e-3)


def test_words_in_order_are_far_likelier_than_the_same_words_shuffled(
    smollm2: Path, backend_session: BackendSession
) -> None:
    import random

    sentence = (
        "The committee met in the old library on a Tuesday evening to decide whether the town "
        "should repair the bridge or build a new one further down the river."
    )
    words = sentence.split(" ")
    shuffled = list(words)
    random.Random(1).shuffle(shuffled)
    tokenizer = CheckpointTokenizer(smollm2)

    def perplexity(text: str) -> float:
        backend_session.reset()
        scores = backend_session.score(tokenizer.encode(text, chat=False))
        return math.exp(-sum(scores) / len(scores))

    assert perplexity(" ".join(shuffled)) > 10 * perplexity(" ".join(words))


PROFILE = """
version = 1
[model.smollm2-135m-instruct]
[backend.torch]
dtype = "bfloat16"
[workload.generate]
prompts = "builtin:short"
new_tokens = 6
[workload.score]
tokens = 256
window = 128
[protocol]
processes = 1
min_blocks = 3
max_blocks = 3
requests_per_block = 1
warmup_min_s = 0.1
warmup_max_s = 2
idle_s = 1
repeat_contended = 0
[quality]
tokens = 128
window = 128
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, cache: Path, smollm2: Path, cli: Any) -> Session:
    folder = tmp_path_factory.mktemp("smollm2")
    (folder / "small.toml").write_text(PROFILE)
    code, _, errors = cli("run", "small.toml", "--output", "out", cwd=folder)
    assert code == 0, errors
    (made,) = (folder / "out").iterdir()
    return Session(made)


def test_a_run_answers_real_prompts_in_words(session: Session) -> None:
    generate = next(token for token in session.cell_ids if "generate" in token)
    rows = session.table("requests", generate).to_pylist()
    assert len(rows) == 3
    for row in rows:
        assert row["prompt"]
        assert row["response"].strip()
        assert len(row["output_tokens"]) == len(row["token_t_ns"]) == 6
        assert row["token_t_ns"] == sorted(row["token_t_ns"])
        assert 0 < row["ttft_s"] < row["duration_s"]


def test_the_record_says_where_the_weights_come_from_and_what_that_means(session: Session) -> None:
    for cell in session.cells().to_pylist():
        assert any("Q4_1" in step for step in cell["lineage"])
        assert json.loads(cell["facts_json"])["dtype"] == "bfloat16"
        # bf16, the tied embedding once; beside it only the rotary frequencies.
        assert 0 <= cell["weights_bytes"] - 2 * 134_515_008 < 1024


def test_perplexity_of_the_score_workload_and_of_the_judge_are_plausible(session: Session) -> None:
    for cell in session.cells().to_pylist():
        quality = json.loads(cell["quality_json"])
        assert 5 < quality["perplexity"] < 100
        assert quality["tokens"] > 100


def test_energy_is_labelled_an_estimate_and_never_measured_without_a_sensor(session: Session) -> None:
    available = {probe.probe: probe.available for probe in session.row.probes or ()}
    if available["rapl"] or available["nvml"]:
        pytest.skip("this machine has an energy sensor")
    energy = session.table("energy").to_pylist()
    assert energy
    assert {row["provenance"] for row in energy} == {"estimated"}
    assert {row["method"] for row in energy} == {"model"}
