"""The keys of a profile's fixed sections, each declared once.

Reading, checking, the JSON schema for editors and the documentation come from here.
"""

from __future__ import annotations

from typing import Final

from joulebench.api import Option

PROTOCOL_OPTIONS: Final = (
    Option(
        "preset",
        "str",
        None,
        "a published procedure (a file of protocols/ in a profile folder), whose numbers apply "
        "where this table has none",
    ),
    Option(
        "seed",
        "int",
        1,
        "seed of block orders, dithers, prompt order and generated inputs",
        minimum=0,
        maximum=2**63 - 1,
    ),
    Option(
        "processes",
        "int",
        3,
        "worker processes per cell before each look; with fewer than 3, differences are hardly ever significant",
        minimum=1,
    ),
    Option("min_blocks", "int", 40, "blocks at the first look, repeats not counted", minimum=1),
    Option("max_blocks", "int", 320, "maximum blocks of a cell, repeats not counted", minimum=1),
    Option("target", "share", 0.02, "stop at this half-width of the 95 % interval", minimum=1e-4),
    Option(
        "passes",
        "int",
        None,
        "go through the workload's whole list this many times, whatever the intervals are",
        minimum=1,
    ),
    Option("block_s", "float", 1.0, "minimum length of a block, in seconds", minimum=0.01),
    Option("requests_per_block", "int", None, "fixed number of requests in a block", minimum=1),
    Option("shuffle", "bool", True, "draw the order of prompts by the seed; false: as in the file"),
    Option("time_budget_s", "float", 600.0, "maximum measured time of a cell, shared by its processes", minimum=0.1),
    Option("idle_s", "float", 10.0, "idle baseline before and after a group", minimum=0.0),
    Option("margin_before_s", "float", 0.0, "idle wait before each block, with sensors read", minimum=0.0),
    Option("margin_after_s", "float", 0.0, "idle wait after each block, with sensors read", minimum=0.0),
    Option(
        "counted_before_s",
        "float",
        0.0,
        "part of the margin before a block that counts as its energy; needs one request per block",
        minimum=0.0,
    ),
    Option(
        "counted_after_s",
        "float",
        0.0,
        "part of the margin after a block that counts as its energy; needs one request per block",
        minimum=0.0,
    ),
    Option("warmup_min_s", "float", 3.0, "minimum warm-up", minimum=0.0),
    Option("warmup_max_s", "float", 120.0, "maximum warm-up", minimum=0.0),
    Option("warmup_requests", "int", 300, "maximum requests of the warm-up", minimum=1),
    Option("steady", "share", 0.02, "change between halves of the warm-up that counts as steady", minimum=0.0),
    Option("gate_c", "float", 2.0, "thermal gate: distance to the first block's start, in °C", minimum=0.0),
    Option("gate_c_per_10_s", "float", 0.5, "thermal gate: slope, in °C per 10 s", minimum=0.0),
    Option("gate_timeout_s", "float", 180.0, "maximum wait for the thermal gate", minimum=0.0),
    Option("contended", "share", 0.05, "other processes' share of one core that flags a block", minimum=0.0),
    Option("repeat_contended", "int", 1, "maximum repeats of a contended block", minimum=0),
    Option("turns", "bool", True, "cells of a group take turns, block by block"),
)

SAMPLER_OPTIONS: Final = (
    Option("energy_hz", "float", None, "rate of energy and power channels", minimum=0.1),
    Option("calibrate_s", "float", 3.0, "fast reads of the energy channels first", minimum=0.0),
    Option("slow_hz", "float", None, "rate of all other channels", minimum=0.1),
)

LIMIT_OPTIONS: Final = (
    Option("memory", "bytes", None, "resident memory at which a worker or a conversion is killed", minimum=1),
    Option("open_s", "float", 300.0, "maximum time to load a model", minimum=0.1),
    Option("block_s", "float", 600.0, "maximum time of one block; beyond it the worker counts as hanging", minimum=0.1),
    Option("cell_s", "float", None, "maximum time of one cell in total", minimum=0.1),
    Option("make_s", "float", 3600.0, "maximum time of one conversion or compression of a model", minimum=0.1),
    Option(
        "plan_s", "float", 300.0, "maximum time of planning: plugins, programs and model files are asked", minimum=0.1
    ),
)

QUALITY_OPTIONS: Final = (
    Option("text", "file", "builtin:evaluation", "text whose perplexity each cell is judged by"),
    Option("tokens", "int", 2048, "tokens of the text that are scored", minimum=16),
    Option("window", "int", 256, "tokens seen at once; of fewer than eight windows there is no interval", minimum=8),
)

#: ``reference`` beside them is a pattern, no value: see :class:`joulebench.profile.reading.AgreementCheck`.
AGREEMENT_OPTIONS: Final = (
    Option("prompts", "file", "builtin:short", "file of prompts (.jsonl or a line each)"),
    Option("count", "int", 8, "number of prompts, from the start of the file", minimum=1, maximum=256),
    Option("tokens", "int", 64, "tokens to write for each prompt", minimum=1, maximum=1024),
)

SECTIONS: Final[dict[str, tuple[Option, ...]]] = {
    "protocol": PROTOCOL_OPTIONS,
    "sampler": SAMPLER_OPTIONS,
    "limits": LIMIT_OPTIONS,
    "quality": QUALITY_OPTIONS,
    "agreement": AGREEMENT_OPTIONS,
}
