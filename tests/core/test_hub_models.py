"""Models of the hub: found in caches without network, fetched by the hub's own client from a hub on the loopback."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from joulebench.errors import ModelError, UnavailableError
from joulebench.models.catalogue import CHECKPOINT_FORMAT, Catalogue, fetched, obtain_model, resolve_model
from joulebench.models.hubcache import HubModel
from joulebench.worker.memory import resident_in_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOTHING = Catalogue({}, {}, {})
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def tensor_file(name: str) -> bytes:
    header = json.dumps({name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


def sharded_checkpoint() -> dict[str, bytes]:
    index = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}
    return {
        "config.json": b'{"architectures": ["Odd"]}',
        "model.safetensors.index.json": json.dumps(index).encode(),
        SHARDS[0]: tensor_file("a"),
        SHARDS[1]: tensor_file("b"),
        "pytorch_model.bin": b"pickled",
    }


def etag(name: str) -> str:
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


class Hub:
    """A hub with files of one model, which answers as the hub does."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        #: Status, and the hub's code for why, in place of every answer.
        self.refusal: tuple[int, str] | None = None
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                hub.asked.append(self.path)
                if hub.refusal is not None:
                    status, code = hub.refusal
                    self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})
                elif "/tree/" in self.path:
                    entries = [
                        {"type": "file", "path": name, "size": len(content), "oid": etag(name)}
                        for name, content in hub.files.items()
                    ]
                    self.answer(200, json.dumps(entries).encode(), {})
                elif "/api/models/" in self.path:
                    siblings = [{"rfilename": name} for name in hub.files]
                    answer = {"id": "org/name", "sha": COMMIT, "siblings": siblings, "private": False}
                    self.answer(200, json.dumps(answer).encode(), {})
                else:
                    name = unquote(self.path.partition(f"/resolve/{COMMIT}/")[2]).partition("?")[0]
                    content = hub.files.get(name)
                    if content is None:
                        self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
                    else:
                        self.answer(200, content, {"ETag": f'"{etag(name)}"', "X-Repo-Commit": COMMIT})

            def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The only hub that is there, and empty caches."""
    pytest.importorskip("huggingface_hub")
    served = Hub()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{served.server.server_port}")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    yield served
    served.server.shutdown()


def shared_snapshot(home: Path, files: dict[str, bytes], commit: str = COMMIT) -> Path:
    """As the hub's clients lay out their cache: links to blobs."""
    model = home / "hub" / "models--org--name"
    (model / "blobs").mkdir(parents=True, exist_ok=True)
    (model / "refs").mkdir(exist_ok=True)
    (model / "refs" / "main").write_text(commit)
    snapshot = model / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for number, (name, content) in enumerate(files.items()):
        (model / "blobs" / str(number)).write_bytes(content)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(model / "blobs" / str(number))
    return snapshot


def test_a_sharded_checkpoint_is_fetched_whole_and_found_again(hub: Hub, tmp_path: Path) -> None:
    hub.files = sharded_checkpoint()
    source = f"hf:org/name@{COMMIT}"
    before = resolve_model(source, NOTHING, tmp_path)
    assert (before.fetched, before.path, before.format) == (False, None, CHECKPOINT_FORMAT)
    made = obtain_model(before, NOTHING, tmp_path, print)
    assert {file.name for file in made.path.iterdir()} == set(hub.files) - {"pytorch_model.bin"}
    hub.asked.clear()
    after = resolve_model(source, NOTHING, tmp_path)
    assert (after.fetched, after.path, after.architecture) == (True, made.path, "Odd")
    assert obtain_model(after, NOTHING, tmp_path, print).content_hash == made.content_hash
    assert hub.asked == []


def test_one_file_is_fetched_alone_and_of_a_split_one_all_parts(hub: Hub, tmp_path: Path) -> None:
    names = [f"q4/m-{number:05d}-of-00002.gguf" for number in (1, 2)]
    hub.files = {**sharded_checkpoint(), **dict.fromkeys(names, b"GGUF"), "other.gguf": b"GGUF"}
    ref = resolve_model(f"hf:org/name@{COMMIT}:{names[0]}", NOTHING, tmp_path, {"gguf": "gguf"})
    assert (ref.format, ref.runs_as_it_is, ref.fetched) == ("gguf", True, False)
    path = fetched(ref, print).path
    assert path is not None
    assert [file.name for file in sorted(path.parent.iterdir())] == [Path(name).name for name in names]
    assert resolve_model(ref.source, NOTHING, tmp_path, {"gguf": "gguf"}).path == path


def test_a_graph_comes_with_its_weights_and_the_models_tokenizer(hub: Hub, tmp_path: Path) -> None:
    own = ("onnx/model_q4.onnx", "onnx/model_q4.onnx_data", "config.json", "tokenizer.json", "tokenizer_config.json")
    others = ("onnx/model.onnx", "onnx/model.onnx_data", "model.safetensors", "README.md")
    hub.files = dict.fromkeys((*own, *others), b"{}")
    ref = resolve_model(f"hf:org/name@{COMMIT}:onnx/model_q4.onnx", NOTHING, tmp_path, {"onnx": "onnx"})
    path = fetched(ref, print).path
    assert path is not None
    root = path.parent.parent
    assert {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()} == set(own)
    with pytest.raises(ModelError, match="is no file that is run as it is"):
        resolve_model(f"hf:org/name@{COMMIT}:README.md", NOTHING, tmp_path, {"gguf": "gguf", "onnx": "onnx"})


