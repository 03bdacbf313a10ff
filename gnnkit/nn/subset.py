r"""Subsets of exactly ``k`` candidates: their partition function, marginals, exact samples, and gradients through them.

.. math:: p(z) = \frac{e^{\langle \theta, z \rangle}}{Z_k} \Bigl[\sum_i z_i = k\Bigr], \qquad
    Z_k = \sum_{|S| = k} \prod_{i \in S} e^{\theta_i}
"""

from typing import Literal

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError, DtypeError, ShapeError
from gnnkit.nn import _subset_tree as tree
from gnnkit.ops._checks import check_float, check_index, values_readable

Estimator = Literal["simple", "gumbel", "imle"]
Size = int | Tensor

_ESTIMATORS = ("simple", "gumbel", "imle")
_NOISE_TERMS = 10


def log_partition(logits: Tensor, k: Size, *, mask: Tensor | None = None) -> Tensor:
    r"""Logarithm of the sum over all subsets of size ``k``, :math:`\log Z_k`: an elementary symmetric polynomial.

    Args:
        logits: :math:`\theta`, ``[*, n]``; minus infinity where there is no candidate.
        k: Size of the subsets: an integer, or one for each row, int64 ``[*]``.
        mask: Which entries are candidates, bool, broadcast to ``[*, n]``. None: those above minus infinity.

    Returns:
        ``[*]``, of the dtype of ``logits``. 0 for ``k = 0``. Differentiable, any number of times; its gradient is that
        of :func:`subset_marginals`.

    Raises:
        ConfigError: If ``k`` is negative or above the number of candidates. That of a single row is looked at on the
            CPU only; elsewhere such a row takes all its candidates.
        DataError: If a logit is NaN or plus infinity (on the CPU).
        ShapeError: If shapes or dtypes do not fit.

    Determinism: bitwise, for a given number of threads.
    Complexity: ``O(n k)`` time and memory per row, in ``O(log n)`` steps for all rows at once; float64 inside.
    Polynomials are multiplied in a balanced tree, after a shift of the logits that makes them probabilities: they never
    overflow, and underflow only where they do not matter, whatever the logits.
    """
    rows, sizes, shape = _prepared(logits, k, mask)
    coins = tree.tilted(rows, sizes)
    root = tree.inside(coins, _width(k, sizes))[-1]
    # What is no choice has probability one: the logarithm must not be asked for.
    probability = torch.where(coins.inner, tree.at_count(root, _countable(sizes, coins, root)), 1.0)
    return (probability.log() + coins.log_scale).reshape(shape[:-1]).to(logits.dtype)


def subset_marginals(logits: Tensor, k: Size, *, mask: Tensor | None = None) -> Tensor:
    r"""Probability that each candidate is in the subset, :math:`\mu_i = \partial \log Z_k / \partial \theta_i`.

    Exact, by one pass up the tree of :func:`log_partition` and one down. They add up to ``k``. Arguments and errors as
    there.

    Returns:
        ``[*, n]``, of the dtype of ``logits``; 0 where there is no candidate. Differentiable.

    Complexity: ``O(n k)`` time and memory per row.
    """
    rows, sizes, shape = _prepared(logits, k, mask)
    levels = tree.inside(tree.tilted(rows, sizes), _width(k, sizes))
    return tree.marginals(levels, sizes, shape[-1]).reshape(shape).to(logits.dtype)


def map_subset(logits: Tensor, k: Size, *, mask: Tensor | None = None) -> Tensor:
    """The most probable subset: the ``k`` largest logits, ties broken by lowest index.

    Arguments and errors as in :func:`log_partition`.

    Returns:
        0 and 1, ``[*, n]``, of the dtype of ``logits``. Without gradient.
    """
    rows, sizes, shape = _prepared(logits.detach(), k, mask)
    return _largest(rows, sizes).reshape(shape).to(logits.dtype)


