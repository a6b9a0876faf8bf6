"""A user's own GGUF file on llama.cpp: unchanged, with its own tokenizer; or refused by the plan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from foreign_gguf import (
    HEAD_SIZE,
    KV_HEADS,
    LONG_CONTEXT,
    WINDOW,
    foreign_model,
    mamba_model,
    write_foreign,
    write_mamba,
)
from gguf_models import (
    SENTENCEPIECE_SPECIALS,
    SPECIALS,
    TEXTS,
    add_tokenizer,
    byte_level_tokenizer,
    exported,
    sentencepiece_tokenizer,
)
from llama_models import TIED, write_checkpoint
from pruning_models import settings_of

from joulebench.api import Artifact
from joulebench.errors import ModelError
from joulebench.models.catalogue import obtain_model, read_catalogue
from joulebench.plan.cells import Plan
from joulebench.plan.checks import SkipCellError
from joulebench.plan.files import ProfileFiles
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import default_registry
from joulebench.runs.preparation import Preparation
from joulebench.session import Session
from joulebench.worker.tokenizer import CheckpointTokenizer, SessionTokenizer
from joulebench_plugins.gguf.converter import GgufImport
from joulebench_plugins.llamacpp import installed
from joulebench_plugins.llamacpp.backend import LlamaCppBackend
from joulebench_plugins.llamacpp.log import PRINTED_BYTES
from joulebench_plugins.llamacpp.quantizing import GgufQuantize

pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
if installed.installed_binding().module is None:
    pytest.skip("no binding of llama.cpp is installed", allow_module_level=True)

VOCABULARY = 320
PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
#: Rows of 256 are what blocks of k-quants divide.
WIDE = {**TIED, "vocab_size": VOCABULARY, "hidden_size": 256, "intermediate_size": 256, "head_dim": 64}
BACKENDS = '[backend.llamacpp]\ndtype = "float32"\nthreads = 1\n[backend.torch]\nthreads = 1\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    made = write_checkpoint(folder / "hf", WIDE)
    return add_tokenizer(made, byte_level_tokenizer("smollm"), SPECIALS)


@pytest.fixture(scope="module")
def quantized(checkpoint: Path, folder: Path) -> Callable[[str], Path]:
    """The llama in one of llama.cpp's types, by the product's own exporter and quantizer."""
    source = exported(checkpoint, folder / "f32").parent

    def file_of(kind: str) -> Path:
        output = folder / kind
        if not output.exists():
            output.mkdir()
            technique = GgufQuantize()
            technique.apply(source, output, settings_of(technique, None, type=kind))
        return output / "model.gguf"

    return file_of


@pytest.fixture(scope="module")
def qwen(folder: Path) -> tuple[Any, Path]:
    model = foreign_model("qwen2", VOCABULARY)
    return model, write_foreign(folder / "qwen2.gguf", "qwen2", model)


def plan_of(source: Path, body: str = BACKENDS + "[workload.generate]\nnew_tokens = 4\n") -> Plan:
    text = f'version = 1\n[model.m]\nsource = "path:{source}"\n{body}'
    registry = default_registry()
    catalogue = read_catalogue(registry.profile_dirs())
    return make_plan(parse_profile(text, "p.toml", Path("/")), registry, catalogue, registry.profile_dirs())


def opened(file: Path, **settings: Any) -> Any:
    return LlamaCppBackend().open(Artifact("gguf", file, "", 0), "cpu", {"threads": 1, **settings})


# -- what the plan says ---------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [("q4_1", "Q4_1"), ("q4_k_m", "Q4_K_M"), ("q8_0", "Q8_0")])
def test_a_quantized_file_runs_as_it_is_and_is_unpacked_elsewhere(
    quantized: Callable[[str], Path], kind: str, name: str
) -> None:
    file = quantized(kind)
    plan = plan_of(file)
    own, other = plan.cells
    assert (own.reason, own.transforms) == (None, ())
    (note,) = own.notes
    assert note.startswith(f"as it is on llamacpp: {name}, ")
    assert note.endswith(f" bits per weight, {file.stat().st_size / 1e6:.1f} MB")
    assert [step.name for step in other.transforms] == ["gguf-import"]
    (unpacked,) = other.notes
    assert unpacked == f"weights unpacked from {kind} to bfloat16 for torch"


def test_a_file_of_another_architecture_runs_on_llama_cpp_alone(qwen: tuple[Any, Path]) -> None:
    own, other = plan_of(qwen[1]).cells
    assert own.reason is None
    assert other.reason is not None
    assert "imports llama-type GGUF files only, not 'qwen2'" in other.reason


def test_a_quantized_file_is_not_quantized_again(quantized: Callable[[str], Path], qwen: tuple[Any, Path]) -> None:
    body = "[technique.gguf-quantize]\n[backend.llamacpp]\n[workload.generate]\nnew_tokens = 4\n"
    (cell,) = plan_of(quantized("q8_0"), body).cells
    assert cell.reason is not None
    assert "the file is Q8_0 already" in cell.reason
    (cell,) = plan_of(qwen[1], body).cells
    assert (cell.reason, [step.name for step in cell.transforms]) == (None, ["gguf-quantize"])


def test_pruning_needs_a_checkpoint_which_the_plan_says(quantized: Callable[[str], Path]) -> None:
    body = "[technique.none]\n[technique.prune-magnitude]\n[backend.llamacpp]\n[workload.generate]\nnew_tokens = 4\n"
    plain, pruned = plan_of(quantized("q8_0"), body).cells
    assert plain.reason is None
    assert pruned.reason is not None
    assert "name the checkpoint that it was made of" in pruned.reason


def test_the_context_of_a_file_is_known_to_the_plan(qwen: tuple[Any, Path]) -> None:
    (cell,) = plan_of(qwen[1], "[backend.llamacpp]\n[workload.decode]\ncontext = 128\n").cells
    assert cell.reason is not None
    assert cell.reason.endswith("tokens of context; the model has 128")


def test_models_show_tells_of_the_file_itself(cli: Any, quantized: Callable[[str], Path]) -> None:
    answer = cli("models", "show", f"path:{quantized('q8_0')}", "--json")
    facts = json.loads(answer.stdout)
    assert facts["file"]["numbers"].startswith("Q8_0, 8.")
    assert facts["file"]["tokenizer"] is True
    assert facts["config"]["quantization_config"] == {"quant_method": "gguf", "type": "Q8_0"}
    assert "dtype" not in facts["config"]


# -- what it refuses ------------------------------------------------------------------------------


def test_a_truncated_file_is_refused_with_its_sizes(qwen: tuple[Any, Path], tmp_path: Path) -> None:
    whole = qwen[1].read_bytes()
    file = tmp_path / "cut.gguf"
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=rf"cut\.gguf: .*{len(whole) // 2:,} bytes where its header says") as caught:
        plan_of(file)
    assert caught.value.where == "p.toml:3: model.m.source"
    assert caught.value.hint == "fetch or convert it again"


def test_an_architecture_that_llama_cpp_does_not_know_is_skipped_with_the_cure(
    qwen: tuple[Any, Path], tmp_path: Path
) -> None:
    file = write_foreign(tmp_path / "m.gguf", "qwen2", qwen[0], architecture="wonder")
    reason = plan_of(file).cells[0].reason
    assert reason is not None
    assert "unknown model architecture: 'wonder'" in reason
    assert "pip install --upgrade" in reason


def test_a_file_that_lacks_a_tensor_is_skipped_before_anything_is_measured(
    qwen: tuple[Any, Path], tmp_path: Path
) -> None:
    file = write_foreign(tmp_path / "m.gguf", "qwen2", qwen[0], lacking="blk.1.ffn_up.weight")
    reason = plan_of(file).cells[0].reason
    assert reason is not None
    assert "'blk.1.ffn_up.weight' not found" in reason


def test_an_encoder_is_no_model_that_writes(qwen: tuple[Any, Path]) -> None:
    class Library:
        """llama.cpp with a model that has no decoder."""

        def __getattr__(self, name: str) -> Callable[..., Any]:
            return lambda *_: {"llama_model_has_decoder": False}.get(name, 1)

    from joulebench_plugins.llamacpp.binding import Binding

    binding = Binding.__new__(Binding)
    binding._api = Library()
    binding._native = SimpleNamespace(devices=lambda _: None)
    binding._api.llama_model_default_params = SimpleNamespace
    fault = binding.fault("m.gguf")
    assert fault is not None
    assert "embeds texts and writes none" in fault


def split(folder: Path, model: Any) -> list[Path]:
    folder.mkdir()
    write_foreign(folder / "m.gguf", "qwen2", model, parts=10)
    return sorted(folder.glob("*.gguf"))


def test_a_split_file_runs_by_its_first_part_and_all_parts_count(qwen: tuple[Any, Path], tmp_path: Path) -> None:
    first, *others = split(tmp_path / "parts", qwen[0])
    assert others
    plan = plan_of(first)
    assert plan.cells[0].reason is None
    catalogue = read_catalogue([])
    before = obtain_model(plan.models["m"], catalogue, Path("/"), print)
    assert before.size_bytes == sum(file.stat().st_size for file in (first, *others))
    assert before.parts == tuple(others)
    with opened(first) as session, opened(qwen[1]) as whole:
        assert session.prefill(PROMPT) == whole.prefill(PROMPT)
        assert session.traffic() == whole.traffic()
        assert session.facts()["file_bytes"] == before.size_bytes
    content = bytearray(others[-1].read_bytes())
    content[-1] ^= 1
    others[-1].write_bytes(content)
    assert obtain_model(plan.models["m"], catalogue, Path("/"), print).content_hash != before.content_hash


def test_a_split_file_with_a_missing_part_names_it(qwen: tuple[Any, Path], tmp_path: Path) -> None:
    first, *others = split(tmp_path / "parts", qwen[0])
    others[0].unlink()
    with pytest.raises(ModelError, match=f"of which {others[0].name} is missing") as caught:
        plan_of(first)
    assert caught.value.hint == "fetch the missing parts into the same folder"


def test_a_later_part_names_the_first(qwen: tuple[Any, Path], tmp_path: Path) -> None:
    first, *others = split(tmp_path / "parts", qwen[0])
    with pytest.raises(ModelError, match="is a later part") as caught:
        plan_of(others[0])
    assert caught.value.hint == f"name the first: {first.name}"


def test_a_folder_with_the_parts_of_one_model_is_that_model(qwen: tuple[Any, Path], tmp_path: Path) -> None:
    first, *_ = split(tmp_path / "parts", qwen[0])
    whole, folder = plan_of(first), plan_of(first.parent)
    assert [cell.reason for cell in folder.cells] == [cell.reason for cell in whole.cells]
    with opened(first.parent) as session, opened(qwen[1]) as single:
        assert session.prefill(PROMPT) == single.prefill(PROMPT)


def test_a_folder_with_two_files_asks_for_one_of_them(qwen: tuple[Any, Path], tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        shutil.copy(qwen[1], tmp_path / name)
    with pytest.raises(ModelError, match="a folder with 2 GGUF files") as caught:
        plan_of(tmp_path)
    assert caught.value.hint == f"name the file: path:{tmp_path}/a.gguf"


def test_a_file_that_is_fetched_after_the_plan_is_looked_at_then(
    qwen: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    text = (
        f'version = 1\n[model.m]\nsource = "hf:org/name@main:m.gguf"\n{BACKENDS}[workload.generate]\nnew_tokens = 4\n'
    )
    registry = default_registry()
    folders = registry.profile_dirs()
    catalogue = read_catalogue(folders)
    profile = parse_profile(text, "p.toml", Path("/"))
    plan = make_plan(profile, registry, catalogue, folders)
    assert [cell.runnable for cell in plan.cells] == [True, True]
    own, other = plan.cells

    def preparation() -> Preparation:
        return Preparation(profile, plan, registry, catalogue, ProfileFiles(profile, catalogue, folders), print)

    fetched = tmp_path / "hub" / "org--name@main:m.gguf"
    fetched.mkdir(parents=True)
    shutil.copy(qwen[1], fetched / "m.gguf")
    ready = preparation()
    job = ready.cell(own)
    assert (job.artifact.format, job.checkpoint, job.can_be_judged) == ("gguf", None, True)
    assert ready.plan_now().cells[0].notes[0].startswith("as it is on llamacpp: F32, ")
    with pytest.raises(SkipCellError, match="imports llama-type GGUF files only"):
        ready.cell(other)
    write_foreign(fetched / "m.gguf", "qwen2", qwen[0], architecture="wonder")
    with pytest.raises(SkipCellError, match="unknown model architecture"):
        preparation().cell(own)


# -- what runs ------------------------------------------------------------------------------------


def test_a_model_without_attention_runs_as_often_as_it_is_asked(tmp_path: Path) -> None:
    model = mamba_model(VOCABULARY)
    file = write_mamba(tmp_path / "m.gguf", model)
    assert plan_of(file).cells[0].reason is None
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        for _ in range(12):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    with opened(file) as session:
        for _ in range(2):
            tokens = [session.prefill(PROMPT), *(session.step() for _ in range(11))]
            assert tokens == ids[0, len(PROMPT) :].tolist()
        first = session.score(PROMPT)
        assert session.score(PROMPT) == first
        # It has no keys and values, but a state that is as large for any length.
        assert (session.memory().kv_used_bytes, session.traffic().kv_position_bytes) == (0, 0)
        assert int(str(session.facts()["state_bytes"])) > 0
        assert "has no keys and values" in str(session.observed("kv.window")["note"])


def test_layers_that_see_a_window_keep_no_more(tmp_path: Path) -> None:
    model = foreign_model("gemma2", VOCABULARY)
    file = write_foreign(tmp_path / "m.gguf", "gemma2", model)
    prompt = [(7 * place * place + 3) % VOCABULARY for place in range(3 * WINDOW)]
    ids = torch.tensor([prompt])
    with torch.no_grad():
        for _ in range(8):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    with opened(file, context_tokens=LONG_CONTEXT, ubatch_tokens=WINDOW) as session:
        tokens = [session.prefill(prompt), *(session.step() for _ in range(7))]
        memory = session.memory()
        # A layer of each kind: all positions, and a window with what is computed at once. Both are printed.
        allocated = (LONG_CONTEXT + 256) * 2 * KV_HEADS * HEAD_SIZE * 4
        assert memory.kv_allocated_bytes == pytest.approx(allocated, abs=2 * PRINTED_BYTES)
        # What a position takes differs from layer to layer.
        assert (memory.kv_used_bytes, session.facts()["kv_cells"]) == (None, None)
    assert tokens == ids[0, len(prompt) :].tolist()


@pytest.mark.parametrize("kind", ["qwen2", "gemma"])
def test_another_architecture_writes_what_transformers_writes(kind: str, tmp_path: Path) -> None:
    model = foreign_model(kind, VOCABULARY)
    file = write_foreign(tmp_path / "m.gguf", kind, model)
    ids = torch.tensor([PROMPT])
    written = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        min_new_tokens=12,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    with opened(file) as session:
        tokens = [session.prefill(PROMPT), *(session.step() for _ in range(11))]
    assert tokens == written[0, len(PROMPT) :].tolist()


def test_its_own_tokenizer_reads_texts_as_the_checkpoints_does(
    checkpoint: Path, quantized: Callable[[str], Path]
) -> None:
    theirs = CheckpointTokenizer(checkpoint)
    with opened(quantized("q8_0")) as session:
        own = SessionTokenizer(session.tokenizer(), "m.gguf")
        for text in (*TEXTS, "<|start|>the mat<|end|>"):
            assert own.encode(text, chat=False) == theirs.encode(text, chat=False)
            assert own.encode(text, chat=True) == theirs.encode(text, chat=True)
            ids = theirs.encode(text, chat=False)
            # llama.cpp takes this name for text, since that of another model's token is text.
            assert own.decode(ids).removeprefix("<|start|>") == theirs.decode(ids)
        assert own.eos_tokens == theirs.eos_tokens


def test_a_sentencepiece_tokenizer_reads_texts_as_the_checkpoints_does(tmp_path: Path) -> None:
    tokenizer = sentencepiece_tokenizer()
    shape = {**TIED, "vocab_size": tokenizer.get_vocab_size(), "bos_token_id": 1, "eos_token_id": 2}
    checkpoint = add_tokenizer(write_checkpoint(tmp_path / "hf", shape), tokenizer, SENTENCEPIECE_SPECIALS)
    theirs = CheckpointTokenizer(checkpoint)
    with opened(exported(checkpoint, tmp_path / "gguf")) as session:
        own = SessionTokenizer(session.tokenizer(), "m.gguf")
        for text in (*TEXTS, "the cat</s> sat"):
            ids = theirs.encode(text, chat=False)
            assert own.encode(text, chat=False) == ids
            assert own.decode(ids[1:]) == theirs.decode(ids[1:])
        assert own.eos_tokens == theirs.eos_tokens


def test_its_chat_template_is_rendered_whole_by_jinja(qwen: tuple[Any, Path]) -> None:
    with opened(qwen[1]) as session:
        own = session.tokenizer()
        ids = SessionTokenizer(own, "m.gguf").encode("the cat", chat=True)
        expected = "<|start|>system\nYou are small.<|end|>\n<|start|>user\nthe cat<|end|>\n<|start|>assistant\n"
        assert ids == own.encode(expected, False)
        assert ids.count(own.encode("<|start|>", False)[0]) == 3


def test_an_import_that_the_check_lets_pass_succeeds_and_one_that_it_refuses_fails(
    quantized: Callable[[str], Path], qwen: tuple[Any, Path], tmp_path: Path
) -> None:
    converter = GgufImport()
    assert converter.check(quantized("q8_0")) is None
    (tmp_path / "hf").mkdir()
    converter.convert(quantized("q8_0"), tmp_path / "hf", {})
    described = converter.describe(quantized("q8_0"))
    assert described.config == json.loads((tmp_path / "hf/config.json").read_text(encoding="utf-8"))
    assert converter.check(qwen[1]) is not None


@pytest.mark.slow
def test_the_session_says_what_ran_and_that_there_is_no_reference(
    cli: Any, quantized: Callable[[str], Path], qwen: tuple[Any, Path], tmp_path: Path
) -> None:
    profile = tmp_path / "own.toml"
    profile.write_text(
        f"""version = 1
