"""Whether a plugin works here; one that fails to say does not."""

from __future__ import annotations

from joulebench.api import Availability, Backend, Converter, Plugin
from joulebench.registry.isolation import describe_failure


def availability_of(plugin: Plugin) -> Availability:
    """:meth:`Plugin.available`, with a plugin that fails to say counted as not available."""
    try:
        answer: object = plugin.available()
    except Exception as error:
        return Availability.no(f"available() failed: {describe_failure(error)}")
    if isinstance(answer, Availability):
        return answer
    return Availability.no(f"available() gave {answer!r}, which is no Availability")


def devices_of(backend: Backend) -> tuple[Availability, list[str]]:
    """Whether a backend works here, and on which devices."""
    availability = availability_of(backend)
    if not availability.ok:
        return availability, []
    try:
        return availability, [device.name for device in backend.devices()]
    except Exception as error:  # a plugin may raise or return anything
        return Availability.no(f"devices() failed: {describe_failure(error)}"), []


def architectures_of(converter: Converter) -> tuple[Availability, frozenset[str] | None]:
    """Whether a converter works here, and the architectures that it knows where it has a list."""
    availability = availability_of(converter)
    if not availability.ok:
        return availability, None
    try:
        return availability, converter.architectures()
    except Exception as error:  # a plugin may raise anything
        return Availability.no(f"architectures() failed: {describe_failure(error)}"), None
