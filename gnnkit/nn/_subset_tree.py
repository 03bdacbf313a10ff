r"""Elementary symmetric polynomials of independent coins, by a balanced tree of products.

The law of subsets of size ``k``, :math:`p(z) \propto e^{\langle \theta, z \rangle} [\sum z = k]`, is that of
independent coins with :math:`p_i = \mathrm{sigmoid}(\theta_i + c)` given that ``k`` of them fall on heads, whatever
``c``. With ``c`` such that about ``k`` heads are expected, this event is no rare one, and all numbers are
probabilities: they neither overflow nor, where they matter, underflow, so that the recursion is as stable as in log
space, without a logarithm at each step. Every sum has positive terms only. A node of the tree holds the law of the
number of heads among the leaves below it.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

# Halvings of an interval of length gap + 2 log n: enough for far more candidates than fit into memory, since an offset
# of c costs nothing but part of the head room above underflow.
_HALVINGS = 20


class Coins(NamedTuple):
    """Independent coins that give the law of the subsets when conditioned on the number of heads."""

    heads: Tensor
    """Probability of heads, float64 ``[R, n]``; its gradient leads to the logits."""
    tails: Tensor
    """Of tails, computed by itself, so that it is exact where it is small."""
    inner: Tensor
    """Rows in which there is something to choose, ``0 < k < candidates``, ``[R]``."""
    log_scale: Tensor
    """Log partition of these rows less the log probability of ``k`` heads; of others, the log partition, ``[R]``."""


class _Product(torch.autograd.Function):
    r"""First ``size`` coefficients of products of polynomials, :math:`c_j = \sum_i a_i b_{j - i}`, in dimension 0.

    Gradients of products are correlations and the other way round, so that both may be differentiated any number of
    times, and keep nothing but their arguments.
    """

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(a, b)
        out = a.new_zeros((size, *a.shape[1:]))
        for i in range(min(a.size(0), size)):
            reach = min(b.size(0), size - i)
            out[i : i + reach].addcmul_(a[i], b[:reach])
        return out

    @staticmethod
    def backward(ctx, *grads: Tensor):
        a, b = ctx.saved_tensors
        by_a = _Correlation.apply(grads[0], b, a.size(0)) if ctx.needs_input_grad[0] else None
        by_b = _Correlation.apply(grads[0], a, b.size(0)) if ctx.needs_input_grad[1] else None
        return by_a, by_b, None


class _Correlation(torch.autograd.Function):
    r"""First ``size`` entries of :math:`r_i = \sum_m c_{i + m} b_m`, in dimension 0; see :class:`_Product`."""

    @staticmethod
    def forward(ctx, c: Tensor, b: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(c, b)
        out = c.new_zeros((size, *c.shape[1:]))
        for m in range(min(b.size(0), c.size(0))):
            reach = min(size, c.size(0) - m)
            out[:reach].addcmul_(b[m], c[m : m + reach])
        return out

    @staticmethod
    def backward(ctx, *grads: Tensor):
        c, b = ctx.saved_tensors
        by_c = _Product.apply(grads[0], b, c.size(0)) if ctx.needs_input_grad[0] else None
        by_b = _Correlation.apply(c, grads[0], b.size(0)) if ctx.needs_input_grad[1] else None
        return by_c, by_b, None


def tilted(logits: Tensor, k: Tensor) -> Coins:
    """Coins for float64 logits ``[R, n]``, minus infinity where there is no candidate, and sizes ``[R]``."""
    valid = logits > -torch.inf
    count = valid.sum(-1)
    inner = (k > 0) & (k < count)
    y = logits.masked_fill(~valid, 0.0)
    shift, offset = _tilt(logits.detach(), valid, k, inner)
    tilted_logits = y - shift.unsqueeze(-1) + offset.unsqueeze(-1)
    all_heads = (valid & ~inner.unsqueeze(-1) & (k >= count).unsqueeze(-1)).double()
    chosen = valid & inner.unsqueeze(-1)
    heads = torch.where(chosen, tilted_logits.sigmoid(), all_heads)
    tails = torch.where(chosen, (-tilted_logits).sigmoid(), 1.0 - all_heads)
    # Not softplus, which is linear from 20 on and so wrong by 2e-9.
    inner_scale = torch.where(chosen, -logsigmoid(-tilted_logits), 0.0).sum(-1) + k * (shift - offset)
    return Coins(heads, tails, inner, torch.where(inner, inner_scale, (all_heads * y).sum(-1)))


def _tilt(logits: Tensor, valid: Tensor, k: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
    """The ``k``-th largest logit, and ``c`` relative to it such that about ``k`` heads are expected; zero elsewhere."""
    if logits.size(-1) < 2:
        return torch.zeros_like(k, dtype=torch.float64), torch.zeros_like(k, dtype=torch.float64)
    most = logits.size(-1) - 1
    ordered = logits.sort(dim=-1, descending=True).values
    last_in = ordered.gather(-1, (k - 1).clamp(0, most).unsqueeze(-1)).squeeze(-1)
    first_out = ordered.gather(-1, k.clamp(0, most).unsqueeze(-1)).squeeze(-1)
    shift = torch.where(inner, last_in, 0.0)
    gap = torch.where(inner, last_in - first_out, 0.0)
    y = torch.where(valid, logits - shift.unsqueeze(-1), -torch.inf)
    # At the lower end all but k - 1 coins show heads with probability below 1 / n; at the upper end k + 1 do so with
    # probability above 1 - 1 / (n + 1). Halving starts in the middle of the gap, which is right where it is wide.
    reach = valid.sum(-1).clamp(min=2).double().log()
    low, high = -reach, gap + reach
    for _ in range(_HALVINGS):
        middle = low + 0.5 * (high - low)
        few = (y + middle.unsqueeze(-1)).sigmoid().sum(-1) < k
        low, high = torch.where(few, middle, low), torch.where(few, high, middle)
    return shift, torch.where(inner, low + 0.5 * (high - low), 0.0)


def inside(coins: Coins, width: int) -> list[Tensor]:
    """Laws of the number of heads below each node, level by level from the leaves; the last one is the root's.

    A node of the level above joins the nodes ``i`` and ``i + m / 2``. Counts come first and rows last, so that each
    step is one pass over long stretches of memory.

    Args:
        coins: ``[R, n]``.
        width: Counts from 0 to ``width - 1`` are kept.

    Returns:
        ``[min(2^level + 1, width), m, R]`` for ``m`` = the next power of two from ``n``, half of it, ..., 1.
    """
    extra = (1 << max(coins.heads.size(-1) - 1, 0).bit_length()) - coins.heads.size(-1)
    leaves = torch.stack([pad(coins.tails, (0, extra), value=1.0).T, pad(coins.heads, (0, extra)).T])
    levels = [leaves[:width]]
    while levels[-1].size(1) > 1:
        left, right = levels[-1].chunk(2, dim=1)
        levels.append(_Product.apply(left, right, min(2 * left.size(0) - 1, width)))
    return levels


def at_count(root: Tensor, k: Tensor) -> Tensor:
    """Probability of ``k`` heads, ``[R]``, from the root's law ``[width, 1, R]``."""
    return root.squeeze(1).gather(0, k.unsqueeze(0)).squeeze(0)


