"""The OpenVINO backend against transformers: same weights, same tokens, same figures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batches import answer_alone, answers_at_once
from llama_models import generated, torch_generated, torch_model, write_checkpoint
from onnx_models import TIED

from joulebench.api import Artifact, BackendSession
from joulebench.errors import ArtifactError, JoulebenchError, ModelError
from joulebench.models.catalogue import read_catalogue
from joulebench.plan.cells import PlannedCell
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import default_registry
from joulebench_plugins.openvino import devices
from joulebench_plugins.openvino.backend import OpenVinoBackend
from joulebench_plugins.openvino.compressing import OpenVinoWeights
from joulebench_plugins.openvino.exporter import OpenVinoExport

np = pytest.importorskip("numpy")
pytest.importorskip("openvino")
pytest.importorskip("torch")
pytest.importorskip("transformers")

PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]


def export(checkpoint: Path, output: Path) -> Path:
    output.mkdir()
    OpenVinoExport().convert(checkpoint, output, {})
    return output


def opened(folder: Path, **settings: str | int) -> BackendSession:
    return OpenVinoBackend().open(Artifact("openvino", folder, "", 0), "cpu", {"threads": 1, **settings})


def tokens_of(count: int) -> list[int]:
    return [(7 * i * i + 3) % TIED["vocab_size"] for i in range(count)]


def torch_logits(model: Any, tokens: list[int]) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoint/ and openvino/ of the tied llama."""
    path = tmp_path_factory.mktemp("openvino")
    export(write_checkpoint(path / "checkpoint", TIED), path / "openvino")
    return path


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return torch_model(folder / "checkpoint")


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[BackendSession]:
    with opened(folder / "openvino") as session:
        yield session


def test_each_sequence_of_a_batch_is_what_it_is_alone(session: BackendSession) -> None:
    prompts = [PROMPT[:3], PROMPT, tokens_of(40)]
    alone = [answer_alone(session, prompt) for prompt in prompts]
    assert answers_at_once(session, prompts) == alone
    assert answers_at_once(session, prompts[:2]) == alone[:2]
    assert answer_alone(session, prompts[1]) == alone[1], "one sequence after a batch"


def test_logits_tokens_and_scores_are_those_of_transformers(session: BackendSession, reference: Any) -> None:
    tokens = tokens_of(150)  # more than are fed at once
    expected = torch_logits(reference, tokens)
    assert np.abs(session.logits(tokens) - expected).max() < 2e-4 * np.abs(expected).max()
    written = torch_generated(reference, PROMPT, 96)
    assert len(set(written)) > 10, "a text that repeats itself would prove little"
    assert generated(session, PROMPT, 96) == written
    rows = expected[:-1].astype(np.float64)
    chances = rows[np.arange(149), tokens[1:]] - np.log(np.exp(rows).sum(1))
    assert session.score(tokens) == pytest.approx(chances.tolist(), abs=2e-4)
    assert (session.vocabulary_size, session.context_length) == (160, 160)


def test_a_prompt_of_another_length_and_a_reset_change_nothing(session: BackendSession) -> None:
    first = generated(session, PROMPT, 12)
    other = generated(session, [9, 8, 7], 12)
    session.reset()
    assert generated(session, PROMPT, 12) == first != other


def test_misuse_is_refused(session: BackendSession) -> None:
    session.score([1, 2, 3])
    with pytest.raises(JoulebenchError, match="prefill"):
        session.step()
    with pytest.raises(JoulebenchError, match="empty prompt"):
        session.prefill([])
    with pytest.raises(JoulebenchError, match="161 tokens do not fit into 160"):
        session.prefill([1] * 161)


def test_traffic_is_that_of_the_model_and_the_head_shares_the_embedding(
    session: BackendSession, reference: Any
) -> None:
    parameters = sum(tensor.numel() for tensor in reference.parameters())
    traffic, memory = session.traffic(), session.memory()
    # The table of frequencies of the rotation is no parameter.
    assert memory.weights_bytes == pytest.approx(4 * parameters, rel=1e-3)
    assert traffic.weights_bytes == memory.weights_bytes
    matrices = sum(tensor.numel() for tensor in reference.parameters() if tensor.ndim == 2)
    assert traffic.operations == 2 * matrices
    assert traffic.head_operations == 2 * 160 * 64
    assert traffic.kv_position_bytes == 2 * 2 * 2 * 16 * 4
    generated(session, PROMPT, 4)
    used = session.memory().kv_used_bytes
    assert used == (len(PROMPT) + 3) * traffic.kv_position_bytes


