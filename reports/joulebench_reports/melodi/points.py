"""From requests to the points of the analysis: one a prompt and cell, groups of like cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joulebench.api import PROVENANCES, Provenance
from joulebench_reports.melodi.bootstrap import Array, Resampler
from joulebench_reports.melodi.columns import FEATURES
from joulebench_reports.melodi.features import Libraries, prompt_features
from joulebench_reports.melodi.requests import Joules, MeasuredRequest

#: Quantities of a request by the column of MELODI that holds them.
_QUANTITIES: Final[Mapping[str, Callable[[MeasuredRequest], float | None]]] = {
    "response_token_length": lambda each: each.response_tokens,
    "prompt_token_length": lambda each: each.prompt_tokens,
    "response_duration": lambda each: each.decode_s,
    "prompt_duration": lambda each: each.prefill_s,
    "clock_duration": lambda each: each.duration_s,
}
QUANTITIES: Final = tuple(_QUANTITIES)


@dataclass(frozen=True, slots=True)
class PromptGroup:
    """Requests of cells that differ in their workload alone, with energies of one provenance.

    Each point is one prompt in one cell: the mean over its repetitions, so that repetitions are
    not taken for more prompts. Arrays have one value a point, in J, tokens, s; NaN is unknown.
    ``prompts`` numbers each point's prompt, the same for equal texts. ``dropped`` counts the
    requests without a usable energy by its flags, ``short`` those whose window is too short for
    the sensor: they enter sums and fits only. ``parts`` are the energies of CPU and GPU.
    ``set_lengths`` are the answers' lengths where each cell has one alone, ``in_order`` says that
    the points are single requests of one cell in the order in which they were measured.
    """

    labels: tuple[str, ...]
    model: str
    technique: str
    device: str | None
    provenance: Provenance
    methods: tuple[str, ...]
    channels: tuple[str, ...]
    faults: tuple[str, ...]
    requests: int
    short: int
    set_lengths: tuple[int, ...] | None
    in_order: bool
    blocks: int
    block_flags: Mapping[str, int]
    dropped: Mapping[str, int]
    energy_j: Array
    quantities: Mapping[str, Array]
    features: Mapping[str, Array]
    parts: Mapping[str, Array]
    prompts: Array

    @property
    def label(self) -> str:
        """The cells' labels."""
        return " + ".join(self.labels)

    def resampler(self, seed: int, where: Array | None = None) -> Resampler:
        """Draws of the prompts of all points, or of those that ``where`` keeps."""
        import numpy as np

        kept = self.prompts if where is None else self.prompts[where]
        return Resampler(np.unique(kept, return_inverse=True)[1], seed)


def groups(
    requests: Iterable[MeasuredRequest], libraries: Libraries, channel: str | None = None
) -> Iterator[PromptGroup]:
    """Groups of each provenance that has an energy; of one ``channel`` alone where it is given."""
    by_configuration: dict[str, list[MeasuredRequest]] = {}
    for request in requests:
        by_configuration.setdefault(request.cell.configuration, []).append(request)
    described = _Described(libraries)
    for own in by_configuration.values():
        if channel is not None:
            provenance = _provenance_of(own, channel)
            if provenance is not None:
                yield from _group(own, provenance, [e.of_channel(channel) for e in own], described)
            continue
        for found in PROVENANCES:
            if any(found in each.provenances for each in own):
                yield from _group(own, found, [each.energy(found) for each in own], described)


def _provenance_of(requests: Sequence[MeasuredRequest], channel: str) -> Provenance | None:
    return next((e.provenance for request in requests for e in request.energies if e.channel == channel), None)


class _Described:
    """Features of prompts, each text looked at once."""

    def __init__(self, libraries: Libraries) -> None:
        self._libraries = libraries
        self._known: dict[str, Mapping[str, object]] = {}

    def features(self, each: MeasuredRequest) -> Mapping[str, object]:
        """The published features where there are some, else those that can be had here."""
        if any(name in each.values for name in FEATURES):
            return each.values
        if not each.prompt:
            return {}
        if each.prompt not in self._known:
            self._known[each.prompt] = prompt_features(each.prompt, self._libraries)
        return self._known[each.prompt]


