"""``gguf-quantize``: files that llama.cpp runs, evidence that is true of them, refusals."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gguf_models import exported
from pruning_models import TEXT, make_model, save, settings_of

from joulebench.api import Artifact, OptionValue, Scalar
from joulebench.errors import ArtifactError, ModelError
from joulebench.worker.tokenizer import CheckpointTokenizer
from joulebench_plugins.llamacpp import installed
from joulebench_plugins.llamacpp.backend import LlamaCppBackend
from joulebench_plugins.llamacpp.filetypes import FILE_TYPES, NEEDS_IMPORTANCE
from joulebench_plugins.llamacpp.quantizing import GgufQuantize

np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
if installed.installed_binding().module is None:
    pytest.skip("no binding of llama.cpp is installed", allow_module_level=True)

PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
LONG = [(7 * i * i + 3) % 320 for i in range(100)]
LAYERS = 2
#: Rows of 96 are no blocks of 256; the MLP's down projection has rows of 256.
SIZES = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": LAYERS}
#: Inputs of the matrices of a layer as transformers calls the modules.
MODULES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(make_model(**SIZES), tmp_path_factory.mktemp("quantized") / "hf")


@pytest.fixture(scope="module")
def source(checkpoint: Path) -> Path:
    return exported(checkpoint, checkpoint.parent / "gguf").parent


@pytest.fixture(scope="module")
def text(checkpoint: Path) -> Path:
    file = checkpoint.parent / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


def quantized(source: Path, output: Path, text: Path | None = None, **given: OptionValue) -> Mapping[str, Scalar]:
    technique = GgufQuantize()
    settings = settings_of(technique, text, **given)
    if text is None:
        assert technique.check(settings, {}) is None
    output.mkdir()
    technique.apply(source, output, settings)
    return technique.evidence(source, output, settings)


def opened(folder: Path, **settings: OptionValue) -> Any:
    return LlamaCppBackend().open(Artifact("gguf", folder, "", 0), "cpu", {"threads": 1, **settings})


def off(value: Any, expected: Any) -> float:
    """Root of the mean squared difference, relative to what is expected."""
    return float(np.linalg.norm(value - expected) / np.linalg.norm(expected))


def types_in(file: Path) -> dict[str, int]:
    """Elements by type, by the gguf package's own reader."""
    results: dict[str, int] = {}
    for tensor in gguf.GGUFReader(file).tensors:
        name = tensor.tensor_type.name.lower()
        results[name] = results.get(name, 0) + int(tensor.n_elements)
    return results


