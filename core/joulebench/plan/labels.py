"""Labels that tell the cells of a plan apart, and ids that name their folders."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from joulebench.plan.cells import ANY_DEVICE, PlannedCell

#: Longest part of an id that is taken from the label; a folder's name may have 255 bytes.
_SLUG_LENGTH: Final = 60
#: Longest text setting that is shown whole in a label.
_TEXT_LENGTH: Final = 24


def with_labels(cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """The cells with their label and id.

    A label names backend and workload, and of the rest what varies between cells. An id holds the
    place in the plan, the label and a hash of what is measured.
    """
    axes = [_axes(cell) for cell in cells]
    axes_vary = _varying_axes(axes)
    settings_vary = _varying_settings(cells)
    labels = _numbered(
        [" ".join(_parts(cell, values, axes_vary, settings_vary)) for cell, values in zip(cells, axes, strict=True)]
    )
    return [
        replace(cell, id=_cell_id(number, label, cell), label=label)
        for number, (cell, label) in enumerate(zip(cells, labels, strict=True), start=1)
    ]


def _axes(cell: PlannedCell) -> dict[str, str]:
    return {
        "model": cell.model,
        "technique": cell.technique,
        "backend": cell.backend,
        "device": cell.device,
        "workload": cell.workload,
    }


def _settings(cell: PlannedCell) -> dict[tuple[str, str, str], object]:
    """Settings by axis, the entry's label on that axis, and name."""
    return {
        **{("backend", cell.backend, key): value for key, value in cell.backend_settings.items()},
        **{("workload", cell.workload, key): value for key, value in cell.workload_settings.items()},
    }


def _varying_axes(axes: Sequence[dict[str, str]]) -> set[str]:
    names = ("model", "technique", "device")
    varying = {name for name in names if len({axis[name] for axis in axes} - {ANY_DEVICE}) > 1}
    return varying | {"backend", "workload"}


def _varying_settings(cells: Sequence[PlannedCell]) -> set[tuple[str, str, str]]:
    """The settings in which the cells of one backend or workload entry differ."""
    values: dict[tuple[str, str, str], set[object]] = {}
    for cell in cells:
        for key, value in _settings(cell).items():
            values.setdefault(key, set()).add(value)
    return {key for key, distinct in values.items() if len(distinct) > 1}


def _parts(
    cell: PlannedCell, axes: dict[str, str], axes_vary: set[str], settings_vary: set[tuple[str, str, str]]
) -> list[str]:
    settings = {key: value for key, value in _settings(cell).items() if key[2] not in cell.unapplied}
    parts: list[str] = []
    for axis, name in axes.items():
        if axis in axes_vary:
            parts.append(name)
        if axis == "device":  # a backend's settings follow its device, a workload's itself
            parts += _shown(settings, "backend", settings_vary)
        elif axis == "workload":
            parts += _shown(settings, "workload", settings_vary)
    return parts


def _shown(settings: dict[tuple[str, str, str], object], axis: str, varying: set[tuple[str, str, str]]) -> list[str]:
    return [short_setting(key[2], value) for key, value in settings.items() if key[0] == axis and key in varying]


def short_setting(name: str, value: object) -> str:
    """A text by itself (of a path its end), any other value with its name."""
    if not isinstance(value, str):
        return f"{name}={value}"
    end = value.rpartition("/")[2] or value
    return end if len(end) <= _TEXT_LENGTH else f"{end[: _TEXT_LENGTH - 1]}…"


def _numbered(labels: list[str]) -> list[str]:
    """Labels that shortening has made equal get a number."""
    count = Counter(labels)
    seen: Counter[str] = Counter()
    result: list[str] = []
    for label in labels:
        seen[label] += 1
        result.append(f"{label} #{seen[label]}" if count[label] > 1 else label)
    return result


def _cell_id(number: int, label: str, cell: PlannedCell) -> str:
    measured = [cell.model_source, _axes(cell), sorted(map(repr, _settings(cell).items()))]
    digest = hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()[:8]
    slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:_SLUG_LENGTH].rstrip("-")
    return f"{number:03d}-{slug}-{digest}"


def untaken(name: str, taken: Collection[str]) -> str:
    """``name``, or ``name #2``, ``name #3``, … where that is taken."""
    number = 1
    free_name = name
    while free_name in taken:
        number += 1
        free_name = f"{name} #{number}"
    return free_name
