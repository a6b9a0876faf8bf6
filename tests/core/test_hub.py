"""``models pin``: a hub on the loopback interface is asked for the commit of a name."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from joulebench.errors import ModelError, UnavailableError
from joulebench.models.hub import pinned

if TYPE_CHECKING:
    from conftest import CliHere

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}]


class Hub:
    """A hub that answers what a test puts into ``answers``: status and body by path."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, object, Mapping[str, str]]] = {}
        self.asked: list[tuple[str, str | None]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append((self.path, self.headers.get("Authorization")))
                status, body, headers = hub.answers.get(self.path, (404, {"error": "Repository not found"}, {}))
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, path: str, body: object, status: int = 200, **headers: str) -> None:
        self.answers[f"/api/models/{path}"] = (status, body, headers)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    made = Hub()
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", made.address)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_name_is_pinned_to_the_commit_of_its_main_branch(hub: Hub, cli_here: CliHere) -> None:
    hub.put("acme/tiny-0.5B/revision/main", {"sha": COMMIT, "siblings": FILES})
    answer = cli_here("models", "pin", "acme/tiny-0.5B")
    assert answer == (0, f"hf:acme/tiny-0.5B@{COMMIT}\n", "")
    assert hub.asked == [("/api/models/acme/tiny-0.5B/revision/main", None)]


def test_what_is_printed_is_a_source_that_a_profile_takes(hub: Hub, cli_here: CliHere) -> None:
    hub.put("acme/tiny/revision/main", {"sha": COMMIT, "siblings": FILES})
    source = cli_here("models", "pin", "acme/tiny").stdout.strip()
    answer = cli_here("plan", "quick", "--set", f"model.mine.source={source}", "--json")
    assert answer.code == 0
    assert source in {cell["model_source"] for cell in json.loads(answer.stdout)["cells"]}


@pytest.mark.parametrize("name", ["acme/tiny@refs/pr/3", "hf:acme/tiny@refs/pr/3"])
def test_a_branch_can_be_named(hub: Hub, name: str) -> None:
    hub.put("acme/tiny/revision/refs%2Fpr%2F3", {"sha": COMMIT, "siblings": FILES})
    assert pinned(name).source == f"hf:acme/tiny@{COMMIT}"


def test_a_model_that_was_renamed_is_found_and_the_token_stays_at_home(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.put("acme/old/revision/main", {}, 307, Location="/api/models/acme/new/revision/main")
    hub.put("acme/new/revision/main", {"sha": COMMIT, "siblings": FILES})
    assert pinned("acme/old").source.endswith(COMMIT)
    assert [token for _, token in hub.asked] == ["Bearer hf_secret", None]


@pytest.mark.parametrize("variable", [None, "HF_TOKEN_PATH"])
def test_the_token_of_a_login_is_used_where_the_environment_has_none(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None
) -> None:
    file = tmp_path / ("token" if variable is None else "elsewhere")
    file.write_text("hf_login\n")
    if variable is not None:
        monkeypatch.setenv(variable, str(file))
    hub.put("acme/gated/revision/main", {"sha": COMMIT, "siblings": FILES, "gated": "manual"})
    assert pinned("acme/gated").source.endswith(COMMIT)
    assert [token for _, token in hub.asked] == ["Bearer hf_login"]


def test_a_user_who_is_offline_asks_no_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE is set"):
        pinned("acme/tiny")
    assert hub.asked == []


def test_what_will_stand_in_the_way_is_told(hub: Hub) -> None:
    hub.put("acme/gguf/revision/main", {"sha": COMMIT, "siblings": [{"rfilename": "m.gguf"}], "gated": "auto"})
    notes = pinned("acme/gguf").notes
    assert notes[0] == "has no .safetensors file: a GGUF file runs as SOURCE:m.gguf"
    assert notes[1].startswith("is gated: ")


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (404, {}, ModelError, "knows no 'acme/x' at 'main'"),
        (401, {}, ModelError, "no public model 'acme/x'"),
        (503, {}, UnavailableError, "HTTP status 503"),
        (200, b"<html>", UnavailableError, "not a JSON object"),
        (200, [], UnavailableError, "not a JSON object"),
        (200, {"sha": "main"}, ModelError, "names no commit"),
    ],
)
def test_what_the_hub_refuses_is_an_error_that_says_what_to_do(
    hub: Hub, status: int, body: object, error: type[Exception], words: str
) -> None:
    hub.put("acme/x/revision/main", body, status)
    with pytest.raises(error, match=words):
        pinned("acme/x")


@pytest.mark.parametrize("name", ["tiny", "acme/tiny/more", "acme/ti ny", "acme/tiny@-x", "../x@"])
def test_what_is_no_name_is_not_asked_for(hub: Hub, name: str) -> None:
    with pytest.raises(ModelError):
        pinned(name)
    assert hub.asked == []


def test_a_hub_that_cannot_be_reached_is_an_error_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        pinned("acme/tiny")
    assert address in str(caught.value)


def test_an_endpoint_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(UnavailableError, match="not the address of a hub"):
        pinned("acme/tiny")
