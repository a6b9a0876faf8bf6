"""Which weights go, and what SparseGPT does to the others, on matrices small enough to check."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from joulebench.errors import ArtifactError  # noqa: E402
from joulebench_plugins.pruning.masks import keep_in_matrix, keep_in_rows, keep_pattern  # noqa: E402
from joulebench_plugins.pruning.sparsegpt import prune_and_correct  # noqa: E402


def random_matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def correlated_inputs(tokens: int, features: int) -> torch.Tensor:
    """Inputs that a few causes share, of unequal size in no order."""
    causes = random_matrix(tokens, features // 4, 1)
    mixed = causes @ random_matrix(features // 4, features, 2)
    noisy = mixed + 0.3 * random_matrix(tokens, features, 3)
    order = torch.randperm(features, generator=torch.Generator().manual_seed(4))
    return noisy * torch.logspace(-1, 1, features)[order]


@pytest.mark.parametrize("sparsity", [0.01, 0.3, 0.5, 0.97])
def test_in_a_matrix_exactly_the_smallest_go(sparsity: float) -> None:
    scores = random_matrix(24, 40).abs()
    keep = keep_in_matrix(scores, sparsity)
    ranked = sorted((float(value), place) for place, value in enumerate(scores.flatten()))
    gone = {place for _, place in ranked[: round(sparsity * 960)]}
    assert {place for place, value in enumerate(keep.flatten()) if not value} == gone


def test_in_rows_each_row_loses_as_many_and_its_own_smallest() -> None:
    scores = random_matrix(9, 30).abs() * torch.arange(1, 10)[:, None]
    keep = keep_in_rows(scores, 0.4)
    for row, kept in zip(scores.tolist(), keep.tolist(), strict=True):
        limit = sorted(row)[12]
        assert kept == [score >= limit for score in row]


def test_of_equal_scores_the_first_go_and_the_number_is_exact() -> None:
    keep = keep_in_matrix(torch.tensor([[1.0, 1, 1, 0], [1, 2, 1, 1]]), 0.5)
    assert keep.tolist() == [[False, False, False, False], [True, True, True, True]]


@pytest.mark.parametrize("pattern", [(2, 4), (4, 8)])
def test_a_pattern_keeps_the_n_largest_of_each_m(pattern: tuple[int, int]) -> None:
    scores = random_matrix(6, 48).abs()
    keep = keep_pattern(scores, pattern)
    kept, group = pattern
    for values, held in zip(scores.view(-1, group).tolist(), keep.view(-1, group).tolist(), strict=True):
        assert [value in sorted(values)[-kept:] for value in values] == held


def test_uncorrelated_inputs_leave_nothing_to_correct() -> None:
    """With XᵀX a multiple of the identity the score is the magnitude, and errors stay."""
    weight = random_matrix(16, 128)
    pruned = prune_and_correct(weight, 3 * torch.eye(128), 0.5, None, 0.01)
    expected = weight * keep_in_matrix(weight.abs(), 0.5)
    torch.testing.assert_close(pruned, expected)


def test_the_correction_is_the_least_squares_solution() -> None:
    """With only w₀ dropped, the best of the others are w + H⁻¹·H₀·w₀, H of the others alone."""
    inputs = random_matrix(200, 4, 1) @ random_matrix(4, 16, 2) + 0.3 * random_matrix(200, 16, 3)
    weight = 5 + random_matrix(1, 16)
    weight[0, 0] = 0.05  # the smallest by far, and the only one of 16 that goes
    gram = inputs.T @ inputs
    pruned = prune_and_correct(weight, gram, 1 / 16, None, 1e-3)
    assert (pruned[0] == 0).nonzero().flatten().tolist() == [0]
    damped = (gram + 1e-3 * gram.diagonal().mean() * torch.eye(16)).double()
    optimum = weight[0, 1:] + 0.05 * torch.linalg.solve(damped[1:, 1:], damped[1:, 0])
    torch.testing.assert_close(pruned[0, 1:].double(), optimum, rtol=0, atol=2e-5)
    assert float((weight[0, 1:] - optimum).abs().max()) > 2e-3


@pytest.mark.parametrize("pattern", [None, (2, 4), (4, 8)])
def test_on_correlated_inputs_it_reconstructs_better_than_wanda_and_wanda_than_magnitude(
    pattern: tuple[int, int] | None,
) -> None:
    inputs = correlated_inputs(600, 192)  # a block of 128 columns and half a block
    weight = random_matrix(32, 192)

    def error(value: torch.Tensor) -> float:
        return float((inputs @ (value - weight).T).norm() / (inputs @ weight.T).norm())

    def masked(scores: torch.Tensor) -> torch.Tensor:
        keep = keep_in_rows(scores, 0.5) if pattern is None else keep_pattern(scores, pattern)
        return weight * keep

    pruned = prune_and_correct(weight, inputs.T @ inputs, 0.5, pattern, 0.01)
    if pattern is None:
        assert int((pruned == 0).sum()) == weight.numel() // 2
    else:
        assert bool(((pruned.view(-1, pattern[1]) != 0).sum(1) == pattern[0]).all())
    magnitude, wanda = masked(weight.abs()), masked(weight.abs() * inputs.norm(dim=0))
    assert error(pruned) < 0.8 * error(wanda)
    assert error(wanda) < 0.8 * error(magnitude)


def test_columns_that_no_input_reaches_become_zero() -> None:
    inputs = correlated_inputs(300, 32)
    inputs[:, [3, 20]] = 0
    pruned = prune_and_correct(random_matrix(8, 32), inputs.T @ inputs, 0.25, None, 0.01)
    assert bool((pruned[:, [3, 20]] == 0).all())
    assert bool(pruned.isfinite().all())


def test_a_hessian_without_an_inverse_is_told_plainly() -> None:
    with pytest.raises(ArtifactError, match="cannot be inverted") as caught:
        prune_and_correct(random_matrix(4, 8), -torch.eye(8), 0.5, None, 0.01)
    assert "damping" in str(caught.value.hint)