@pytest.mark.parametrize(
    "kind", ["bf16", "f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "iq4_nl", "q3_k_m", "q2_k"]
)
def test_a_type_is_written_and_run_and_said_of_the_file(kind: str, source: Path, tmp_path: Path) -> None:
    evidence = quantized(source, tmp_path / "out", type=kind)
    held = types_in(tmp_path / "out" / "model.gguf")
    total = sum(held.values())
    for name, count in held.items():
        assert f"{name} {100 * count / total:.1f} %" in str(evidence["weight_types"])
    size = sum(int(t.n_bytes) for t in gguf.GGUFReader(tmp_path / "out" / "model.gguf").tensors)
    assert evidence["weights_bytes"] == size
    assert evidence["bits_per_weight"] == pytest.approx(8 * size / total, abs=1e-3)
    assert evidence["bits_per_weight_before"] == 32
    assert (evidence["head_type"], evidence["imatrix_matrices"]) == ("the embedding's", 0)
    with opened(tmp_path / "out") as session:
        session.prefill(PROMPT)
        assert len([session.step() for _ in range(9)]) == 9
        facts = session.facts()
        # A matrix in another type than float32 keeps the cell from being held to full precision.
        assert "float32" not in str(facts["dtype"]).split(",")
        assert facts["bits_per_weight"] == evidence["bits_per_weight"]
        # What a token reads is the file: everything once, since the head is the embedding.
        assert session.traffic().weights_bytes == size


def test_the_fewer_bits_the_greater_the_error(source: Path, tmp_path: Path) -> None:
    kinds = ("bf16", "q8_0", "q5_k_m", "q4_0", "q2_k")
    errors = [float(str(quantized(source, tmp_path / kind, type=kind)["relative_error"])) for kind in kinds]
    assert errors == sorted(errors)
    assert errors[0] < 0.003
    assert errors[1] < 0.01
    assert 0.02 < errors[3] < 0.2


def test_eight_bits_change_the_logits_little(source: Path, tmp_path: Path) -> None:
    quantized(source, tmp_path / "out", type="q8_0")
    with opened(source) as full:
        expected = full.logits(LONG)
    with opened(tmp_path / "out") as session:
        logits = session.logits(LONG)
    # These random weights amplify what rounding changes; the embedded model is closer by far.
    assert 1e-4 < off(logits, expected) < 0.15


def test_rows_that_are_no_blocks_of_256_are_counted_as_fallen_back(source: Path, tmp_path: Path) -> None:
    evidence = quantized(source, tmp_path / "out", type="q4_k_m")
    reader = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    narrow = sum(int(t.n_elements) for t in reader.tensors if len(t.shape) == 2 and t.shape[0] % 256)
    total = sum(int(t.n_elements) for t in reader.tensors)
    assert evidence["fallback_share"] == pytest.approx(narrow / total, abs=1e-4)
    assert 0.5 < narrow / total < 1
    # What stands in for q4_K with 4.5 bits is q5_0 with 5.5.
    held = types_in(tmp_path / "out" / "model.gguf")
    assert held["q5_0"] > held.get("q4_k", 0) > 0
    plain = quantized(source, tmp_path / "plain", type="q4_0")
    assert plain["fallback_share"] == 0


def test_pure_and_head_decide_what_llama_cpp_would(source: Path, tmp_path: Path) -> None:
    usual = quantized(source, tmp_path / "usual", type="q4_0")
    pure = quantized(source, tmp_path / "pure", type="q4_0", pure=True)
    asked = quantized(source, tmp_path / "asked", type="q4_0", head="q5_0")
    assert usual["embedding_type"] == "q8_0"
    assert pure["embedding_type"] == "q4_0"
    assert asked["embedding_type"] == "q5_0"
    assert set(types_in(tmp_path / "pure" / "model.gguf")) == {"q4_0", "f32"}


def test_the_same_file_comes_out_again(source: Path, text: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        quantized(source, tmp_path / str(number), text, type="q3_k_m", imatrix=True)
    first, second = (tmp_path / name / "model.gguf" for name in ("1", "2"))
    assert first.read_bytes() == second.read_bytes()


# -- how it computes --------------------------------------------------------------------------


def test_products_of_quantized_matrices_are_of_whole_numbers(source: Path, tmp_path: Path) -> None:
    with opened(source) as full:
        assert full.facts()["compute"] == "float32"
        assert full.facts()["products"] == "f32×f32"
    quantized(source, tmp_path / "out", type="q4_k_m")
    with opened(tmp_path / "out") as session:
        assert session.facts()["compute"] == "int8"
        assert "q5_0×q8_0" in str(session.facts()["products"]).split(",")


def test_inputs_are_rounded_as_the_facts_say(source: Path, tmp_path: Path) -> None:
    """The same matrices in float32 give other logits: in 8 bits the inputs are rounded too."""
    from joulebench_plugins.gguf.converter import GgufImport

    quantized(source, tmp_path / "eight", type="q8_0")
    (tmp_path / "hf").mkdir()
    GgufImport().convert(tmp_path / "eight", tmp_path / "hf", {"dtype": "float32"})
    same = exported(tmp_path / "hf", tmp_path / "float").parent
    with opened(tmp_path / "eight") as session:
        rounded = session.logits(LONG)
    with opened(same) as session:
        exact = session.logits(LONG)
    assert off(rounded, exact) > 1e-3


# -- importance matrix ------------------------------------------------------------------------


def test_importance_is_what_hooks_in_transformers_measure(checkpoint: Path, source: Path, text: Path) -> None:
    from transformers import AutoModelForCausalLM

    from joulebench_plugins.llamacpp.loading import load_binding
    from joulebench_plugins.llamacpp.log import LibraryLog
    from joulebench_plugins.llamacpp.quantizer import calibration_stretches, measure_importance
    from joulebench_plugins.shared.tensors.gguf import read_model

    settings = settings_of(GgufQuantize(), text, imatrix=True)
    file, log = source / "model.gguf", LibraryLog()
    importance = measure_importance(load_binding(log), log, file, read_model(file).tensors, settings)
    ids = CheckpointTokenizer(checkpoint).encode(TEXT, chat=False)
    stretches = calibration_stretches(ids, 6, 24, 0, text)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    sums: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def hook(_: Any, inputs: Any) -> None:
            squares = inputs[0][0].double().square().sum(0)
            sums[name] = sums.get(name, 0) + squares

        return hook

    for layer in range(LAYERS):
        for short, module in MODULES.items():
            part = model.get_submodule(f"model.layers.{layer}.{module}")
            part.register_forward_pre_hook(watch(f"blk.{layer}.{short}.weight"))
    with torch.inference_mode():
        for stretch in stretches:
            model(torch.tensor([stretch]))
    assert set(importance.means) == set(sums)
    for name, total in sums.items():
        assert importance.means[name] == pytest.approx((total / (6 * 24)).numpy(), rel=2e-3), name


def test_an_importance_matrix_lowers_the_error_that_it_weighs(source: Path, text: Path, tmp_path: Path) -> None:
    from joulebench_plugins.llamacpp.loading import load_binding
    from joulebench_plugins.llamacpp.log import LibraryLog
    from joulebench_plugins.llamacpp.quantizer import measure_importance
    from joulebench_plugins.shared.tensors.gguf import read_model

    settings = settings_of(GgufQuantize(), text, imatrix=True)
    file, log = source / "model.gguf", LibraryLog()
    means = measure_importance(load_binding(log), log, file, read_model(file).tensors, settings).means
    plain = quantized(source, tmp_path / "plain", type="q4_0", pure=True)
    weighed = quantized(source, tmp_path / "weighed", text, type="q4_0", pure=True, imatrix=True)
    assert (plain["imatrix_matrices"], plain["imatrix_sequences"]) == (0, 0)
    assert (weighed["imatrix_matrices"], weighed["imatrix_sequences"]) == (7 * LAYERS, 6)
    assert plain["weight_types"] == weighed["weight_types"]
    before = _matrices(file)
    errors = {}
    for name in ("plain", "weighed"):
        after = _matrices(tmp_path / name / "model.gguf")
        errors[name] = sum(float(((before[key] - after[key]) ** 2 * means[key]).sum()) for key in means)
    assert errors["weighed"] < 0.95 * errors["plain"]


def _matrices(file: Path) -> dict[str, Any]:
    return {
        str(tensor.name): gguf.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(file).tensors
        if len(tensor.shape) == 2
    }


def test_types_that_need_an_importance_matrix_are_written_with_one(source: Path, text: Path, tmp_path: Path) -> None:
    evidence = quantized(source, tmp_path / "out", text, type="iq2_xs", imatrix=True)
    assert "iq2_xs" in str(evidence["weight_types"])
    with opened(tmp_path / "out") as session:
        assert session.facts()["compute"] == "int8"
        session.prefill(PROMPT)


# -- where the source comes from ---------------------------------------------------------------


def test_a_source_that_was_in_4_bits_before_is_marked(tmp_path: Path) -> None:
    model = make_model(**SIZES)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_((parameter / 0.1).round().clamp(-8, 7) * 0.1)
                # Blocks of 32 that span the grid, as those of a real Q4_1 file do.
                parameter.view(-1, 32)[:, 0], parameter.view(-1, 32)[:, 1] = -0.8, 0.7
    source = exported(save(model, tmp_path / "hf"), tmp_path / "gguf").parent
    evidence = quantized(source, tmp_path / "out", type="q4_1", pure=True)
    assert float(str(evidence["source_4bit_share"])) > 0.9
    assert "looks better than it is" in str(evidence["caution"])
    assert float(str(evidence["relative_error"])) < 0.01, "it fits the grid, as the caution says"


def test_a_source_of_free_numbers_is_not_marked(source: Path, tmp_path: Path) -> None:
    evidence = quantized(source, tmp_path / "out", type="q4_0")
    assert evidence["source_4bit_share"] == 0
    assert "caution" not in evidence


# -- what cannot work -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"type": "iq2_xs"}, "needs an importance matrix; set imatrix = true"),
        ({"imatrix": True, "calibration": "builtin:evaluation"}, "for judging a model"),
        ({"imatrix": True, "length": 512}, "longer than the model's context of 256"),
        ({"type": "q4_0"}, None),
        ({"type": "iq2_xs", "imatrix": True, "length": 64}, None),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_starts(
    given: Mapping[str, OptionValue], said: str | None
) -> None:
    technique = GgufQuantize()
    fault = technique.check(settings_of(technique, **given), {"max_position_embeddings": 256})
    assert (fault is None) if said is None else (fault is not None and said in fault)


def test_every_type_says_whether_the_library_wants_an_importance_matrix(source: Path, tmp_path: Path) -> None:
    assert set(FILE_TYPES) >= NEEDS_IMPORTANCE
    technique = GgufQuantize()
    for kind in ("iq3_s", "iq4_xs", "q3_k_s", "iq3_xxs", "q2_k_s"):
        (tmp_path / kind).mkdir()
        settings = settings_of(technique, type=kind)
        refused = False
        try:
            technique.apply(source, tmp_path / kind, settings)
        except ArtifactError as error:
            refused = "imatrix" in str(error)
        # Where rows are narrow the library may write another type, and wants none.
        assert kind in NEEDS_IMPORTANCE or not refused, kind


def test_a_text_that_is_too_short_is_an_error_with_its_length(source: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"too short for calibration: its .* tokens give"):
        quantized(source, tmp_path / "out", text, imatrix=True, sequences=1000)


def test_a_file_without_vocabulary_has_no_importance_matrix(text: Path, tmp_path: Path) -> None:
    make_model(**SIZES).save_pretrained(tmp_path / "hf")
    source = exported(tmp_path / "hf", tmp_path / "gguf").parent
    with pytest.raises(ModelError, match="has no vocabulary"):
        quantized(source, tmp_path / "out", text, imatrix=True)


def test_what_is_quantized_already_is_not_quantized_again(source: Path, tmp_path: Path) -> None:
    quantized(source, tmp_path / "once", type="q8_0")
    with pytest.raises(ArtifactError, match="from type q8_0 is disabled"):
        quantized(tmp_path / "once", tmp_path / "twice", type="q4_0")


def test_a_damaged_source_is_refused_as_such(source: Path, tmp_path: Path) -> None:
    content = (source / "model.gguf").read_bytes()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "model.gguf").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="not a complete GGUF file"):
        quantized(tmp_path / "damaged", tmp_path / "out", type="q4_0")


