"""The backend ``command``: a program in C is planned, checked, measured, blamed for its faults."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from joulebench.api import Artifact
from joulebench.errors import JoulebenchError
from joulebench.registry.loading import default_registry
from joulebench.session import Session
from joulebench.testing.models import write_tiny_checkpoint

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "tests" / "plugin_examples" / "bigram" / "bigram.c"
PAGE: Final = (ROOT / "docs" / "runtime-protocol.md").read_text(encoding="utf-8")
MESSAGES: Final = [
    (json.loads(request), json.loads(answer))
    for request, answer in re.findall(r"```json request\n(.*?)```\n\n```json answer\n(.*?)```", PAGE, re.DOTALL)
]
#: A program that says hello and then does what its first argument says.
BROKEN: Final = """#!{python}
import json, os, signal, sys, time
for line in sys.stdin:
    op = json.loads(line)["op"]
    if op == "hello":
        answer = {{"protocol": 2 if sys.argv[1] == "version" else 1, "capabilities": ["generate"]}}
    elif op == "open":
        answer = {{"vocabulary_size": 264, "context_length": 64}}
    elif op == "step" and sys.argv[1] == "crash":
        sys.stderr.write("lost my weights\\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    elif op == "step" and sys.argv[1] == "hang":
        time.sleep(600)
    elif op == "step" and sys.argv[1] == "nonsense":
        print("ready.", flush=True)
        continue
    elif op == "step" and sys.argv[1] == "grow":
        held = bytearray(400 * 2**20)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(2)
        answer = {{"token": 1}}
    else:
        answer = {{"token": 1}}
    print(json.dumps(answer), flush=True)
    if op == "close":
        break
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile's folder: a model, the compiled program, and one that breaks."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("command")
    write_tiny_checkpoint(made / "model")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", made / "bigram", SOURCE, "-lm"], check=True)
    broken = made / "broken"
    broken.write_text(BROKEN.format(python=sys.executable))
    broken.chmod(0o755)
    (made / "prompts.txt").write_text('"vocab\n"hidden_size": \narchitectures\n')
    (made / "power1_input").write_text("2500000\n")
    return made


def _session(folder: Path) -> Any:
    backend = default_registry().backend("command")
    settings = {"command": str(folder / "bigram")}
    return backend.open(Artifact("hf", folder / "model", "", 0), "cpu", settings)


def _expected(folder: Path) -> Counter[tuple[int, int]]:
    """What the program counts, counted here."""
    return Counter(pairwise((folder / "model" / "config.json").read_bytes()))


# -- the protocol ---------------------------------------------------------------------------------


def test_the_page_s_messages_are_those_of_the_program(folder: Path) -> None:
    process = subprocess.Popen(["./bigram"], cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert [request["op"] for request, _ in MESSAGES] == [
        "hello",
        "open",
        "reset",
        "prefill",
        "step",
        "score",
        "logits",
        "memory",
        "close",
    ]
    for request, shown in MESSAGES:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert set(answer) == set(shown), request
        if request["op"] in ("hello", "open", "memory"):
            assert answer == shown
    assert process.wait(timeout=10) == 0


def test_its_tokens_are_the_commonest_followers(folder: Path) -> None:
    counted = _expected(folder)
    with _session(folder) as session:
        token = session.prefill(list(b'"vocab'))
        written = [token, *(session.step() for _ in range(8))]
    for before, after in pairwise([ord("b"), *written]):
        followers = [counted[before, index] for index in range(256)]
        assert after == followers.index(max(followers))


def test_its_memory_is_that_of_the_program(folder: Path) -> None:
    with _session(folder) as session:
        pid = session.process_id()
        assert pid != os.getpid()
        assert Path(f"/proc/{pid}/comm").read_text().strip() == "bigram"
        assert session.memory().weights_bytes == 256 * 256 * 4
    assert not Path(f"/proc/{pid}").exists()
    session.close()


def test_an_error_of_the_program_is_told_and_it_goes_on(folder: Path) -> None:
    with _session(folder) as session:
        with pytest.raises(JoulebenchError, match="more than 4096 tokens do not fit"):
            session.prefill([1] * 5000)
        session.reset()
        with pytest.raises(JoulebenchError, match="cannot do 'step' now"):
            session.step()
        assert isinstance(session.prefill([34]), int)


#: A program that says hello and opens, and answers another request with what its second argument is.
LYING: Final = """#!{python}
import json, os, sys
answers = {{"hello": {{"protocol": 1}}, "open": {{"vocabulary_size": 264, "context_length": 64}}}}
for line in sys.stdin:
    op = json.loads(line)["op"]
    if op == sys.argv[1]:
        if sys.argv[2] == "signal":
            os.kill(os.getpid(), 35)
        if sys.argv[2] == "endless":
            while True:
                sys.stdout.write("x" * 65536)
        print(sys.argv[2], flush=True)
    else:
        print(json.dumps(answers.get(op, {{}})), flush=True)
    if op == "close":
        break
"""


@pytest.mark.parametrize(
    ("op", "answer", "words"),
    [
        ("step", f'{{"token": {10**400}}}', "gave the token 1000"),
        ("step", '{"token": -1}', "gave the token -1"),
        ("step", '{"token": 2147483648}', "gave the token 2147483648"),
        ("step", '{"token": [1]}', "gave the token [1]"),
        ("step", "[" * 100_000, "no JSON object"),
        ("step", "signal", "was ended by SIGRTMIN+1"),
        ("score", f'{{"scores": [{10**400}]}}', "gave the score 1000"),
        ("score", '{"scores": [[]]}', "gave the score []"),
        ("score", '{"scores": [NaN]}', "gave the score NaN"),
        ("memory", f'{{"weights_bytes": {2**63}}}', "as weights_bytes"),
        ("open", '{"vocabulary_size": 1e400}', "as vocabulary_size"),
        ("open", '{"traffic": 5}', "gave 5 as traffic"),
        ("open", f'{{"facts": {{"n": {2**64}}}}}', "as facts"),
        ("hello", "endless", "without a newline"),
        ("hello", '{"protocol": 1, "capabilities": [[]]}', ""),
    ],
)
def test_an_answer_that_no_session_holds_is_an_error_of_the_program(
    tmp_path: Path, op: str, answer: str, words: str
) -> None:
    program = tmp_path / "lying"
    program.write_text(LYING.format(python=sys.executable))
    program.chmod(0o755)
    command = shlex.join([str(program), op, answer])
    backend = default_registry().backend("command")
    backend.check("cpu", {"command": command}, {})
    backend.abilities({"command": command})
    if not words:
        return
    with (
        pytest.raises(JoulebenchError) as raised,
        backend.open(Artifact("hf", tmp_path, "", 0), "cpu", {"command": command}) as session,
    ):
        {"step": session.step, "score": lambda: session.score([1, 2]), "memory": session.memory}[op]()
    assert words in str(raised.value)
    assert len(str(raised.value)) < 1000 + len(command)


# -- planning -------------------------------------------------------------------------------------

_PROFILE: Final = """
version = 1
[model.tiny]
source = "path:model"
[workload.generate]
prompts = "prompts.txt"
new_tokens = 8
chat = false
[limits]
block_s = 4.0
memory = "300MiB"
[protocol]
processes = 1
min_blocks = 3
max_blocks = 3
block_s = 0.1
requests_per_block = 4
idle_s = 0.0
warmup_min_s = 0.0
warmup_max_s = 0.5
steady = 10.0
contended = 1000.0
gate_timeout_s = 0.5
[sampler]
calibrate_s = 0.0
"""


def _run(folder: Path, command: str, backends: str) -> subprocess.CompletedProcess[str]:
    file = folder / "command.toml"
    file.write_text(_PROFILE + backends)
    where = ["--output", str(folder / "out"), "--no-report"] if command == "run" else ["--json"]
    shutil.rmtree(folder / "out", ignore_errors=True)
    return subprocess.run(
        [sys.executable, "-m", "joulebench", command, str(file), *where],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("", 'no program is named: set command = ["./my-worker"] in the profile'),
        ('command = ["./absent"]', "absent: cannot be started: No such file or directory"),
        ('command = ["./prompts.txt"]', "cannot be started: Permission denied"),
        ('command = ["./broken", "version"]', "speaks version 2 of the runtime protocol, not 1"),
        ('command = ["true"]', "the program ended with exit code 0"),
    ],
)
def test_a_program_that_is_no_runtime_is_skipped_with_the_reason(folder: Path, backend: str, reason: str) -> None:
    done = _run(folder, "plan", f"[backend.mine]\nplugin = 'command'\n{backend}\n")
    (cell,) = json.loads(done.stdout)["cells"]
    assert reason in cell["reason"]


def test_what_it_cannot_do_is_skipped(folder: Path) -> None:
    text = "[backend.mine]\nplugin = 'command'\ncommand = ['./broken', 'no']\n[workload.score]\n"
    done = _run(folder, "plan", text)
    reasons = {cell["workload"]: cell["reason"] for cell in json.loads(done.stdout)["cells"]}
    assert reasons["generate"] is None
    assert "needs the capability 'score'" in reasons["score"]


def test_a_list_of_commands_is_an_axis(folder: Path) -> None:
    text = "[backend.mine]\nplugin = 'command'\ncommand = [['./bigram'], ['./broken', 'no']]\n"
    done = _run(folder, "plan", text)
    commands = [cell["backend_settings"]["command"] for cell in json.loads(done.stdout)["cells"]]
    assert commands == ["./bigram", "./broken no"]


@pytest.mark.parametrize("value", ["3", "[]", "['']", "'./a \"b'"])
def test_what_is_no_command_is_wrong_use(folder: Path, value: str) -> None:
    done = _run(folder, "plan", f"[backend.mine]\nplugin = 'command'\ncommand = {value}\n")
    assert done.returncode == 2
    assert "command.toml" in done.stderr
    assert "command" in done.stderr


# -- measuring ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    """Good and broken programs side by side."""
    names = ("crash", "hang", "nonsense", "grow")
    text = "[backend.good]\nplugin = 'command'\ncommand = ['./bigram']\n" + "".join(
        f"[backend.{name}]\nplugin = 'command'\ncommand = ['./broken', '{name}']\n" for name in names
    )
    done = _run(folder, "run", text)
    assert done.returncode == 1, done.stderr
    (made,) = (folder / "out").iterdir()
    return Session(made)


def _cell(session: Session, backend: str) -> dict[str, Any]:
    (row,) = [cell for cell in session.cells().to_pylist() if cell["backend"] == backend]
    return row


def test_a_profile_measures_the_program_in_c(session: Session) -> None:
    row = _cell(session, "good")
    assert row["status"] == "ok", row["cause"]
    assert json.loads(row["facts_json"]) == {"dtype": "float32", "language": "C"}
    # Of the program, which is small, and not of the worker in Python that speaks to it.
    assert 0 < row["rss_peak_bytes"] < 12 * 2**20
    assert row["weights_bytes"] == 256 * 256 * 4
    assert session.table("blocks", row["cell_id"]).num_rows == 3
    for request in session.table("requests", row["cell_id"]).to_pylist():
        assert len(request["output_tokens"]) == 8
        assert request["ttft_s"] > 0


def test_its_energy_is_estimated_of_its_own_cpu_time(session: Session) -> None:
    cell = _cell(session, "good")["cell_id"]
    energy = [
        row
        for row in session.table("energy", cell).to_pylist()
        if row["channel"] == "estimate/cpu" and row["phase"] == "total"
    ]
    if not energy:
        pytest.skip("no estimate on this machine")
    assert all(row["gross_j"] > 0 for row in energy if row["gross_j"] is not None)
    assert any(row["gross_j"] is not None for row in energy)


@pytest.mark.parametrize(
    ("backend", "kind", "words"),
    [
        ("crash", "error", "the program was ended by SIGKILL"),
        ("hang", "hang", "limits.block_s"),
        ("nonsense", "error", "answered what is no JSON object: b'ready.'"),
        ("grow", "memory", "limits.memory"),
    ],
)
def test_a_program_that_breaks_costs_its_cell(session: Session, backend: str, kind: str, words: str) -> None:
    row = _cell(session, backend)
    assert (row["status"], row["cause_kind"]) == ("failed", kind)
    assert words in row["cause"]
    if backend == "crash":
        assert "lost my weights" in row["stderr_tail"]


def test_no_program_outlives_its_run(session: Session, folder: Path) -> None:
    alive = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            alive.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    assert not [command for command in alive if str(folder).encode() in command]


# -- the check ------------------------------------------------------------------------------------


def test_the_check_tries_it_like_any_other_backend(folder: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "joulebench",
            "plugin",
            "check",
            "command",
            "--json",
            "--set",
            "backend.command.command=./bigram",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    (report,) = json.loads(done.stdout)["plugins"]
    passed = {result["check"] for result in report["results"] if result["status"] == "ok"}
    assert {
        "greedy tokens are its own largest logits",
        "scores are those of its own logits",
        "steps go on as a longer prompt would",
        "requests leave nothing behind",
    } <= passed


def test_a_program_that_writes_on_and_on_without_a_newline_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joulebench_plugins.command.link.GREETING_S", 1.0)
    program = tmp_path / "dripping"
    program.write_text(
        f"#!{sys.executable}\nimport os, time\nwhile True:\n    os.write(1, b'x')\n    time.sleep(0.01)\n", "utf-8"
    )
    program.chmod(0o755)
    begin = time.monotonic()
    fault = default_registry().backend("command").check("cpu", {"command": str(program)}, {})
    assert "gave no answer in 1 s" in (fault or "")
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("words", ["{}", "hello"])
def test_what_a_program_says_unasked_is_never_taken_for_an_answer(tmp_path: Path, words: str) -> None:
    answer = f'{{"token": 3}}\n{words}'
    program = tmp_path / "lying"
    program.write_text(LYING.format(python=sys.executable))
    program.chmod(0o755)
    command = shlex.join([str(program), "prefill", answer])
    backend = default_registry().backend("command")
    with backend.open(Artifact("hf", tmp_path, "", 0), "cpu", {"command": command}) as session:
        assert session.prefill([1]) == 3
        with pytest.raises(JoulebenchError, match="without being asked"):
            session.reset()


def test_planning_leaves_no_process_and_no_words_of_a_program_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "forking"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, time\nsys.stderr.write('\\x1b[2Jno weights\\n')\nsys.stderr.flush()\n"
        "if os.fork() == 0:\n    os.closerange(0, 3)\n    os.setsid()\n"
        "    if os.fork() == 0:\n        time.sleep(300)\n    os._exit(0)\n"
    )
    program.chmod(0o755)
    fault = default_registry().backend("command").check("cpu", {"command": str(program)}, {})
    assert "ended with exit code 0: \x1b[2Jno weights" in (fault or "")
    assert capfd.readouterr() == ("", "")
    alive = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
    assert not [command for command in alive if str(program).encode() in command]
