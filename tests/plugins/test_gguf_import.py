"""The GGUF importer, on small files written here with the ``gguf`` package's own writer."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from joulebench.errors import ArtifactError, JoulebenchError, ModelError
from joulebench_plugins.gguf.converter import GgufImport

np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")
pytest.importorskip("tokenizers")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

HEADS, KV_HEADS, HEAD_SIZE, LAYERS = 4, 2, 16, 2
SPECIALS = ["<|end|>", "<|start|>"]
CORPUS = [
    "the cat sat on the mat in 2024, and the dog paid  12 coins",
    "naïve café — ‘quoted’ text; def f(x): return x ** 2",
] * 4
TEXTS = [
    "the cat sat",
    "in  2024 or 1,000.50 (  42)",
    "tabs\tand\n\n newlines  ",
    "ünïcode 日本 🎉",
    "<|start|>the mat<|end|>",
    "it's ½ of x²",
    "",
]


def trained_tokenizer() -> Any:
    """A byte-level BPE cut as SmolLM's, made by the ``tokenizers`` library alone."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@dataclass
class Recipe:
    """What goes into a GGUF file; tests change one thing at a time."""

    architecture: str = "llama"
    tokenizer_model: str = "gpt2"
    pre: str = "smollm"
    tied: bool = True
    quantized: bool = False
    add_bos: bool = False
    drop: set[str] = field(default_factory=set)
    extra: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return trained_tokenizer()


def reference_model(vocabulary: int, tied: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_SIZE,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0},
        tie_word_embeddings=tied,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def interleaved(weight: Any, heads: int) -> Any:
    """Rows of a rotated projection as GGUF orders them: both halves of a pair side by side."""
    rows = weight.shape[0] // heads
    order = [
        head * rows + half * (rows // 2) + i for head in range(heads) for i in range(rows // 2) for half in range(2)
    ]
    return weight[order]


def written(path: Path, model: Any, tokenizer: Any, recipe: Recipe) -> Path:
    config = model.config
    writer = gguf.GGUFWriter(path, recipe.architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_SIZE)
    writer.add_value_length(HEAD_SIZE)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _write_tokenizer(writer, tokenizer, recipe)
    for name, values in {**_tensors(model, recipe), **recipe.extra}.items():
        if name in recipe.drop:
            continue
        if recipe.quantized and values.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_tokenizer(writer: Any, tokenizer: Any, recipe: Recipe) -> None:
    state = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get)
    writer.add_tokenizer_model(recipe.tokenizer_model)
    writer.add_tokenizer_pre(recipe.pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIALS else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in state["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(recipe.add_bos)
    writer.add_chat_template("{% for m in messages %}<|start|>{{ m['content'] }}{% endfor %}")


def _tensors(model: Any, recipe: Recipe) -> dict[str, Any]:
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    results = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output_norm.weight": weights["model.norm.weight"],
    }
    if not recipe.tied:
        results["output.weight"] = weights["lm_head.weight"]
    for layer in range(LAYERS):
        attention, mlp = f"model.layers.{layer}.self_attn.", f"model.layers.{layer}.mlp."
        plain = f"model.layers.{layer}."
        results |= {
            f"blk.{layer}.attn_norm.weight": weights[plain + "input_layernorm.weight"],
            f"blk.{layer}.ffn_norm.weight": weights[plain + "post_attention_layernorm.weight"],
            f"blk.{layer}.attn_q.weight": interleaved(weights[attention + "q_proj.weight"], HEADS),
            f"blk.{layer}.attn_k.weight": interleaved(weights[attention + "k_proj.weight"], KV_HEADS),
            f"blk.{layer}.attn_v.weight": weights[attention + "v_proj.weight"],
            f"blk.{layer}.attn_output.weight": weights[attention + "o_proj.weight"],
            f"blk.{layer}.ffn_gate.weight": weights[mlp + "gate_proj.weight"],
            f"blk.{layer}.ffn_up.weight": weights[mlp + "up_proj.weight"],
            f"blk.{layer}.ffn_down.weight": weights[mlp + "down_proj.weight"],
        }
    return results


def file_of(folder: Path, tokenizer: Any, recipe: Recipe) -> tuple[Path, Any]:
    model = reference_model(tokenizer.get_vocab_size(), recipe.tied)
    return written(folder / "model.gguf", model, tokenizer, recipe), model


def imported(source: Path, folder: Path, dtype: str = "float32") -> Path:
    output = folder / "hf"
    output.mkdir()
    GgufImport().convert(source, output, {"dtype": dtype})
    return output


def loaded(folder: Path, dtype: Any = None) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or torch.float32).eval()