def sample_subset(
    logits: Tensor,
    k: Size,
    *,
    estimator: Estimator = "simple",
    temperature: float = 1.0,
    mask: Tensor | None = None,
    num_samples: int | None = None,
    target_step: float = 10.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Random subsets of size ``k`` with a gradient to the logits.

    The result is exactly 0 and 1. What differs is the law, and the gradient that stands for that of the sample:

    - ``"simple"`` (Ahmed et al., "SIMPLE: a gradient estimator for k-subset sampling", 2023): exact samples of
      :math:`p`; the gradient is that of the exact marginals, :math:`z + \mu - \mathrm{detach}(\mu)`.
    - ``"gumbel"`` (Xie and Ermon, "Reparameterizable subset sampling", 2019): the ``k`` largest of logits plus Gumbel
      noise, which is sampling one after the other and **not** the law :math:`p`; the gradient is that of ``k``
      successive softmaxes with ``temperature``, :math:`\alpha \leftarrow \alpha + \log(1 - \mathrm{softmax}(\alpha))`.
    - ``"imle"`` (Niepert et al., "Implicit MLE", 2021): the ``k`` largest of logits plus ``temperature`` times
      Sum-of-Gamma noise :math:`\epsilon` (10 terms), which is **not** :math:`p` either; the gradient is
      :math:`(\mathrm{MAP}(\theta + \epsilon) - \mathrm{MAP}(\theta + \epsilon - \lambda g)) / \lambda` for an incoming
      gradient :math:`g`.

    Args:
        logits: As in :func:`log_partition`.
        k: As there.
        estimator: ``"simple"``, ``"gumbel"`` or ``"imle"``.
        temperature: Of the softmaxes, or of the noise of ``"imle"``; above 0. ``"simple"`` has none.
        mask: As in :func:`log_partition`.
        num_samples: Independent samples, in a first dimension. None: one, without that dimension.
        target_step: :math:`\lambda` of ``"imle"``; above 0.
        generator: Source of chance, on the device of ``logits``. None: torch's global one.

    Returns:
        ``[*, n]``, or ``[num_samples, *, n]``, of the dtype of ``logits``.

    Raises:
        ConfigError: As in :func:`log_partition`; or if ``estimator`` is unknown, or a number is not positive.
        DataError, ShapeError: As in :func:`log_partition`.

    Determinism: bitwise, given the state of the generator.
    Complexity: per row, ``O(n k)`` time and memory; ``"imle"`` ``O(n (log n + 10))``.
    """
    if estimator not in _ESTIMATORS:
        raise ConfigError(f"estimator must be one of {', '.join(_ESTIMATORS)}, got {estimator!r}")
    for name, value in (("temperature", temperature), ("target_step", target_step)):
        if not value > 0:
            raise ConfigError(f"{name} must be positive, got {value}")
    if num_samples is not None and num_samples < 1:
        raise ConfigError(f"num_samples must be at least 1, got {num_samples}")
    rows, sizes, shape = _prepared(logits, k, mask)
    width, repeats = _width(k, sizes), num_samples or 1
    if estimator == "simple":
        out = _simple(rows, sizes, width, repeats, generator)
    else:
        rows, sizes = rows.expand(repeats, -1, -1), sizes.expand(repeats, -1)
        if estimator == "gumbel":
            out = _gumbel(rows, sizes, width - 1, temperature, generator)
        else:
            noisy = rows + temperature * _sum_of_gamma(rows, sizes, generator)
            out = _ImplicitMaximumLikelihood.apply(noisy, sizes, target_step)
    return out.reshape(shape if num_samples is None else (num_samples, *shape)).to(logits.dtype)


def _simple(rows: Tensor, sizes: Tensor, width: int, repeats: int, generator: torch.Generator | None) -> Tensor:
    wanted = torch.is_grad_enabled() and rows.requires_grad
    levels = tree.inside(tree.tilted(rows, sizes), width)
    if width < 2:
        drawn = rows.new_zeros((repeats, *rows.shape))
    else:
        laws = [level.detach() for level in levels]
        drawn = tree.sample(laws, sizes, repeats, generator)[..., : rows.size(-1)].to(rows.dtype)
    if not wanted:
        return drawn
    mean = tree.marginals(levels, sizes, rows.size(-1))
    return drawn + (mean - mean.detach())


def _gumbel(rows: Tensor, sizes: Tensor, steps: int, temperature: float, generator: torch.Generator | None) -> Tensor:
    uniform = torch.rand(rows.shape, dtype=rows.dtype, device=rows.device, generator=generator)
    tiny = torch.finfo(rows.dtype).tiny
    noisy = rows - (-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()
    hard = _largest(noisy.detach(), sizes)
    if not (torch.is_grad_enabled() and rows.requires_grad):
        return hard
    valid = rows > -torch.inf
    alpha = torch.where(valid, noisy, torch.finfo(rows.dtype).min / 4)  # finite, so that rows of none have a softmax
    soft = torch.zeros_like(rows)
    for step in range(steps):
        share = torch.where(valid, (alpha / temperature).softmax(-1), 0.0)
        soft = soft + torch.where((step < sizes).unsqueeze(-1), share, 0.0)
        alpha = alpha + (1 - share).clamp(min=tiny).log()
    return hard + (soft - soft.detach())


class _ImplicitMaximumLikelihood(torch.autograd.Function):
    """The largest entries; backwards, how they change when the logits move against the gradient."""

    @staticmethod
    def forward(ctx, noisy: Tensor, sizes: Tensor, step: float) -> Tensor:
        chosen = _largest(noisy, sizes)
        ctx.save_for_backward(noisy, sizes, chosen)
        ctx.step = step
        return chosen

    @staticmethod
    def backward(ctx, *grads: Tensor):
        noisy, sizes, chosen = ctx.saved_tensors
        return (chosen - _largest(noisy - ctx.step * grads[0], sizes)) / ctx.step, None, None


def _sum_of_gamma(rows: Tensor, sizes: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Noise that sums up to about Gumbel over ``k`` entries: :math:`(\sum_{i \le s} \Gamma(1/k) k/i - \log s)/k`."""
    size = sizes.clamp(min=1).to(rows.dtype).unsqueeze(-1)
    shape = (1 / size).expand(rows.shape).contiguous()
    total = torch.zeros_like(shape)
    for term in range(1, _NOISE_TERMS + 1):
        total += torch.ops.aten._standard_gamma(shape, generator=generator) * (size / term)
    return (total - torch.tensor(float(_NOISE_TERMS), dtype=rows.dtype).log().to(rows.device)) / size


def _largest(rows: Tensor, sizes: Tensor) -> Tensor:
    """1 at the ``sizes`` largest entries of each row that are above minus infinity, the first ones of equals."""
    order = rows.sort(dim=-1, descending=True, stable=True).indices
    place = torch.arange(rows.size(-1), device=rows.device).expand(rows.shape)
    rank = torch.empty_like(order).scatter_(-1, order, place)
    return ((rank < sizes.unsqueeze(-1)) & (rows > -torch.inf)).to(rows.dtype)


def _prepared(logits: Tensor, k: Size, mask: Tensor | None) -> tuple[Tensor, Tensor, torch.Size]:
    """Float64 logits ``[R, n]``, minus infinity where there is no candidate; sizes ``[R]``; and the shape given."""
    check_float("logits", logits)
    if logits.dim() == 0:
        raise ShapeError("logits must have at least one dimension, the candidates, got a scalar")
    shape, n = logits.shape, logits.size(-1)
    if mask is not None:
        logits = logits.masked_fill(~_broadcast("mask", mask, torch.bool, shape), -torch.inf)
    rows = logits.double().reshape(-1, n) if n > 0 else logits.double().reshape(shape[:-1].numel(), 0)
    if isinstance(k, Tensor):
        check_index("k", k, dim=k.dim())
        sizes = _broadcast("k", k, k.dtype, shape[:-1]).reshape(-1).long()
    else:
        if isinstance(k, bool) or not isinstance(k, int):
            raise ConfigError(f"k must be an integer or a tensor of them, got {k!r}")
        if not 0 <= k <= n:
            raise ConfigError(f"k must lie in [0, {n}] for {n} candidates, got {k}")
        sizes = torch.full((rows.size(0),), k, dtype=torch.int64, device=rows.device)
    count = (rows > -torch.inf).sum(-1)
    if values_readable(rows):
        _check_values(rows.detach(), sizes, count)
    return rows, sizes.clamp(min=0).minimum(count), shape


def _check_values(rows: Tensor, sizes: Tensor, count: Tensor) -> None:
    wrong = rows.isnan() | (rows == torch.inf)
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise DataError(
            f"logits must be finite or minus infinity, but candidate {column} of row {row} has {rows[row, column]}"
        )
    wrong = (sizes < 0) | (sizes > count)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ConfigError(
            f"k must lie between 0 and the number of candidates, but row {row} has {int(count[row])} of them "
            f"and k = {int(sizes[row])}"
        )


def _broadcast(name: str, value: Tensor, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    if not isinstance(value, Tensor) or value.dtype != dtype:
        raise DtypeError(f"{name} must be a tensor of {dtype}, got {getattr(value, 'dtype', type(value).__name__)}")
    try:
        return value.expand(shape)
    except RuntimeError:
        raise ShapeError(f"{name} must fit {tuple(shape)}, got shape {tuple(value.shape)}") from None


def _width(k: Size, sizes: Tensor) -> int:
    """How many counts, 0 to the largest ``k``, the tree has to keep."""
    if not isinstance(k, Tensor):
        return k + 1
    return int(sizes.max()) + 1 if sizes.numel() > 0 else 1


def _countable(sizes: Tensor, coins: tree.Coins, root: Tensor) -> Tensor:
    """Sizes of the rows with a choice; 0 for the others, whose tree may be narrower than that."""
    return torch.where(coins.inner, sizes, 0).clamp(max=root.size(0) - 1)