def marginals(levels: list[Tensor], k: Tensor, num_coins: int) -> Tensor:
    """Probability that each coin shows heads, given that ``k`` do, ``[R, n]``, from what :func:`inside` gives.

    Downwards, a node is told the probability of ``k`` heads in all as a function of the number of heads below it.
    """
    if levels[0].size(0) < 2:  # k = 0 everywhere
        return torch.zeros_like(levels[0][0, :num_coins].T)
    counts = torch.arange(levels[-1].size(0), device=k.device)
    outside = (counts[:, None] == k).double().unsqueeze(1)
    for level in reversed(levels[:-1]):
        left, right = level.chunk(2, dim=1)
        both = [_Correlation.apply(outside, other, level.size(0)) for other in (right, left)]
        outside = torch.cat(both, dim=1)
    joint = (levels[0] * outside)[:, :num_coins]
    return (joint[1] / joint.sum(0)).T


def sample(levels: list[Tensor], k: Tensor, num_samples: int, generator: torch.Generator | None) -> Tensor:
    """Exact samples given ``k`` heads, bool ``[num_samples, R, m]``: a node shares its heads among its two halves."""
    count = k.expand(num_samples, 1, -1)
    for level in reversed(levels[:-1]):
        left, right = level.unsqueeze(1).chunk(2, dim=2)  # [width, 1, m, R]; counts are [S, m, R]
        last = level.size(0) - 1
        to_left = torch.arange(last + 1, device=level.device).reshape(-1, 1, 1, 1)
        to_right = count - to_left
        fits = (to_right >= 0) & (to_right <= last)
        other = right.expand(-1, num_samples, -1, -1).gather(0, to_right.clamp(0, last))
        cumulative = torch.where(fits, left * other, 0.0).cumsum(0)
        total = cumulative[-1]
        uniform = torch.rand(total.shape, dtype=total.dtype, device=total.device, generator=generator)
        # Below the total even after rounding, so that no share of probability zero is ever taken.
        target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        share = (cumulative <= target).sum(0)
        count = torch.cat([share, count - share], dim=1)
    return (count > 0).transpose(1, 2)