# -- weights and configuration ----------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_float_weights_come_back_bit_for_bit(tmp_path: Path, tokenizer: Any, tied: bool) -> None:
    source, model = file_of(tmp_path, tokenizer, Recipe(tied=tied))
    back = loaded(imported(source, tmp_path))
    expected = model.state_dict()
    assert back.config.tie_word_embeddings is tied
    assert back.state_dict().keys() == expected.keys()
    for name, value in back.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_logits_equal_those_of_the_model_that_was_written(tmp_path: Path, tokenizer: Any) -> None:
    source, model = file_of(tmp_path, tokenizer, Recipe())
    ids = torch.tensor([[5, 9, 100, 41, 7, 250, 33]])
    with torch.no_grad():
        back = loaded(imported(source, tmp_path))(input_ids=ids).logits
        expected = model(input_ids=ids).logits
    # Equal weights alone would not do: rope base, epsilon and head sizes come from metadata.
    assert torch.equal(back, expected)


def test_bfloat16_weights_round_as_torch_rounds(tmp_path: Path, tokenizer: Any) -> None:
    source, model = file_of(tmp_path, tokenizer, Recipe())
    back = loaded(imported(source, tmp_path, "bfloat16"), torch.bfloat16)
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value.to(torch.bfloat16)), name


def test_odd_numbers_become_the_bfloat16_that_torch_makes_of_them() -> None:
    from joulebench_plugins.gguf.numbertypes import encoder

    as_bfloat16 = encoder("bfloat16")
    bits = np.random.default_rng(1).integers(0, 2**32, 20_000, dtype=np.uint32)
    ties = np.array([0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x80000000, 0x7F800000, 0x00000001], "u4")
    values = np.concatenate([bits, ties]).view(np.float32)
    numbers = values[~np.isnan(values)]
    expected = torch.from_numpy(numbers).to(torch.bfloat16).view(torch.int16).numpy()
    assert (as_bfloat16(numbers).view(np.int16) == expected).all()
    narrowed = as_bfloat16(np.array([0x7F800001, 0xFFFFFFFF], "u4").view(np.float32))
    assert torch.from_numpy(narrowed.view(np.int16)).view(torch.bfloat16).isnan().all()


def test_quantized_weights_become_what_the_file_holds(tmp_path: Path, tokenizer: Any) -> None:
    source, model = file_of(tmp_path, tokenizer, Recipe(quantized=True))
    back = loaded(imported(source, tmp_path)).state_dict()
    name = "model.layers.1.mlp.down_proj.weight"
    original = model.state_dict()[name].numpy()
    kind = gguf.GGMLQuantizationType.Q8_0
    expected = gguf.quants.dequantize(gguf.quants.quantize(original, kind), kind)
    assert (back[name].numpy() == expected).all()
    assert not (expected == original).all()


def test_a_value_beyond_float16_is_refused_not_made_infinite(tmp_path: Path, tokenizer: Any) -> None:
    model = reference_model(tokenizer.get_vocab_size(), True)
    with torch.no_grad():
        model.model.norm.weight[0] = 1e6
    source = written(tmp_path / "model.gguf", model, tokenizer, Recipe())
    with pytest.raises(ArtifactError, match=r"norm\.weight.*float16"):
        imported(source, tmp_path, "float16")


def test_the_configuration_is_what_the_metadata_says(tmp_path: Path, tokenizer: Any) -> None:
    source, _ = file_of(tmp_path, tokenizer, Recipe())
    folder = imported(source, tmp_path, "bfloat16")
    config = json.loads((folder / "config.json").read_text())
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 50000.0}
    assert config["rms_norm_eps"] == 1e-5
    assert config["max_position_embeddings"] == 128
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 0, 0)
    assert config["dtype"] == "bfloat16"
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}


