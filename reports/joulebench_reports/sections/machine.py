"""The machine, its state and the versions, as the run recorded them; what was sampled there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, Heading, Item, Paragraph, Row, Section, Table, badge, table
from joulebench_reports.values.figures import ChannelReport
from joulebench_reports.words.text import UNKNOWN, data_size

_CHANNEL_COLUMNS: Final = (
    Column("channel", folds=True),
    Column("provenance", badges=True),
    Column("reads"),
    Column("covers"),
    Column("in total"),
    Column("note", folds=True),
)


def machine_section(material: Material) -> Iterator[Section]:
    """Machine, state, versions and channels of each session in turn."""
    items: list[Item] = []
    for part in material.summary.parts or (material.summary,):
        if part.name:
            items.append(Heading(part.name))
        for heading, record in (
            ("Machine", part.machine),
            ("State before the run (never changed by it)", part.preflight),
            ("Versions", part.versions),
        ):
            rows = flattened(record)
            items += [Heading(heading), table(("what", "value"), rows) if rows else Paragraph("not recorded")]
        channels = tuple(map(_channel, part.channels))
        items.append(Heading("Channels"))
        items.append(Table(_CHANNEL_COLUMNS, channels) if channels else Paragraph("No channel was sampled."))
    yield Section("machine", "Machine and versions", tuple(items), "Machine")


def flattened(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """(key, text) of every leaf of a JSON value, nested keys joined by dots; null is unknown."""
    if isinstance(value, Mapping):
        return [
            pair for key, inner in value.items() for pair in flattened(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, (list, tuple)):
        if not value or any(isinstance(inner, (Mapping, list)) for inner in value):
            leaves = [pair for at, inner in enumerate(value) for pair in flattened(inner, f"{prefix}[{at}]")]
            return leaves or [(prefix, "none")]
        return [(prefix, ", ".join(str(inner) for inner in value))]
    if isinstance(value, (int, float)) and prefix.endswith("_bytes"):
        return [(prefix, data_size(value))]
    return [(prefix, UNKNOWN if value is None else str(value))]


def _channel(channel: ChannelReport) -> Row:
    return (
        channel.channel,
        badge(channel.provenance),
        f"{channel.quantity} ({channel.kind}), {channel.unit}",
        channel.domain or UNKNOWN,
        "yes" if channel.counted else "no",
        channel.note or "",
    )
