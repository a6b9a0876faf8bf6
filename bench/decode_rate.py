"""Decode rate of the torch backend over transformers' ``generate()``, measured in turns.

Both run the same model object with the same dtype, threads and prompt, and write the same
number of tokens. Each round times both ways for 1 token and for N tokens; the difference is
N - 1 decode steps without the prefill. Which of the two goes first alternates from round to
round, so that drift of the machine falls on both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.embedded import embedded_checkpoint

Run = Callable[[int], list[int]]

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    arguments = _arguments()
    backend, generate = _runs(arguments)
    if backend(arguments.tokens) != generate(arguments.tokens):
        print("warning: the two ways do not write the same tokens")
    rates: dict[str, list[float]] = {"backend": [], "generate": []}
    ways = [("backend", backend), ("generate", generate)]
    for index in range(arguments.rounds):
        for name, run in ways if index % 2 == 0 else reversed(ways):
            rates[name].append(_decode_rate(run, arguments.tokens, CLOCKS[arguments.clock]))
    _report(rates, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        help="folder with config.json and safetensors; the embedded model by default",
    )
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64, help="new tokens, the first included")
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--cache", default="dynamic", choices=("dynamic", "static"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--clock",
        default="wall",
        choices=sorted(CLOCKS),
        help="cpu: the process's CPU time, for a machine that others use too",
    )
    arguments = parser.parse_args()
    if arguments.rounds < 10:
        parser.error("--rounds: at least 10")
    if arguments.tokens < 2:
        parser.error("--tokens: at least 2")
    if arguments.model is None:
        arguments.model = embedded_checkpoint()
    return arguments


def _runs(arguments: argparse.Namespace) -> tuple[Run, Run]:
    from joulebench.api import Artifact
    from joulebench_torch.backend import TorchBackend

    settings = {
        "dtype": arguments.dtype,
        "threads": arguments.threads,
        "cache": arguments.cache,
        "cache_tokens": arguments.prompt_tokens + arguments.tokens,
        "compile": arguments.compile,
    }
    artifact = Artifact("hf", arguments.model, "", 0)
    session: Any = TorchBackend().open(artifact, arguments.device, settings)
    import torch

    prompt = [
        7 + 13 * index % (session.vocabulary_size - 7) for index in range(arguments.prompt_tokens)
    ]
    ids = torch.tensor([prompt], device=arguments.device)
    session.model.generation_config.eos_token_id = None  # always the full length

    def backend(count: int) -> list[int]:
        session.reset()
        return [session.prefill(prompt), *(session.step() for _ in range(count - 1))]

    def generate(count: int) -> list[int]:
        written = session.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
        found: list[int] = written[0, len(prompt) :].tolist()
        return found

    return backend, generate


def _decode_rate(run: Run, tokens: int, clock: Callable[[], float]) -> float:
    """Decode steps a second, prefill taken off."""
    start = clock()
    run(1)
    middle = clock()
    run(tokens)
    end = clock()
    return (tokens - 1) / ((end - middle) - (middle - start))


def _report(rates: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    print(
        f"{arguments.model}: {arguments.dtype}, {arguments.threads} threads, {arguments.tokens} "
        f"tokens, {arguments.rounds} rounds in turns, {arguments.clock} time, {arguments.cache} "
        f"cache{', compiled' if arguments.compile else ''}"
    )
    for name, values in rates.items():
        print(
            f"{name:9s} median {statistics.median(values):8.2f} tokens/s "
            f"({min(values):.2f} to {max(values):.2f})"
        )
    paired = [a / b for a, b in zip(rates["backend"], rates["generate"], strict=True)]
    low, middle, high = statistics.quantiles(paired, n=4)
    medians = statistics.median(rates["backend"]) / statistics.median(rates["generate"])
    print(f"ratio of medians {medians:.4f}")
    print(
        f"paired ratio     {middle:.4f} (quartiles {low:.4f} to {high:.4f}, "
        f"{min(paired):.4f} to {max(paired):.4f})"
    )


if __name__ == "__main__":
    main()