def test_facts_are_of_the_executed_graph(session: BackendSession) -> None:
    facts = session.facts()
    assert (facts["dtype"], facts["compute"], facts["bits_per_weight"]) == ("float32", "float32", 32.0)
    assert (facts["attention"], facts["kv_type"], facts["kv_note"]) == ("fused with the KV cache 2", "float32", None)
    assert (facts["threads"], facts["streams"], facts["device"]) == (1, 1, "CPU")
    assert facts["logits_at"] == "chosen positions"


@pytest.mark.parametrize("kind", ["float16", "int8", "int4"])
def test_a_type_of_the_kv_cache_shows_in_the_values_of_the_state(
    kind: str, folder: Path, session: BackendSession
) -> None:
    tokens = tokens_of(40)
    with opened(folder / "openvino", kv_type=kind) as other:
        assert other.facts()["kv_type"] == kind
        exact, rounded = session.logits(tokens), other.logits(tokens)
        assert np.abs(exact - rounded).max() > 0
        assert other.traffic().kv_position_bytes is None


def test_a_type_that_the_library_only_repeats_is_not_reported(folder: Path) -> None:
    """It answers bfloat16 when asked for its property, and computes and keeps float32."""
    with opened(folder / "openvino", kv_type="bfloat16") as session:
        facts = session.facts()
    assert (facts["kv_type"], facts["kv_note"]) == (
        "float32",
        "asked for bfloat16; the values in the state are float32",
    )


def test_the_type_of_the_arithmetic_is_what_runs_not_what_is_stored(folder: Path) -> None:
    with opened(folder / "openvino", precision="library", kv_type="library") as session:
        facts = session.facts()
    if facts["compute"] == "float32":
        pytest.skip("the library computes in float32 on this processor")
    assert facts["dtype"] == facts["compute"] == "bfloat16"


# -- graphs -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_exported_graph_without_the_rewritten_attention_says_so(folder: Path, tmp_path: Path) -> None:
    """What the exporter writes by itself: the cell runs, and the record says that kv_type has no effect."""
    from joulebench_plugins.openvino import tracing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "make_fusible", lambda model: 0)
        export(folder / "checkpoint", tmp_path / "plain")
    with opened(tmp_path / "plain", kv_type="int8") as session:
        facts = session.facts()
        assert (facts["attention"], facts["kv_type"]) == ("products and softmax", None)
        assert "kv_type has no effect" in str(facts["kv_note"])
        assert generated(session, PROMPT, 5)


