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
    "response_token_length": lambda request: request.response_tokens,
    "prompt_token_length": lambda request: request.prompt_tokens,
    "response_duration": lambda request: request.decode_s,
    "prompt_duration": lambda request: request.prefill_s,
    "clock_duration": lambda request: request.duration_s,
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
        for kind in PROVENANCES:
            if any(kind in request.provenances for request in own):
                yield from _group(own, kind, [request.energy(kind) for request in own], described)


def _provenance_of(requests: Sequence[MeasuredRequest], channel: str) -> Provenance | None:
    return next((e.provenance for request in requests for e in request.energies if e.channel == channel), None)


class _Described:
    """Features of prompts, each text looked at once."""

    def __init__(self, libraries: Libraries) -> None:
        self._libraries = libraries
        self._known: dict[str, Mapping[str, object]] = {}

    def features(self, request: MeasuredRequest) -> Mapping[str, object]:
        """The published features where there are some, else those that can be had here."""
        if any(name in request.values for name in FEATURES):
            return request.values
        if not request.prompt:
            return {}
        if request.prompt not in self._known:
            self._known[request.prompt] = prompt_features(request.prompt, self._libraries)
        return self._known[request.prompt]


def _group(
    requests: Sequence[MeasuredRequest], provenance: Provenance, energies: Sequence[Joules], described: _Described
) -> Iterator[PromptGroup]:
    import numpy as np

    answered = [
        (request, energy) for request, energy in zip(requests, energies, strict=True) if request.response_tokens
    ]
    used = [(request, energy) for request, energy in answered if energy.fit_j is not None]
    if not used:
        return
    dropped: Counter[str] = Counter(flag for _, energy in answered if energy.fit_j is None for flag in energy.flags)
    places = _places([request for request, _ in used])
    count = max(places) + 1
    of_point = np.asarray(places)

    def averaged(values: Sequence[float | None]) -> Array:
        filled = np.asarray([np.nan if v is None else float(v) for v in values])
        sums = np.bincount(of_point, weights=filled, minlength=count)
        return sums / np.bincount(of_point, minlength=count)

    first = used[0][0].cell
    cells = {request.cell.id: request.cell for request, _ in used}
    texts = [described.features(request) for request, _ in used]
    yield PromptGroup(
        labels=tuple(dict.fromkeys(request.cell.label for request, _ in used)),
        model=first.model,
        technique=first.technique,
        device=first.device,
        provenance=provenance,
        methods=tuple(dict.fromkeys(m for _, energy in used for m in energy.methods)),
        channels=tuple(dict.fromkeys(c for _, energy in used for c in energy.channels)),
        faults=tuple(dict.fromkeys(f for request, _ in used for f in request.cell.faults)),
        requests=len(used),
        short=sum(energy.gross_j is None for _, energy in used),
        set_lengths=_set_lengths([request for request, _ in used]),
        in_order=count == len(used) and len({request.cell.id for request, _ in used}) == 1,
        blocks=sum(cell.blocks for cell in cells.values()),
        block_flags=sum((Counter(cell.block_flags) for cell in cells.values()), Counter[str]()),
        dropped=dropped,
        energy_j=averaged([energy.fit_j for _, energy in used]),
        quantities={name: averaged([value(request) for request, _ in used]) for name, value in _QUANTITIES.items()},
        features={name: averaged([_number(text.get(name)) for text in texts]) for name in FEATURES},
        parts={
            "cpu": averaged([request.energy(provenance, "cpu").fit_j for request, _ in used]),
            "gpu": averaged([request.energy(provenance, "gpu").fit_j for request, _ in used]),
        },
        prompts=_prompt_numbers([request for request, _ in used], places),
    )


def _set_lengths(requests: Sequence[MeasuredRequest]) -> tuple[int, ...] | None:
    """The lengths of the answers where whoever made the profile chose them, one for each cell."""
    lengths: dict[str, set[int]] = {}
    for request in requests:
        lengths.setdefault(request.cell.id, set()).add(request.response_tokens or 0)
    if len(requests) <= len(lengths) or any(len(length) > 1 for length in lengths.values()):
        return None
    return tuple(sorted({length for size in lengths.values() for length in size}))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _places(requests: Sequence[MeasuredRequest]) -> list[int]:
    """The point of each request: its prompt within its cell."""
    numbers: dict[Any, int] = {}
    return [
        numbers.setdefault(
            (request.cell.id, request.prompt_index)
            if request.prompt_index is not None
            else (request.cell.id, request.block, request.request),
            len(numbers),
        )
        for request in requests
    ]


def _prompt_numbers(requests: Sequence[MeasuredRequest], places: Sequence[int]) -> Array:
    """The prompt of each point: equal texts are one prompt in whatever cell."""
    import numpy as np

    names: dict[Any, int] = {}
    numbers = np.zeros(max(places) + 1, dtype=np.intp)
    for request, place in zip(requests, places, strict=True):
        # A model without a tokenizer has no text: its lists are told apart by their places alone.
        name: Any = request.prompt or request.prompt_index
        if name is None:
            name = (request.cell.id, request.block, request.request)
        numbers[place] = names.setdefault(name, len(names))
    return numbers