def test_a_folder_with_one_file_is_taken_and_with_two_refused(tmp_path: Path, tokenizer: Any) -> None:
    source, _ = file_of(tmp_path, tokenizer, Recipe())
    assert (imported(tmp_path, tmp_path) / "model.safetensors").is_file()
    (tmp_path / "second.gguf").write_bytes(source.read_bytes())
    with pytest.raises(ModelError, match="2 GGUF files"):
        GgufImport().convert(tmp_path, tmp_path / "hf", {})


# -- tokenizer --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_equal_those_of_the_tokenizer_that_was_written(tmp_path: Path, tokenizer: Any, text: str) -> None:
    from transformers import AutoTokenizer

    source, _ = file_of(tmp_path, tokenizer, Recipe())
    back = AutoTokenizer.from_pretrained(imported(source, tmp_path))
    assert back(text).input_ids == tokenizer.encode(text).ids
    assert back.decode(back(text).input_ids, clean_up_tokenization_spaces=False) == text


def test_special_tokens_and_chat_template_survive(tmp_path: Path, tokenizer: Any) -> None:
    from transformers import AutoTokenizer

    source, _ = file_of(tmp_path, tokenizer, Recipe())
    back = AutoTokenizer.from_pretrained(imported(source, tmp_path))
    assert (back.bos_token, back.eos_token, back.pad_token) == ("<|start|>", "<|end|>", "<|end|>")
    chat = [{"role": "user", "content": "the cat"}]
    assert back.apply_chat_template(chat, tokenize=False) == "<|start|>the cat"


def test_a_text_is_begun_with_bos_where_the_file_asks_for_it(tmp_path: Path, tokenizer: Any) -> None:
    from tokenizers import Tokenizer

    source, _ = file_of(tmp_path, tokenizer, Recipe(add_bos=True))
    back = Tokenizer.from_file(str(imported(source, tmp_path) / "tokenizer.json"))
    assert back.encode("the cat").ids == [1, *tokenizer.encode("the cat").ids]
    assert back.encode("the cat", add_special_tokens=False).ids == tokenizer.encode("the cat").ids


def test_the_stated_cutting_of_text_decides_the_tokens(tmp_path: Path, tokenizer: Any) -> None:
    from tokenizers import Tokenizer

    pieces = {}
    for pre in ("smollm", "gpt-2", "llama-bpe"):
        folder = tmp_path / pre
        folder.mkdir()
        source, _ = file_of(folder, tokenizer, Recipe(pre=pre))
        cutter = Tokenizer.from_file(str(imported(source, folder) / "tokenizer.json")).pre_tokenizer
        pieces[pre] = [piece for piece, _ in cutter.pre_tokenize_str("in  2024 I'M")]
    assert pieces["smollm"] == ["in", "ĠĠ", "2", "0", "2", "4", "ĠI", "'", "M"]
    assert pieces["gpt-2"] == ["in", "Ġ", "Ġ2024", "ĠI", "'", "M"]
    assert pieces["llama-bpe"] == ["in", "Ġ", "Ġ", "202", "4", "ĠI", "'M"]


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "error", "said"),
    [
        (Recipe(architecture="gptneox"), ArtifactError, "'gptneox' is not llama"),
        (Recipe(tokenizer_model="llama"), ArtifactError, "SentencePiece"),
        (Recipe(pre="default"), ArtifactError, "pre-tokenizer 'default'"),
        (Recipe(extra={"rope_freqs.weight": np.ones(8, np.float32)}), ArtifactError, r"rope_freqs\.weight"),
        (Recipe(extra={"blk.0.attn_sinks.weight": np.ones(8, np.float32)}), ArtifactError, "attn_sinks"),
        (Recipe(drop={"blk.1.ffn_up.weight"}), ModelError, r"lacks tensors: blk\.1\.ffn_up"),
        (
            Recipe(extra={"blk.0.attn_v.weight": np.ones((16, 64), np.float32)}),
            ModelError,
            r"attn_v.*\(16, 64\).*\(32, 64\)",
        ),
    ],
    ids=["architecture", "sentencepiece", "pre", "rope", "unknown", "missing", "size"],
)
def test_what_cannot_be_imported_is_refused_by_name(
    tmp_path: Path, tokenizer: Any, recipe: Recipe, error: type[JoulebenchError], said: str
) -> None:
    source, _ = file_of(tmp_path, tokenizer, recipe)
    with pytest.raises(error, match=said):
        imported(source, tmp_path)
    assert not (tmp_path / "hf" / "config.json").exists()


