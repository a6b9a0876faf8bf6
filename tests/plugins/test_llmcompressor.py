"""llmcompressor's techniques: what they declare and check, evidence, and the real library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from joulebench.api import Artifact, ArtifactTechnique
from joulebench.environments.store import Environments, needed_environments
from joulebench.models.catalogue import read_catalogue
from joulebench.models.store import Store, hash_content
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.profile.values import complete
from joulebench.registry.loading import default_registry

NAMES = ["llmcompressor-gptq", "llmcompressor-wanda", "llmcompressor-sparsegpt"]
CONFIG = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
}


def made(name: str) -> ArtifactTechnique:
    technique = default_registry().technique(name)
    assert isinstance(technique, ArtifactTechnique)
    return technique


def settings(name: str, **given: object) -> dict[str, Any]:
    return complete(made(name).options, given, str)


def test_all_share_one_environment() -> None:
    environment = needed_environments(default_registry())["llmcompressor"]
    assert sorted(name for _, name in environment.plugins) == sorted(NAMES)
    assert environment.distributions == ("joulebench",)


def test_the_plugin_imports_no_library() -> None:
    code = (
        "import sys, joulebench_plugins.llmcompressor as p; p.joulebench_techniques();"
        "print([m for m in ('torch', 'transformers', 'llmcompressor') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_library_the_cure_is_the_environment() -> None:
    availability = made(NAMES[0]).available()
    if not availability.ok:  # whoever has it here needs no environment
        assert availability.cure == "joulebench env create llmcompressor"


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        (NAMES[0], {"group": 100}, "groups of 100 do not divide matrices that are 576 wide"),
        (NAMES[0], {"group": 64, "length": 9000}, "longer than the model's context of 8192"),
        (NAMES[1], {"pattern": "2:4", "sparsity": 0.6}, "pattern 2:4 is a sparsity of 50 %"),
        (NAMES[2], {"length": 9000}, "longer than the model's context"),
    ],
)
def test_settings_that_do_not_fit_the_model_say_why(name: str, given: dict[str, object], words: str) -> None:
    assert words in str(made(name).check(settings(name, **given), CONFIG))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_whose_layers_are_transposed_is_refused(name: str) -> None:
    assert "of which models of type 'gpt2' consist" in str(made(name).check(settings(name), {"model_type": "gpt2"}))


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_fit_the_embedded_model(name: str) -> None:
    assert made(name).check(settings(name), CONFIG) is None


def write(folder: Path, matrix: Any) -> Path:
    from safetensors.torch import save_file

    folder.mkdir()
    save_file({"model.layers.0.mlp.up_proj.weight": matrix}, folder / "model.safetensors")
    return folder


def test_values_of_a_group_are_counted_in_the_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    before = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    scale = before.reshape(4, 2, 32).abs().amax(-1, keepdim=True) / 7
    rounded = (torch.round(before.reshape(4, 2, 32) / scale) * scale).reshape(4, 64)
    folders = write(tmp_path / "before", before), write(tmp_path / "after", rounded)
    evidence = made(NAMES[0]).evidence(*folders, settings(NAMES[0]))
    assert evidence["groups"] == 8
    assert 8 <= int(str(evidence["most_values_in_a_group"])) <= 15
    assert evidence["values_hold"] is True
    unrounded = made(NAMES[0]).evidence(folders[0], folders[0], settings(NAMES[0]))
    assert unrounded["values_hold"] is False
    assert unrounded["changed_fraction"] == 0.0


def test_zeros_and_patterns_are_counted_in_the_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    before = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    pruned = before.clone()
    pruned.reshape(-1, 4)[:, :2] = 0
    folders = write(tmp_path / "before", before), write(tmp_path / "after", pruned)
    chosen = settings(NAMES[1], pattern="2:4")
    evidence = made(NAMES[1]).evidence(*folders, chosen)
    assert (evidence["zero_fraction"], evidence["zero_fraction_before"]) == (0.5, 0.0)
    assert (evidence["pattern_groups"], evidence["pattern_holds"]) == (64, True)
    assert made(NAMES[1]).evidence(folders[0], folders[0], chosen)["pattern_holds"] is False


# -- the real library, where its environment has been made ------------------------------------


def transform(name: str, given: str, tmp_path: Path) -> Any:
    """The step as a plan gives it; skips where the environment has not been made."""
    registry = default_registry()
    need = made(name).environment_needs
    assert need is not None
    fault = Environments().fault(need)
    if fault is not None:
        pytest.skip(f"environment llmcompressor {fault}: joulebench env create llmcompressor")
    text = (
        'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n[backend.torch]\n'
        f"[workload.generate]\n[technique.{name}]\n{given}"
    )
    folders = registry.profile_dirs()
    plan = make_plan(parse_profile(text, "p.toml", tmp_path), registry, read_catalogue(folders), folders)
    return plan.cells[0].transforms[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "given"), [(NAMES[0], "bits = 4\ngroup = 32\n"), (NAMES[1], 'pattern = "2:4"\n'), (NAMES[2], "")]
)
def test_the_library_makes_a_dense_checkpoint_that_shows_what_was_done(
    cache: Path, tmp_path: Path, name: str, given: str
) -> None:
    pytest.importorskip("torch")
    from dataclasses import replace

    from pruning_models import make_model, save, tensors_of

    step = transform(name, given, tmp_path)
    (tmp_path / "model").mkdir()
    source = save(make_model("llama"), tmp_path / "model")
    words = [
        f"{place} {animal} pays {count} coins; "
        for count, (place, animal) in enumerate(
            (p, a) for p in ("hill", "roof", "boat", "wall") for a in ("owl", "hare", "cat", "dog")
        )
    ]
    text = tmp_path / "seen.txt"
    text.write_text("".join(words) * 4)
    step = replace(step, settings={**step.settings, "sequences": 6, "length": 24}, files={"calibration": text})
    stored = Store(tmp_path / "store").make(Artifact("hf", source, *hash_content(source)), step)
    before, after = tensors_of(source), tensors_of(stored.artifact.path)
    assert {key: (value.shape, value.dtype) for key, value in before.items()} == {
        key: (value.shape, value.dtype) for key, value in after.items()
    }
    assert stored.evidence["weights_bytes_after"] == pytest.approx(stored.evidence["weights_bytes_before"], rel=0.01)
    if name == NAMES[0]:
        assert stored.evidence["values_hold"] is True
        assert float(str(stored.evidence["changed_fraction"])) > 0.9
    else:
        assert stored.evidence["zero_fraction"] == pytest.approx(0.5, abs=0.01)
    if "2:4" in given:
        assert stored.evidence["pattern_holds"] is True
    again = Store(tmp_path / "twice").make(Artifact("hf", source, *hash_content(source)), step)
    assert again.artifact.content_hash == stored.artifact.content_hash
