"""A built-in plugin is a folder and one entry-point line, and an extra where it is heavy."""

import configparser
import tomllib
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins" / "joulebench_plugins"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
#: A folder with a docstring that says "no plugin of its own" is shared by plugins.
SHARED = "shared"


def plugin_folders() -> set[str]:
    return {folder.parent.name for folder in PLUGINS.glob("*/__init__.py")} - {SHARED}


def test_each_plugin_folder_has_one_entry_point() -> None:
    modules = PROJECT["project"]["entry-points"]["joulebench"].values()
    prefix = f"{PLUGINS.name}."
    assert {module.removeprefix(prefix) for module in modules if module.startswith(prefix)} == plugin_folders()


def test_no_other_list_of_the_build_or_the_linters_names_a_plugin() -> None:
    tools = repr(PROJECT["tool"])
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    rules = repr({name: dict(section) for name, section in contracts.items()})
    named = {name for name in plugin_folders() if f"{PLUGINS.name}.{name}" in tools + rules}
    assert named == set()
    assert not any(f"{PLUGINS.name}/{name}" in tools for name in plugin_folders())


def test_the_wheel_holds_every_module() -> None:
    """A pattern of .gitignore leaves files out of the wheel as well."""
    packed = {Path(file.distribution_path) for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    sources = {
        file.relative_to(ROOT / top)
        for top in ("core", "plugins", "profiles", "reports")
        for file in (ROOT / top).rglob("*.py")
    }
    assert sources <= packed, sorted(map(str, sources - packed))[:5]
