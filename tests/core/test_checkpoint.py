"""Looking at checkpoints: what is in them, and every way in which they may be damaged."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joulebench.checkpoint import architecture_of, inspect_checkpoint, read_header, weight_files
from joulebench.errors import ModelError


def safetensors(path: Path, header: object, data: bytes) -> Path:
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def entry(*shape: int, begin: int = 0, end: int = 8, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"architectures": ["A"]}', "utf-8")
    return tmp_path


def test_a_checkpoint_is_counted_by_its_headers_alone(folder: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, "w": entry(2), "b": entry(2, 2, begin=8, end=16, dtype="BF16")}
    safetensors(folder / "model.safetensors", header, bytes(16))
    facts = inspect_checkpoint(folder)
    assert (facts.parameters, facts.weights_bytes) == (6, 16)
    assert facts.dtypes == {"F32": 2, "BF16": 4}
    assert architecture_of(facts.config) == "A"


def test_the_count_agrees_with_a_file_that_the_safetensors_library_wrote(tiny_checkpoint: Path) -> None:
    from safetensors import safe_open

    with safe_open(tiny_checkpoint / "model.safetensors", framework="np") as file:
        count = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118
    facts = inspect_checkpoint(tiny_checkpoint)
    assert (facts.parameters, facts.weights_bytes) == (count, 4 * count)


def test_beside_the_one_file_of_weights_others_are_not_the_models(folder: Path) -> None:
    for name in ("model", "consolidated"):
        safetensors(folder / f"{name}.safetensors", {"w": entry(2)}, bytes(8))
    assert [file.name for file in weight_files(folder)] == ["model.safetensors"]


def test_a_folder_with_two_models_is_refused(folder: Path) -> None:
    for name in ("first", "second"):
        safetensors(folder / f"{name}.safetensors", {"w": entry(2)}, bytes(8))
    (folder / "model.safetensors").unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"holds 2 \.safetensors files") as caught:
        weight_files(folder)
    assert "a folder" in (caught.value.hint or "")


def test_a_folder_of_models_names_them(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}", "utf-8")
    with pytest.raises(ModelError, match=r"has no config\.json") as caught:
        inspect_checkpoint(tmp_path)
    assert caught.value.hint == "name one of the models in it: a, b"


def test_a_sharded_checkpoint_is_what_its_index_names(folder: Path) -> None:
    for name in ("a", "b", "stray"):
        safetensors(folder / f"{name}.safetensors", {"w": entry(2)}, bytes(8))
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"w": "b.safetensors", "v": "a.safetensors", "u": "b.safetensors"}}', "utf-8"
    )
    assert [file.name for file in weight_files(folder)] == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("index", ["[]", "{}", "x", '{"weight_map": []}', '{"weight_map": {"a": 3, "b": "c"}}'])
def test_a_damaged_index_is_an_error_at_its_file(folder: Path, index: str) -> None:
    (folder / "model.safetensors.index.json").write_text(index, "utf-8")
    with pytest.raises(ModelError) as caught:
        weight_files(folder)
    assert (caught.value.where or "").endswith("index.json")


def test_a_shard_that_is_missing_is_named(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "gone"}}', "utf-8")
    with pytest.raises(ModelError, match="lacks gone, which its index names"):
        weight_files(folder)


@pytest.mark.parametrize("config", ["[]", "3", "x", "", "[" * 100_000])
def test_a_config_that_is_no_object_is_refused(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config, "utf-8")
    with pytest.raises(ModelError):
        inspect_checkpoint(folder)


@pytest.mark.parametrize(
    "header",
    [
        [],
        3,
        {"w": 3},
        {"w": {}},
        {"w": {**entry(2), "data_offsets": [0]}},
        {"w": {**entry(2), "data_offsets": ["0", "8"]}},
        {"w": {**entry(2), "shape": 2}},
        {"w": {**entry(2), "shape": ["2"]}},
        {"w": {**entry(2), "shape": [-2]}},
        {"w": entry(2, begin=8, end=0)},
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, header: object) -> None:
    with pytest.raises(ModelError, match="damaged"):
        read_header(safetensors(tmp_path / "x.safetensors", header, bytes(8)))


@pytest.mark.parametrize(
    ("second", "state"),
    [
        (entry(2, begin=0, end=8), "shares bytes"),
        (entry(2, begin=4, end=12), "shares bytes"),
        (entry(1, begin=12, end=16), "behind a gap"),
        (entry(2**60, begin=8, end=16), "in 8 bytes"),
    ],
)
def test_tensors_lie_one_after_the_other_each_of_its_own_size(tmp_path: Path, second: object, state: str) -> None:
    with pytest.raises(ModelError, match=state):
        read_header(safetensors(tmp_path / "x.safetensors", {"a": entry(2), "b": second}, bytes(16)))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"hidden_size": "64"}', "'hidden_size' must be a whole number"),
        ('{"vocab_size": true}', "'vocab_size' must be a whole number"),
        ('{"max_position_embeddings": 9223372036854775808}', "'max_position_embeddings' must be a whole number"),
        ('{"num_key_value_heads": 0}', "from 1 to"),
        ('{"hidden_size": 8, "vocab_size": 1000000000}', "vocab_size 1,000,000,000; the weights are 2 numbers"),
        ('{"hidden_size": 8, "intermediate_size": 1000000000}', "intermediate_size 1,000,000,000"),
    ],
)
def test_sizes_that_the_weights_cannot_have_are_refused(folder: Path, config: str, words: str) -> None:
    safetensors(folder / "model.safetensors", {"w": entry(2)}, bytes(8))
    (folder / "config.json").write_text(config, "utf-8")
    with pytest.raises(ModelError, match=words) as refusal:
        inspect_checkpoint(folder)
    assert refusal.value.where == str(folder / "config.json")


def test_more_layers_than_tensors_are_refused(folder: Path) -> None:
    safetensors(folder / "model.safetensors", {"w": entry(2)}, bytes(8))
    (folder / "config.json").write_text('{"num_hidden_layers": 1000000000}', "utf-8")
    with pytest.raises(ModelError, match="1,000,000,000 layers; the weights are 1 tensors"):
        inspect_checkpoint(folder)


@pytest.mark.parametrize(("size", "state"), [(7, "truncated"), (9, "longer than its header says")])
def test_a_file_of_another_length_than_its_header_says_is_refused(tmp_path: Path, size: int, state: str) -> None:
    with pytest.raises(ModelError, match=state):
        read_header(safetensors(tmp_path / "x.safetensors", {"w": entry(2)}, bytes(size)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=64) | st.integers(0, 2**64 - 1).map(lambda n: struct.pack("<Q", n)))
def test_any_bytes_are_a_header_or_an_error_for_the_user(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(ModelError):
        read_header(file)


@pytest.mark.parametrize(
    ("config", "architecture"),
    [
        ({}, None),
        ({"architectures": []}, None),
        ({"architectures": "A"}, None),
        ({"architectures": [3]}, None),
        ({"architectures": ["A", "B"]}, "A"),
    ],
)
def test_the_architecture_is_the_first_name_if_there_is_one(
    config: dict[str, object], architecture: str | None
) -> None:
    assert architecture_of(config) == architecture
