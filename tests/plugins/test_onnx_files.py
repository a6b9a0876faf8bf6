"""Converted files: what is written, what is refused, and how a damaged one is told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_models import write_checkpoint
from onnx_models import TIED, UNTIED, export, opened, to_ort

from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.onnx.exporter import OnnxExport
from joulebench_plugins.onnx.inventory import take_inventory
from joulebench_plugins.onnx.ortformat import OPERATORS_FILE, OrtFormat

pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("llama"), TIED)


@pytest.fixture(scope="module")
def model(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(checkpoint, tmp_path_factory.mktemp("onnx") / "model")


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A model to be damaged."""
    return shutil.copytree(model, tmp_path / "copy")


# -- what is written --------------------------------------------------------------------------


def test_the_graph_is_the_one_that_the_page_promises(model: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    promised = re.findall(r"^\| `([\w.]+)`[^|]*\| (int32|int64|float32) \| ", page, re.M)
    graph = onnx.load(str(model / "model.onnx"), load_external_data=False).graph
    types = {onnx.TensorProto.INT32: "int32", onnx.TensorProto.INT64: "int64", onnx.TensorProto.FLOAT: "float32"}
    written = [(value.name, types[value.type.tensor_type.elem_type]) for value in (*graph.input, *graph.output)]
    one_layer = [(name, kind) for name, kind in written if not re.search(r"\.[1-9]\d*\.|\.value$", name)]
    assert sorted(one_layer) == sorted(promised)


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Path, model: Path, tmp_path: Path) -> None:
    again = export(checkpoint, tmp_path / "again")
    names = {file.name for file in model.iterdir()}
    assert names == {"model.onnx", "model.onnx.data"}
    for name in names:
        assert (again / name).read_bytes() == (model / name).read_bytes()


def test_the_graph_is_written_for_older_runtimes(model: Path) -> None:
    graph = onnx.load(str(model / "model.onnx"))
    assert graph.ir_version == 10
    assert {opset.domain: opset.version for opset in graph.opset_import} == {"": 21, "com.microsoft": 1}
    assert (model / "model.onnx").stat().st_size < 40_000, "weights lie in the other file"


def test_weights_begin_at_pages_so_that_they_can_be_mapped(model: Path) -> None:
    graph = onnx.load(str(model / "model.onnx"), load_external_data=False).graph
    places = [{entry.key: entry.value for entry in initializer.external_data} for initializer in graph.initializer]
    outside = [place for place in places if place]
    assert len(outside) == len(places) - 1
    assert all(int(place["offset"]) % 4096 == 0 for place in outside)
    assert {place["location"] for place in outside} == {"model.onnx.data"}


def test_a_tied_head_is_the_embedding_and_an_untied_one_its_own(model: Path, tmp_path: Path) -> None:
    rows = [TIED["vocab_size"], TIED["hidden_size"]]
    untied = export(write_checkpoint(tmp_path / "checkpoint", UNTIED), tmp_path / "untied")
    for folder, count in ((model, 1), (untied, 2)):
        tensors = take_inventory(folder / "model.onnx").tensors.values()
        assert sum(list(tensor.shape) == rows for tensor in tensors) == count


def test_ort_format_comes_with_the_operators_that_a_reduced_build_needs(model: Path, tmp_path: Path) -> None:
    folder = to_ort(model, tmp_path / "ort")
    assert {file.name for file in folder.iterdir()} == {"model.ort", OPERATORS_FILE}
    lines = (folder / OPERATORS_FILE).read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("com.microsoft;1;") and "GroupQueryAttention" in line for line in lines)
    assert any("MatMul" in line and "float" in line for line in lines), "with their number types"
    nodes = [node.operator for node in take_inventory(folder / "model.ort").nodes]
    assert "QuickGelu" in nodes, "optimised to the level 'extended' when it was written"


def test_ort_format_holds_the_tensors_of_the_onnx_file(model: Path, tmp_path: Path) -> None:
    folder = to_ort(model, tmp_path / "ort")
    before, after = take_inventory(model / "model.onnx"), take_inventory(folder / "model.ort")
    stored = [
        {name: (tensor.dtype, tensor.shape, tensor.size_bytes) for name, tensor in one.tensors.items()}
        for one in (before, after)
    ]
    assert stored[0] == stored[1]
    assert after.operations_per_token() == before.operations_per_token()


# -- what is refused --------------------------------------------------------------------------


def test_models_that_write_no_text_are_refused_by_name() -> None:
    assert "BertModel" in str(OnnxExport().supports("BertModel"))
    assert OnnxExport().supports("LlamaForCausalLM") is None
    assert OnnxExport().supports(None) is None


def test_other_models_than_llamas_need_what_traces_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joulebench_plugins.onnx.exporter._TRACERS", ("onnx", "json.absent", "absent"))
    fault = str(OnnxExport().supports("GPT2LMHeadModel"))
    assert fault == "tracing needs json.absent, absent (pip install 'joulebench[onnx-export]')"
    monkeypatch.setattr("joulebench_plugins.onnx.exporter._TRACERS", ("onnx",))
    assert OnnxExport().supports("GPT2LMHeadModel") is None


def changed(checkpoint: Path, folder: Path, **config: Any) -> Path:
    shutil.copytree(checkpoint, folder)
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(content | config), encoding="utf-8")
    return folder


