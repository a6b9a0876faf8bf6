"""The prebuilt binding gives what the built one gives, in processes of their own.

Two copies of llama.cpp in one process would share parts by their names.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest
from foreign_gguf import foreign_model, write_foreign
from gguf_models import SPECIALS, TEXTS, add_tokenizer, byte_level_tokenizer, exported
from llama_models import TIED, write_checkpoint

np = pytest.importorskip("numpy")
pytest.importorskip("gguf")
pytest.importorskip("transformers")
MODULES = ("llama_cpp", "llama_cpp_py_sync")
MISSING = [name for name in MODULES if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.apart,
    pytest.mark.skipif(bool(MISSING), reason=f"both bindings are compared; not installed: {MISSING}"),
]

PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
CODE = """
import json, sys
from pathlib import Path
from joulebench.errors import JoulebenchError
from joulebench_plugins.llamacpp.settings import complete
from joulebench_plugins.llamacpp.loading import open_session

module, file, prompt = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
answer = {}
for kind in ("f32", "q8_0"):
    settings = complete({"threads": 1, "kv_type_k": kind, "kv_type_v": kind, "batch_tokens": 5})
    with open_session(file, "cpu", settings, module) as session:
        tokens = [session.prefill(prompt), *(session.step() for _ in range(20))]
        memory, facts = session.memory(), session.facts()
        answer[kind] = {
            "tokens": tokens, "kv": [memory.kv_allocated_bytes, memory.kv_used_bytes],
            "weights": memory.weights_bytes, "workspace": memory.workspace_bytes,
            "scores": list(session.score(prompt)), "logits": session.logits(prompt).tolist(),
            "facts": {key: facts[key] for key in ("dtype", "flash_attention", "kv_type_k")},
        }
        try:
            session.prefill([100000])
        except JoulebenchError as error:
            answer[kind]["error"] = str(error)
        reader = session.tokenizer()
        ids = [reader.encode(text, True) for text in json.loads(sys.argv[4])]
        answer["texts"] = {
            "ids": ids, "texts": [reader.decode(tokens) for tokens in ids], "ends": sorted(reader.eos_tokens),
            "template": reader.chat_template, "specials": dict(reader.special_texts),
        }
from joulebench_plugins.llamacpp.loading import file_fault
answer["fault"] = [file_fault(name, module)["fault"] for name in (str(file), sys.argv[5])]
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("prebuilt")
    checkpoint = write_checkpoint(folder / "hf", {**TIED, "vocab_size": 320, "head_dim": 32})
    file = exported(add_tokenizer(checkpoint, byte_level_tokenizer("smollm"), SPECIALS), folder / "gguf")
    model = foreign_model("qwen2", 320)
    foreign = write_foreign(folder / "m.gguf", "qwen2", model, architecture="wonder")
    return {
        module: json.loads(
            subprocess.run(
                [sys.executable, "-c", CODE, module, file, json.dumps(PROMPT), json.dumps(TEXTS), foreign],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for module in MODULES
    }


def test_both_bindings_write_the_same_tokens_with_the_same_scores(answers: dict[str, Any]) -> None:
    built, prebuilt = (answers[module]["f32"] for module in MODULES)
    assert len(set(built["tokens"])) > 5
    assert prebuilt["tokens"] == built["tokens"]
    assert prebuilt["scores"] == pytest.approx(built["scores"], abs=1e-3)
    assert np.array(prebuilt["logits"]) == pytest.approx(np.array(built["logits"]), abs=2e-3)


@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_both_bindings_read_the_same_account_of_memory(answers: dict[str, Any], kind: str) -> None:
    built, prebuilt = (answers[module][kind] for module in MODULES)
    assert prebuilt["kv"] == built["kv"]
    assert prebuilt["weights"] == built["weights"]
    assert prebuilt["workspace"] is not None
    assert prebuilt["facts"] == built["facts"]
    assert built["facts"]["flash_attention"] is (kind == "q8_0")


def test_both_bindings_give_the_librarys_words_for_an_error(answers: dict[str, Any]) -> None:
    for module in MODULES:
        assert "invalid token" in answers[module]["f32"]["error"]


def test_both_bindings_read_texts_alike(answers: dict[str, Any]) -> None:
    built, prebuilt = (answers[module]["texts"] for module in MODULES)
    assert prebuilt == built
    assert built["texts"] == TEXTS
    assert (built["ends"], built["template"]) == ([0], SPECIALS["chat_template"])


def test_the_library_says_what_it_cannot_open(answers: dict[str, Any]) -> None:
    for module in MODULES:
        whole, foreign = answers[module]["fault"]
        assert whole is None
        assert foreign == "unknown model architecture: 'wonder'"
