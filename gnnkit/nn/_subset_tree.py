r"""Elementary symmetric polynomials of independent coins, by a balanced tree of products.

The law of subsets of size ``k``, :math:`p(z) \propto e^{\langle \theta, z \rangle} [\sum z = k]`, is that of
independent coins with :math:`p_i = \mathrm{sigmoid}(\theta_i + c)` given that ``k`` of them fall on heads, whatever
``c``. With ``c`` such that about ``k`` heads are expected, this event is no rare one, and all numbers are probabilities:
they neither overflow nor, where they matter, underflow, and there is no logarithm to take inside of the recursion. Every
sum has positive terms only. A node of the tree holds the law of the number of heads among the leaves below it.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

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
    """Log partition of these rows less the log probability of ``k`` heads; of the others, the log partition, ``[R]``."""


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
    inner_scale = torch.where(chosen, softplus(tilted_logits), 0.0).sum(-1) + k * (shift - offset)
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

    Args:
        coins: ``[R, n]``.
        width: Counts from 0 to ``width - 1`` are kept.

    Returns:
        ``[R, m, min(2^level, width - 1) + 1]`` for ``m`` = the next power of two from ``n``, half of it, ..., 1.
    """
    extra = (1 << max(coins.heads.size(-1) - 1, 0).bit_length()) - coins.heads.size(-1)
    leaves = torch.stack([pad(coins.tails, (0, extra), value=1.0), pad(coins.heads, (0, extra))], dim=-1)
    levels = [leaves[..., :width]]
    while levels[-1].size(-2) > 1:
        left, right = levels[-1][..., 0::2, :], levels[-1][..., 1::2, :]
        size = left.size(-1)
        windows = pad(right, (size - 1, size - 1)).unfold(-1, size, 1)[..., :width, :]
        levels.append((windows @ left.flip(-1).unsqueeze(-1)).squeeze(-1))
    return levels


def at_count(root: Tensor, k: Tensor) -> Tensor:
    """Probability of ``k`` heads, ``[R]``, from the root's law ``[R, 1, width]``."""
    return root.squeeze(-2).gather(-1, k.unsqueeze(-1)).squeeze(-1)


def marginals(coins: Coins, k: Tensor, width: int) -> Tensor:
    """Probability that each coin shows heads, given that ``k`` do, ``[R, n]``.

    Downwards, a node is told the probability of ``k`` heads in all as a function of the number of heads below it.
    """
    if width < 2:
        return torch.zeros_like(coins.heads)
    levels = inside(coins, width)
    outside = torch.nn.functional.one_hot(k, width).double().unsqueeze(-2)[..., : levels[-1].size(-1)]
    for level in reversed(levels[:-1]):
        left, right = level[..., 0::2, :], level[..., 1::2, :]
        size = level.size(-1)
        windows = pad(outside, (0, 2 * size - 1 - outside.size(-1))).unfold(-1, size, 1)
        both = [(windows @ other.unsqueeze(-1)).squeeze(-1) for other in (right, left)]
        outside = torch.stack(both, dim=-2).flatten(-3, -2)
    joint = (levels[0] * outside)[..., : coins.heads.size(-1), :]
    return joint[..., 1] / joint.sum(-1)


def sample(levels: list[Tensor], k: Tensor, num_samples: int, generator: torch.Generator | None) -> Tensor:
    """Exact samples given ``k`` heads, bool ``[num_samples, R, m]``: each node shares its heads among its two halves."""
    root = levels[-1]
    count = k.expand(num_samples, -1).unsqueeze(-1)
    for level in reversed(levels[:-1]):
        left, right = level[..., 0::2, :], level[..., 1::2, :]
        to_left = torch.arange(level.size(-1), device=level.device)
        to_right = count.unsqueeze(-1) - to_left
        fits = (to_right >= 0) & (to_right < level.size(-1))
        other = right.expand(num_samples, *right.shape).gather(-1, to_right.clamp(0, level.size(-1) - 1))
        cumulative = torch.where(fits, left * other, 0.0).cumsum(-1)
        total = cumulative[..., -1:]
        uniform = torch.rand(total.shape, dtype=root.dtype, device=root.device, generator=generator)
        # Below the total even after rounding, so that no share of probability zero is ever taken.
        target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        share = (cumulative <= target).sum(-1)
        count = torch.stack([share, count - share], dim=-1).flatten(-2)
    return count > 0
