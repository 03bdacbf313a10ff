"""Subsets of a given size, against the enumeration of all of them."""

from itertools import combinations
from typing import Any

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.errors import ConfigError, DataError, DtypeError, ShapeError
from gnnkit.nn import log_partition, map_subset, sample_subset, subset_marginals

ORACLE = torch.tensor([0.0, 1.0, 2.0, -1.0], dtype=torch.float64)
INF = float("inf")


def enumerated(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """All subsets ``[S, n]``, their log weights, and log partition, of one row."""
    n = logits.size(0)
    rows = [[float(i in chosen) for i in range(n)] for chosen in combinations(range(n), k)]
    subsets = torch.tensor(rows, dtype=torch.float64).reshape(-1, n)
    weight = torch.where(subsets > 0, logits, 0.0).sum(1)
    return subsets, weight, weight.logsumexp(0)


def prefixes(logits: Tensor, k: int) -> Tensor:
    """Row ``i``: logarithms of the polynomials of degree 0 to ``k`` of the first ``i`` candidates, one by one."""
    table = torch.full((len(logits) + 1, k + 1), -INF, dtype=torch.float64)
    table[:, 0] = 0.0
    for i, value in enumerate(logits):
        table[i + 1, 1:] = torch.logaddexp(table[i, 1:], table[i, :-1] + value)
    return table


def in_log_space(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Log partition and marginals: what precedes a candidate, itself, and what follows it."""
    before, after = prefixes(logits, k), prefixes(logits.flip(0), k).flip(0)
    joint = before[:-1, :k] + after[1:, :k].flip(1)
    return before[-1, k], (joint.logsumexp(1) + logits - before[-1, k]).exp()


def close(actual: Tensor, expected: Any, atol: float = 1e-11) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-11, atol=atol)


def test_marginals_have_the_known_values():
    close(subset_marginals(ORACLE, 1), [0.087144, 0.236883, 0.643914, 0.032059], atol=5e-7)
    close(subset_marginals(ORACLE, 2), [0.305587, 0.694413, 0.880797, 0.119203], atol=5e-7)
    close(log_partition(ORACLE, 2), 3.534534, atol=5e-7)
    close(subset_marginals(ORACLE, 1), ORACLE.softmax(0))


def test_gumbel_top_two_is_another_law_and_known_too():
    torch.manual_seed(3)
    known = torch.tensor([0.276, 0.695, 0.927, 0.103], dtype=torch.float64)
    gumbel = sample_subset(ORACLE, 2, estimator="gumbel", num_samples=200_000).mean(0)
    assert (gumbel - known).abs().max() < 5e-3
    assert (gumbel - subset_marginals(ORACLE, 2)).abs().max() > 0.02


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    logits=st.lists(st.one_of(st.just(-INF), st.floats(-60, 60)), min_size=1, max_size=8),
    share=st.floats(0, 1),
    shift=st.sampled_from([0.0, 1e3, -1e5]),
)
def test_everything_equals_its_enumeration(logits: list[float], share: float, shift: float):
    row = torch.tensor(logits, dtype=torch.float64)
    k = round(share * int((row > -INF).sum()))
    subsets, weight, total = enumerated(row, k)
    mean = ((weight - total).exp()[:, None] * subsets).sum(0)
    close(subset_marginals(row, k), mean, atol=1e-12)
    close(log_partition(row, k), total, atol=1e-10)
    # Marginals do not see a shift; the logits are rounded by it, though.
    assert torch.allclose(subset_marginals(row + shift, k), mean, atol=1e-9)
    assert torch.allclose(log_partition(row + shift, k), total + k * shift, rtol=1e-12, atol=1e-8)
    assert subset_marginals(row, k).sum().item() == pytest.approx(k, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 33, 100, 400])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_many_candidates_agree_with_the_recursion_in_log_space(n: int, scale: float):
    row = scale * torch.randn(n, dtype=torch.float64)
    for k in {0, 1, n // 3, n - 1, n}:
        expected, expected_mean = in_log_space(row, k)
        torch.testing.assert_close(log_partition(row, k), expected, rtol=1e-12, atol=1e-9)
        mean = subset_marginals(row, k)
        assert mean.sum().item() == pytest.approx(k, abs=1e-9)
        assert bool(((mean >= 0) & (mean <= 1)).all())
        # Differences of large logarithms are what is less exact of the two.
        close(mean, expected_mean, atol=1e-12 + 1e-15 * row.abs().sum().item())


def test_extreme_logits_neither_overflow_nor_underflow():
    row = torch.tensor([1e300, 1e300, -1e300, 0.0, 5.0, -INF], dtype=torch.float64)
    for k, expected in ((1, [0.5, 0.5, 0, 0, 0, 0]), (2, [1, 1, 0, 0, 0, 0]), (4, [1, 1, 0, 1, 1, 0])):
        close(subset_marginals(row, k), expected)
    sigmoid = torch.tensor(5.0, dtype=torch.float64).sigmoid()
    close(
        subset_marginals(row, 3),
        torch.stack([*torch.tensor([1.0, 1.0, 0.0]).double(), 1 - sigmoid, sigmoid, 0 * sigmoid]),
    )
    narrow = torch.tensor([80.0, -80.0, 88.0, 1.0])
    assert bool(subset_marginals(narrow, 2).isfinite().all())
    assert bool(log_partition(narrow.bfloat16(), 2).isfinite().all())


def test_equal_logits_share_alike_and_all_of_them_are_certain():
    for n in (1, 3, 8, 50):
        row = torch.full((n,), -3.7, dtype=torch.float64)
        for k in range(0, n + 1, max(n // 5, 1)):
            close(subset_marginals(row, k), torch.full((n,), k / n, dtype=torch.float64))
        close(subset_marginals(row, n), torch.ones(n))
        close(log_partition(row, n), -3.7 * n, atol=1e-9)


@pytest.mark.parametrize("k", [0, 1, 2, 4, 5])
def test_gradients_agree_with_finite_differences(k: int):
    logits = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: log_partition(t, k), (logits,))
    assert torch.autograd.gradcheck(lambda t: subset_marginals(t, k), (logits,))
    assert torch.autograd.gradgradcheck(lambda t: log_partition(t, k), (logits,))


def test_gradients_with_minus_infinity_and_a_size_for_each_row():
    logits = torch.randn(4, 6, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 0, 0], [0] * 6], dtype=torch.bool)
    sizes = torch.tensor([3, 2, 1, 0])
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: log_partition(t, sizes, mask=mask), (logits,))
    assert torch.autograd.gradcheck(lambda t: subset_marginals(t, sizes, mask=mask), (logits,))
    infinite = logits.detach().masked_fill(~mask, -INF).requires_grad_()
    for estimator in ("simple", "gumbel", "imle"):
        (grad,) = torch.autograd.grad(
            (sample_subset(infinite, sizes, estimator=estimator) * torch.randn(4, 6)).sum(), infinite
        )
        assert bool(grad.isfinite().all())
        assert bool((grad[~mask] == 0).all())


def test_the_gradient_of_the_log_partition_is_the_marginals():
    logits = torch.randn(3, 20, dtype=torch.float64, requires_grad=True)
    for k in (0, 1, 7, 19, 20):
        (grad,) = torch.autograd.grad(log_partition(logits, k).sum(), logits)
        close(grad, subset_marginals(logits, k).detach())


def test_rows_of_different_lengths_are_those_rows_alone():
    lengths, sizes = [9, 1, 0, 5, 7], torch.tensor([4, 1, 0, 0, 7])
    logits = torch.randn(5, 9, dtype=torch.float64)
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    mean, total = subset_marginals(logits, sizes, mask=mask), log_partition(logits, sizes, mask=mask)
    best = map_subset(logits, sizes, mask=mask)
    for row, (length, size) in enumerate(zip(lengths, sizes.tolist(), strict=True)):
        close(mean[row, :length], subset_marginals(logits[row, :length], size))
        close(total[row], log_partition(logits[row, :length], size))
        assert best[row].sum() == size
        assert bool((mean[row, length:] == 0).all())
    for estimator in ("simple", "gumbel", "imle"):
        drawn = sample_subset(logits, sizes, mask=mask, estimator=estimator, num_samples=50)
        assert bool((drawn.sum(-1) == sizes).all())
        assert bool((drawn[:, ~mask] == 0).all())


@pytest.mark.parametrize(("n", "k"), [(4, 2), (5, 3), (6, 1), (7, 4)])
def test_samples_follow_the_law_by_chi_square(n: int, k: int):
    generator = torch.Generator().manual_seed(17)
    row = torch.randn(n, dtype=torch.float64, generator=generator)
    subsets, weight, total = enumerated(row, k)
    count = 40_000
    drawn = sample_subset(row, k, num_samples=count, generator=generator)
    assert bool((drawn.sum(1) == k).all())
    code = (2 ** torch.arange(n)).double()
    number = torch.searchsorted((subsets @ code).sort().values, drawn @ code)
    order = (subsets @ code).argsort()
    seen = torch.bincount(number, minlength=len(subsets)).double()
    expected = count * (weight - total).exp()[order]
    statistic = ((seen - expected).square() / expected).sum().item()
    assert scipy.stats.chi2.sf(statistic, len(subsets) - 1) > 1e-3


def test_samples_of_several_rows_are_independent_of_each_other():
    torch.manual_seed(0)
    drawn = sample_subset(torch.zeros(2, 2), 1, num_samples=20_000)
    together = (drawn[:, 0, 0] * drawn[:, 1, 0]).mean().item()
    assert together == pytest.approx(0.25, abs=0.015)


@pytest.mark.parametrize("estimator", ["simple", "gumbel", "imle"])
def test_samples_are_exactly_zero_and_one_and_repeat_with_their_generator(estimator: Any):
    logits = torch.randn(3, 2, 30, requires_grad=True)
    first, again = (
        sample_subset(logits, 7, estimator=estimator, generator=torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(first, again)
    assert first.dtype == torch.float32
    assert first.unique().tolist() == [0.0, 1.0]
    assert bool((first.sum(-1) == 7).all())
    several = sample_subset(logits, 7, estimator=estimator, num_samples=5)
    assert several.shape == (5, 3, 2, 30)
    assert not torch.equal(several[0], several[1])


def test_the_gradient_of_simple_is_that_of_the_marginals():
    logits, g = torch.randn(4, 9, dtype=torch.float64, requires_grad=True), torch.randn(4, 9, dtype=torch.float64)
    (given_,) = torch.autograd.grad((sample_subset(logits, 3) * g).sum(), logits)
    (expected,) = torch.autograd.grad((subset_marginals(logits, 3) * g).sum(), logits)
    close(given_, expected)


def test_the_gradient_of_simple_is_the_covariance_of_the_law():
    row = torch.randn(6, dtype=torch.float64)
    subsets, weight, total = enumerated(row, 3)
    p = (weight - total).exp()
    mean = p @ subsets
    covariance = (subsets - mean).T * p @ (subsets - mean)
    close(torch.autograd.functional.jacobian(lambda t: sample_subset(t, 3), row), covariance)


def test_the_gradient_of_gumbel_is_that_of_successive_softmaxes():
    row, g, k, temperature = torch.randn(6).double().requires_grad_(), torch.randn(6).double(), 3, 0.7
    drawn = sample_subset(
        row, k, estimator="gumbel", temperature=temperature, generator=torch.Generator().manual_seed(1)
    )
    (found,) = torch.autograd.grad((drawn * g).sum(), row)
    uniform = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    alpha = row - (-uniform.log()).log()
    assert torch.equal(drawn, map_subset(alpha, k))
    soft = torch.zeros(6, dtype=torch.float64)
    for _ in range(k):
        share = (alpha / temperature).softmax(0)
        soft, alpha = soft + share, alpha + (1 - share).log()
    (expected,) = torch.autograd.grad((soft * g).sum(), row)
    close(found, expected)


def test_the_gradient_of_imle_is_a_difference_of_maximum_a_posteriori_states():
    row = torch.tensor([3.0, 2.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    g = torch.tensor([1.0, 0.0, 0.0, -1.0], dtype=torch.float64)
    drawn = sample_subset(row, 2, estimator="imle", temperature=1e-9, target_step=4.0)
    assert drawn.tolist() == [1, 1, 0, 0]
    (grad,) = torch.autograd.grad((drawn * g).sum(), row)
    # 3 - 4, 2, 1, 0 + 4: the first goes, the last comes.
    assert grad.tolist() == [0.25, 0.0, 0.0, -0.25]


def test_noise_of_imle_sums_up_to_nearly_gumbel():
    torch.manual_seed(1)
    from gnnkit.nn.subset import _sum_of_gamma

    for k in (1, 4, 10):
        noise = _sum_of_gamma(torch.zeros(20_000, k).double(), torch.full((20_000,), k), None).sum(1)
        assert noise.mean().item() == pytest.approx(0.5772, abs=0.08)
        assert noise.std().item() == pytest.approx(1.2825, abs=0.06)


def test_gradients_descend_to_the_best_subset():
    """Every estimator finds the two candidates that the loss wants."""
    cost = torch.tensor([1.0, -1.0, 0.5, -1.0, 0.2])
    for estimator in ("simple", "gumbel", "imle"):
        torch.manual_seed(0)
        logits = torch.zeros(5, requires_grad=True)
        optimizer = torch.optim.SGD([logits], lr=0.5)
        for _ in range(60):
            optimizer.zero_grad()
            (sample_subset(logits, 2, estimator=estimator, num_samples=8) @ cost).mean().backward()
            optimizer.step()
        assert map_subset(logits, 2).tolist() == [0, 1, 0, 1, 0]


def test_ties_of_the_most_probable_subset_go_to_the_lowest_index():
    assert map_subset(torch.tensor([1.0, 2.0, 2.0, 2.0, 0.0]), 2).tolist() == [0, 1, 1, 0, 0]
    assert map_subset(torch.zeros(40), 3).tolist() == [1.0] * 3 + [0.0] * 37


def test_no_rows_and_no_candidates():
    assert subset_marginals(torch.zeros(0, 4), 2).shape == (0, 4)
    assert log_partition(torch.zeros(3, 0), 0).tolist() == [0, 0, 0]
    for estimator in ("simple", "gumbel", "imle"):
        assert sample_subset(torch.zeros(3, 0), 0, estimator=estimator).shape == (3, 0)
        assert sample_subset(torch.zeros(0, 4), 2, estimator=estimator, num_samples=2).shape == (2, 0, 4)
        assert sample_subset(torch.zeros(4), 0, estimator=estimator).tolist() == [0, 0, 0, 0]


def test_bad_input_is_named():
    row = torch.zeros(2, 4)
    for k in (-1, 5):
        for function in (log_partition, subset_marginals, map_subset, sample_subset):
            with pytest.raises(ConfigError, match=r"k must lie in \[0, 4\] for 4 candidates"):
                function(row, k)
    with pytest.raises(ConfigError, match="row 1 has 2 of them and k = 3"):
        subset_marginals(row, 3, mask=torch.tensor([[True] * 4, [True, False, True, False]]))
    with pytest.raises(ConfigError, match="row 0 has 4 of them and k = -1"):
        subset_marginals(row, torch.tensor([-1, 2]))
    with pytest.raises(ConfigError, match="integer"):
        log_partition(row, 1.5)  # type: ignore[arg-type]
    for value in (float("nan"), INF):
        with pytest.raises(DataError, match="candidate 1 of row 0"):
            log_partition(torch.tensor([[0.0, value]]), 1)
    with pytest.raises(DtypeError):
        log_partition(torch.zeros(3, dtype=torch.int64), 1)
    with pytest.raises(ShapeError, match="scalar"):
        log_partition(torch.tensor(1.0), 0)
    with pytest.raises(ShapeError, match="mask must fit"):
        log_partition(row, 1, mask=torch.ones(3, dtype=torch.bool))
    with pytest.raises(DtypeError, match=r"mask must be a tensor of torch\.bool"):
        log_partition(row, 1, mask=torch.ones(4))
    with pytest.raises(ConfigError, match="estimator must be one of simple, gumbel, imle"):
        sample_subset(row, 1, estimator="reinforce")  # type: ignore[arg-type]
    for settings_ in ({"temperature": 0.0}, {"target_step": -1.0}, {"num_samples": 0}):
        with pytest.raises(ConfigError):
            sample_subset(row, 1, **settings_)