def test_a_folder_that_is_no_decoder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no openvino_model\.xml"):
        opened(tmp_path)
    (tmp_path / "openvino_model.xml").write_text("<net>")
    with pytest.raises(ModelError, match=r"lacks openvino_model\.bin"):
        opened(tmp_path)
    (tmp_path / "openvino_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="OpenVINO cannot read it"):
        opened(tmp_path)


def test_a_graph_whose_cache_lies_outside_is_refused_with_the_cure(tmp_path: Path) -> None:
    from joulebench_plugins.openvino.library import openvino, opset14

    inputs = [
        opset14.parameter([-1, -1], openvino.Type.i64, name="input_ids"),
        opset14.parameter([-1, 2, -1, 16], openvino.Type.f32, name="past_key_values.0.key"),
    ]
    for node in inputs:
        node.output(0).get_tensor().set_names({node.get_friendly_name()})
    model = openvino.Model([opset14.convert(node, openvino.Type.f32) for node in inputs], inputs, "outside")
    openvino.save_model(model, str(tmp_path / "openvino_model.xml"))
    with pytest.raises(ModelError, match="takes its KV cache from outside") as caught:
        opened(tmp_path)
    assert "state of its own" in str(caught.value)


def test_a_model_that_cannot_be_traced_ends_with_a_line(tmp_path: Path) -> None:
    import torch
    from transformers import RwkvConfig, RwkvForCausalLM

    torch.manual_seed(1)
    shape = {"vocab_size": 96, "hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2}
    RwkvForCausalLM(RwkvConfig(**shape, intermediate_size=64)).save_pretrained(tmp_path / "rwkv")
    with pytest.raises(ArtifactError, match="takes no cache of transformers' kind"):
        export(tmp_path / "rwkv", tmp_path / "openvino")
    assert "exports causal language models only" in str(OpenVinoExport().supports("BertModel"))


# -- a user's own graph -----------------------------------------------------------------------


def planned(folder: Path, source: str) -> list[PlannedCell]:
    registry = default_registry()
    backends = "[backend.openvino]\n[backend.torch]\n"
    text = f'version = 1\n[model.own]\nsource = "{source}"\n{backends}[workload.generate]\n'
    profile = parse_profile(text, "own", folder, (), registry.profile_dirs())
    folders = registry.profile_dirs()
    return list(make_plan(profile, registry, read_catalogue(folders), folders).cells)


@pytest.mark.parametrize("name", ["own", "own/openvino_model.xml"])
def test_a_users_own_graph_runs_as_it_is_and_nowhere_else(name: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "openvino", tmp_path / "own")
    cell, other = planned(tmp_path, f"path:{name}")
    assert (cell.reason, cell.transforms) == (None, ())
    assert cell.notes == ("as it is on openvino: float32 100.0 %, 32.00 bits per weight, 0.5 MB",)
    assert "openvino" in str(other.reason)
    with OpenVinoBackend().open(Artifact("openvino", tmp_path / name, "", 0), "cpu", {"threads": 1}) as session:
        assert session.context_length == 160
        assert session.prefill(PROMPT) >= 0


def test_a_packed_graph_says_its_bits_and_that_it_is_quantized(tmp_path: Path, folder: Path) -> None:
    pytest.importorskip("nncf")
    (tmp_path / "packed").mkdir()
    settings = OpenVinoWeights().default_settings()
    OpenVinoWeights().apply(folder / "openvino", tmp_path / "packed", settings)
    file = OpenVinoExport().describe(tmp_path / "packed")
    assert file is not None
    assert (file.quantization, file.beside) == ("int8", None)
    evidence = OpenVinoWeights().evidence(folder / "openvino", tmp_path / "packed", settings)
    assert f"{evidence['bits_per_weight']:.2f} bits per weight" in file.numbers


def test_graphs_that_are_not_whole_are_refused_by_the_plan(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "openvino", tmp_path / "own")
    weights = tmp_path / "own" / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="is truncated: 1,000 bytes"):
        planned(tmp_path, "path:own")
    graph = tmp_path / "own" / "openvino_model.xml"
    graph.write_bytes(graph.read_bytes()[:5000])
    with pytest.raises(ModelError, match="is no whole graph"):
        planned(tmp_path, "path:own")


@pytest.mark.slow
def test_a_graph_that_is_no_decoder_is_a_skipped_cell(tmp_path: Path) -> None:
    from joulebench_plugins.openvino.library import openvino, opset14

    inputs = [opset14.parameter([-1, 8], openvino.Type.f32, name="pixels")]
    weights = opset14.constant(np.ones((8, 8), np.float32))
    model = openvino.Model([opset14.matmul(inputs[0], weights, False, False)], inputs, "no decoder")
    openvino.save_model(model, str(tmp_path / "openvino_model.xml"), compress_to_fp16=False)
    cell, _ = planned(tmp_path.parent, f"path:{tmp_path.name}")
    assert "keeps no KV cache: it is no decoder" in str(cell.reason)


# -- packed matrices --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "most", "bits", "head"), [("int8-asym", 0.02, 9.0, "int8"), ("int4-sym", 0.2, 7.5, "int8")]
)
def test_packed_matrices_are_held_and_multiplied_as_the_evidence_says(
    kind: str, most: float, bits: float, head: str, folder: Path, tmp_path: Path, session: BackendSession
) -> None:
    pytest.importorskip("nncf")
    technique = OpenVinoWeights()
    settings = {**technique.default_settings(), "type": kind, "group": 32}
    technique.apply(folder / "openvino", tmp_path, settings)
    evidence = technique.evidence(folder / "openvino", tmp_path, settings)
    assert evidence["head_type"] == evidence["embedding_type"] == head
    assert float(str(evidence["bits_per_weight"])) < bits < 32 == evidence["bits_per_weight_before"]
    assert 0 < float(str(evidence["relative_error"])) < most
    assert int(str(evidence["weights_bytes"])) < (tmp_path / "openvino_model.bin").stat().st_size + 4096
    with opened(tmp_path) as packed:
        facts = packed.facts()
        assert kind.partition("-")[0] in str(facts["dtype"])
        assert facts["compute"] == "float32"
        tokens = tokens_of(40)
        exact, rounded = session.logits(tokens), packed.logits(tokens)
        assert 0 < np.abs(exact - rounded).max() < np.abs(exact).max()
        assert packed.traffic().weights_bytes == evidence["weights_bytes"]
        assert packed.traffic().operations == session.traffic().operations


