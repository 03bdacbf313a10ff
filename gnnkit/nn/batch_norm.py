"""Batch normalisation of rows: there may be none, entries may be missing, processes may hold them together."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import ShapeError


class BatchNorm(torch.nn.BatchNorm1d):
    r"""``torch.nn.BatchNorm1d`` of rows, ``[N, F]``, with statistics of all entries that there are.

    .. math:: x_i' = \gamma \odot \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    Arguments, parameters, buffers and, without a mask and within one process, results are those of
    ``torch.nn.BatchNorm1d``. Besides, it takes no rows (a batch of graphs without edges has none), missing entries, and
    after :func:`synchronize_batch_norms` rows that are spread over processes. With a mask or over processes, a column
    of fewer than two entries leaves the running statistics as they are; what missing entries hold, NaN too, reaches
    neither results nor gradients.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(N F)``; over processes two sums of ``F`` numbers in the forward pass and two in the backward pass.
    """

    processes: Any = None
    """The process group whose rows are normalised together in training; ``None``: this process alone."""

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalises ``input``.

        Args:
            input: ``[N, num_features]``.
            mask: Which entries there are, bool ``[N, num_features]``. None: all of them.

        Returns:
            ``[N, num_features]``, zero where an entry is missing.

        Raises:
            ShapeError: If ``mask`` is not bool, or not of the shape of ``input``.
            ValueError: In training, without a mask and within one process, if there is a single row.
        """
        if mask is None and (self.processes is None or not self.training):
            return super().forward(input) if input.size(0) > 0 else input
        present = input if mask is None else without_missing(input, mask)
        if self.training or self.running_mean is None or self.running_var is None:
            mean, variance = self._statistics(present, mask)
        else:
            mean, variance = self.running_mean, self.running_var
        out = (present - mean) * (variance + self.eps).rsqrt()
        if self.affine:
            out = out * self.weight + self.bias
        out = out.to(input.dtype)
        return out if mask is None else out.masked_fill(~mask, 0)

    def _statistics(self, present: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        present = present if present.dtype == torch.float64 else present.float()
        ones = present.new_full((present.size(1),), present.size(0)) if mask is None else mask.sum(0).to(present.dtype)
        total, count = self._sum(torch.stack([present.sum(0), ones]))
        mean = total / count.clamp(min=1)
        centred = present - mean if mask is None else (present - mean).masked_fill(~mask, 0)
        variance = self._sum(centred.square().sum(0)) / count.clamp(min=1)
        if self.training:
            self._update(count.detach(), mean.detach(), variance.detach())
        return mean, variance

    def _sum(self, value: Tensor) -> Tensor:
        return value if self.processes is None else _SumOverProcesses.apply(value, self.processes)

    def _update(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        share = torch.where(count > 1, share, 0.0).to(mean.dtype)
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_mean.copy_(torch.lerp(self.running_mean, mean.to(self.running_mean.dtype), share))
        self.running_var.copy_(torch.lerp(self.running_var, unbiased.to(self.running_var.dtype), share))


def synchronize_batch_norms(model: torch.nn.Module, processes: Any) -> None:
    """Has every :class:`BatchNorm` of a model take its statistics, in training, over the rows of several processes.

    Then a batch that is spread over processes gives what it gives in one, but for rounding; with statistics of its
    part in each process it would not. All processes must run the same norms in the same order.

    Args:
        model: The model, changed in place.
        processes: A ``torch.distributed`` process group; ``None``: back to one. Norms talk in it during the backward
            pass, so if others do, too (``DistributedDataParallel`` does), give them a group of their own.
    """
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.processes = processes


class _SumOverProcesses(torch.autograd.Function):
    """The sum over the processes, in each of them. Its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, processes: Any) -> Tensor:
        ctx.processes = processes
        return _summed(value, processes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _summed(gradients[0], ctx.processes), None


def _summed(value: Tensor, processes: Any) -> Tensor:
    from torch import distributed

    total = value.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total, group=processes)
    return total


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
