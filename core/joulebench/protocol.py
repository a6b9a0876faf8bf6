"""The protocol between the parent of a run and a worker: JSON lines over standard input and output.

The parent sends one request a line, ``{"op": …}``; the worker answers each with one line, either
a result or ``{"error": {…}}``. A Python worker is ``python -m joulebench.worker``.

============ ===================================================== =============================
op           with                                                  answer
============ ===================================================== =============================
``hello``                                                          ``protocol``, ``pid``
``open``     backend, artifact, device, settings, workload, seed,  ``load_s``, ``requests``,
             edges (energy sources read at window edges)           ``facts``, ``rss_base_bytes``
``run``      ``first`` and ``count`` of the requests               a block, see :class:`Block`:
                                                                   ``requests``, ``cpu_s``,
                                                                   ``began_ns``
``score``    text, tokens, window                                  ``nll_nats``, ``tokens``
``refer``    prompts, count, tokens, folder                        answers and logits, kept there
``agree``    folder                                                a comparison with those
``inspect``                                                        memory and evidence
``close``                                                          ``{}``, then the worker ends
============ ===================================================== =============================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.api import Artifact, Served, Settings, SimulatedCost

PROTOCOL_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """The request that opens a model. ``workload`` is ``None`` where nothing is to be measured.

    ``runtime`` are the runtime techniques with their settings, ``edges`` the sources that are read
    at the edges of windows, as :func:`joulebench.meter.live.channels.edge_specs` has them.
    """

    backend: str
    artifact: Artifact
    checkpoint: Path | None
    device: str
    settings: Settings
    runtime: tuple[tuple[str, Settings], ...]
    workload: str | None
    workload_settings: Settings
    seed: int
    shuffle: bool
    edges: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, object]:
        """As it goes to the worker."""
        artifact = self.artifact
        return {
            "op": "open",
            "backend": self.backend,
            "artifact": {
                "format": artifact.format,
                "path": str(artifact.path),
                "content_hash": artifact.content_hash,
                "size_bytes": artifact.size_bytes,
                "parts": [str(path) for path in artifact.parts],
            },
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "device": self.device,
            "settings": dict(self.settings),
            "runtime": [{"name": name, "settings": dict(settings)} for name, settings in self.runtime],
            "workload": self.workload,
            "workload_settings": dict(self.workload_settings),
            "seed": self.seed,
            "shuffle": self.shuffle,
            "edges": self.edges,
        }

    @classmethod
    def from_json(cls, order: Mapping[str, Any]) -> OpenOrder:
        """Decode a request. Raises ``KeyError`` or ``TypeError`` where it is none."""
        artifact = order["artifact"]
        return cls(
            backend=order["backend"],
            artifact=Artifact(
                format=artifact["format"],
                path=Path(artifact["path"]),
                content_hash=artifact["content_hash"],
                size_bytes=artifact["size_bytes"],
                parts=tuple(map(Path, artifact.get("parts", ()))),
            ),
            checkpoint=None if order["checkpoint"] is None else Path(order["checkpoint"]),
            device=order["device"],
            settings=order["settings"],
            runtime=tuple((step["name"], step["settings"]) for step in order["runtime"]),
            workload=order["workload"],
            workload_settings=order["workload_settings"],
            seed=order["seed"],
            shuffle=order.get("shuffle", True),
            edges=tuple(order["edges"]),
        )


@dataclass(frozen=True, slots=True)
class Edge:
    """A time stamp at which the energy counters were read.

    ``kind`` is ``start``, ``end`` or the name of the phase that begins there; ``raw`` are the
    counters in the order of the job's ``edges``.
    """

    t_ns: int
    kind: str
    raw: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """What simulated hardware had spent at the edges of a request, since the session was opened.

    ``token_s`` are the device's seconds at each token, counted alike.
    """

    edges: tuple[SimulatedCost, ...]
    token_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One measured request."""

    prompt_index: int
    edges: tuple[Edge, ...]
    prefill_tokens: int
    decode_tokens: int
    units: float
    output: tuple[int, ...]
    token_t_ns: tuple[int, ...]
    values: dict[str, float]
    prompt: str | None
    response: str | None
    #: ``None`` where the model runs on this machine itself.
    simulated: SimulatedRequest | None = None
    #: Read and written at once; the tokens are those of all of them.
    sequences: int = 1
    #: What became of each request of a load.
    served: tuple[Served, ...] = ()

    @property
    def t0_ns(self) -> int:
        """Start of the window."""
        return self.edges[0].t_ns

    @property
    def t1_ns(self) -> int:
        """End of the window."""
        return self.edges[-1].t_ns

    def phases(self) -> list[tuple[str, Edge, Edge]]:
        """(name, begin, end) of each phase."""
        return [(begin.kind, begin, end) for begin, end in zip(self.edges[1:-1], self.edges[2:], strict=True)]


