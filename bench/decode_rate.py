"""Decode rate of each backend through joulebench over the runtime's own loop, in turns.

Both ways decode the same number of tokens after the same prompt, on the same loaded model, with
the same threads. joulebench's way is what a block of the workload ``decode`` does, its time stamps
included; the runtime's own is a loop as one writes it by hand (for llama.cpp, in C). Only decoding
is timed. Which way goes first alternates, so that drift of the machine falls on both. For
PyTorch, ``generate()`` of transformers takes turns with them too, its prefill taken off.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.embedded import embedded_artifact
from joulebench.api import Request
from joulebench.registry.loading import default_registry
from joulebench.worker.recording import RequestRecorder

#: Backend, and where its runtime's own loop is.
LOOPS = {
    "torch": "bench.bare_torch",
    "llamacpp": "bench.bare_llamacpp",
    "onnx": "bench.bare_onnx",
    "onnx-mobile": "bench.bare_onnx",
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

#: Times the decoding of so many tokens; returns (seconds, tokens).
Way = Callable[[int], tuple[float, list[int]]]


def main() -> None:
    arguments = _arguments()
    registry = default_registry()
    print(
        f"{arguments.threads} threads, {arguments.tokens} tokens after {arguments.prompt_tokens}, "
        f"{arguments.rounds} rounds in turns, {arguments.clock} time"
    )
    for name in arguments.backends or list(LOOPS):
        availability = registry.backend(name).available()
        if not availability.ok:
            print(f"{name}: {availability.reason} ({availability.cure})")
            continue
        _compare(name, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backends", nargs="*", help=f"of {', '.join(LOOPS)}; all by default")
    parser.add_argument("--dtype", default="float32", help="for backends that have the setting")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--cache", default="dynamic", choices=("dynamic", "static"), help="torch")
    parser.add_argument("--compile", action="store_true", help="torch, with the static cache")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--clock",
        default="wall",
        choices=sorted(CLOCKS),
        help="cpu: the process's CPU time, for a machine that others use too",
    )
    arguments = parser.parse_args()
    unknown = set(arguments.backends) - set(LOOPS)
    if unknown:
        parser.error(f"no loop for {', '.join(sorted(unknown))}")
    if arguments.rounds < 4:
        parser.error("--rounds: at least 4")
    return arguments


def _compare(name: str, arguments: argparse.Namespace) -> None:
    backend = default_registry().backend(name)
    wanted = {
        "dtype": arguments.dtype,
        "threads": arguments.threads,
        "cache": arguments.cache,
        "compile": arguments.compile,
        "cache_tokens": arguments.prompt_tokens + arguments.tokens,
        "context_tokens": arguments.prompt_tokens + arguments.tokens,
    }
    known = {option.name for option in backend.options}
    options = {key: value for key, value in wanted.items() if key in known}
    artifact = embedded_artifact(name, options)
    settings = {**backend.default_settings(), **options}
    with backend.open(artifact, arguments.device, settings) as session:
        ways = _ways(name, session, arguments)
        outputs = {way: run(arguments.tokens)[1] for way, run in ways.items()}
        if len({tuple(output) for output in outputs.values()}) > 1:
            print(f"{name}: warning: the ways do not write the same tokens")
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for index in range(arguments.rounds):
            order = list(ways) if index % 2 == 0 else list(reversed(ways))
            for way in order:
                rates[way].append(arguments.tokens / ways[way](arguments.tokens)[0])
        del ways
    _report(name, rates)


def _ways(name: str, session: Any, arguments: argparse.Namespace) -> dict[str, Way]:
    module = importlib.import_module(LOOPS[name])
    clock = CLOCKS[arguments.clock]
    prompt = tuple(7 + 13 * index % (session.vocabulary_size - 7) for index in range(arguments.prompt_tokens))
    bare = module.Bare(session)
    ways: dict[str, Way] = {
        "joulebench": lambda count: _through_workload(session, prompt, count, clock),
        bare.name: lambda count: _by_hand(bare, prompt, count, clock),
    }
    if hasattr(module, "Generate") and not arguments.compile:
        generate = module.Generate(session)
        ways[generate.name] = lambda count: _generated(generate, prompt, count, clock)
    return ways


def _through_workload(
    session: Any, prompt: tuple[int, ...], count: int, clock: Callable[[], float]
) -> tuple[float, list[int]]:
    decode = default_registry().workload("decode")
    request = Request(0, prompt, count)
    recorder = RequestRecorder(lambda: [])
    decode.setup(session, request, {})
    start = clock()
    outcome = decode.perform(session, request, {}, recorder)
    return clock() - start, outcome.output


def _by_hand(bare: Any, prompt: Sequence[int], count: int, clock: Callable[[], float]) -> tuple[float, list[int]]:
    first = bare.prefill(prompt)
    start = clock()
    written = bare.steps(first, count)
    return clock() - start, written


def _generated(generate: Any, prompt: Sequence[int], count: int, clock: Callable[[], float]) -> tuple[float, list[int]]:
    start = clock()
    generate.write(prompt, 1)
    middle = clock()
    written = generate.write(prompt, count + 1)
    return (clock() - middle) - (middle - start), written[1:]


def _report(name: str, rates: dict[str, list[float]]) -> None:
    own = rates["joulebench"]
    print(f"{name}")
    for way, values in rates.items():
        line = f"  {way:20s} median {statistics.median(values):7.2f} tokens/s ({min(values):.2f} to {max(values):.2f})"
        if way != "joulebench":
            paired = [a / b for a, b in zip(own, values, strict=True)]
            low, middle, high = statistics.quantiles(paired, n=4)
            line += f"; joulebench over it {middle:.3f} (quartiles {low:.3f} to {high:.3f})"
        print(line, flush=True)


if __name__ == "__main__":
    main()
