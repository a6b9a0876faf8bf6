"""Published accelerators, and what this model says of the same models on the same boards.

The figures are the papers' own; ``second_hand`` marks those that were read in another paper.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from joulebench_plugins.fpga.backend import FpgaBackend
from joulebench_plugins.fpga.configuration import Setup, device_of, set_up
from joulebench_plugins.fpga.device import Quantity
from joulebench_plugins.fpga.energy import energy_shares
from joulebench_plugins.fpga.shape import engine_shape

#: Positions that the token sees; papers rarely state theirs, and at this length it matters little.
CONTEXT: Final = 128
_LLAMA: Final[dict[str, Any]] = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096}
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "LLaMA2-7B": {
        **_LLAMA,
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "LLaMA3-8B": {
        **_LLAMA,
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "TinyLlama-1.1B": {
        **_LLAMA,
        "vocab_size": 32000,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
    },
}


@dataclass(frozen=True, slots=True)
class Published:
    """One row. ``weights`` are those that a token reads, ``bits`` of each with its scales.

    ``board`` and ``settings`` are what our engine is put on for the same model; ``None`` where it
    cannot be (no description, or weights that it does not have).
    """

    design: str
    board_name: str
    model: str
    weights: float
    bits: float
    bandwidth_bytes_per_s: float
    tok_s: float
    watts: float | None
    source: str
    #: Which of the figures were read in another paper: ``speed``, ``power``.
    second_hand: frozenset[str] = frozenset()
    board: str | None = None
    settings: tuple[tuple[str, str | int], ...] = ()

    @property
    def bound_tok_s(self) -> float:
        """Tokens a second if memory did nothing but send weights, at its full rate."""
        return self.bandwidth_bytes_per_s / (self.weights * self.bits / 8)

    @property
    def share_of_bound(self) -> float:
        """Published speed over that."""
        return self.tok_s / self.bound_tok_s

    @property
    def joules(self) -> float | None:
        """Published power over published speed, J/token."""
        return None if self.watts is None else self.watts / self.tok_s


_BOTH: Final = frozenset({"speed", "power"})
_INT4: Final = (("weights", "int4"), ("group", 128))
ROWS: Final = (
    Published(
        "Li et al.",
        "KV260",
        "LLaMA2-7B",
        6.61e9,
        4.25,
        19.2e9,
        4.9,
        None,
        "arXiv 2502.10659",
        board="kv260",
        settings=_INT4,
    ),
    Published(
        "Hummingbird",
        "KV260",
        "LLaMA3-8B",
        7.50e9,
        4.0,
        19.2e9,
        4.8,
        3.81,
        "arXiv 2507.03308",
        frozenset({"power"}),
        "kv260",
        _INT4,
    ),
    Published(
        "Hummingbird",
        "ZCU104",
        "LLaMA3-8B",
        7.50e9,
        4.0,
        38.4e9,
        8.6,
        None,
        "arXiv 2507.03308",
        board="kv260",
        settings=(*_INT4, ("engines", 8)),
    ),
    Published("LlamaF", "ZCU102", "TinyLlama-1.1B", 1.03e9, 8.5, 19.2e9, 1.5, 5.1, "arXiv 2409.11424", _BOTH, "zcu102"),
    Published(
        "FlightLLM",
        "U280",
        "LLaMA2-7B",
        6.61e9,
        3.5,
        460e9,
        55.0,
        45.0,
        "quoted by arXiv 2502.16473",
        _BOTH,
        "u280",
        _INT4,
    ),
    Published("TerEffic", "U280", "2.7 B ternary", 2.7e9, 1.6, 460e9, 727.0, 46.0, "arXiv 2502.16473; perhaps a batch"),
    Published("TeLLMe v2", "KV260", "0.73 B ternary", 0.73e9, 1.6, 17.1e9, 25.0, 4.8, "arXiv 2510.15926", _BOTH),
    Published(
        "SECDA-LLM",
        "PYNQ-Z1",
        "TinyLlama-1.1B",
        1.03e9,
        3.44,
        2.1e9,
        0.588,
        None,
        "arXiv 2408.00462",
        frozenset({"speed"}),
    ),
)


@dataclass(frozen=True, slots=True)
class Modelled:
    """What the cycle and energy model says of our engine for a row's model and board."""

    tok_s: float
    slowest_tok_s: float
    fastest_tok_s: float
    #: If memory were never waited for: all lanes busy in every cycle.
    compute_tok_s: float
    #: At the memory's stated efficiency, if nothing but weights were sent.
    bandwidth_tok_s: float
    joules: float
    low_j: float
    high_j: float

    @property
    def bound(self) -> str:
        """Which of the two limits is the lower one."""
        return "bandwidth" if self.bandwidth_tok_s < self.compute_tok_s else "compute"


