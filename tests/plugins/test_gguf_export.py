"""The GGUF exporter: what it writes comes back through the importer, what it cannot it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf_models import (
    SENTENCEPIECE_SPECIALS,
    SPECIALS,
    TEXTS,
    add_tokenizer,
    byte_level_tokenizer,
    exported,
    sentencepiece_tokenizer,
)
from llama_models import LINEAR, LLAMA3, TIED, UNTIED, write_checkpoint

from joulebench.errors import ArtifactError, JoulebenchError, ModelError
from joulebench_plugins.gguf.converter import GgufImport
from joulebench_plugins.gguf.export import GgufExport

np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")
pytest.importorskip("tokenizers")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a tokenizer that may not be changed."""
    folder = write_checkpoint(tmp_path_factory.mktemp("tied"), {**TIED, "vocab_size": 330})
    return add_tokenizer(folder, byte_level_tokenizer("smollm"), SPECIALS)


@pytest.fixture
def copy(tied: Path, tmp_path: Path) -> Path:
    """The same to be spoilt."""
    return shutil.copytree(tied, tmp_path / "copy")


def back(file: Path, folder: Path, dtype: str) -> Path:
    folder.mkdir()
    GgufImport().convert(file, folder, {"dtype": dtype})
    return folder


def change(file: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    edit(content)
    file.write_text(json.dumps(content), encoding="utf-8")


# -- there and back ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shape", [TIED, UNTIED, LINEAR], ids=["tied", "untied", "linear"])
def test_weights_and_config_come_back_bit_for_bit(tmp_path: Path, shape: dict[str, Any], dtype: str) -> None:
    source = write_checkpoint(tmp_path / "hf", shape, dtype)
    add_tokenizer(source, byte_level_tokenizer("smollm"), SPECIALS)
    change(source / "config.json", lambda config: config.update(vocab_size=330))
    _widen(source, 330)
    result = back(exported(source, tmp_path / "gguf", dtype), tmp_path / "back", dtype)
    expected = safetensors.load_file(source / "model.safetensors")
    tensors = safetensors.load_file(result / "model.safetensors")
    assert tensors.keys() == expected.keys()
    for name, value in tensors.items():
        # Vectors are float32 in the file, and narrowed again without loss.
        assert torch.equal(value, expected[name]), name
    config, given = (json.loads((folder / "config.json").read_text()) for folder in (result, source))
    for key in (
        "hidden_size",
        "head_dim",
        "num_key_value_heads",
        "rms_norm_eps",
        "mlp_bias",
        "rope_parameters",
        "tie_word_embeddings",
        "attention_bias",
    ):
        assert config[key] == given[key], key


def _widen(folder: Path, rows: int) -> None:
    """More rows in the embedding, so that the tokenizer fits."""
    tensors = safetensors.load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in tensors:
            old = tensors[name]
            tensors[name] = torch.cat([old, old, old])[:rows].clone()
    safetensors.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("cut", ["smollm", "gpt-2"])
def test_tokenizer_comes_back_with_special_tokens_and_template(copy: Path, tmp_path: Path, cut: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = byte_level_tokenizer(cut)
    tokenizer.save(str(copy / "tokenizer.json"))
    result = back(exported(copy, tmp_path / "gguf"), tmp_path / "back", "float32")
    loaded = AutoTokenizer.from_pretrained(result)
    for text in TEXTS:
        assert loaded(text).input_ids == tokenizer.encode(text).ids, text
    assert (loaded.bos_token, loaded.eos_token) == ("<|start|>", "<|end|>")
    chat = [{"role": "user", "content": "the cat"}]
    assert loaded.apply_chat_template(chat, tokenize=False) == "<|start|>the cat"


def test_the_embedded_model_comes_back_byte_for_byte(smollm2: Path, tmp_path: Path) -> None:
    result = back(exported(smollm2, tmp_path / "gguf", "bfloat16"), tmp_path / "back", "bfloat16")
    names = sorted(file.name for file in smollm2.iterdir())
    assert sorted(file.name for file in result.iterdir()) == names
    for name in names:
        assert (result / name).read_bytes() == (smollm2 / name).read_bytes(), name


def test_the_same_checkpoint_gives_the_same_bytes(tied: Path, tmp_path: Path) -> None:
    first, second = (exported(tied, tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_only_matrices_are_narrowed(tied: Path, tmp_path: Path) -> None:
    reader = gguf.GGUFReader(exported(tied, tmp_path / "gguf", "bfloat16"))
    types = {len(tensor.shape): set() for tensor in reader.tensors}
    for tensor in reader.tensors:
        types[len(tensor.shape)].add(tensor.tensor_type.name)
    assert types == {1: {"F32"}, 2: {"BF16"}}


def test_several_files_by_an_index_give_what_one_gives(copy: Path, tmp_path: Path) -> None:
    whole = exported(copy, tmp_path / "whole").read_bytes()
    tensors = safetensors.load_file(copy / "model.safetensors")
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, chosen in halves.items():
        safetensors.save_file({name: tensors[name] for name in chosen}, copy / file)
    index = {name: file for file, chosen in halves.items() for name in chosen}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (copy / "model.safetensors").write_bytes(b"not read: the index does not name it")
    assert exported(copy, tmp_path / "split").read_bytes() == whole


def test_a_model_without_tokenizer_gets_a_file_without_vocabulary(tmp_path: Path) -> None:
    file = exported(write_checkpoint(tmp_path / "hf", TIED), tmp_path / "gguf")
    fields = gguf.GGUFReader(file).fields
    assert fields["tokenizer.ggml.model"].contents() == "no_vocab"
    assert fields["llama.vocab_size"].contents() == TIED["vocab_size"]
    assert "tokenizer.ggml.tokens" not in fields


def test_the_rule_of_llama3_gives_the_frequencies_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    source = write_checkpoint(tmp_path / "hf", LLAMA3)
    reader = gguf.GGUFReader(exported(source, tmp_path / "gguf"))
    factors = next(tensor.data for tensor in reader.tensors if tensor.name == "rope_freqs.weight")
    head = LLAMA3["head_dim"]
    theta = LLAMA3["rope_parameters"]["rope_theta"]
    plain = 1 / theta ** (np.arange(0, head, 2) / head)
    model = AutoModelForCausalLM.from_pretrained(source)
    expected = model.model.rotary_emb.inv_freq.numpy()
    assert plain / factors == pytest.approx(expected, rel=1e-5)
    assert len(set(factors.tolist())) > 2
    assert max(factors) == pytest.approx(8.0)


def test_a_sentencepiece_tokenizer_is_written_with_scores_and_bytes(tmp_path: Path) -> None:
    tokenizer = sentencepiece_tokenizer()
    size = tokenizer.get_vocab_size()
    source = write_checkpoint(tmp_path / "hf", {**TIED, "vocab_size": size})
    add_tokenizer(source, tokenizer, SENTENCEPIECE_SPECIALS)
    fields = gguf.GGUFReader(exported(source, tmp_path / "gguf")).fields
    read = {
        key: fields[f"tokenizer.ggml.{key}"].contents()
        for key in ("model", "tokens", "scores", "token_type", "add_bos_token", "add_space_prefix", "bos_token_id")
    }
    assert read["model"] == "llama"
    assert (read["add_bos_token"], read["add_space_prefix"]) == (True, True)
    assert read["bos_token_id"] == 1
    assert read["token_type"][:4] == [2, 3, 3, 6]  # unknown, control, control, byte
    scores = dict(zip(read["tokens"], read["scores"], strict=True))
    assert scores["\u2581t"] > scores["\u2581th"] > scores["\u2581the"]


# -- refusals ---------------------------------------------------------------------------------


def tokenizer_edit(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda folder: change(folder / "tokenizer.json", edit)


def config_edit(**values: object) -> Callable[[Path], None]:
    return lambda folder: change(folder / "config.json", lambda config: config.update(values))


def tensors_edit(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def change_tensors(folder: Path) -> None:
        tensors = safetensors.load_file(folder / "model.safetensors")
        edit(tensors)
        safetensors.save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return change_tensors


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def point_outside(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0}


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (config_edit(model_type="qwen2"), ArtifactError, "'qwen2'"),
        (config_edit(hidden_act="gelu"), ArtifactError, "hidden_act 'gelu'"),
        (config_edit(rope_parameters=YARN), ArtifactError, "of type 'yarn'"),
        (
            config_edit(rope_parameters={"rope_type": "llama3", "factor": 8.0}),
            ArtifactError,
            "no usable 'low_freq_factor'",
        ),
        (config_edit(partial_rotary_factor=0.5), ArtifactError, "a part of each head"),
        (config_edit(hidden_size=None), ArtifactError, "no usable 'hidden_size'"),
        (config_edit(intermediate_size=80), ModelError, r"\(96, 64\).*\(80, 64\)"),
        (config_edit(num_hidden_layers=3), ModelError, r"lacks tensors: model\.layers\.2"),
        (config_edit(num_hidden_layers=1), ArtifactError, r"has not: model\.layers\.1"),
        (config_edit(vocab_size=100), ModelError, "id 319 for an embedding of 100 rows"),
        (tensors_edit(lambda tensors: tensors.pop("model.norm.weight")), ModelError, r"lacks tensors: model\.norm"),
        (tokenizer_edit(lambda content: content["model"].update(type="Unigram")), ArtifactError, "type 'Unigram'"),
        (
            tokenizer_edit(lambda content: content.update(pre_tokenizer={"type": "Whitespace"})),
            ArtifactError,
            "pre-tokenizer: Whitespace",
        ),
        (tokenizer_edit(lambda content: content.update(normalizer={"type": "NFC"})), ArtifactError, "normalizes text"),
        (tokenizer_edit(lambda content: content["model"].update(ignore_merges=True)), ArtifactError, "ignore_merges"),
        (
            tokenizer_edit(lambda content: content["model"].update(byte_fallback=True)),
            ArtifactError,
            "form of SentencePiece",
        ),
        (tokenizer_edit(lambda content: content["model"].pop("vocab")), ModelError, r"tokenizer\.json: is damaged"),
        (cut_short, ModelError, "is truncated"),
        (point_outside, ModelError, "outside the folder"),
        (lambda folder: (folder / "config.json").unlink(), ModelError, r"no config\.json"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(
    copy: Path, tmp_path: Path, spoil: Callable[[Path], None], error: type[JoulebenchError], said: str
) -> None:
    spoil(copy)
    with pytest.raises(error, match=said):
        exported(copy, tmp_path / "gguf")


def test_merges_that_sentencepiece_would_do_otherwise_are_refused(tmp_path: Path) -> None:
    tokenizer = sentencepiece_tokenizer()
    source = write_checkpoint(tmp_path / "hf", {**TIED, "vocab_size": tokenizer.get_vocab_size()})
    add_tokenizer(source, tokenizer, SENTENCEPIECE_SPECIALS)
    change(source / "tokenizer.json", lambda content: content["model"]["merges"].pop())
    with pytest.raises(ArtifactError, match="no merge makes"):
        exported(source, tmp_path / "gguf")


def test_a_value_beyond_float16_is_refused(copy: Path, tmp_path: Path) -> None:
    tensors_edit(lambda tensors: tensors["model.embed_tokens.weight"].fill_(1e6))(copy)
    with pytest.raises(ArtifactError, match=r"embed_tokens.*float16's range"):
        exported(copy, tmp_path / "gguf", "float16")


def test_architectures_are_judged_before_a_file_is_read() -> None:
    supports = GgufExport().supports
    assert supports("LlamaForCausalLM") is supports(None) is None
    assert "Qwen2ForCausalLM" in str(supports("Qwen2ForCausalLM"))


def test_exporting_needs_no_model_runtime(tied: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from joulebench_plugins.gguf.export import GgufExport;"
        "GgufExport().convert(Path(sys.argv[1]), Path(sys.argv[2]), {});"
        "print({'torch', 'transformers', 'llama_cpp'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code, tied, tmp_path], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
