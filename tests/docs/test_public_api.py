"""What authors of plugins may use is on the pages: names, hooks, contracts, channels."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from doc_pages import blocks, page

from joulebench import api, backendkit, hookspecs, reportkit
from joulebench.api import Channel
from joulebench.errors import JoulebenchError
from joulebench.pluginkit.child import words_of
from joulebench.pluginkit.declared import PUBLIC
from joulebench.registry.classes import KINDS
from joulebench.registry.commandlist import WITHOUT_VARIABLE
from joulebench.registry.loading import Registry, default_registry
from joulebench.session import Session
from joulebench.testing.contracts import CONTRACTS, PluginContract
from joulebench.testing.hwmon import Chip, FakeTemperatures, HwmonSensor, ThrottleCounts
from joulebench.testing.powercap import FakePowercap, intel_zones
from joulebench.testing.samples import write_sample_session


def _public(module: ModuleType) -> list[str]:
    """Names that a module defines itself, but for private ones and constants of its working."""
    return [
        name
        for name, member in vars(module).items()
        if not name.startswith("_") and f"{getattr(member, '__module__', '')}.".startswith(f"{module.__name__}.")
    ]


@pytest.mark.parametrize("name", _public(api))
def test_every_public_name_of_the_api_is_documented(name: str) -> None:
    text = page("plugins.md")
    assert f"### {name}\n" in text or f"`{name}`" in text or f"`{name}(" in text


@pytest.mark.parametrize("name", _public(backendkit))
def test_every_helper_for_backends_is_documented(name: str) -> None:
    region = page("plugins.md").partition("<!-- begin: backendkit -->")[2]
    region = region.partition("<!-- end: backendkit -->")[0]
    assert f"`{name}(" in region or f"### {name}\n" in region


@pytest.mark.parametrize("name", reportkit.__all__)
def test_every_helper_for_renderers_is_documented(name: str) -> None:
    section = page("plugins.md").partition("## Helpers for renderers")[2].partition("\n## ")[0]
    assert f"`{name}`" in section or f"`{name}(" in section


def test_the_page_s_renderer_shows_a_session_and_keeps_the_contract(tmp_path: Path) -> None:
    (code,) = [block.code for block in blocks("plugins.md") if "renderer" in block.words]
    module = ModuleType("jira")
    exec(compile(code, "plugins.md", "exec"), vars(module))  # noqa: S102  the page's own code
    registry = Registry()
    registry.add(module, "jira")
    renderer = registry.renderer("jira")
    shown = renderer.render(Session(write_sample_session(tmp_path / "s")), renderer.default_settings())
    assert isinstance(shown, str)
    assert shown.startswith("h1. ")
    assert "||cell||" in shown
    assert "|good a model|" in shown
    contract = CONTRACTS["renderer"]()
    contract.test_its_suffix_is_one(renderer)
    for number, name in enumerate(name for name in vars(CONTRACTS["renderer"]) if name.startswith("test_")):
        if name != "test_its_suffix_is_one":
            (tmp_path / str(number)).mkdir()
            getattr(contract, name)(renderer, tmp_path / str(number))


def test_the_page_names_all_that_may_be_imported() -> None:
    sentence = re.search(r"Import only (.*?)\. Everything else", page("plugins.md"), re.DOTALL)
    assert sentence is not None
    named = set(re.findall(r"`joulebench\.(\w+)`", sentence[1]))
    assert named == set(PUBLIC)


# -- hooks ----------------------------------------------------------------------------------------


def _hooks() -> list[str]:
    return [name for name in vars(hookspecs) if name.startswith("joulebench_")]


@pytest.mark.parametrize("name", _hooks())
def test_a_hook_says_when_it_is_called_and_shows_an_example(name: str) -> None:
    section = page("plugins.md").partition(f"### {name}\n")[2]
    section = re.split(r"^(?:### |<!-- end)", section, flags=re.MULTILINE)[0]
    assert "Called" in section
    signature, example = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert signature.startswith(f"{name}(")
    (function,) = ast.parse(example).body
    assert isinstance(function, ast.FunctionDef)
    assert function.name == name
    wanted = list(inspect.signature(getattr(hookspecs, name)).parameters)
    assert [arg.arg for arg in function.args.args] == wanted


def test_every_kind_has_its_hook() -> None:
    assert {hook for hook, _ in KINDS.values()} <= set(_hooks())


# -- contracts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(CONTRACTS))
def test_every_test_of_a_contract_is_on_the_page(kind: str) -> None:
    text = page("plugins.md")
    for base in (CONTRACTS[kind], PluginContract):
        for name in vars(base):
            if name.startswith("test_"):
                assert f"| {words_of(name)} |" in text


def test_the_page_s_contract_holds_of_the_page_s_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks("plugins.md"):
        if name := block.word("file"):
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).write_text(block.code)
    monkeypatch.syspath_prepend(str(tmp_path))
    (code,) = [block.code for block in blocks("plugins.md") if "contract" in block.words]
    names: dict[str, object] = {}
    exec(compile(code, "plugins.md", "exec"), names)  # noqa: S102  the page's own code
    made = names["TestBoard"]
    assert isinstance(made, type)
    contract = made()
    fixture = made.plugin
    plugin = getattr(fixture, "__wrapped__", fixture)(contract, tmp_path)
    contract.test_its_channels_say_what_they_are(plugin)
    contract.test_its_channels_can_be_read(plugin)


def test_the_way_out_of_a_plugin_that_breaks_everything_is_on_the_pages() -> None:
    assert WITHOUT_VARIABLE in page("plugins.md")
    assert WITHOUT_VARIABLE in page("plugin-guide.md")


# -- channels -------------------------------------------------------------------------------------


def _table() -> dict[str, tuple[str, str, str]]:
    """(quantity, unit, kind) of each documented channel, by a pattern of its path."""
    text = page("sensors.md").partition("## Channels")[2]
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| (\w+) \| (\w+) \|$", text, re.MULTILINE)
    return {
        "".join(r"[^/]+" if part.isupper() else re.escape(part) for part in re.split(r"([A-Z]{3,})", path)): (
            quantity,
            unit,
            kind,
        )
        for path, quantity, unit, kind in rows
    }


def _given(tmp_path: Path) -> Iterator[Channel]:
    """What the probes give here, and on trees that have every kind of sensor."""
    registry = default_registry()
    (tmp_path / "rapl").mkdir()
    with (
        FakePowercap(tmp_path / "rapl", intel_zones(packages=2, psys_watts=30.0)) as rapl,
        FakeTemperatures(
            tmp_path / "thermal",
            [Chip("coretemp", [HwmonSensor("Package id 0", 47.0)])],
            processors={0: ThrottleCounts(0, 0)},
        ) as thermal,
    ):
        given = {
            "rapl": {"root": str(rapl.root)},
            "thermal": {"root": str(thermal.root), "cpu_root": str(thermal.cpu_root)},
            "rail": {"scenario": "constant"},
        }
        for name in registry.names("probe"):
            probe = registry.probe(name)
            settings = {**probe.default_settings(), **given.get(name, {})}
            try:
                if probe.inspect(settings).ok:
                    yield from probe.channels(settings)
            except JoulebenchError:
                continue


def _nvml() -> Sequence[tuple[str, str, str, str]]:
    """Of NVIDIA's GPUs, which this machine need not have."""
    pytest.importorskip("pynvml")
    from joulebench_plugins.nvml.devices import _KINDS

    return [(f"nvml/gpu-0/{name}", kind.quantity, kind.unit, kind.kind) for name, kind in _KINDS.items()]


def test_every_channel_is_on_the_page_of_sensors(tmp_path: Path) -> None:
    table = _table()
    assert len(table) > 20
    result = [(c.path, c.quantity, c.unit, c.kind) for c in _given(tmp_path)]
    assert {path.partition("/")[0] for path, *_ in result} >= {"rapl", "thermal", "rail", "cpu"}
    for path, *said in [*result, *_nvml()]:
        shown = [meant for pattern, meant in table.items() if re.fullmatch(pattern, path)]
        assert tuple(said) in shown, path
