"""The planner: the matrix, what is skipped and why, chains of converters, labels and ids."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matrix_plugins import CATALOGUE, SmallCache, backend, converter, plan_of, registry_of, technique, workload

from joulebench.api import Availability, Environment, ModelFile, Option, Plugin
from joulebench.environments.asking import Place, here
from joulebench.errors import ProfileError, UnknownPluginError
from joulebench.plan.cells import Plan
from joulebench.plan.conversion import NoRouteError, route
from joulebench.plan.labels import untaken, with_labels
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile

A = backend("a")
BASE = "[backend.a]\n[workload.work]\n"


def test_a_list_of_values_is_an_axis_and_all_axes_are_crossed() -> None:
    plan = plan_of("[backend.a]\nthreads = [1, 2]\n[workload.work]\nlength = [5, 6, 7]\n", A)
    crossed = {(cell.backend_settings["threads"], cell.workload_settings["length"]) for cell in plan.cells}
    assert crossed == {(threads, length) for threads in (1, 2) for length in (5, 6, 7)}
    assert len(plan.cells) == 6


def test_settings_that_are_not_given_stand_in_the_plan_with_their_default() -> None:
    (cell,) = plan_of(BASE, A).cells
    assert cell.backend_settings == {"dtype": "float32"}
    assert cell.workload_settings == {"length": 10}


def test_two_entries_of_one_plugin_are_two_backends() -> None:
    plan = plan_of('[backend.a]\n[backend.b]\nplugin = "a"\n[workload.work]\n', A)
    assert [(cell.backend, cell.backend_plugin) for cell in plan.cells] == [("a", "a"), ("b", "a")]


def test_without_a_device_in_the_profile_every_device_of_the_backend_is_planned() -> None:
    plan = plan_of(BASE, backend("a", devices=("cpu", "gpu:0")))
    assert [cell.device for cell in plan.cells] == ["cpu", "gpu:0"]
    assert [cell.label for cell in plan.cells] == ["a cpu work", "a gpu:0 work"]


def test_a_device_that_is_not_here_is_skipped_and_the_others_are_named() -> None:
    (cell,) = plan_of('[backend.a]\ndevice = "gpu:3"\n[workload.work]\n', A).cells
    assert not cell.runnable
    assert cell.reason == "device 'gpu:3' is not here; a offers: cpu"
    assert cell.reason_kind == "unavailable"


def test_a_backend_that_is_not_installed_is_skipped_with_its_cure() -> None:
    missing = Availability.no("not installed: liba", "pip install 'dist[a]'")
    (cell,) = plan_of(BASE, backend("a", missing=missing)).cells
    assert cell.reason == "not installed: liba (pip install 'dist[a]')"


def test_a_backend_that_fails_to_say_whether_it_works_costs_its_own_cells_only() -> None:
    class Raising(backend("bad")):  # type: ignore[misc]
        def available(self) -> Availability:
            raise RuntimeError("driver gone")

    plan = plan_of("[backend.a]\n[backend.bad]\n[workload.work]\n", A, Raising)
    assert [cell.runnable for cell in plan.cells] == [True, False]
    assert "driver gone" in (plan.cells[1].reason or "")


def test_a_missing_capability_is_the_reason_and_names_who_asks_for_it() -> None:
    plan = plan_of("[backend.a]\n[workload.scoring]\n", A, workload("scoring", ["score"]))
    assert plan.cells[0].reason == ("workload 'scoring' needs the capability 'score', which backend 'a' does not have")


def test_a_runtime_technique_asks_for_its_capability_and_reaches_the_cell() -> None:
    able = backend("able", capabilities=("generate", "kv.quantized"))
    body = "[technique.small-cache]\nbits = 2\n[backend.a]\n[backend.able]\n[workload.work]\n"
    unable_cell, able_cell = plan_of(body, A, able, SmallCache).cells
    assert "technique 'small-cache' needs the capability 'kv.quantized'" in (unable_cell.reason or "")
    assert [(step.name, step.settings) for step in able_cell.runtime_steps] == [("small-cache", {"bits": 2})]
    assert able_cell.runnable


def test_a_value_that_the_backend_does_not_have_is_the_reason() -> None:
    able = backend("able", capabilities=("generate", "kv.quantized"))
    body = "[technique.small-cache]\nbits = 3\n[backend.able]\n[workload.work]\n"
    (cell,) = plan_of(body, able, SmallCache).cells
    assert (cell.reason, cell.reason_kind) == (
        "technique 'small-cache' sets 'bits' for backend 'able': 3 is not one of: 8, 4, 2",
        "settings",
    )


def test_an_option_that_the_backend_does_not_have_is_the_reason() -> None:
    able = backend("able", capabilities=("generate", "kv.quantized"))
    able.options = tuple(option for option in able.options if option.name != "bits")
    body = "[technique.small-cache]\n[backend.able]\n[workload.work]\n"
    (cell,) = plan_of(body, able, SmallCache).cells
    assert cell.reason == ("technique 'small-cache' sets 'bits', which backend 'able' does not have")


def test_a_request_longer_than_the_models_context_is_skipped() -> None:
    plan = plan_of("[backend.a]\n[workload.work]\nlength = [100, 101]\n", A)
    assert [cell.runnable for cell in plan.cells] == [True, False]
    assert plan.cells[1].reason == "the workload needs 101 tokens of context; the model has 100"


def test_settings_that_a_workload_rules_out_are_skipped_with_its_words() -> None:
    (cell,) = plan_of("[backend.a]\n[workload.work]\nlength = 13\n", A).cells
    assert (cell.reason, cell.reason_kind) == ("13 is unlucky", "settings")


# -- converters and techniques ------------------------------------------------------------------


def test_the_chain_of_converters_is_found_by_formats_alone() -> None:
    (cell,) = plan_of(
        "[backend.x]\n[workload.work]\n",
        backend("x", accepts=("packed",)),
        converter("second", "graph", "packed"),
        converter("first", "hf", "graph"),
        converter("astray", "hf", "nowhere"),
    ).cells
    assert [step.name for step in cell.transforms] == ["init", "first", "second"]


def test_the_shortest_chain_is_taken_and_of_equal_ones_that_to_the_first_format() -> None:
    converters = [
        converter("long-1", "hf", "mid")(),
        converter("long-2", "mid", "best")(),
        converter("to-second", "hf", "second")(),
        converter("to-first", "hf", "first")(),
    ]
    assert [step.name for step in route(converters, "hf", ("best", "second"), None)] == ["to-second"]
    assert [step.name for step in route(converters, "hf", ("first", "second"), None)] == ["to-first"]
    assert route(converters, "hf", ("second", "hf"), None) == []


def test_of_two_converters_the_first_without_a_fault_and_without_an_environment_is_taken() -> None:
    class Elsewhere(converter("a-elsewhere", "hf", "packed")):  # type: ignore[misc]
        environment_needs = Environment("other", ("library",))

    own, elsewhere, odd = (made() for made in (converter("own", "hf", "packed"), Elsewhere, converter("z", "hf", "x")))
    known = Place(None, Availability.yes(), {}, architectures=frozenset({"Tiny", "Other"}))
    missing = Place(None, Availability.no("environment 'other' is missing", "make it"), {})
    model = Path("/model")

    def taken(place: Place, architecture: str, fault: str | None = None) -> list[str]:
        places = {"a-elsewhere": place}
        steps = route(
            [elsewhere, own, odd],
            "hf",
            ("packed",),
            architecture,
            place_of=lambda made: places.get(made.name, here(made)),
            model=model,
            check=lambda made, path: fault if made is own and path == model else None,
        )
        return [step.name for step in steps]

    assert taken(known, "Tiny") == ["own"]
    assert taken(known, "Tiny", "odd tokenizer") == ["a-elsewhere"]
    with pytest.raises(NoRouteError, match=r"own: odd tokenizer; a-elsewhere: environment .* is missing \(make it"):
        taken(missing, "Tiny", "odd tokenizer")
    with pytest.raises(NoRouteError, match=r"a-elsewhere: does not know 'New' \(it knows 2 architectures\)"):
        taken(known, "New", "odd tokenizer")


def test_a_backend_s_settings_reach_the_converters_that_have_an_option_of_that_name() -> None:
    option = Option("dtype", "str", "float32", "number type", choices=("float32", "int8"))
    plain, choosy = converter("plain", "hf", "graph"), converter("choosy", "graph", "packed")
    choosy.options = (option,)
    runs = backend("x", accepts=("packed",))
    runs.conversion_settings = lambda self, settings: dict(settings)  # type: ignore[method-assign]
    cells = plan_of('[backend.x]\ndtype = ["float32", "int8"]\n[workload.work]\n', runs, plain, choosy).cells
    steps = [{step.name: dict(step.settings) for step in cell.transforms[1:]} for cell in cells]
    assert steps == [{"plain": {}, "choosy": {"dtype": "float32"}}, {"plain": {}, "choosy": {"dtype": "int8"}}]


def test_converters_in_a_circle_end_in_a_reason() -> None:
    circle = [converter("there", "hf", "x")(), converter("back", "x", "hf")()]
    with pytest.raises(NoRouteError, match="no way from format 'hf' to y"):
        route(circle, "hf", ("y",), None)


def test_without_a_converter_the_reason_names_both_formats_and_what_each_candidate_lacks() -> None:
    (cell,) = plan_of(
        "[backend.x]\n[workload.work]\n",
        backend("x", accepts=("packed",)),
        converter("picky", "hf", "packed", fault="only for Huge"),
        converter("absent", "hf", "packed", missing="not installed: tool"),
        converter("astray", "hf", "graph", fault="leads elsewhere"),
        converter("circle", "graph", "hf"),
    ).cells
    assert cell.reason == (
        "no way from format 'hf' to packed: absent: not installed: tool (the cure); picky: only for Huge"
    )


def test_a_chain_of_techniques_is_applied_in_order_with_conversions_between() -> None:
    body = (
        '[technique.both]\nsteps = [{name = "prune", share = "10%"}, {name = "pack"}]\n[backend.x]\n[workload.work]\n'
    )
    (cell,) = plan_of(
        body,
        backend("x", accepts=("packed",)),
        technique("prune"),
        technique("pack", accepts="graph", produces="packed"),
        converter("to-graph", "hf", "graph"),
    ).cells
    assert [(step.kind, step.name) for step in cell.transforms] == [
        ("converter", "init"),
        ("technique", "prune"),
        ("converter", "to-graph"),
        ("technique", "pack"),
    ]
    assert cell.transforms[1].settings == {"share": 0.1}


def test_settings_of_a_technique_that_do_not_fit_the_model_skip_the_cell() -> None:
    plan = plan_of("[technique.none]\n[technique.prune]\nshare = 0.85\n" + BASE, A, technique("prune"))
    assert [cell.technique for cell in plan.cells if cell.runnable] == ["none"]
    assert plan.cells[1].reason == "prune: too little is left"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("[technique.prun]\n", "p.toml:4: technique.prun"),
        ("[backend.aa]\n[workload.work]\n", "p.toml:4: backend.aa"),
        ('[backend.x]\nplugin = "aa"\n[workload.work]\n', "p.toml:5: backend.x.plugin"),
        ("[backend.a]\n[workload.wrk]\n", "p.toml:5: workload.wrk"),
        (BASE + "[probe.volts]\n", "p.toml:6: probe.volts"),
    ],
)
def test_a_name_that_no_plugin_has_is_an_error_at_its_line(body: str, where: str) -> None:
    body = body if "workload" in body else body + BASE
    with pytest.raises(UnknownPluginError) as caught:
        plan_of(body, A, technique("prune"))
    assert caught.value.where == where


def test_a_technique_is_checked_even_where_its_cells_could_not_run() -> None:
    missing = Availability.no("not installed")
    with pytest.raises(ProfileError, match="above the maximum"):
        plan_of("[technique.prune]\nshare = 0.99\n" + BASE, backend("a", missing=missing), technique("prune"))


# -- include and exclude ------------------------------------------------------------------------

MATRIX = '[backend.a]\ndtype = ["float32", "int8"]\nthreads = [1, 2]\n[workload.work]\n'


def kept(patterns: str) -> set[tuple[object, object]]:
    plan = plan_of(MATRIX + patterns, A)
    return {(cell.backend_settings["dtype"], cell.backend_settings["threads"]) for cell in plan.cells}


def test_include_keeps_what_any_of_its_patterns_matches() -> None:
    patterns = '[[include]]\ndtype = "int8"\nthreads = 1\n[[include]]\nthreads = 2\n'
    assert kept(patterns) == {("int8", 1), ("float32", 2), ("int8", 2)}


def test_exclude_removes_what_all_keys_of_a_pattern_match() -> None:
    assert kept('[[exclude]]\ndtype = "int8"\nthreads = 2\n') == {("float32", 1), ("float32", 2), ("int8", 1)}


def test_exclude_wins_over_include() -> None:
    assert kept('[[include]]\nthreads = 1\n[[exclude]]\ndtype = "int8"\n') == {("float32", 1)}


def test_a_list_in_a_pattern_matches_any_of_its_values() -> None:
    assert len(kept("[[include]]\nthreads = [1, 2]\n")) == 4


def test_a_file_of_a_technique_must_be_there_and_not_be_what_quality_is_judged_on(tmp_path: Path) -> None:
    (tmp_path / "judged.txt").write_text("words")
    (tmp_path / "seen.txt").write_text("other words")
    quality = f'[quality]\ntext = "{tmp_path}/judged.txt"\n'

    def planned(text: str) -> Plan:
        body = f'[technique.prune]\ntext = "{tmp_path}/{text}"\n{BASE}{quality}'
        return plan_of(body, A, technique("prune"))

    assert planned("seen.txt").cells[0].runnable
    with pytest.raises(ProfileError, match="text that quality is judged on"):
        planned("judged.txt")
    with pytest.raises(ProfileError, match=r"cannot read .*absent\.txt") as caught:
        planned("absent.txt")
    assert "technique.prune" in str(caught.value.where)


def test_a_setting_that_backend_and_workload_share_matches_by_either() -> None:
    class Threaded(workload("threaded")):  # type: ignore[misc]
        options = (*A.options,)

        def tokens_needed(self, settings: object) -> int:
            return 1

        def check(self, settings: object) -> str | None:
            return None

    body = "[backend.a]\nthreads = 1\n[workload.threaded]\nthreads = [2, 3]\n"
    plan = plan_of(body + "[[include]]\nthreads = 3\n", A, Threaded)
    assert [cell.workload_settings["threads"] for cell in plan.cells] == [3]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("dtyp = 1", "did you mean 'dtype'"),
        ('dtype = "float23"', "did you mean 'float32'"),
        ('backend = "b"', "valid: a"),
        ("threads = [1, 8]", "8 is not a value of 'threads'"),
    ],
)
def test_a_pattern_that_can_match_nothing_is_an_error_at_its_line(pattern: str, words: str) -> None:
    with pytest.raises(ProfileError) as caught:
        kept(f"[[exclude]]\n{pattern}\n")
    assert words in str(caught.value)
    assert str(caught.value).startswith("p.toml:9: exclude.")


def test_a_device_of_another_machine_may_stand_in_a_pattern() -> None:
    assert len(kept('[[exclude]]\ndevice = "gpu:7"\n')) == 4


def test_patterns_that_leave_no_cell_are_an_error() -> None:
    with pytest.raises(ProfileError, match="leave no cell"):
        kept('[[exclude]]\nbackend = "a"\n')


# -- labels and ids -----------------------------------------------------------------------------

_VALUES = st.lists(st.integers(1, 64), min_size=1, max_size=3, unique=True)
_DTYPES = st.lists(st.sampled_from(["float32", "int8"]), min_size=1, unique=True)


@given(a=_VALUES, b=_VALUES, dtypes=_DTYPES, lengths=_VALUES)
def test_labels_and_ids_tell_all_cells_apart(a: list[int], b: list[int], dtypes: list[str], lengths: list[int]) -> None:
    body = (
        f"[backend.a]\nthreads = {a}\ndtype = {json.dumps(dtypes)}\n"
        f'[backend.b]\nplugin = "a"\nthreads = {b}\n'
        f'[workload.work]\nlength = {lengths}\n[workload.again]\nplugin = "work"\n'
    )
    cells = plan_of(body, A).cells
    assert len({cell.label for cell in cells}) == len({cell.id for cell in cells}) == len(cells)


def test_a_label_says_only_what_varies() -> None:
    plan = plan_of("[backend.a]\nthreads = [1, 2]\n[workload.work]\nlength = 7\n", A)
    assert [cell.label for cell in plan.cells] == ["a threads=1 work", "a threads=2 work"]


def test_a_name_that_is_taken_gets_a_number() -> None:
    taken: list[str] = []
    for _ in range(3):
        taken.append(untaken("prune", taken))
    assert taken == ["prune", "prune #2", "prune #3"]


def test_a_device_that_nobody_knows_is_in_no_label() -> None:
    absent = backend("absent", devices=(), missing=Availability.no("not installed: liba"))
    cells = plan_of("[backend.a]\n[backend.absent]\n[workload.work]\n", A, absent).cells
    assert [(cell.label, cell.device) for cell in cells] == [("a work", "cpu"), ("absent work", "any")]


def test_long_paths_are_short_in_labels_and_still_told_apart() -> None:
    (cell,) = plan_of(BASE, A).cells
    paths = [f"/{'deep/' * 30}{folder}/prompts.jsonl" for folder in ("x", "y")]
    labelled = with_labels([replace(cell, workload_settings={"text": path}) for path in paths])
    assert [cell.label for cell in labelled] == ["a work prompts.jsonl #1", "a work prompts.jsonl #2"]
    assert all(len(cell.id) < 100 for cell in labelled)


def test_ids_are_the_same_each_time_and_change_with_what_is_measured() -> None:
    ids = [cell.id for cell in plan_of(MATRIX, A).cells]
    assert ids == [cell.id for cell in plan_of(MATRIX, A).cells]
    (short,) = plan_of(BASE, A).cells
    (other,) = plan_of("[backend.a]\n[workload.work]\nlength = 11\n", A).cells
    assert short.label == other.label
    assert short.id != other.id


def test_an_id_is_a_plain_folder_name() -> None:
    body = '[backend."../a b"]\nplugin = "a"\n[workload.work]\n'
    (cell,) = plan_of(body, A).cells
    assert set(cell.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


# -- time and JSON ------------------------------------------------------------------------------


def test_the_estimate_is_the_blocks_warm_up_loads_and_idle_of_runnable_cells() -> None:
    body = (
        "[backend.a]\n[workload.work]\nlength = [10, 101]\n[protocol]\nmin_blocks = 10\n"
        "block_s = 1\nprocesses = 2\nwarmup_min_s = 1\nidle_s = 5\n"
    )
    # One of two cells runs: 10 × 1 s × 1.3, two processes of an 8 s load and 1 s warm-up, and
    # the idle baseline before, between and after them.
    assert plan_of(body, A).duration.minimum_s == pytest.approx(13 + 2 * 9 + 3 * 5)


def test_a_plan_as_json_holds_each_cell_with_its_reason() -> None:
    plan = plan_of("[backend.a]\n[workload.work]\nlength = [10, 101]\n", A)
    cells = json.loads(json.dumps(plan.to_json()))["cells"]
    assert [cell["runnable"] for cell in cells] == [True, False]
    assert "context" in cells[1]["reason"]


def test_a_later_step_is_checked_against_what_the_earlier_one_leaves() -> None:
    class Shortening(technique("shortening")):  # type: ignore[misc]
        def config_after(self, settings: Any, config: Mapping[str, object]) -> Mapping[str, object]:
            return {**config, "layers": 1}

    class NeedsTwo(technique("needs-two")):  # type: ignore[misc]
        def check(self, settings: Any, config: Mapping[str, object]) -> str | None:
            return None if config.get("layers", 2) == 2 else "needs two layers"

    steps = '[technique.{}]\nsteps = [{{name = "{}"}}, {{name = "{}"}}]\n'
    body = steps.format("good", "needs-two", "shortening") + steps.format("bad", "shortening", "needs-two")
    good, bad = plan_of(f"{body}[backend.a]\n[workload.work]\n", A, Shortening, NeedsTwo).cells
    assert good.runnable
    assert bad.reason == "needs-two: needs two layers"


def test_the_worker_gets_settings_merged_and_checked_by_the_plan() -> None:
    able = backend("able", capabilities=("generate", "kv.quantized"))
    body = "[technique.small-cache]\nbits = 2\n[backend.able]\n[workload.work]\n"
    (cell,) = plan_of(body, able, SmallCache).cells
    assert cell.prepared is not None
    assert cell.prepared.settings == {"dtype": "float32", "bits": 2}
    assert "prepared" not in plan_of(body, able, SmallCache).to_json()["cells"][0]


def test_what_is_unknown_of_a_model_that_is_not_here_is_said() -> None:
    text = 'version = 1\n[model.m]\nsource = "hf:org/name@main"\n[backend.a]\n[workload.work]\n'
    plan = make_plan(parse_profile(text, "p.toml", Path("/")), registry_of(A), CATALOGUE, [])
    assert plan.cells[0].runnable
    assert plan.cells[0].unknown is not None
    assert plan.cells[0].unknown.startswith("not fetched: whether it runs here is unknown")
    assert "joulebench models fetch hf:org/name@main" in plan.cells[0].unknown


def test_a_fetched_hub_model_is_planned_as_the_same_folder_is(cache: Path) -> None:
    class Picky(backend("picky")):  # type: ignore[misc]
        def check(self, device: str, settings: Any, config: Mapping[str, object]) -> str | None:
            return f"cannot run {config['architectures']}"

    folder = cache / "hub" / "org--name@main"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["Odd"]}', encoding="utf-8")
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    body = "[backend.picky]\n[workload.work]\n"
    reasons = []
    for source in ("hf:org/name@main", f"path:{folder}"):
        text = f'version = 1\n[model.m]\nsource = "{source}"\n{body}'
        plan = make_plan(parse_profile(text, "p.toml", Path("/")), registry_of(Picky), CATALOGUE, [])
        reasons.append(plan.cells[0].reason)
    assert reasons[0] is not None
    assert reasons[0] == reasons[1]


def test_a_file_that_a_conversion_unpacks_is_noted_at_its_cells(tmp_path: Path) -> None:
    class Unpacking(converter("unpacking", "gguf", "hf")):  # type: ignore[misc]
        def note(self, source: Path, settings: Any) -> str | None:
            return "unpacked from q4_1 to float32"

    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    text = f'version = 1\n[model.m]\nsource = "path:{file}"\n[backend.a]\n[workload.work]\n'
    plan = make_plan(parse_profile(text, "p.toml", Path("/")), registry_of(A, Unpacking), CATALOGUE, [])
    assert plan.cells[0].notes[0] == "weights unpacked from q4_1 to float32 for a"
    assert plan.to_json()["cells"][0]["notes"][0] == "weights unpacked from q4_1 to float32 for a"


class Reading(converter("reading", "gguf", "hf")):  # type: ignore[misc]
    """Reads the header of any file, and converts none."""

    def describe(self, source: Path) -> ModelFile | None:
        config = {"architectures": ["Foreign"], "max_position_embeddings": 5}
        return ModelFile((source,), 4_000_000, config, "Q4_1, 5.00 bits per weight", "Q4_1", True)

    def check(self, source: Path) -> str | None:
        return "its tokenizer is not known"


def own_file_plan(tmp_path: Path, body: str, *classes: type[Plugin]) -> Plan:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    text = f'version = 1\n[model.m]\nsource = "path:{tmp_path / "m.gguf"}"\n{body}'
    return make_plan(parse_profile(text, "p.toml", tmp_path), registry_of(Reading, *classes), CATALOGUE, [])


def test_a_file_of_the_users_own_runs_as_it_is_where_a_backend_opens_it(tmp_path: Path) -> None:
    body = "[backend.own]\n[backend.a]\n[workload.work]\nlength = 5\n"
    own, other = own_file_plan(tmp_path, body, A, backend("own", accepts=["gguf"])).cells
    assert (own.runnable, own.transforms) == (True, ())
    assert own.notes == ("as it is on own: Q4_1, 5.00 bits per weight, 4.0 MB",)
    assert other.reason == "no way from format 'gguf' to hf: reading: its tokenizer is not known"


def test_a_model_larger_than_the_memory_is_said_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joulebench.plan.modelnotes.machine_memory_bytes", lambda: 3_900_000)
    body = "[backend.own]\n[workload.work]\nlength = 5\n"
    (cell,) = own_file_plan(tmp_path, body, backend("own", accepts=["gguf"])).cells
    assert cell.notes[1].startswith("larger than this machine's memory: 0.0 GB of weights")


def test_what_a_file_says_of_itself_is_checked_like_a_configuration(tmp_path: Path) -> None:
    body = "[backend.own]\n[workload.work]\nlength = 6\n"
    (cell,) = own_file_plan(tmp_path, body, backend("own", accepts=["gguf"])).cells
    assert cell.reason == "the workload needs 6 tokens of context; the model has 5"


def test_a_file_that_the_runtime_cannot_open_is_asked_for_once_and_skipped(tmp_path: Path) -> None:
    asked: list[Path] = []

    class Own(backend("own", accepts=["gguf"])):  # type: ignore[misc]
        def check_file(self, model: Path) -> str | None:
            asked.append(model)
            return "unknown architecture"

    plan = own_file_plan(tmp_path, "[backend.own]\nthreads = [1, 2]\n[workload.work]\n", Own)
    assert [cell.reason for cell in plan.cells] == ["m.gguf: unknown architecture"] * 2
    assert asked == [tmp_path / "m.gguf"]


def test_a_file_that_runs_as_it_is_is_measured_once_whatever_a_conversion_would_be_told(tmp_path: Path) -> None:
    class Own(backend("own", accepts=["gguf"])):  # type: ignore[misc]
        options = (Option("dtype", "str", "f32", "number type"), Option("threads", "int", 1, "threads"))

        def conversion_settings(self, settings: Any) -> Any:
            return {"dtype": settings["dtype"]}

    body = '[backend.own]\ndtype = ["f32", "f16"]\nthreads = [1, 2]\n[workload.work]\nlength = 5\n'
    plan = own_file_plan(tmp_path, body, Own)
    assert [cell.label for cell in plan.runnable] == ["own threads=1 work", "own threads=2 work"]
    skipped = [cell for cell in plan.cells if not cell.runnable]
    assert [cell.label for cell in skipped] == ["own f16 threads=1 work", "own f16 threads=2 work"]
    assert skipped[0].reason == "the file runs as it is, whatever dtype is: it is measured once (at f32)"


def test_a_technique_for_checkpoints_is_skipped_on_a_file_that_runs_as_it_is(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Requantizing(technique("requantizing", "gguf", "gguf")):  # type: ignore[misc]
        def check(self, settings: Any, config: Mapping[str, object]) -> str | None:
            seen.append(config.get("quantization_config"))
            return None

    body = "[technique.prune]\n[technique.requantizing]\n[backend.own]\n[workload.work]\nlength = 5\n"
    pruned, requantized = own_file_plan(
        tmp_path, body, backend("own", accepts=["gguf"]), technique("prune"), Requantizing
    ).cells
    assert pruned.reason is not None
    assert pruned.reason.startswith("prune takes a model of format 'hf', and a file of format 'gguf' runs as it is")
    assert [step.name for step in requantized.transforms] == ["requantizing"]
    assert seen == [{"quant_method": "gguf", "type": "Q4_1"}]


def test_a_file_without_a_reference_says_what_alone_is_here(tmp_path: Path) -> None:
    agreement = '[agreement]\nreference = { backend = "a" }\nprompts = "m.gguf"\n'
    body = f"[backend.own]\n[backend.a]\n[workload.work]\nlength = 5\n{agreement}"
    plan = own_file_plan(tmp_path, body, A, backend("own", accepts=["gguf"]))
    reason = plan.references["m"].reason
    assert reason is not None
    assert reason.startswith("only m.gguf is here; ")


def test_every_step_has_the_distribution_and_version_that_provide_it() -> None:
    """They are a part of an artifact's key: another version of a plugin makes another artifact."""
    (cell,) = plan_of("[technique.prune]\n[backend.a]\n[workload.work]\n", A, technique("prune")).cells
    assert [step.versions for step in cell.transforms] == [{"fakes-dist": "1"}] * 2
