"""Batch normalisation of features that are missing in places."""

import torch
from torch import Tensor

from gnnkit.errors import ShapeError


class MaskedBatchNorm(torch.nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` whose statistics are those of the entries that there are.

    Parameters, buffers and, without a mask, results are those of ``torch.nn.BatchNorm1d``. A column with fewer than two
    entries leaves the running statistics as they are. What missing entries hold, NaN too, reaches neither results nor
    gradients.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(N F)``.
    """

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalises ``input``.

        Args:
            input: ``[N, num_features]``.
            mask: Which entries there are, bool ``[N, num_features]``. None: all of them.

        Returns:
            ``[N, num_features]``, zero where an entry is missing.

        Raises:
            ShapeError: If ``mask`` is not bool, or not of the shape of ``input``.
        """
        if mask is None:
            return super().forward(input)
        present = without_missing(input, mask)
        if self.training or self.running_mean is None or self.running_var is None:
            count = mask.sum(0)
            mean = present.sum(0) / count.clamp(min=1)
            variance = (present - mean).masked_fill(~mask, 0).square().sum(0) / count.clamp(min=1)
            if self.training:
                self._update(count, mean.detach(), variance.detach())
        else:
            mean, variance = self.running_mean, self.running_var
        out = (present - mean) * (variance + self.eps).rsqrt()
        if self.affine:
            out = out * self.weight + self.bias
        return out.masked_fill(~mask, 0)

    def _update(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        share = torch.where(count > 1, share, 0.0).to(mean.dtype)
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_mean.copy_(torch.lerp(self.running_mean, mean.to(self.running_mean.dtype), share))
        self.running_var.copy_(torch.lerp(self.running_var, unbiased.to(self.running_var.dtype), share))


def check_mask(mask: Tensor, shape: torch.Size) -> None:
    """Raises ShapeError where ``mask`` is not bool of the shape given."""
    if mask.dtype != torch.bool or mask.shape != shape:
        raise ShapeError(
            f"mask must be bool {tuple(shape)}, True where there is an entry, got {mask.dtype} {tuple(mask.shape)}"
        )


def without_missing(value: Tensor, mask: Tensor) -> Tensor:
    """``value`` with zeros where ``mask`` is False, whatever it holds there.

    Raises:
        ShapeError: If ``mask`` is not bool, or not of the shape of ``value``.
    """
    check_mask(mask, value.shape)
    return value.masked_fill(~mask, 0)
