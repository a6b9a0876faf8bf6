"""A runtime program that misbehaves at one request: ``hostile_program.py OP BEHAVIOUR SEED``.

Until then, and for what is no misbehaviour of its answers, it is a plain runtime. Standard library only; it
knows nothing of joulebench.
"""

import json
import os
import random
import signal
import sys
import time

OP, BEHAVIOUR, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3])
WILD = (
    None,
    True,
    -1,
    1.5,
    1e999,
    2**31,
    2**63,
    10**30,
    10**400,
    "",
    "\x1b[2J\u202e",
    "x" * 10**6,
    [],
    [[]],
    {},
    {"a": {}},
)
CHARACTERS = "\x1b]0;pwned\x07\x1b[2J\u202e\x9b31m"
rng = random.Random(SEED)


def answer_to(order):
    """What a plain runtime answers."""
    op = order["op"]
    if op == "hello":
        return {"protocol": 1, "capabilities": ["generate", "score"]}
    if op == "open":
        return {"vocabulary_size": 264, "context_length": 512, "facts": {"dtype": "float32"}}
    if op in ("prefill", "step"):
        return {"token": 7}
    if op == "score":
        return {"scores": [-1.0] * (len(order["tokens"]) - 1)}
    if op == "memory":
        return {"weights_bytes": 1000}
    return {}


def write(data):
    """All of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def leave_behind(*, session, twice):
    """A process that nobody waits for."""
    if os.fork() == 0:
        if session:
            os.setsid()
        if twice and os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        time.sleep(600)
        os._exit(0)


def misbehave(answer):  # noqa: PLR0912  one branch a misbehaviour
    """Do it; true where the answer is still to be given."""
    text = json.dumps(answer).encode()
    if BEHAVIOUR == "exit":
        os._exit(rng.choice((0, 1, 42, 255)))
    elif BEHAVIOUR == "signal":
        os.kill(os.getpid(), rng.choice((signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, 35, 64)))
    elif BEHAVIOUR == "words":
        sys.stderr.write(f"no weights {CHARACTERS}\n")
        sys.stderr.flush()
        os._exit(3)
    elif BEHAVIOUR == "garbage":
        write(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 3000))).replace(b"\n", b"?") + b"\n")
    elif BEHAVIOUR == "deep":
        write(b"[" * 200_000 + b"\n")
    elif BEHAVIOUR == "kind":
        name = rng.choice([*answer, "token", "error", "facts", "traffic", "scores"])
        write(json.dumps({**answer, name: rng.choice(WILD)}).encode() + b"\n")
    elif BEHAVIOUR == "error":
        write(json.dumps({"error": rng.choice((CHARACTERS, "x" * 10**6, None, [[]], {"what": 1}))}).encode() + b"\n")
    elif BEHAVIOUR == "nolist":
        write(rng.choice((b"[]", b"null", b"5", b'"x"', b"", b"NaN", b"9" * 10_000)) + b"\n")
    elif BEHAVIOUR == "twice":
        write((text + b"\n") * 2)
    elif BEHAVIOUR == "many":
        write((text + b"\n") * 1000)
    elif BEHAVIOUR == "cut":
        write(text[: len(text) // 2])
        time.sleep(600)
    elif BEHAVIOUR == "endless":
        while True:
            write(b"x" * 65536)
    elif BEHAVIOUR == "lines":
        while True:
            write(text + b"\n")
    elif BEHAVIOUR == "drip":
        while True:
            write(b" ")
            time.sleep(0.01)
    elif BEHAVIOUR == "silent":
        time.sleep(600)
    elif BEHAVIOUR == "stubborn":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        while True:
            time.sleep(600)
    elif BEHAVIOUR == "closes":
        os.close(1)
        time.sleep(600)
    elif BEHAVIOUR == "deaf":
        os.close(0)
        time.sleep(600)
    elif BEHAVIOUR == "stops":
        os.kill(os.getpid(), signal.SIGSTOP)
        return True
    elif BEHAVIOUR == "late":
        time.sleep(0.5)
        return True
    elif BEHAVIOUR == "flood":
        for _ in range(2000):
            os.write(2, CHARACTERS.encode() * 5000 + b"\n")
        return True
    elif BEHAVIOUR == "forks":
        leave_behind(session=False, twice=False)
        return True
    elif BEHAVIOUR == "sessions":
        leave_behind(session=True, twice=False)
        return True
    elif BEHAVIOUR == "daemons":
        leave_behind(session=True, twice=True)
        return True
    elif BEHAVIOUR == "group":
        os.killpg(0, signal.SIGKILL)
    elif BEHAVIOUR == "parent":
        os.kill(os.getppid(), rng.choice((signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV)))
        return True
    return False


def main():
    """Answer until ``close`` or the end of input."""
    for line in sys.stdin:
        order = json.loads(line)
        answer = answer_to(order)
        if order["op"] != OP or misbehave(answer):
            write(json.dumps(answer).encode() + b"\n")
        if order["op"] == "close" and OP != "close":
            break


main()