@dataclass(frozen=True, slots=True)
class Block:
    """What a worker did in one block.

    ``began_ns`` is when it began with it, setups included; ``None`` if it did not say.
    """

    requests: tuple[RequestRecord, ...]
    cpu_s: float
    began_ns: int | None = None
    #: Whether the model ran on another machine, so that this one's energy is not its own.
    elsewhere: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any], counters: int) -> Block:
        """Decode the answer to ``run``, with so many energy counters read at each edge.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` where it is no block.
        """
        requests = tuple(_request(item) for item in data["requests"])
        if not requests or any(len(request.edges) < 2 for request in requests):
            raise ValueError("a block needs requests, each with a start and an end")
        for request in requests:
            if any(len(edge.raw) != counters for edge in request.edges):
                raise ValueError(f"each edge must hold {counters} counters")
            if request.t1_ns <= request.t0_ns:
                raise ValueError("a request must end after its start")
        if len({request.simulated is None for request in requests}) > 1:
            raise ValueError("all requests of a block are simulated, or none is")
        began_ns = data.get("began_ns")
        return cls(
            requests,
            _figure(data["cpu_s"]),
            None if began_ns is None else _whole(began_ns),
            bool(data.get("elsewhere")),
        )

    @property
    def t0_ns(self) -> int:
        """Start of the first request."""
        return self.requests[0].t0_ns

    @property
    def t1_ns(self) -> int:
        """End of the last request."""
        return self.requests[-1].t1_ns

    @property
    def duration_s(self) -> float:
        """Measured time: the sum of the requests' windows."""
        return sum(request.t1_ns - request.t0_ns for request in self.requests) * 1e-9

    @property
    def units(self) -> float:
        """Work done."""
        return sum(request.units for request in self.requests)

    @property
    def simulated(self) -> bool:
        """Whether its time and energy are those of simulated hardware."""
        return self.requests[0].simulated is not None


def _whole(value: object, bits: int = 63) -> int:
    """A count, a time or a token; a plugin may have given anything in its place."""
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number")
    if not -(1 << bits) <= value < 1 << bits:
        raise ValueError("a whole number is too large for a record")
    return value


def _count(value: object) -> int:
    return _whole(value, 31)


def _figure(value: Any) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        value = _whole(value, 1000)  # a longer one overflows a float
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a figure")
    return number


def _request(data: Mapping[str, Any]) -> RequestRecord:
    return RequestRecord(
        prompt_index=_count(data["prompt_index"]),
        edges=tuple(Edge(_whole(t_ns), str(kind), tuple(map(_optional, raw))) for t_ns, kind, raw in data["edges"]),
        prefill_tokens=_count(data["prefill_tokens"]),
        decode_tokens=_count(data["decode_tokens"]),
        sequences=max(1, _count(data.get("sequences", 1))),
        units=_figure(data["units"]),
        output=tuple(map(_count, data["output"])),
        token_t_ns=tuple(map(_whole, data["token_t_ns"])),
        values={str(name): _figure(value) for name, value in data["values"].items()},
        prompt=_text(data["prompt"]),
        response=_text(data["response"]),
        simulated=_simulated(data),
        served=tuple(_served(**item) for item in data.get("served", ())),
    )


def _served(fault: str | None = None, **numbers: Any) -> Served:
    values = {name: _optional(value) if name == "first_ns" else _whole(value) for name, value in numbers.items()}
    return Served(fault=_text(fault), **values)  # type: ignore[arg-type]


def _text(value: object) -> str | None:
    """A text; what cannot be written as UTF-8 (half of a pair of surrogates) is replaced."""
    if not isinstance(value, str | None):
        raise ValueError(f"{value!r} is not text")
    return None if value is None else value.encode("utf-8", "replace").decode("utf-8")


def _cost(
    device_s: float,
    cycles: int | None = None,
    energy_j: float | None = None,
    energy_low_j: float | None = None,
    energy_high_j: float | None = None,
) -> SimulatedCost:
    joules = [None if value is None else _figure(value) for value in (energy_j, energy_low_j, energy_high_j)]
    return SimulatedCost(_figure(device_s), None if cycles is None else _whole(cycles), *joules)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a worker says once its model is open; ``None`` where the runtime does not tell."""

    pid: int
    requests: int | None
    load_s: float | None
    rss_base_bytes: int | None
    facts: Mapping[str, Any]
    traffic: Mapping[str, int | None]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Opened:
        """Decode the answer to ``open``. Raises as :meth:`Block.from_json`."""
        load_s = data.get("load_s")
        return cls(
            pid=_count(data["pid"]),
            requests=_optional(data.get("requests")),
            load_s=None if load_s is None else _figure(load_s),
            rss_base_bytes=_optional(data.get("rss_base_bytes")),
            facts=dict(data.get("facts") or {}),
            traffic={str(name): _optional(value) for name, value in (data.get("traffic") or {}).items()},
        )


@dataclass(frozen=True, slots=True)
class Inspected:
    """Memory of a worker by kind, in bytes, and what each technique was observed to have changed."""

    bytes: Mapping[str, int | None]
    evidence: Mapping[str, Any]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Inspected:
        """Decode the answer to ``inspect``. Raises as :meth:`Block.from_json`."""
        sizes = {str(name): _optional(value) for name, value in data.items() if name != "evidence"}
        return cls(sizes, dict(data.get("evidence") or {}))


def _optional(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else _whole(value)


def _simulated(data: Mapping[str, Any]) -> SimulatedRequest | None:
    simulated = data.get("simulated")
    if simulated is None:
        return None
    edges = tuple(_cost(**spent) for spent in simulated["edges"])
    times = [edge.device_s for edge in edges]
    if len(edges) != len(data["edges"]) or len(simulated["token_s"]) != len(data["token_t_ns"]):
        raise ValueError("simulated hardware must tell what it spent at each edge and token")
    if times != sorted(times):
        raise ValueError("the seconds of simulated hardware must never fall")
    if times[-1] == times[0]:
        raise ValueError("the simulated hardware did nothing in a request, so there is no time")
    return SimulatedRequest(edges, tuple(map(_figure, simulated["token_s"])))
