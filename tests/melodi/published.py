"""Makes up tables in MELODI's columns."""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from joulebench_reports.melodi.columns import J_PER_KWH, PUBLISHED

START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
#: Joules of a prompt, a prefill token and a decode token (after the first) on the GPU.
PROMPT_J, PREFILL_J, DECODE_J = 20.0, 0.5, 3.0
#: The CPU's share of the GPU's joules.
CPU_SHARE = 0.25

Row = dict[str, object]


def rows(count: int, *, device: str = "workstation", scale: float = 1.0) -> list[Row]:
    """Prompts of random lengths with 1 % of scatter, in order of time."""
    rng = random.Random(3)
    made: list[Row] = []
    clock = START
    for place in range(count):
        prompt, response = rng.randrange(10, 60), rng.randrange(5, 300)
        gpu = PROMPT_J + PREFILL_J * prompt + DECODE_J * (response - 1)
        gpu *= scale * rng.gauss(1, 0.01)
        seconds = 0.01 * prompt + 0.02 * response
        end = clock + timedelta(seconds=seconds)
        cpu = CPU_SHARE * gpu
        made.append(
            {
                "model_name": "tiny:1b",
                "type": device,
                "created_at": end,
                "start_time": clock,
                "end_time": end,
                "clock_duration": (end - clock).total_seconds(),
                "total_duration": round(seconds * 1e9),
                "load_duration": 1000,
                "prompt_duration": round(0.01 * prompt * 1e9),
                "response_duration": round(0.02 * response * 1e9),
                "prompt_token_length": prompt,
                "response_token_length": response,
                "prompt": f"Question {place}, with a comma?\nAnd a line.",
                "response": "An answer.",
                "energy_consumption_monitoring": 1e-8,
                "energy_consumption_llm_cpu": cpu / J_PER_KWH,
                "energy_consumption_llm_gpu": gpu / J_PER_KWH,
                "energy_consumption_llm_total": (cpu + gpu) / J_PER_KWH,
                "energy_consumption_llm": (cpu + gpu) / J_PER_KWH,
                "word_count": float(rng.randrange(5, 50)),
                "text_standard": "5th and 6th grade",
            }
        )
        clock = end + timedelta(seconds=1)
    return made


def write(path: Path, made: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> Path:
    names = list(columns or PUBLISHED)
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(made)
    return path
