"""``joulebench fpga-synthesis``: resources and clock of an engine."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from joulebench.api import examples


@click.command(
    "fpga-synthesis",
    short_help="Resources and clock of the FPGA engine",
    epilog=examples(
        "joulebench fpga-synthesis --part ecp5-85f --lanes 16", "joulebench fpga-synthesis --seed 1 --seed 2"
    ),
)
@click.option("--lanes", type=int, default=32, show_default=True, help="Multipliers side by side.")
@click.option("--weight-bits", type=int, default=8, show_default=True, help="8 or 4.")
@click.option("--part", default="ecp5-85f", show_default=True, help="ecp5-85f or xilinx-us+.")
@click.option(
    "--seed",
    "seeds",
    type=int,
    multiple=True,
    default=(1,),
    show_default=True,
    help="Seed of the placement. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a list with one entry per seed.")
def synthesis(lanes: int, weight_bits: int, part: str, seeds: tuple[int, ...], as_json: bool) -> None:
    """Map the FPGA engine to a part's cells, place and route it, and show the clock it reaches.

    It takes minutes (the first call some more); the result is kept in the user's cache. For
    Xilinx parts the open tools give resources, but no placement and so no clock.
    """
    from joulebench_plugins.fpga.law import Engine
    from joulebench_plugins.fpga.synthesis.flow import synthesise
    from joulebench_plugins.fpga.synthesis.parts import find_part
    from joulebench_plugins.fpga.synthesis.results import clock_of

    engine = Engine(lanes, weight_bits)  # type: ignore[arg-type]  # it checks its numbers itself
    target = find_part(part)
    placed = target.kind == "place-and-route"
    results = [synthesise(engine, part, seed) for seed in (seeds if placed else seeds[:1])]
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results], indent=1))
        return
    click.echo(f"{lanes} lanes, {weight_bits}-bit weights: {target.description}")
    for name, words in (
        ("luts", "LUTs"),
        ("ffs", "flip-flops"),
        ("dsps", "multipliers"),
        ("brams", "block RAMs (18 kbit)"),
    ):
        there = f" of {target.capacity[name]:,}" if name in target.capacity else ""
        click.echo(f"  {getattr(results[0], name):>7,}{there} {words}")
    clock = clock_of(results)
    if clock is None:
        click.echo("  no clock: the open tools do not place this part")
        return
    for result in results:
        click.echo(f"  {result.fmax_mhz:.1f} MHz with seed {result.seed}")
