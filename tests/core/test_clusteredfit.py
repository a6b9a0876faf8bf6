"""The fit of phases where requests of one block, and of one process, err together."""

from __future__ import annotations

import random

import pytest

from joulebench.meter.fit import EnergyFit, fit_energy

TRUTH_J = 0.3
RUNS = 300


def fitted(source: random.Random, processes: int, *, between: float, within: float, units: bool = True) -> EnergyFit:
    """A cell of so many processes, ten blocks each of five requests; energies scale with each."""
    energies, prefill, decode, blocks, owners = [], [], [], [], []
    for process in range(processes):
        of_process = source.gauss(1.0, between)
        for block in range(10):
            of_block = of_process * source.gauss(1.0, within)
            for _ in range(5):
                prompt, answer = source.randint(20, 400), source.randint(10, 80)
                joules = (2 + 0.01 * prompt + TRUTH_J * answer) * of_block
                energies.append(joules + source.gauss(0.0, 0.1))
                prefill.append(prompt)
                decode.append(answer)
                blocks.append(10 * process + block)
                owners.append(process)
    return fit_energy(energies, prefill, decode, blocks=blocks if units else None, processes=owners if units else None)


def coverage(processes: int, *, between: float, within: float, units: bool = True) -> float:
    source = random.Random(f"{processes} {between} {within}")
    held = 0
    for _ in range(RUNS):
        per_token = fitted(source, processes, between=between, within=within, units=units).per_decode_token_j
        assert per_token is not None
        held += (per_token.low or 0) <= TRUTH_J <= (per_token.high or 0)
    return held / RUNS


@pytest.mark.parametrize(
    ("processes", "between", "within"), [(1, 0.0, 0.05), (3, 0.02, 0.02), (5, 0.02, 0.0), (3, 0.0, 0.05)]
)
def test_the_interval_of_a_decoded_token_holds_the_truth(processes: int, between: float, within: float) -> None:
    assert coverage(processes, between=between, within=within) >= 0.92


def test_taking_requests_for_independent_would_not() -> None:
    assert coverage(3, between=0.02, within=0.02, units=False) < 0.8


def test_fewer_than_three_processes_are_said_to_be_few() -> None:
    per_token = fitted(random.Random(1), 2, between=0.01, within=0.01).per_decode_token_j
    assert per_token is not None
    assert per_token.flags == ("few_processes",)
    assert per_token.df == 17
    several = fitted(random.Random(1), 3, between=0.01, within=0.01).per_decode_token_j
    assert several is not None
    assert (several.flags, several.df) == ((), 2)


def test_windows_of_unequal_number_are_an_error() -> None:
    with pytest.raises(ValueError, match="equally many"):
        fit_energy([1.0, 2.0], [1, 2], [1, 2], blocks=[0])
