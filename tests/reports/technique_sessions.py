"""Sessions with techniques whose costs are known."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import make_session

from joulebench.agreement import Comparison, Divergence, Forced, ForcedPrompt, agreement_record
from joulebench.session import Session

ABOUT = {"label": "torch", "device": "cpu", "dtype": "float32", "prompts": "builtin:short"}
PRUNED = {"prune": {"zero_fraction": 0.5, "zero_fraction_before": 0.0}}
SLIM = {"slim": {"parameters_before": 100, "parameters_after": 35}}
FOUR_BITS = {"quantize": {"bits_per_weight": 4.5, "bits_per_weight_before": 32.0}}
MB = 1_000_000


def windows(loss: float, spread: float = 0.001, seed: str = "") -> list[list[float]]:
    """Sixteen windows of 255 tokens, each ``loss`` nats a token worse than the baseline's."""
    rng = random.Random(f"windows {seed}")
    hard = random.Random("the text")
    return [[255 * (hard.uniform(2.0, 3.5) + loss + rng.gauss(0, spread) * (loss > 0)), 255] for _ in range(16)]


def quality(loss: float, spread: float = 0.001, **more: Any) -> dict[str, Any]:
    result = windows(loss, spread)
    mean = sum(nats for nats, _ in result) / sum(tokens for _, tokens in result)
    return {
        "perplexity": math.exp(mean),
        "nll_nats_per_token": mean,
        "tokens": 16 * 255,
        "text": "builtin:evaluation",
        "windows": result,
        **more,
    }


def agreement(kl: float, top1: int, parted: int) -> dict[str, Any]:
    """Four answers of 64 tokens; ``parted`` of them part after 32."""
    by_prompt = tuple(ForcedPrompt(64, top1, 64 * kl * (1 + 0.1 * n), 10.0, 10.0) for n in range(4))
    forced = Forced(256, 4 * top1, sum(answer.kl_nats for answer in by_prompt) / 256, 2 * kl, 40.0, 40.0, by_prompt)
    divergences = tuple(Divergence(n, 32, 5, 9, 1.0, 1e-3) for n in range(parted))
    return agreement_record(ABOUT, Comparison(4, 64, divergences, forced), None).to_json()


def cell(
    name: str,
    technique: str,
    evidence: dict[str, Any] | None = None,
    *,
    loss: float = 0.0,
    size: int = 540 * MB,
    backend: str = "torch",
    scored: dict[str, Any] | None = None,
    **more: Any,
) -> make_session.Cell:
    """A cell whose perplexity is exp(loss) times the baseline's."""
    row = {
        "artifact_bytes": size,
        "evidence_json": json.dumps(evidence or {}),
        "quality_json": json.dumps(scored or quality(loss)),
    }
    kl = 2 * loss
    return make_session.Cell(
        name,
        name,
        technique=technique,
        backend=backend,
        row=row,
        agreement=agreement(kl, 64 if loss == 0 else 60, 0 if loss == 0 else 2),
        **more,
    )


def write(folder: Path, cells: list[make_session.Cell], **more: Any) -> Session:
    return Session(make_session.write(folder / "session", cells, **more))


def usual(folder: Path) -> Session:
    """Two backends, each with its baseline; pruned, slim and quantized cells."""
    return write(
        folder,
        [
            cell("torch none", "none"),
            cell("torch sparse", "sparse", PRUNED, loss=0.2, joules_per_token=0.5),
            cell("torch slim", "slim", SLIM, loss=0.9, size=190 * MB, joules_per_token=0.25, seconds=1.0, peak_mib=306),
            cell("llamacpp none", "none", backend="llamacpp", joules_per_token=0.4),
            cell(
                "llamacpp q4",
                "q4",
                FOUR_BITS,
                loss=0.03,
                size=80 * MB,
                backend="llamacpp",
                joules_per_token=0.1,
                seconds=0.8,
                peak_mib=153,
            ),
        ],
    )
