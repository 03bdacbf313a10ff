"""The orthonormal factor of segments of rows; see :class:`gnnkit.encodings.RandomFeaturePropagation`."""

import torch
from torch import Tensor

from gnnkit.ops._library import define


def reference(x: Tensor, ptr: Tensor, tolerance: float) -> Tensor:
    r"""``Q`` of the decomposition ``QR`` of every segment, with a diagonal of ``R`` that is positive.

    A column that the columns before it span is zero in ``Q``: one of which at most ``tolerance`` times the longest
    column of the segment is left. Gram and Schmidt, each column twice.

    Args:
        x: float64 ``[N, K]``.
        ptr: Boundaries of the segments, int64 ``[S + 1]``.
        tolerance: Not negative.

    Returns:
        float64 ``[N, K]``.
    """
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        columns: list[Tensor] = []
        given = x[begin:end].T
        least = tolerance * float(given.square().sum(1).sqrt().max()) if given.size(0) else 0.0
        for own in given:
            for other in columns + columns:
                own = own - (other * own).sum() * other
            length = own.square().sum().sqrt()
            columns.append(own / length if length > least else torch.zeros_like(own))
        if columns:
            out[begin:end] = torch.stack(columns, 1)
    return out


def _fake(x: Tensor, ptr: Tensor, tolerance: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


define("orthonormal_columns(Tensor x, Tensor ptr, float tolerance) -> Tensor", reference=reference, fake=_fake)