def test_groups_that_do_not_divide_are_refused_when_planned() -> None:
    technique = OpenVinoWeights()
    settings = {**technique.default_settings(), "type": "int4-asym", "group": 128}
    assert technique.check(settings, {"hidden_size": 576}) == "group = 128 does not divide hidden_size, which is 576"
    assert technique.check({**settings, "type": "int8-sym"}, {"hidden_size": 576}) is None


# -- devices ----------------------------------------------------------------------------------


def test_other_devices_are_the_librarys_and_only_asked_for_where_there_may_be_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_asked", lambda: pytest.fail("asked without need"))
    assert [device.name for device in devices.library_devices(tmp_path)] == ["cpu"]
    (tmp_path / "accel").mkdir()
    (tmp_path / "accel" / "accel0").touch()
    monkeypatch.setattr(devices, "_asked", lambda: {"CPU": "a CPU", "GPU.0": "Arc", "NPU": "AI Boost"})
    listed = {device.name: device.description for device in devices.library_devices(tmp_path)}
    assert (listed["gpu.0"], listed["npu"]) == ("Arc", "AI Boost")
    assert len(listed) == 3


def test_the_library_answers_for_its_devices_without_sending_reports_of_use() -> None:
    code = (
        "import json, sys; sys.argv = ['']; from joulebench_plugins.openvino import devices;"
        "print(json.dumps(devices._asked.__wrapped__()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "CPU" in json.loads(done.stdout)
    quiet = "import sys, joulebench_plugins.openvino.library; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", quiet], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


@pytest.mark.slow
def test_a_hybrid_with_recurrent_states_reads_prompts_in_pieces_and_says_the_same(tmp_path: Path) -> None:
    """Its states are computed by chunks, of which the traced graph has one."""
    import torch
    from transformers import GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM

    shape = {key: TIED[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads")}
    torch.manual_seed(5)
    config = GraniteMoeHybridConfig(
        **shape,
        num_hidden_layers=2,
        num_key_value_heads=2,
        layer_types=["mamba", "attention"],
        mamba_n_heads=8,
        mamba_d_head=16,
        mamba_d_state=16,
        mamba_n_groups=1,
        mamba_chunk_size=32,
        num_local_experts=0,
        shared_intermediate_size=96,
        initializer_range=0.1,
        position_embedding_type="rope",
    )
    GraniteMoeHybridForCausalLM(config).save_pretrained(tmp_path / "checkpoint")
    reference = torch_model(tmp_path / "checkpoint")
    tokens = tokens_of(100)
    expected = torch_logits(reference, tokens)
    with opened(export(tmp_path / "checkpoint", tmp_path / "openvino")) as session:
        assert session.facts()["prompt_pieces"] in (1, 16)
        assert np.abs(session.logits(tokens) - expected).max() < 2e-4 * np.abs(expected).max()
        assert session.prefill(tokens) == int(expected[-1].argmax())