def setup_of(row: Published) -> Setup | None:
    """Our engine on the row's board; its memory's size is not asked for."""
    if row.board is None:
        return None
    settings = {**FpgaBackend().default_settings(), "board": row.board, "cache_tokens": CONTEXT, **dict(row.settings)}
    device = device_of(settings)
    full = Quantity(row.bandwidth_bytes_per_s, row.bandwidth_bytes_per_s, row.bandwidth_bytes_per_s, row.source)
    roomy = Quantity(1e12, 1e12, 1e12, "not asked for")
    device = replace(device, bandwidth_bytes_per_s=full, memory_bytes=roomy)
    return set_up(settings, engine_shape(SHAPES[row.model]), device)


def modelled(row: Published) -> Modelled | None:
    """Speed and energy of a token by this model; ``None`` where the engine cannot be compared."""
    setup = setup_of(row)
    if setup is None:
        return None
    model = setup.nominal()
    cost = model.decode(CONTEXT)
    cycles = [case.decode(CONTEXT).cycles for case in (model, setup.fastest(), setup.slowest())]
    seconds = [count / setup.clock_hz for count in cycles]
    shares = energy_shares(setup.device, cost, *seconds)
    device = setup.device
    lanes = setup.engine.lanes * setup.engines
    return Modelled(
        tok_s=1 / seconds[0],
        slowest_tok_s=1 / seconds[2],
        fastest_tok_s=1 / seconds[1],
        compute_tok_s=lanes * setup.clock_hz / cost.lane_macs,
        bandwidth_tok_s=device.bandwidth_bytes_per_s.value * device.efficiency.value / setup.layout.weights_bytes(),
        joules=sum(share.value_j for share in shares),
        low_j=sum(share.low_j for share in shares),
        high_j=sum(share.high_j for share in shares),
    )


def table_rows() -> list[list[str]]:
    """The table of ``docs/fpga.md``, in texts."""
    return [_texts(row) for row in ROWS]


HEADER: Final = (
    "design",
    "board",
    "model",
    "bound, tok/s",
    "published, tok/s",
    "published / bound",
    "this model, tok/s",
    "this model / published",
    "bound by",
    "published, J/token",
    "this model, J/token",
)


def _texts(row: Published) -> list[str]:
    estimate = modelled(row)
    speed = f"{row.tok_s:g}" + _mark(row, "speed")
    joules = "–" if row.joules is None else f"{row.joules:.2g}" + _mark(row, "power")
    ours = (
        ["–"] * 3
        if estimate is None
        else [
            f"{estimate.tok_s:.3g} [{estimate.slowest_tok_s:.2g}, {estimate.fastest_tok_s:.2g}]",
            f"{estimate.tok_s / row.tok_s:.2g}",
            estimate.bound,
        ]
    )
    energy = "–" if estimate is None else f"{estimate.joules:.2g} [{estimate.low_j:.2g}, {estimate.high_j:.2g}]"
    return [
        f"{row.design} ({row.source})",
        row.board_name,
        row.model,
        f"{row.bound_tok_s:.3g}",
        speed,
        f"{row.share_of_bound:.2f}",
        *ours,
        joules,
        energy,
    ]


def _mark(row: Published, what: str) -> str:
    return "†" if what in row.second_hand else ""