[model.q8]
source = "path:{quantized("q8_0")}"
[model.qwen]
source = "path:{qwen[1]}"
[backend.llamacpp]
threads = 1
[backend.torch]
threads = 1
[[include]]
backend = "llamacpp"
[workload.generate]
prompts = "builtin:short"
new_tokens = 4
[agreement]
reference = {{ backend = "torch" }}
count = 2
tokens = 4
[protocol]
processes = 1
min_blocks = 2
max_blocks = 2
requests_per_block = 1
warmup_min_s = 0
warmup_max_s = 1
idle_s = 0
repeat_contended = 0
[quality]
text = "builtin:evaluation"
tokens = 512
window = 64
""",
        encoding="utf-8",
    )
    answer = cli("run", str(profile), "--output", str(tmp_path / "out"), "--no-report")
    assert answer.code == 0, answer.stderr
    (session,) = (tmp_path / "out").iterdir()
    q8, other = Session(session).cells().to_pylist()
    facts = json.loads(q8["facts_json"])
    assert (facts["file_type"], facts["file_bytes"]) == ("Q8_0", quantized("q8_0").stat().st_size)
    assert "float32" not in facts["dtype"]
    assert (q8["artifact_format"], q8["artifact_bytes"]) == ("gguf", facts["file_bytes"])
    assert json.loads(q8["quality_json"])["perplexity"] > 1
    # The very same integers, on torch as numbers: what the reference says too.
    agreement = json.loads(q8["agreement_json"])
    assert (agreement["reason"], agreement["held"]) == (None, False)
    assert json.loads(other["quality_json"])["tokens"] > 400
    reason = json.loads(other["agreement_json"])["reason"]
    assert reason.startswith("no reference: torch cannot run: only qwen2.gguf is here; ")