@pytest.mark.parametrize("revision", [COMMIT, "main"])
def test_what_another_client_has_fetched_is_used_without_network(hub: Hub, tmp_path: Path, revision: str) -> None:
    snapshot = shared_snapshot(tmp_path / "home", sharded_checkpoint())
    ref = resolve_model(f"hf:org/name@{revision}", NOTHING, tmp_path)
    assert (ref.fetched, ref.path) == (True, snapshot)
    assert obtain_model(ref, NOTHING, tmp_path, print).size_bytes > 0
    assert hub.asked == []


def test_a_checkpoint_that_lacks_a_shard_there_is_not_taken(hub: Hub, tmp_path: Path) -> None:
    files = sharded_checkpoint()
    hub.files = dict(files)
    del files[SHARDS[1]]
    shared_snapshot(tmp_path / "home", files)
    ref = resolve_model(f"hf:org/name@{COMMIT}", NOTHING, tmp_path)
    assert not ref.fetched
    assert fetched(ref, print).path == HubModel("org/name", COMMIT).path


def test_files_behind_links_count_as_the_models_own_memory(hub: Hub, tmp_path: Path) -> None:
    import mmap

    snapshot = shared_snapshot(tmp_path / "home", {"model.safetensors": bytes(mmap.PAGESIZE)})
    with (
        (snapshot / "model.safetensors").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages,
    ):
        assert pages[0] == 0
        assert resident_in_files([snapshot]) == mmap.PAGESIZE


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", "accept its terms on the hub"),
        (404, "RepoNotFound", "check the name"),
        (404, "RevisionNotFound", "joulebench models pin"),
    ],
)
def test_what_the_hub_refuses_has_its_cure(hub: Hub, tmp_path: Path, status: int, code: str, words: str) -> None:
    hub.refusal = status, code
    with pytest.raises(UnavailableError) as caught:
        fetched(resolve_model(f"hf:org/name@{COMMIT}", NOTHING, tmp_path), print)
    assert caught.value.where == f"hf:org/name@{COMMIT}"
    assert words in (caught.value.hint or "")


def test_without_a_network_it_says_so(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnavailableError, match="the hub did not give it") as caught:
        fetched(resolve_model(f"hf:org/name@{COMMIT}", NOTHING, tmp_path), print)
    assert "check the name, the revision and the connection" in (caught.value.hint or "")


def test_code_of_a_checkpoints_own_is_refused_before_its_weights_are_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.files = {**sharded_checkpoint(), "config.json": b'{"auto_map": {"AutoModel": "x.Y"}}'}
    with pytest.raises(ModelError, match="remote code is never run") as caught:
        fetched(resolve_model(f"hf:org/name@{COMMIT}", NOTHING, tmp_path), print)
    assert caught.value.where == f"hf:org/name@{COMMIT}"
    assert not any(name.endswith(".safetensors") for name in hub.asked)
    assert list((tmp_path / "cache" / "hub").iterdir()) == []


def test_other_models_and_layouts_beside_a_checkpoint_are_not_fetched(hub: Hub, tmp_path: Path) -> None:
    others = dict.fromkeys(("consolidated.safetensors", "onnx/config.json", "original/model.safetensors"), b"{}")
    hub.files = {**sharded_checkpoint(), **others}
    path = fetched(resolve_model(f"hf:org/name@{COMMIT}", NOTHING, tmp_path), print).path
    assert path is not None
    assert {file.name for file in path.iterdir()} == set(sharded_checkpoint()) - {"pytorch_model.bin"}


def test_a_model_without_safetensors_or_without_the_file_is_refused_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"config.json": b"{}", "m.gguf": b"GGUF"}
    for source, words in (
        (f"hf:org/name@{COMMIT}", "has no weights"),
        (f"hf:org/name@{COMMIT}:x.gguf", "no such file"),
    ):
        with pytest.raises(ModelError, match=words):
            fetched(resolve_model(source, NOTHING, tmp_path, {"gguf": "gguf"}), print)
    assert list((tmp_path / "cache" / "hub").iterdir()) == []


@pytest.mark.parametrize(
    "source",
    ["hf:org/name", "hf:name@main", "hf:org/name@main:model.bin", "hf:org/name@main:../x.gguf", "hf:org/name@a b"],
)
def test_what_is_no_source_is_refused_with_the_form(source: str) -> None:
    with pytest.raises(ModelError):
        HubModel.parse(source)


def test_looking_imports_no_client() -> None:
    code = (
        "import sys; from pathlib import Path; from joulebench.models.catalogue import Catalogue, resolve_model;"
        f"resolve_model('hf:org/absent@{COMMIT}', Catalogue({{}}, {{}}, {{}}), Path());"
        "sys.exit('huggingface_hub' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
