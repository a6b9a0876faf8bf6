"""The shortest chain of converters between formats, found by what they declare alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from joulebench.api import Converter, Settings
from joulebench.environments.asking import Place, here
from joulebench.models.making import Transform


class NoRouteError(Exception):
    """No chain of installed converters leads from a format to another; says why."""


def route(
    converters: Sequence[Converter],
    source: str,
    targets: Iterable[str],
    architecture: str | None,
    settings: Settings | None = None,
    place_of: Callable[[Converter], Place] = here,
    model: Path | None = None,
    check: Callable[[Converter, Path], str | None] = Converter.check,
) -> list[Transform]:
    """Transforms from ``source`` to one of ``targets``: the fewest; of equals, the first target.

    Of two converters between the same formats the first without a fault is taken: those that need no
    environment of their own come first. ``settings`` go to the converters that have an option of that
    name. ``place_of`` says where each of them works; ``model`` is what the first of them gets, where
    that is known, and ``check`` asks a converter for the model's fault. Raises :class:`NoRouteError`
    with what each converter that might have served said.
    """
    formats = tuple(targets)
    if source in formats:
        return []
    ordered = sorted(converters, key=lambda converter: converter.environment_needs is not None)
    leading = _leading_to(converters, source, formats)
    faults: list[str] = []
    chains: dict[str, list[Converter]] = {source: []}
    level = deque([source])
    while level:
        # One length of chain at a time, so that the order of targets decides between equals.
        for format_ in [level.popleft() for _ in range(len(level))]:
            for converter in ordered:
                if converter.source != format_ or converter.target in chains:
                    continue
                fault = _fault(converter, place_of(converter), architecture)
                if fault is None and model is not None and format_ == source:
                    fault = check(converter, model)
                if fault:
                    if converter.target in leading:
                        faults.append(f"{converter.name}: {fault}")
                    continue
                chains[converter.target] = [*chains[format_], converter]
                level.append(converter.target)
        for target in formats:
            if target in chains:
                chain = chains[target]
                return [_as_transform(step, place_of(step), settings or {}) for step in chain]
    why = "; ".join(faults) or "no installed plugin converts that"
    raise NoRouteError(f"no way from format '{source}' to {' or '.join(formats)}: {why}")


def _leading_to(converters: Sequence[Converter], source: str, targets: Iterable[str]) -> set[str]:
    """The formats from which declared conversions lead to one of ``targets`` without going back to ``source``."""
    leading = set(targets)
    while more := {made.source for made in converters if made.target in leading} - leading - {source}:
        leading |= more
    return leading


def _fault(converter: Converter, place: Place, architecture: str | None) -> str | None:
    availability = place.availability
    if not availability.ok:
        return with_cure(availability.reason, availability.cure)
    if not architecture:
        return None
    known = place.architectures
    if known is not None and architecture not in known:
        return f"does not know '{architecture}' (it knows {len(known)} architectures)"
    return converter.supports(architecture)


def _as_transform(converter: Converter, place: Place, settings: Settings) -> Transform:
    own = {option.name for option in converter.options}
    taken = {key: value for key, value in settings.items() if key in own}
    return Transform(
        "converter",
        converter.name,
        converter.target,
        converter.default_settings() | taken,
        place.versions,
        python=place.python,
    )


def with_cure(reason: str | None, cure: str | None) -> str:
    """A reason and what would change it, in one line."""
    return (reason or "not available") + (f" ({cure})" if cure else "")