# -- the other binding ------------------------------------------------------------------------

CODE = """
import sys
from pathlib import Path
from joulebench.profile.values import complete
from joulebench_plugins.llamacpp.quantizer import quantize_file
from joulebench_plugins.llamacpp.quantizing import GgufQuantize

module, source, target, text = sys.argv[1], *map(Path, sys.argv[2:])
given = {"type": "q4_k_m", "imatrix": True, "calibration": str(text), "sequences": 6, "length": 24}
quantize_file(source, target, complete(GgufQuantize.options, given, str), module)
"""


def test_both_bindings_quantize_alike(source: Path, text: Path, tmp_path: Path) -> None:
    """In processes of their own. Types and provenance equal; numbers by each library's kernels."""
    modules = ("llama_cpp", "llama_cpp_py_sync")
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"both bindings are compared; not installed: {missing}")
    results = {}
    for module in modules:
        file = tmp_path / f"{module}.gguf"
        subprocess.run([sys.executable, "-c", CODE, module, source, file, text], check=True)
        reader = gguf.GGUFReader(file)
        count = reader.get_field("quantize.imatrix.entries_count")
        results[module] = (types_in(file), None if count is None else count.contents())
    assert results["llama_cpp"] == results["llama_cpp_py_sync"]
    assert results["llama_cpp"][1] == 7 * LAYERS
