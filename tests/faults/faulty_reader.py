"""A reader of a meter with a fault, in whichever process joulebench opens it; it knows nothing of joulebench.

Its argument is JSON: ``watts`` and ``low_w`` (a burst of ``burst_s`` each), the ``period_s`` of its updates,
``kind`` counter (µJ) or gauge (mW), ``fault`` and the moment ``at_ns`` from which it has it.
"""

import json
import os
import random
import sys
import time

NOT_NUMBERS = (
    None,
    "12",
    2.5,
    True,
    [],
    [1, 2],
    {},
    float("nan"),
    float("inf"),
    b"7",
    10**30,
    -(10**30),
    (1,),
    (None, None),
)


class Meter:
    """The meter."""

    def __init__(self, argument):
        """As the argument says."""
        told = json.loads(argument)
        self.watts, self.low_w, self.burst_s = told["watts"], told["low_w"], told["burst_s"]
        self.kind, self.fault, self.at_ns = told["kind"], told["fault"], told["at_ns"]
        self.period_ns = int(told["period_s"] * 1e9)
        self.rng = random.Random(told["seed"])
        self.last = 0
        self.shown = 0
        self.due_ns = 0
        if self.fault == "open-raise":
            raise OSError("no such meter")
        if self.fault == "open-hang":
            time.sleep(600)
        if self.fault == "open-exit":
            os._exit(7)

    def joules(self, now_ns):
        """The truth: what was consumed since the clock began."""
        cycles, rest_s = divmod(now_ns * 1e-9, 2 * self.burst_s)
        whole = cycles * self.burst_s * (self.watts + self.low_w)
        return whole + min(rest_s, self.burst_s) * self.watts + max(0.0, rest_s - self.burst_s) * self.low_w

    def number(self, now_ns):
        """What a good meter shows."""
        if self.kind == "counter":
            return int(self.joules(now_ns - now_ns % self.period_ns) * 1e6)
        on = now_ns * 1e-9 % (2 * self.burst_s) < self.burst_s
        return round(1000 * (self.watts if on else self.low_w))

    def read(self):
        """One item, or what the fault makes of it."""
        now_ns = time.perf_counter_ns()
        number = self.number(now_ns)
        if now_ns < self.at_ns or self.fault == "none":
            self.last = number
            return [number]
        return self.faulty(number, now_ns)

    def faulty(self, number, now_ns):  # noqa: PLR0912  one branch a fault
        """The fault."""
        fault = self.fault
        if fault == "frozen":
            return [self.last]
        if fault == "hang":
            time.sleep(600)
        elif fault == "raise":
            raise self.rng.choice((OSError("gone"), ValueError("x"), RuntimeError(), MemoryError()))
        elif fault == "exit":
            os._exit(self.rng.choice((0, 1)))
        elif fault == "leave":
            raise self.rng.choice((SystemExit(0), KeyboardInterrupt()))
        elif fault == "none-item":
            return [None]
        elif fault == "no-number":
            return [self.rng.choice(NOT_NUMBERS)]
        elif fault == "no-list":
            return self.rng.choice((None, 5, "text", [], {}, object()))
        elif fault == "huge":
            return [self.rng.choice((2**62, 2**63 - 1, -(2**63), 10**15))]
        elif fault == "negative":
            return [-number]
        elif fault == "backwards":
            return [self.last - (now_ns - self.at_ns) // 1000]
        elif fault == "zero":
            return [0]
        elif fault == "reset":
            return [number - self.last]
        elif fault == "slow":
            time.sleep(0.2)
            return [self.number(time.perf_counter_ns())]
        elif fault == "sometimes-slow":
            if self.rng.random() < 0.05:
                time.sleep(0.1)
            return [self.number(time.perf_counter_ns())]
        elif fault == "jitter":
            if now_ns >= self.due_ns:
                self.due_ns = now_ns + int(self.rng.uniform(0.2, 3.0) * self.period_ns)
                self.shown = int(self.joules(now_ns) * 1e6) if self.kind == "counter" else number
            return [self.shown or self.last]
        elif fault == "gaps":
            return [None if self.rng.random() < 0.3 else number]
        elif fault == "ahead":
            return [(number, now_ns + 10**10)]
        elif fault == "behind":
            return [(number, now_ns - 5 * 10**9)]
        elif fault == "prints":
            print("x" * 10_000)
            sys.stderr.write("\x1b[2J" * 1000)
        return [number]
