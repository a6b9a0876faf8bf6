"""Writes a new plugin's distribution from the templates beside this module."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulebench.errors import PluginError, UnknownPluginError
from joulebench.registry.loading import Registry, default_registry
from joulebench.version import __version__

_TEMPLATES: Final = Path(__file__).with_name("templates")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST: Final = 40
_PREFIX: Final = "joulebench-"


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between kinds: base class, hook, contract, and what the template imports."""

    base: str
    hook: str
    contract: str
    requires: tuple[str, ...] = ()


_KINDS: Final = {
    "backend": _Kind("Backend", "backends", "BackendContract", ("numpy>=1.26",)),
    "technique": _Kind("Technique", "techniques", "TechniqueContract", ("safetensors>=0.4.5", "torch>=2.5")),
    "converter": _Kind("Converter", "converters", "ConverterContract", ("numpy>=1.26", "safetensors>=0.4.5")),
    "probe": _Kind("Probe", "probes", "ProbeContract"),
    "workload": _Kind("Workload", "workloads", "WorkloadContract"),
    "renderer": _Kind("Renderer", "renderers", "RendererContract"),
}


@dataclass(frozen=True, slots=True)
class Written:
    """A distribution that was written: its name, folder, and files relative to the folder."""

    distribution: str
    folder: Path
    files: tuple[str, ...]


def write_distribution(name: str, kinds: Sequence[str], into: Path) -> Written:
    """Write ``joulebench-NAME`` below ``into``; raises :class:`PluginError` and writes nothing.

    A name that is no word, or that an installed plugin of one of the kinds has, is refused, and so
    is a folder that exists.
    """
    _check_name(name, kinds, default_registry())
    distribution = f"{_PREFIX}{name}"
    folder = into / distribution
    if folder.exists():
        raise PluginError(
            "already exists, and nothing in it is overwritten",
            where=str(folder),
            hint="choose another name, another --output, or remove it",
        )
    if not into.is_dir():
        raise PluginError("is not a folder", where=str(into), hint=f"mkdir -p {into}")
    contents = _contents(name, distribution, kinds)
    for file, text in contents.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Written(distribution, folder, tuple(contents))


def _check_name(name: str, kinds: Sequence[str], registry: Registry) -> None:
    hint = "use lower-case letters, digits and single hyphens, a letter first: for example acme-board"
    if name.startswith(_PREFIX):
        raise PluginError(
            f"'{name}' begins with '{_PREFIX}', which is put before it anyway",
            hint=f"joulebench plugin new {name.removeprefix(_PREFIX)} …",
        )
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise PluginError(f"'{name}' cannot be a plugin's name", hint=hint)
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise PluginError(f"'{name}' is a word of Python's own", hint="choose another name")
    for kind in kinds:
        if name in registry.names(kind):
            raise PluginError(
                f"the {kind} '{name}' exists: '{registry.distribution_of(kind, name)}' provides it",
                hint="choose another name: of two with one name, one would be left out",
            )


def _contents(name: str, distribution: str, kinds: Sequence[str]) -> dict[str, str]:
    """The text of each file, by its path in the distribution's folder."""
    module = distribution.replace("-", "_")
    camel = "".join(part.capitalize() for part in name.split("-"))
    listed = ", ".join(kinds[:-1]) + (" and " if len(kinds) > 1 else "") + kinds[-1]
    common = {
        "name": name,
        "distribution": distribution,
        "module": module,
        "description": f"A {listed} for joulebench",
        "provides": "\n".join(f"- the {kind} `{name}`" for kind in kinds),
        "bases": ", ".join(sorted({_kind(kind).base for kind in kinds})),
        "dependencies": _dependencies(kinds),
        "hooks": "".join(_filled("hook.py", module=module, name=name, **_words(kind, camel)) for kind in kinds).rstrip(
            "\n"
        ),
    }
    contents = {
        "pyproject.toml": _filled("pyproject.toml", **common),
        "README.md": _filled("README.md", **common),
        ".github/workflows/test.yml": _filled("ci.yml", **common),
        f"{module}/__init__.py": _filled("init.py", **common),
    }
    for kind in kinds:
        words = {**common, **_words(kind, camel)}
        own = f"test_{kind}.py"
        template = own if (_TEMPLATES / f"{own}.txt").is_file() else "test.py"
        contents[f"{module}/{kind}.py"] = _filled(f"{kind}.py", **words)
        contents[f"tests/{own}"] = _filled(template, **words)
    return contents


def _kind(kind: str) -> _Kind:
    if kind not in _KINDS:
        raise UnknownPluginError(f"unknown kind '{kind}'", hint=f"valid: {', '.join(_KINDS)}")
    return _KINDS[kind]


def _words(kind: str, camel: str) -> dict[str, str]:
    details = _kind(kind)
    return {
        "kind": kind,
        "base": details.base,
        "hook": details.hook,
        "Contract": details.contract,
        "Class": f"{camel}{kind.capitalize()}",
    }


def _dependencies(kinds: Sequence[str]) -> str:
    requirements = {requirement for kind in kinds for requirement in _kind(kind).requires}
    lines = [f"joulebench>={__version__}", *sorted(requirements)]
    return "\n".join(f'    "{line}",' for line in lines)


def _filled(template: str, **words: str) -> str:
    """A template with each ``@word@`` in it replaced."""
    text = (_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda match: words.get(match[1], match[0]), text)