def _group(
    requests: Sequence[MeasuredRequest], provenance: Provenance, energies: Sequence[Joules], described: _Described
) -> Iterator[PromptGroup]:
    import numpy as np

    answered = [(each, energy) for each, energy in zip(requests, energies, strict=True) if each.response_tokens]
    used = [(each, energy) for each, energy in answered if energy.fit_j is not None]
    if not used:
        return
    dropped: Counter[str] = Counter(flag for _, energy in answered if energy.fit_j is None for flag in energy.flags)
    places = _places([each for each, _ in used])
    count = max(places) + 1
    of_point = np.asarray(places)

    def averaged(values: Sequence[float | None]) -> Array:
        filled = np.asarray([np.nan if v is None else float(v) for v in values])
        sums = np.bincount(of_point, weights=filled, minlength=count)
        return sums / np.bincount(of_point, minlength=count)

    first = used[0][0].cell
    cells = {each.cell.id: each.cell for each, _ in used}
    texts = [described.features(each) for each, _ in used]
    yield PromptGroup(
        labels=tuple(dict.fromkeys(each.cell.label for each, _ in used)),
        model=first.model,
        technique=first.technique,
        device=first.device,
        provenance=provenance,
        methods=tuple(dict.fromkeys(m for _, energy in used for m in energy.methods)),
        channels=tuple(dict.fromkeys(c for _, energy in used for c in energy.channels)),
        faults=tuple(dict.fromkeys(f for each, _ in used for f in each.cell.faults)),
        requests=len(used),
        short=sum(energy.gross_j is None for _, energy in used),
        set_lengths=_set_lengths([each for each, _ in used]),
        in_order=count == len(used) and len({each.cell.id for each, _ in used}) == 1,
        blocks=sum(cell.blocks for cell in cells.values()),
        block_flags=sum((Counter(cell.block_flags) for cell in cells.values()), Counter[str]()),
        dropped=dropped,
        energy_j=averaged([energy.fit_j for _, energy in used]),
        quantities={name: averaged([value(each) for each, _ in used]) for name, value in _QUANTITIES.items()},
        features={name: averaged([_number(text.get(name)) for text in texts]) for name in FEATURES},
        parts={
            "cpu": averaged([each.energy(provenance, "cpu").fit_j for each, _ in used]),
            "gpu": averaged([each.energy(provenance, "gpu").fit_j for each, _ in used]),
        },
        prompts=_prompt_numbers([each for each, _ in used], places),
    )


def _set_lengths(requests: Sequence[MeasuredRequest]) -> tuple[int, ...] | None:
    """The lengths of the answers where whoever made the profile chose them, one for each cell."""
    lengths: dict[str, set[int]] = {}
    for request in requests:
        lengths.setdefault(request.cell.id, set()).add(request.response_tokens or 0)
    if len(requests) <= len(lengths) or any(len(found) > 1 for found in lengths.values()):
        return None
    return tuple(sorted({length for found in lengths.values() for length in found}))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _places(requests: Sequence[MeasuredRequest]) -> list[int]:
    """The point of each request: its prompt within its cell."""
    numbers: dict[Any, int] = {}
    return [
        numbers.setdefault(
            (each.cell.id, each.prompt_index)
            if each.prompt_index is not None
            else (each.cell.id, each.block, each.request),
            len(numbers),
        )
        for each in requests
    ]


def _prompt_numbers(requests: Sequence[MeasuredRequest], places: Sequence[int]) -> Array:
    """The prompt of each point: equal texts are one prompt in whatever cell."""
    import numpy as np

    names: dict[Any, int] = {}
    found = np.zeros(max(places) + 1, dtype=np.intp)
    for each, place in zip(requests, places, strict=True):
        # A model without a tokenizer has no text: its lists are told apart by their places alone.
        name: Any = each.prompt or each.prompt_index
        if name is None:
            name = (each.cell.id, each.block, each.request)
        found[place] = names.setdefault(name, len(names))
    return found
