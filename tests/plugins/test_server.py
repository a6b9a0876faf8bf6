"""The backend ``server`` on a scripted server: real processes and sockets of the loopback."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from joulebench.api import Arrival, Artifact
from joulebench.errors import JoulebenchError
from joulebench.processes import Mark
from joulebench.testing.openai_server import KEY
from joulebench_plugins.server.backend import ServerBackend
from joulebench_plugins.server.process import free_port
from joulebench_plugins.server.session import ServerSession

Open = Callable[..., ServerSession]
SCRIPTED = f"{sys.executable} -m joulebench.testing.openai_server {{port}} "


@pytest.fixture
def opened() -> Iterator[Open]:
    sessions: list[ServerSession] = []

    def start(behaviour: str, **more: object) -> ServerSession:
        settings = {"command": SCRIPTED + behaviour, "endpoint": "completions", "ready_s": 60.0, **more}
        settings = {name: value for name, value in settings.items() if value is not None}
        sessions.append(ServerSession(Artifact("hf", Path("model"), "0", 1), settings))  # type: ignore[arg-type]
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


def load(count: int, tokens: int = 3) -> tuple[Arrival, ...]:
    return tuple(Arrival(0.0, f"prompt {number}", 2, tokens) for number in range(count))


def test_every_request_of_a_load_is_answered_and_stamped_in_order(opened: Open) -> None:
    served = opened("good").serve(load(5), 60.0)
    assert [one.fault for one in served] == [None] * 5
    assert [one.output_tokens for one in served] == [3] * 5
    for one in served:
        assert one.first_ns is not None
        assert one.due_ns <= one.sent_ns < one.first_ns <= one.end_ns


def test_chat_is_asked_where_the_profile_says_so(opened: Open) -> None:
    assert opened("good", endpoint="chat").serve(load(1), 60.0)[0].fault is None


def test_with_concurrency_no_more_than_so_many_are_under_way(opened: Open) -> None:
    served = opened("good").serve(load(6), 60.0, concurrency=2)
    edges = sorted([(one.sent_ns, 1) for one in served] + [(one.end_ns, -1) for one in served])
    under_way = most = 0
    for _, step in edges:
        under_way += step
        most = max(most, under_way)
    assert len(served) == 6
    assert most <= 2


def test_a_stream_that_is_cut_with_http_200_has_failed(opened: Open) -> None:
    served = opened("cuts").serve(load(2), 60.0)
    assert [one.fault for one in served] == ["the stream was cut: it ended without a finish_reason"] * 2


def test_a_server_that_dies_in_the_middle_says_how_it_ended(opened: Open) -> None:
    with pytest.raises(JoulebenchError, match="exit code 7"):
        opened("dies").serve(load(1), 60.0)


def test_garbage_is_no_openai_server(opened: Open) -> None:
    with pytest.raises(JoulebenchError, match="is no OpenAI-compatible server"):
        opened("garbage")


def test_a_server_that_never_answers_is_given_up(opened: Open) -> None:
    with pytest.raises(JoulebenchError, match=r"was not ready in 0\.5 s"):
        opened("silent", ready_s=0.5)


def test_a_server_that_ends_at_once_is_named_with_its_last_line(opened: Open) -> None:
    command = f"{sys.executable} -c 'import sys; sys.exit(\"no such weights\")'"
    with pytest.raises(JoulebenchError, match="ended with exit code 1: no such weights"):
        opened("", command=command)


def test_a_program_that_is_not_there_is_named(opened: Open) -> None:
    with pytest.raises(JoulebenchError, match="cannot be started"):
        opened("", command="no-such-server-here")


def test_a_port_where_nobody_listens_is_said_to_be_unreachable(opened: Open) -> None:
    with pytest.raises(JoulebenchError, match="cannot be reached"):
        opened("", command=None, url=f"http://127.0.0.1:{free_port()}")


def test_a_server_whose_port_is_taken_is_said_to_have_ended(opened: Open) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = f"{sys.executable} -m joulebench.testing.openai_server {taken.getsockname()[1]} good"
        with pytest.raises(JoulebenchError, match=r"exit code 1.*in use"):
            opened("", command=command)


def test_a_model_that_the_server_does_not_have_is_refused(opened: Open) -> None:
    with pytest.raises(JoulebenchError, match="no model other"):
        opened("good", served_name="other")


def test_a_wrong_key_is_refused_and_never_shown(
    opened: Open, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEST_KEY", "secret-of-mine")
    with pytest.raises(JoulebenchError, match="HTTP 401") as raised:
        opened("key", key_env="TEST_KEY")
    said = str(raised.value) + repr(raised.value.__dict__) + capfd.readouterr().err
    assert "key_env" in said
    assert "secret-of-mine" not in said


def test_the_right_key_opens(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    assert KEY not in str(opened("key", key_env="TEST_KEY").facts())


def test_the_process_of_a_running_server_is_found_by_its_port(opened: Open) -> None:
    started = opened("good")
    found = opened("", command=None, url=started._endpoint.url)
    assert found.process_id() == started.process_id()
    assert not found.elsewhere


def test_nothing_is_left_of_a_server_that_was_closed(opened: Open) -> None:
    mark = Mark()
    os.environ.update(mark.environment())
    try:
        session = opened("good")
    finally:
        del os.environ["JOULEBENCH_PROCESS"]
    pid = session.process_id()
    session.close()
    assert not Path(f"/proc/{pid}").exists()
    assert list(mark._bearers()) == []


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({}, "set either command"),
        ({"command": "x", "url": "http://h"}, "set either command"),
        ({"url": "ftp://h"}, "is no http"),
        ({"url": "http://me:secret@h"}, "is no http"),
        ({"url": "http://h:99999"}, "is no http"),
        ({"url": "http://h", "key_env": "NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE is not set"),
        ({"url": "http://h", "body": "[1]"}, "no JSON object"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_the_plan(settings: dict[str, str], fault: str) -> None:
    assert fault in str(ServerBackend().check("cpu", settings, {}))
