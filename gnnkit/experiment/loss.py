"""Losses that leave missing labels out."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gnnkit.errors import ConfigError, DataError, ShapeError

LossName = Literal["bce", "cross_entropy", "l1", "mse"]

_BY_TASK: dict[str, tuple[LossName, ...]] = {
    "multilabel": ("bce",),
    "binary": ("bce",),
    "regression": ("l1", "mse"),
    "multiclass": ("cross_entropy",),
}


def loss_for_task(name: str, task: str) -> LossName:
    """The loss of a task; ``auto`` takes its first.

    Raises:
        ConfigError: If the task is unknown or the loss does not fit it.
    """
    if task not in _BY_TASK:
        raise ConfigError(f'the data set has task "{task}", expected one of {", ".join(_BY_TASK)}')
    choices = _BY_TASK[task]
    for choice in choices:
        if name in (choice, "auto"):
            return choice
    raise ConfigError(f'train.loss "{name}" does not fit a {task} task; choose auto, {" or ".join(choices)}')


def masked_loss(name: LossName, outputs: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """Mean loss over the labels that are there, computed in float32 at least.

    Args:
        name: ``bce`` (logits), ``l1`` or ``mse`` on labels ``[N, T]`` with NaN for "missing"; ``cross_entropy``
            (logits) on classes ``[N]``.
        outputs: Model outputs, ``[N, T]`` or ``[N, C]``.
        labels: Labels.

    Returns:
        The mean, a scalar, and the number of labels it is over. No label at all gives 0, with zero gradients.

    Raises:
        ShapeError: If the shapes do not fit.
        DataError: If ``cross_entropy`` is given labels that are not integers.

    Determinism: bitwise.
    """
    outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
    if name == "cross_entropy":
        return _cross_entropy(outputs, labels)
    entries, known = _entries(name, outputs, labels)
    count = int(known.sum())
    return entries.sum() / max(count, 1), count


def row_losses(name: LossName, outputs: Tensor, labels: Tensor) -> Tensor:
    """The sum of the losses of each row's labels that are there, ``[N]``.

    Arguments, errors and determinism are those of :func:`masked_loss`, which is the sum of these over the number of
    labels.
    """
    outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
    if name == "cross_entropy":
        _check_classes(outputs, labels)
        return functional.cross_entropy(outputs, labels, reduction="none")
    entries, _ = _entries(name, outputs, labels)
    return entries.sum(1)


def _entries(name: LossName, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each label, 0 where it is missing, and whether it is there."""
    if outputs.shape != labels.shape:
        raise ShapeError(f"{name}: expected outputs and labels of one shape, got {_shapes(outputs, labels)}")
    labels = labels.to(outputs.dtype)
    known = ~labels.isnan()
    # A NaN would survive the mask below in the gradient (0 * NaN), so a missing label takes a number first.
    labels = torch.where(known, labels, torch.zeros_like(labels))
    if name == "bce":
        entries = functional.binary_cross_entropy_with_logits(outputs, labels, reduction="none")
    elif name == "l1":
        entries = functional.l1_loss(outputs, labels, reduction="none")
    else:
        entries = functional.mse_loss(outputs, labels, reduction="none")
    return torch.where(known, entries, torch.zeros_like(entries)), known


def _cross_entropy(outputs: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    _check_classes(outputs, labels)
    # The mean of nothing is NaN to torch.
    mean = functional.cross_entropy(outputs, labels) if labels.numel() else outputs.sum()
    return mean, labels.numel()


def _check_classes(outputs: Tensor, labels: Tensor) -> None:
    if outputs.dim() != 2 or labels.shape != outputs.shape[:1]:
        raise ShapeError(f"cross_entropy: expected outputs [N, C] and classes [N], got {_shapes(outputs, labels)}")
    if labels.is_floating_point():
        raise DataError(
            f"cross_entropy: classes must be integers, got {labels.dtype}; a missing (NaN) class has no loss"
        )


def _shapes(outputs: Tensor, labels: Tensor) -> str:
    return f"{tuple(outputs.shape)} and {tuple(labels.shape)}"
