"""``serve``: requests that arrive at a rate, as a trace has them, or so many at once."""

from __future__ import annotations

import bisect
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final

from joulebench.api import (
    Arrival,
    BackendSession,
    Option,
    Outcome,
    Recorder,
    Request,
    Settings,
    Workload,
    WorkloadContext,
)
from joulebench.errors import PluginError, ProfileError
from joulebench_plugins.server.traces import TraceLine, read_trace

#: Windows that are drawn; after the last, the first comes again.
_WINDOWS: Final = 64


class Serve(Workload):
    """Windows of load. Arrivals never wait for answers, and a window ends with the last answer to them."""

    name: ClassVar[str] = "serve"
    summary: ClassVar[str] = "requests under load, at a rate, by a trace or so many at once"
    unit: ClassVar[str] = "token"
    requires: ClassVar[frozenset[str]] = frozenset({"serve"})
    judged: ClassVar[bool] = False
    options: ClassVar[tuple[Option, ...]] = (
        Option("rate_per_s", "float", None, "mean rate of Poisson arrivals, in requests a second", minimum=1e-3),
        Option(
            "concurrency",
            "int",
            None,
            "instead of a rate: requests always under way; without either, 1",
            minimum=1,
            maximum=4096,
        ),
        Option("trace", "file", None, "JSON lines with lengths, and times where neither of both is given"),
        Option("window_s", "float", 10.0, "time in which requests of a window are sent", minimum=0.1, maximum=3600.0),
        Option("requests", "int", 1000, "most requests of a window", minimum=1),
        Option("timeout_s", "float", 60.0, "a request is given up after this, and has failed", minimum=0.1),
        Option("prompt_tokens", "int", 128, "mean length of prompts", minimum=1),
        Option("new_tokens", "int", 64, "mean length of answers", minimum=1),
        Option("spread", "share", 0.0, "lengths are drawn evenly within this share around the mean", maximum=1.0),
        Option("text", "file", "builtin:evaluation", "text of which prompts are pieces"),
        Option("ttft_limit_s", "float", None, "objective of goodput: time to first token", minimum=0.0),
        Option("tpot_limit_s", "float", None, "objective of goodput: time per token after the first", minimum=0.0),
    )

    def __init__(self) -> None:
        self._draw: Callable[[int], list[Arrival]] = lambda _: []
        self._window: list[Arrival] = []

    def check(self, settings: Settings) -> str | None:
        """Arrivals have one source: a rate, a number at once, or the times of a trace."""
        if "rate_per_s" in settings and "concurrency" in settings:
            return "set rate_per_s or concurrency, not both"
        return None

    def tokens_needed(self, settings: Settings) -> int:
        """The longest prompt and answer."""
        return round((int(settings["prompt_tokens"]) + int(settings["new_tokens"])) * (1 + float(settings["spread"])))

    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """One request is a window of load, drawn by the seed: the same for every rate but for its times."""
        cut = _pieces(Path(str(settings["text"])), context.tokenize)
        lines = read_trace(Path(str(settings["trace"]))) if "trace" in settings else None
        timed = _has_times(settings) and "rate_per_s" not in settings
        if timed and lines is not None and lines[0].at_s is None:
            raise ProfileError("has no timestamps", where=str(settings["trace"]), hint="set rate_per_s or concurrency")
        self._draw = lambda number: _window(
            random.Random(f"{context.seed}/{number}"),  # noqa: S311  a load, no secret
            settings,
            lines,
            cut,
        )
        return [Request(number) for number in range(1 if timed else _WINDOWS)]

    def setup(self, session: BackendSession, request: Request, settings: Settings) -> None:
        """Write the prompts of the window, before it is measured."""
        self._window = self._draw(request.index)

    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        """One window. Raises where no request of it was answered."""
        concurrency = settings.get("concurrency", None if _has_times(settings) else 1)
        own_s = time.process_time()
        served = session.serve(
            self._window,
            float(settings["timeout_s"]),
            None if concurrency is None else int(concurrency),
            float(settings["window_s"]),
        )
        own_s = time.process_time() - own_s
        whole = [one for one in served if one.fault is None]
        if not whole:
            raise PluginError(f"none of {len(served)} requests was answered; the first: {served[0].fault}")
        tokens = sum(one.output_tokens for one in whole)
        return Outcome(
            prefill_tokens=sum(one.prompt_tokens for one in whole),
            units=float(tokens),
            values={"client_cpu_s": own_s},
            served=list(served),
        )


def _has_times(settings: Settings) -> bool:
    """Whether arrivals have times of their own, of a rate or of a trace; else so many are always under way."""
    return "rate_per_s" in settings or ("trace" in settings and "concurrency" not in settings)


def _window(
    draw: random.Random,
    settings: Settings,
    lines: Sequence[TraceLine] | None,
    cut: Callable[[int, float], tuple[str, int]],
) -> list[Arrival]:
    rate, spread, most = settings.get("rate_per_s"), float(settings["spread"]), int(settings["requests"])
    arrivals: list[Arrival] = []
    at_s = 0.0

    def length(name: str) -> int:
        mean = int(settings[name])
        return max(1, round(mean * (1 + spread * (2 * draw.random() - 1))))

    while len(arrivals) < most:
        line = None if lines is None else lines[len(arrivals) % len(lines)]
        prompt, new = length("prompt_tokens"), length("new_tokens")
        if rate is not None:
            at_s += draw.expovariate(float(rate))
        elif line is not None and lines is not None and _has_times(settings):
            if len(arrivals) == len(lines):
                break
            at_s = line.at_s or 0.0
        if at_s > float(settings["window_s"]) and arrivals:
            break
        prompt = (line.prompt_tokens if line else None) or prompt
        text, prompt = (line.text, prompt) if line and line.text else cut(prompt, draw.random())
        arrivals.append(Arrival(at_s, text, prompt, (line.new_tokens if line else None) or new))
    return arrivals


def _pieces(path: Path, tokenize: Callable[[str, bool], list[int]] | None) -> Callable[[int, float], tuple[str, int]]:
    """Makes prompts: the words from a drawn place on that are nearest to so many tokens, and their number.

    The place differs, so that a server seldom finds a prompt's beginning among those that it has read.
    """
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"cannot be read: {error}", where=str(path)) from None
    if not words:
        raise ProfileError("holds no word", where=str(path))

    def cut(tokens: int, place: float) -> tuple[str, int]:
        start = int(place * len(words))
        turned = [words[(start + step) % len(words)] for step in range(tokens)]

        def size(count: int) -> int:
            text = " ".join(turned[:count])
            return len(text.split() if tokenize is None else tokenize(text, False))

        count = max(1, bisect.bisect_right(range(tokens + 1), tokens, key=size) - 1)
        return " ".join(turned[:count]), size(count)

    return cut
