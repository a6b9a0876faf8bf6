"""ONNX models of a user's own: any decoder's graph runs as it is, and the plan says why another does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from llama_models import generated, write_checkpoint  # noqa: E402
from onnx_graphs import VOCABULARY, WIDTH, genai_like, toy_logits, toy_tokens, write_toy  # noqa: E402
from onnx_models import TIED, export, opened, to_ort  # noqa: E402

from joulebench.agreement import agreement_record, verdict  # noqa: E402
from joulebench.errors import JoulebenchError, ModelError  # noqa: E402
from joulebench.models.catalogue import obtain_model, read_catalogue  # noqa: E402
from joulebench.plan.cells import Plan  # noqa: E402
from joulebench.plan.planner import make_plan  # noqa: E402
from joulebench.profile.reading import parse_profile  # noqa: E402
from joulebench.registry.loading import default_registry  # noqa: E402
from joulebench.worker.reference import compare, keep_reference  # noqa: E402
from joulebench_plugins.onnx.backend import OnnxBackend  # noqa: E402
from joulebench_plugins.onnx.inventory import take_inventory  # noqa: E402
from joulebench_plugins.onnx.ports import Port, classify, with_extents_of  # noqa: E402

PROMPT = [3, 14, 15, 2, 11]
BACKENDS = "[backend.onnx]\nthreads = 1\n[backend.onnx-mobile]\n[backend.torch]\nthreads = 1\n"


def plan_of(path: Path, more: str = "") -> Plan:
    text = f'version = 1\n[model.m]\nsource = "path:{path}"\n{BACKENDS}[workload.generate]\nnew_tokens = 4\n{more}'
    profile = parse_profile(text, "as-it-is.toml", Path("/"))
    registry = default_registry()
    return make_plan(profile, registry, read_catalogue([]), registry.profile_dirs())


def reason(plan: Plan, backend: str) -> str | None:
    return next(cell.reason for cell in plan.cells if cell.backend == backend)


# -- graphs ------------------------------------------------------------------------------------


def pair(folder: Path, prompt: str, step: str, logits: str = "all") -> Path:
    write_toy(folder / prompt, past=None, logits=logits)
    write_toy(folder / step, tokens=1)
    return folder


GRAPHS = {
    "all logits": lambda folder: write_toy(folder / "model.onnx"),
    "kept logits": lambda folder: write_toy(folder / "model_q4.onnx", logits="kept"),
    "last logits": lambda folder: write_toy(folder / "model.onnx", logits="last"),
    "token by token": lambda folder: write_toy(folder / "model.onnx", tokens=1),
    "with a mask": lambda folder: write_toy(
        folder / "model.onnx", extra=("attention_mask", "position_ids", "use_cache_branch", "token_type_ids")
    ),
    "other names": lambda folder: write_toy(
        folder / "model.onnx",
        past="input.cache.layers.0.keys",
        present="output.cache.layers.0.keys",
        memory=("input.cache.layers.1.conv_states", "output.cache.layers.1.conv_states"),
    ),
    "prefill and decode": lambda folder: pair(folder, "prefill.onnx", "decode.onnx", "last"),
    "decoder with past": lambda folder: pair(folder, "decoder_model.onnx", "decoder_with_past_model.onnx"),
    "a folder of the hub": lambda folder: write_toy(folder / "onnx" / "model.onnx").parent.parent,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_answers_logits_and_scores_are_the_graphs(name: str, tmp_path: Path) -> None:
    tokens = [(7 * i * i + 3) % VOCABULARY for i in range(30)]
    expected = toy_logits(tokens)
    with opened(GRAPHS[name](tmp_path)) as session:
        assert session.vocabulary_size == VOCABULARY
        assert generated(session, PROMPT, 20) == toy_tokens(PROMPT, 20)
        session.reset()
        assert session.logits(tokens) == pytest.approx(expected, abs=1e-4)
        shifted = expected - expected.max(1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        assert session.score(tokens) == pytest.approx(log_probabilities[np.arange(29), tokens[1:]], abs=1e-4)
        assert generated(session, PROMPT, 5) == toy_tokens(PROMPT, 5), "a second sequence knows nothing of the first"


def test_a_prompt_after_chunks_of_a_score_is_read_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joulebench_plugins.onnx.session._SCORE_CHUNK", 7)
    tokens = [(5 * i + 2) % VOCABULARY for i in range(24)]
    for name in ("all logits", "prefill and decode"):
        with opened(GRAPHS[name](tmp_path / name.replace(" ", "-"))) as session:
            assert session.logits(tokens) == pytest.approx(toy_logits(tokens), abs=1e-4)


def test_states_and_weights_are_accounted_for(tmp_path: Path) -> None:
    with opened(write_toy(tmp_path / "model.onnx")) as session:
        session.prefill(PROMPT)
        session.step()
        memory, traffic, facts = session.memory(), session.traffic(), session.facts()
    row = 4 * WIDTH
    assert memory.kv_used_bytes == memory.kv_allocated_bytes == (len(PROMPT) + 1) * row + row
    assert traffic.kv_position_bytes == row
    assert traffic.operations == 2 * WIDTH * VOCABULARY
    assert traffic.head_operations == 0, "this graph computes logits of every token of a prompt"
    assert (facts["states"], facts["prompt"]) == ("written anew at each token", "in one run")
    assert "uncounted" not in facts


def test_only_the_last_logits_of_a_prompt_are_head_operations(tmp_path: Path) -> None:
    for name, logits in (("a", "last"), ("b", "kept")):
        with opened(write_toy(tmp_path / name / "model.onnx", logits=logits)) as session:
            assert session.traffic().head_operations == 2 * WIDTH * VOCABULARY


def test_half_precision_states_are_half_as_large(tmp_path: Path) -> None:
    with opened(write_toy(tmp_path / "model.onnx", dtype=np.float16)) as session:
        assert generated(session, PROMPT, 8) == toy_tokens(PROMPT, 8)
        assert session.traffic().kv_position_bytes == 2 * WIDTH
        assert session.logits(PROMPT).dtype == np.float32


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``checkpoint``, ``onnx`` by onnx-export, and ``genai``, the same in another layout."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("llama")
    export(write_checkpoint(folder / "checkpoint", TIED), folder / "onnx")
    genai_like(folder / "onnx", folder / "genai")
    return folder


def test_genais_layout_writes_keys_and_values_in_place(llama: Path) -> None:
    prompt = [3, 14, 15, 92, 65]
    with opened(llama / "onnx") as known, opened(llama / "genai") as session:
        assert session.context_length == 96, "of genai_config.json"
        assert generated(session, prompt, 60) == generated(known, prompt, 60)
        memory = session.memory()
        position_bytes = session.traffic().kv_position_bytes
        assert position_bytes == known.traffic().kv_position_bytes
        assert memory.kv_allocated_bytes == 96 * position_bytes
        assert memory.kv_used_bytes == (len(prompt) + 59) * position_bytes
        assert session.facts()["states"] == "shared buffer"
        session.reset()
        known.reset()
        assert session.logits(prompt) == pytest.approx(known.logits(prompt), abs=1e-4)


def test_a_graph_that_asks_for_the_length_of_a_cache_is_given_no_longer_buffer(llama: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    folder = shutil.copytree(llama / "genai", tmp_path / "asking")
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    model.graph.node.insert(0, helper.make_node("Shape", ["past_key_values.1.key"], ["asked"], start=2, end=3))
    model.graph.output.append(helper.make_tensor_value_info("asked", onnx.TensorProto.INT64, [1]))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    prompt = [3, 14, 15, 92, 65]
    with opened(llama / "onnx") as known, opened(folder) as session:
        assert session.facts()["states"] == "written anew at each token"
        assert generated(session, prompt, 20) == generated(known, prompt, 20)


def test_operators_are_those_of_a_known_graph_only(tmp_path: Path) -> None:
    with (
        opened(write_toy(tmp_path / "model.onnx")) as session,
        pytest.raises(JoulebenchError, match="operators of this model are not known"),
    ):
        session.operators(4)


def test_a_branch_makes_traffic_unknown_and_says_so(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    file = write_toy(tmp_path / "model.onnx")
    model = onnx.load(str(file))
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Identity", ["hidden"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }
    place = next(index for index, node in enumerate(model.graph.node) if node.output[0] == "logits")
    model.graph.node.insert(place, helper.make_node("If", ["use_cache_branch"], ["chosen"], **branches))
    model.graph.node[place + 1].input[0] = "chosen"
    model.graph.input.append(helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]))
    file.write_bytes(model.SerializeToString())
    for folder, format_ in ((file, "onnx"), (to_ort(file, tmp_path / "ort"), "ort")):
        with opened(folder, format_) as session:
            assert generated(session, PROMPT, 6) == toy_tokens(PROMPT, 6)
            assert session.traffic().operations is session.traffic().weights_bytes is None
            assert session.facts()["uncounted"] == "the graph has branches, loops or functions"


def test_experts_that_are_chosen_make_traffic_unknown_and_say_so(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    file = write_toy(tmp_path / "model.onnx")
    model = onnx.load(str(file))
    model.graph.node.append(helper.make_node("TopK", ["hidden", "one"], ["scores", "experts"]))
    model.graph.output.append(helper.make_tensor_value_info("experts", onnx.TensorProto.INT64, None))
    file.write_bytes(model.SerializeToString())
    for folder, format_ in ((file, "onnx"), (to_ort(file, tmp_path / "ort"), "ort")):
        with opened(folder, format_) as session:
            assert session.traffic().operations is None
            assert session.facts()["uncounted"] == "experts are chosen by TopK"


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("past", "present"),
    [
        ("past_key_values.0.key", "present.0.key"),
        ("past_key_values.11.value", "present_key_values.11.value"),
        ("past_key_0", "present_key_0"),
        ("past_0", "present_0"),
        ("past_conv.0", "present_conv.0"),
        ("past_key_values.0.recurrent_state", "present.0.recurrent_state"),
        ("input.cache.layers.0.keys", "output.cache.layers.0.keys"),
        ("past_key_values.layers.0.conv_states", "cache.layers.0.conv_states"),
    ],
)
def test_a_state_is_known_by_what_its_names_share(past: str, present: str) -> None:
    ids = Port("input_ids", "int64", (1, "n"))
    logits = Port("logits", "float", (1, "n", 8))
    decoder, fault = classify(
        [ids, Port(past, "float", (1, 2, "p", 4))], [logits, Port(present, "float", (1, 2, "q", 4))]
    )
    assert fault is None
    assert decoder is not None
    assert [(state.input.name, state.output.name) for state in decoder.states] == [(past, present)]
    assert decoder.states[0].extents(7) == (1, 2, 7, 4)


def test_numbers_as_names_of_extents_are_numbers() -> None:
    assert Port("x", "float", (1, "2", "s53", 16, None)).extents == (1, 2, None, 16, None)


# -- the plan ----------------------------------------------------------------------------------


def test_a_folder_runs_unchanged_with_what_lies_beside_it(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "m" / "model.onnx", external="model.onnx.data").parent
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 64, "auto_map": {"a": "b"}}), "utf-8")
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    plan = plan_of(folder)
    cell = next(cell for cell in plan.cells if cell.backend == "onnx")
    assert (cell.reason, cell.transforms) == (None, ())
    bytes_ = sum((folder / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert len(cell.notes) == 1
    assert cell.notes[0].startswith("as it is on onnx: float32 100.0 %, ")
    assert cell.notes[0].endswith(f" bits per weight, {bytes_ / 1e6:,.1f} MB")
    file = plan.models["m"].file
    assert file is not None
    assert file.beside == folder
    assert "auto_map" not in file.config
    artifact = obtain_model(plan.models["m"], read_catalogue([]), Path("/"), print)
    assert artifact.size_bytes == bytes_
    with opened(folder) as session:
        assert session.context_length == 64
    assert "no way from format 'onnx'" in str(reason(plan, "torch"))


def test_more_context_than_the_model_has_is_refused(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "model.onnx").parent
    (folder / "config.json").write_text('{"max_position_embeddings": 3}', "utf-8")
    assert "context" in str(reason(plan_of(folder), "onnx"))


def test_the_phones_backend_gets_the_users_own_graph_in_its_format(tmp_path: Path) -> None:
    file = write_toy(tmp_path / "model.onnx")
    plan = plan_of(file)
    cell = next(cell for cell in plan.cells if cell.backend == "onnx-mobile")
    assert (cell.reason, [step.name for step in cell.transforms]) == (None, ["ort-format"])
    with opened(to_ort(file, tmp_path / "ort"), "ort") as session:
        assert generated(session, PROMPT, 12) == toy_tokens(PROMPT, 12)
    assert "two graphs" in str(reason(plan_of(pair(tmp_path / "pair", "prefill.onnx", "decode.onnx")), "onnx-mobile"))


def test_a_folder_of_several_models_asks_for_one_by_name(tmp_path: Path) -> None:
    for name in ("model.onnx", "model_q4.onnx", "model_fp16.onnx"):
        write_toy(tmp_path / "onnx" / name)
    with pytest.raises(ModelError, match=r"onnx/model\.onnx, onnx/model_fp16\.onnx, onnx/model_q4\.onnx") as caught:
        plan_of(tmp_path)
    assert caught.value.hint == f"name the file: path:{tmp_path}/onnx/model.onnx"
    (tmp_path / "config.json").write_text('{"vocab_size": 23}', "utf-8")
    plan = plan_of(tmp_path / "onnx" / "model_q4.onnx")
    assert reason(plan, "onnx") is None
    assert plan.models["m"].config == {"vocab_size": 23}, "of the folder above"


def test_inputs_that_nobody_knows_are_named_by_the_plan(tmp_path: Path) -> None:
    file = write_toy(tmp_path / "model.onnx", extra=("pixel_values", "inputs_embeds"))
    fault = reason(plan_of(file), "onnx")
    assert fault == "model.onnx: needs inputs that nobody knows how to fill: pixel_values, inputs_embeds"
    assert fault == reason(plan_of(file), "onnx-mobile") or "pixel_values" in str(reason(plan_of(file), "onnx-mobile"))


def test_a_graph_without_a_memory_is_refused(tmp_path: Path) -> None:
    file = write_toy(tmp_path / "decoder_model.onnx", past=None)
    assert "takes no keys, values or states" in str(reason(plan_of(file), "onnx"))


@pytest.mark.parametrize("location", ["../outside.data", "/etc/hostname"])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    import onnx

    file = write_toy(tmp_path / "in" / "model.onnx", external="model.onnx.data")
    shutil.copy(tmp_path / "in" / "model.onnx.data", tmp_path / "outside.data")
    model = onnx.load(str(file), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="outside its folder"):
        plan_of(file)


def test_a_link_that_leads_out_is_refused_and_one_into_the_hubs_blobs_is_not(tmp_path: Path) -> None:
    model = tmp_path / "models--org--name"
    snapshot = model / "snapshots" / "abc"
    write_toy(snapshot / "model.onnx", external="model.onnx.data")
    (model / "blobs").mkdir()
    (snapshot / "model.onnx.data").rename(model / "blobs" / "1")
    (snapshot / "model.onnx.data").symlink_to(model / "blobs" / "1")
    assert reason(plan_of(snapshot), "onnx") is None
    other = tmp_path / "other"
    shutil.copytree(snapshot, other, symlinks=True)
    with pytest.raises(ModelError, match="outside its folder"):
        plan_of(other)


def test_missing_weights_and_damaged_graphs_are_said(tmp_path: Path) -> None:
    file = write_toy(tmp_path / "model.onnx", external="model.onnx.data")
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(ModelError, match=r"lacks model\.onnx\.data"):
        plan_of(file)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ModelError, match="no whole ONNX model"):
        plan_of(file)


def test_what_cannot_be_agreed_says_that_only_this_file_is_here(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("x\n", "utf-8")
    more = f'[agreement]\nreference.backend = "torch"\nprompts = "{tmp_path}/prompts.txt"\n'
    plan = plan_of(write_toy(tmp_path / "model.onnx"), more)
    assert "only model.onnx is here; " in str(plan.references["m"].reason)


def test_weights_are_quantized_in_the_users_own_graph(tmp_path: Path) -> None:
    from joulebench_plugins.onnx.quantizing import OnnxDynamicInt8

    file = write_toy(tmp_path / "in" / "model.onnx", external="model.onnx.data")
    (tmp_path / "out").mkdir()
    technique = OnnxDynamicInt8()
    technique.apply(file, tmp_path / "out", technique.default_settings())
    assert any(node.operator == "MatMulInteger" for node in take_inventory(tmp_path / "out" / "model.onnx").nodes)
    with opened(tmp_path / "out") as session:
        own = session.logits(PROMPT)
    expected = toy_logits(PROMPT)
    assert 0 < np.abs(own - expected).max() < 0.1 * np.ptp(expected)


# -- agreement ---------------------------------------------------------------------------------


def test_a_graph_that_is_right_at_its_traced_length_only_disagrees(tmp_path: Path) -> None:
    """As a tracer that has noted a length down leaves it: no error, but other tokens at any other length."""
    right = write_toy(tmp_path / "right" / "model.onnx")
    wrong = write_toy(tmp_path / "wrong" / "model.onnx", right_at=len(PROMPT))
    (tmp_path / "reference").mkdir()
    with opened(right) as reference, opened(wrong) as session:
        assert session.prefill(PROMPT) == toy_tokens(PROMPT, 1)[0], "at this length nobody would notice"
        keep_reference(reference, [[*PROMPT, 7, 1]], 6, tmp_path / "reference")
        wrong_ones, right_ones = (
            verdict(agreement_record({}, compare(own, OnnxBackend.capabilities, tmp_path / "reference", None), None))
            for own in (session, reference)
        )
    assert "parted from the reference beyond a tie" in wrong_ones[0]
    assert right_ones == ()


def test_a_prompts_graph_of_one_length_leaves_the_prompt_to_the_other(tmp_path: Path) -> None:
    write_toy(tmp_path / "prefill.onnx", past=None, tokens=9)
    write_toy(tmp_path / "decode.onnx", tokens=1)
    with opened(tmp_path) as session:
        assert generated(session, PROMPT, 12) == toy_tokens(PROMPT, 12)
        assert session.facts()["prompt"] == "token by token"


def test_extents_that_the_prompts_graph_knows_are_those_of_the_states() -> None:
    """A tracer leaves a convolution's window free in the step's graph; it does not grow."""
    ids, logits = Port("input_ids", "int64", (1, "n")), Port("logits", "float", (1, "n", 8))
    prompt, _ = classify([ids], [logits, Port("cache.layers.0.conv_states.0", "float", (1, 6, 4))])
    names = ("input.cache.layers.0.conv_states.0", "output.cache.layers.0.conv_states.0")
    step, _ = classify([ids, Port(names[0], "float", (1, 6, "s84"))], [logits, Port(names[1], "float", (1, 6, "s84"))])
    assert prompt is not None
    assert step is not None
    assert step.states[0].growing_axis == 2
    known = with_extents_of(prompt, step).states[0]
    assert (known.growing_axis, known.extents(0)) == (None, (1, 6, 4))