@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_refused_as_damaged(tmp_path: Path, tokenizer: Any, kept: float) -> None:
    source, _ = file_of(tmp_path, tokenizer, Recipe())
    content = source.read_bytes()
    source.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelError, match="not a complete GGUF file"):
        imported(source, tmp_path)


def test_a_file_of_another_kind_is_refused_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04" * 4096)
    with pytest.raises(ModelError, match="not a complete GGUF file"):
        imported(tmp_path / "model.gguf", tmp_path)


def test_architectures_are_judged_before_a_file_is_read() -> None:
    supports = GgufImport().supports
    assert supports("llama") is supports("LlamaForCausalLM") is supports(None) is None
    assert "qwen2" in str(supports("qwen2"))


def test_importing_needs_no_model_runtime(tmp_path: Path, tokenizer: Any) -> None:
    source, _ = file_of(tmp_path, tokenizer, Recipe(quantized=True))
    (tmp_path / "hf").mkdir()
    code = (
        "import sys; from pathlib import Path; from joulebench_plugins.gguf.converter import GgufImport;"
        "GgufImport().convert(Path(sys.argv[1]), Path(sys.argv[2]), {});"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, source, tmp_path / "hf"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


def test_the_plan_can_say_that_a_quantized_file_is_unpacked(tmp_path: Path, tokenizer: Any) -> None:
    quantized, _ = file_of(tmp_path, tokenizer, Recipe(quantized=True))
    assert GgufImport().note(quantized, {"dtype": "float32"}) == "unpacked from q8_0 to float32"


def _refusal_in_little_memory(source: Path, output: Path) -> str:
    """What the import says in a process that may take 2 GB of addresses and 20 s."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "import numpy, gguf\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))\n"
        "from joulebench.errors import ModelError\n"
        "from joulebench_plugins.gguf.converter import GgufImport\n"
        "try: GgufImport().convert(Path(sys.argv[1]), Path(sys.argv[2]), {})\n"
        "except ModelError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source, output], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout


def test_a_list_that_claims_more_items_than_the_file_has_bytes_is_refused_at_once(tmp_path: Path) -> None:
    source = tmp_path / "model.gguf"
    key = b"tokenizer.ggml.tokens"
    array_of_texts = struct.pack("<IIQ", 9, 8, 2**60)
    header = b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, len(key)) + key + array_of_texts
    source.write_bytes(header + bytes(300_000))
    assert "a complete GGUF file" in _refusal_in_little_memory(source, tmp_path)


def test_layers_that_the_tensors_do_not_bear_out_are_refused_at_once(tmp_path: Path, tokenizer: Any) -> None:
    source, _ = file_of(tmp_path, tokenizer, Recipe())
    key = b"llama.block_count"
    content = source.read_bytes()
    place = content.index(key) + len(key) + 4
    source.write_bytes(content[:place] + struct.pack("<I", 10**9) + content[place + 4 :])
    assert "1,000,000,000 layers" in _refusal_in_little_memory(source, tmp_path)


def test_tensors_that_share_bytes_are_refused(tmp_path: Path, tokenizer: Any) -> None:
    source, _ = file_of(tmp_path, tokenizer, Recipe())
    content = source.read_bytes()
    name = b"blk.1.ffn_up.weight"
    # After the name: dimensions, two sizes, the type, and where it begins.
    place = content.index(name) + len(name) + 4 + 16 + 4
    source.write_bytes(content[:place] + struct.pack("<Q", 0) + content[place + 8 :])
    with pytest.raises(ModelError, match="share"):
        imported(source, tmp_path)
