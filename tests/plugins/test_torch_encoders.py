"""Encoders on the torch backend: what is embedded, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np
import torch
import transformers

from joulebench.api import Artifact, BackendSession
from joulebench.errors import JoulebenchError
from joulebench_plugins.torch.backend import TorchBackend
from joulebench_plugins.torch.shape import ShapeInit

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 99,
    "max_position_embeddings": 24,
}
BERT = {"architectures": ["BertModel"], "model_type": "bert", **SMALL}
SENTENCES = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [14]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, made = tmp_path_factory.mktemp("shape"), tmp_path_factory.mktemp("bert")
    (source / "config.json").write_text(json.dumps(BERT))
    (source / "seed.json").write_text('{"seed": 0}')
    ShapeInit().convert(source, made, {})
    return made


@pytest.fixture(scope="module")
def session(checkpoint: Path) -> Iterator[BackendSession]:
    with TorchBackend().open(Artifact("hf", checkpoint, "", 0), "cpu", {"threads": 1}) as opened:
        yield opened


def test_an_embedding_is_the_mean_of_the_last_states_whatever_else_is_in_the_batch(
    session: BackendSession, checkpoint: Path
) -> None:
    model = transformers.AutoModel.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        expected = [model(torch.tensor([s])).last_hidden_state[0].mean(0).numpy() for s in SENTENCES]
    np.testing.assert_allclose(session.encode(SENTENCES), expected, atol=1e-5)


def test_what_does_not_fit_or_is_empty_is_refused(session: BackendSession) -> None:
    with pytest.raises(JoulebenchError, match="25 tokens do not fit into 24"):
        session.encode([[1] * 25])
    with pytest.raises(JoulebenchError, match="empty"):
        session.encode([[1], []])


def test_the_record_says_what_runs(session: BackendSession) -> None:
    facts = session.facts()
    assert (facts["dtype"], facts["pooling"], facts["context_length"]) == ("float32", "mean", 24)
    assert session.memory().weights_bytes is not None
    assert session.traffic().weights_bytes is None


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mobilebert", "roberta", "xlm-roberta", "modernbert", "albert"])
def test_encoders_embed_and_write_nothing(kind: str) -> None:
    backend = TorchBackend()
    config = {"model_type": kind}
    assert backend.abilities_with({}, config) == {"encode"}
    assert backend.check("cpu", {}, config) is None


def test_a_decoder_can_do_both_and_a_model_of_two_parts_neither() -> None:
    backend = TorchBackend()
    assert {"encode", "generate"} <= backend.abilities_with({}, {"model_type": "llama"})
    assert backend.check("cpu", {}, {"model_type": "t5", "is_encoder_decoder": True}) is not None


@pytest.mark.parametrize("settings", [{"compile": True, "cache": "static"}, {"weights": "int8"}, {"mlp_active": 0.5}])
def test_what_only_decoders_have_is_refused_of_an_encoder(settings: dict[str, object]) -> None:
    assert TorchBackend().check("cpu", settings, BERT) is not None
