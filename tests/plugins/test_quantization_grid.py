"""Grids, GPTQ on one matrix, and rotations: the arithmetic."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from joulebench.errors import ArtifactError  # noqa: E402
from joulebench_plugins.quantization.gptq import round_and_correct  # noqa: E402
from joulebench_plugins.quantization.grid import (  # noqa: E402
    Grid,
    Rounded,
    dequantized,
    round_to_nearest,
    spread,
)
from joulebench_plugins.quantization.rotation import Rotation, hadamard  # noqa: E402
from joulebench_plugins.shared.calibration.hessian import inverse_factor  # noqa: E402
from joulebench_plugins.shared.decoder.roles import roles_of  # noqa: E402
from joulebench_plugins.shared.llama.shape import LayerShape  # noqa: E402

SHAPE = LayerShape(576, 1536, 2, 9, 3, 64)
ROLES = roles_of({"model_type": "llama"}, "matrices")


def random_matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def correlated_inputs(tokens: int, columns: int) -> torch.Tensor:
    mixed = random_matrix(tokens, 12, 1) @ random_matrix(12, columns, 2)
    return mixed + 0.3 * random_matrix(tokens, columns, 3)


def product_error(inputs: torch.Tensor, weight: torch.Tensor, rounded: Rounded) -> float:
    return float((inputs @ (rounded.dense() - weight).T).norm() / (inputs @ weight.T).norm())


# -- grids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("group", [0, 32, 64, 128])
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_integers_stay_in_their_bits_and_scales_are_float16_by_group(bits: int, group: int, search: bool) -> None:
    weight = random_matrix(6, 256)
    rounded = round_to_nearest(weight, Grid(bits, group, search))
    assert rounded.integers.dtype == torch.int8
    assert rounded.scales.dtype == torch.float16
    assert rounded.scales.shape == (6, 256 // (group or 256))
    lowest = -127 if bits == 8 else -(2 ** (bits - 1))
    assert lowest <= int(rounded.integers.min())
    assert int(rounded.integers.max()) <= 2 ** (bits - 1) - 1


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_each_weight_gets_the_nearest_number_of_its_grid(bits: int) -> None:
    weight = random_matrix(5, 64)
    grid = Grid(bits, 32)
    rounded = round_to_nearest(weight, grid)
    levels = torch.arange(grid.lowest, grid.highest + 1).float()
    numbers = spread(rounded.scales, 64)[..., None] * levels
    least = (numbers - weight[..., None]).abs().amin(-1)
    torch.testing.assert_close((rounded.dense() - weight).abs(), least)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_the_largest_weight_of_a_group_is_hit_as_far_as_float16_says_the_scale(bits: int) -> None:
    weight = random_matrix(40, 32)
    rounded = round_to_nearest(weight, Grid(bits, 32))
    place = weight.abs().argmax(1, keepdim=True)
    largest, hit = weight.gather(1, place), rounded.dense().gather(1, place)
    torch.testing.assert_close(hit, largest, rtol=2**-10, atol=0)


def test_zeros_stay_zeros_and_a_group_of_zeros_has_no_scale() -> None:
    weight = random_matrix(8, 64)
    weight[:, ::3] = 0
    weight[2, :32] = 0
    for grid in (Grid(4, 32), Grid(8, 32), Grid(2, 0), Grid(3, 32, search=True)):
        rounded = round_to_nearest(weight, grid)
        assert bool((rounded.integers[weight == 0] == 0).all())
        assert bool(rounded.dense().isfinite().all())


def test_the_product_of_an_integer_and_a_scale_is_exact_in_float32() -> None:
    rounded = round_to_nearest(random_matrix(16, 64), Grid(8, 32))
    exact = rounded.integers.double() * spread(rounded.scales, 64).double()
    assert torch.equal(rounded.dense().double(), exact)


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_a_searched_scale_is_never_worse_and_mostly_better(bits: int) -> None:
    weight = random_matrix(64, 128)
    plain = round_to_nearest(weight, Grid(bits, 32))
    searched = round_to_nearest(weight, Grid(bits, 32, search=True))
    assert searched.squared_error < 0.97 * plain.squared_error
    assert searched.clipped > plain.clipped

    def of_groups(rounded: Rounded) -> torch.Tensor:
        return (rounded.dense() - weight).square().reshape(-1, 32).sum(1)

    assert bool((of_groups(searched) <= of_groups(plain) * (1 + 1e-5)).all())


def test_a_search_by_inputs_keeps_the_products_better_than_one_by_weights() -> None:
    inputs = correlated_inputs(300, 128) * torch.linspace(0.1, 3, 128)
    weight = random_matrix(32, 128)
    grid = Grid(3, 32, search=True)
    by_inputs = round_to_nearest(weight, grid, inputs.T @ inputs)
    assert product_error(inputs, weight, by_inputs) < product_error(inputs, weight, round_to_nearest(weight, grid))


def test_errors_and_clipped_weights_are_counted() -> None:
    weight = torch.tensor([[1.0, -8.0] + [0.0] * 30])
    rounded = Rounded.of(weight, 4, torch.tensor([[2.0, -8.0] + [0.0] * 30]), torch.ones(1, 1, dtype=torch.float16), 1)
    assert (rounded.squared_error, rounded.squares, rounded.clipped) == (1.0, 65.0, 1 / 32)
    assert torch.equal(rounded.dense(), dequantized(rounded.integers, rounded.scales))


# -- GPTQ -------------------------------------------------------------------------------------


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("group", [0, 32, 64, 128])
def test_uncorrelated_inputs_leave_nothing_to_correct(group: int, act_order: bool) -> None:
    weight = random_matrix(16, 256)
    rounded = round_and_correct(weight, 3 * torch.eye(256), Grid(4, group), 0.01, act_order)
    plain = round_to_nearest(weight, Grid(4, group))
    assert torch.equal(rounded.scales, plain.scales)
    assert torch.equal(rounded.integers, plain.integers)


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("bits", [4, 3, 2])
@pytest.mark.parametrize("group", [0, 32, 64])
def test_on_correlated_inputs_gptq_keeps_the_products_better_than_rounding(
    group: int, bits: int, act_order: bool
) -> None:
    inputs = correlated_inputs(600, 192)  # a block of 128 columns and half a block
    weight = random_matrix(32, 192)
    rounded = round_and_correct(weight, inputs.T @ inputs, Grid(bits, group), 0.01, act_order)
    plain = round_to_nearest(weight, Grid(bits, group))
    assert product_error(inputs, weight, rounded) < 0.7 * product_error(inputs, weight, plain)


@pytest.mark.parametrize("act_order", [False, True])
def test_what_was_pruned_stays_pruned(act_order: bool) -> None:
    inputs = correlated_inputs(600, 128)
    weight = random_matrix(16, 128)
    weight[:, 1::2] = 0
    rounded = round_and_correct(weight, inputs.T @ inputs, Grid(4, 32), 0.01, act_order)
    assert bool((rounded.integers[:, 1::2] == 0).all())
    plain = round_to_nearest(weight, Grid(4, 32))
    assert product_error(inputs, weight, rounded) < product_error(inputs, weight, plain)


def test_the_first_corrections_are_the_least_squares_solution() -> None:
    """With all but w₀ kept as they are, the best of the others are w + H⁻¹·H₀·(w₀ - q₀)."""
    inputs = random_matrix(400, 6, 1) @ random_matrix(6, 32, 2) + 0.3 * random_matrix(400, 32, 3)
    gram = inputs.T @ inputs
    weight = random_matrix(1, 32)
    factor = inverse_factor(gram, 1e-3)
    lost = 0.25
    moved = weight[0, 1:] - lost / factor[0, 0] * factor[0, 1:]
    damped = (gram + 1e-3 * gram.diagonal().mean() * torch.eye(32)).double()
    optimum = weight[0, 1:] + lost * torch.linalg.solve(damped[1:, 1:], damped[1:, 0])
    torch.testing.assert_close(moved.double(), optimum, rtol=0, atol=1e-4)


def test_inputs_that_are_always_zero_are_rounded_and_change_nothing_else() -> None:
    inputs = correlated_inputs(300, 64)
    inputs[:, [3, 40]] = 0
    weight = random_matrix(8, 64)
    rounded = round_and_correct(weight, inputs.T @ inputs, Grid(8, 32), 0.01, act_order=False)
    torch.testing.assert_close(rounded.dense()[:, [3, 40]], weight[:, [3, 40]], rtol=0, atol=0.05)


def test_a_hessian_without_an_inverse_is_told_plainly() -> None:
    with pytest.raises(ArtifactError, match="cannot be inverted") as caught:
        round_and_correct(random_matrix(4, 32), -torch.eye(32), Grid(4, 32), 0.01, act_order=False)
    assert "damping" in str(caught.value.hint)


# -- rotations --------------------------------------------------------------------------------


def test_a_hadamard_matrix_is_orthogonal_and_has_one_magnitude() -> None:
    matrix = hadamard(64)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(64, dtype=torch.float64))
    torch.testing.assert_close(matrix.abs(), torch.full_like(matrix, 1 / 8))


@pytest.mark.parametrize("kind", ["hadamard", "orthogonal"])
def test_a_width_that_is_no_power_of_two_is_rotated_as_well(kind: str) -> None:
    table = random_matrix(700, 576)
    turned = Rotation(ROLES, 576, kind, 0, SHAPE).embedding(table)
    torch.testing.assert_close(turned @ turned.T, table @ table.T, rtol=1e-4, atol=1e-3)
    # One large channel is spread over all of them.
    table[:, 7] *= 50
    turned = Rotation(ROLES, 576, kind, 0, SHAPE).embedding(table)
    assert turned.abs().amax() < 0.4 * table.abs().amax()


def test_a_seed_draws_the_rotation() -> None:
    table = random_matrix(4, 576)
    drawn = [Rotation(ROLES, 576, "hadamard", seed, SHAPE).embedding(table) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