def test_a_config_that_the_graph_cannot_express_is_refused_with_its_file(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "gelu", hidden_act="gelu")
    with pytest.raises(ArtifactError, match="hidden_act 'gelu'") as caught:
        OnnxExport().convert(folder, tmp_path, {"graph": "written"})
    assert caught.value.where == str(folder / "config.json")


def test_a_config_that_contradicts_the_weights_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "wide", intermediate_size=128)
    with pytest.raises(ModelError, match=r"gate_proj\.weight' is \(96, 64\).*\(128, 64\)"):
        export(folder, tmp_path / "out")


def test_a_missing_tensor_is_named(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "deep", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"lacks the tensor 'model\.layers\.2\."):
        export(folder, tmp_path / "out")


def test_a_truncated_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "short")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="is truncated"):
        export(folder, tmp_path / "out")


def test_pickled_weights_are_not_looked_at(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only pickled weights"):
        export(folder, tmp_path / "out")


def test_more_than_ort_format_holds_is_refused_before_it_is_tried(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joulebench_plugins.onnx.ortformat.MAX_ORT_BYTES", 1000)
    with pytest.raises(ArtifactError, match="do not fit into ORT format") as caught:
        OrtFormat().convert(model, tmp_path, {})
    assert "'onnx'" in str(caught.value.hint)


# -- damaged and foreign files ----------------------------------------------------------------


def edited(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "model.onnx"
        graph = onnx.load(str(file), load_external_data=False)
        change(graph)
        file.write_bytes(graph.SerializeToString())

    return edit


def set_ir(graph: Any) -> None:
    graph.ir_version = 99


def set_opset(graph: Any) -> None:
    graph.opset_import[0].version = 99


def set_operator(graph: Any) -> None:
    graph.graph.node[3].op_type = "Imagined"


def rename_input(graph: Any) -> None:
    for node in graph.graph.node:
        node.input[:] = ["chosen" if name == "logit_positions" else name for name in node.input]
    for entry in graph.graph.input:
        if entry.name == "logit_positions":
            entry.name = "chosen"


def lead_outside(graph: Any) -> None:
    for initializer in graph.graph.initializer:
        for entry in initializer.external_data:
            if entry.key == "location":
                entry.value = "../model.onnx.data"


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "newer IR": (edited(set_ir), "newer ONNX file format.*99"),
    "newer opset": (edited(set_opset), r"newer operator set \(opset\)"),
    "unknown operator": (edited(set_operator), "an operator that the installed onnxruntime"),
    "another graph": (edited(rename_input), "nobody knows how to fill: chosen"),
    "no weights": (lambda folder: (folder / "model.onnx.data").unlink(), "lacks the file"),
    "short weights": (lambda folder: (folder / "model.onnx.data").write_bytes(b"123"), "truncated file of weights"),
    "weights elsewhere": (edited(lead_outside), "outside its folder|lacks the file"),
    "no ONNX": (lambda folder: (folder / "model.onnx").write_bytes(b"hello" * 99), "no whole ONNX"),
    "empty": (lambda folder: (folder / "model.onnx").write_bytes(b""), "no whole ONNX"),
    "no file": (lambda folder: (folder / "model.onnx").unlink(), "holds no ONNX model"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_model_that_cannot_be_loaded_is_told_in_plain_words(name: str, copy: Path) -> None:
    damage, words = DAMAGES[name]
    damage(copy)
    with pytest.raises(ModelError, match=words) as caught:
        opened(copy)
    assert caught.value.where is not None
    assert caught.value.where.startswith(str(copy))
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"abcd" * 1000, None], ids=["foreign", "truncated"])
def test_a_damaged_ort_file_is_told_in_plain_words(model: Path, tmp_path: Path, content: bytes | None) -> None:
    folder = to_ort(model, tmp_path / "ort")
    file = folder / "model.ort"
    file.write_bytes(file.read_bytes()[:5000] if content is None else content)
    with pytest.raises(ModelError, match="no whole ORT-format file"):
        opened(folder, "ort")


def test_an_ort_file_of_another_version_is_told_in_plain_words(model: Path, tmp_path: Path) -> None:
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import InferenceSession

    folder = to_ort(model, tmp_path / "ort")
    file = folder / "model.ort"
    content = bytearray(file.read_bytes())
    version = InferenceSession.InferenceSession.GetRootAs(content, 0).OrtVersion()
    place = content.index(len(version).to_bytes(4, "little") + version) + 4
    content[place : place + len(version)] = b"9" * len(version)
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"another version of ORT format.*9"):
        opened(folder, "ort")


def test_lack_of_memory_is_told_as_that(model: Path) -> None:
    """The worker reports a MemoryError as lack of memory, whatever the runtime calls it."""
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1]); from onnx_models import opened\n"
        "import onnxruntime, joulebench_plugins.onnx.session; from pathlib import Path\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]),) * 2)\n"
        "try: opened(Path(sys.argv[2]))\n"
        "except MemoryError as error: print(error)\n"
    )
    here = Path(__file__).parent
    answer = subprocess.run(
        [sys.executable, "-c", code, str(here), str(model), "100000"], capture_output=True, text=True, check=True
    )
    assert "not enough memory to load" in answer.stdout
