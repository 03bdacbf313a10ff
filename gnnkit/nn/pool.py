"""Readouts: one row per graph from the rows of its nodes."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, IndexRangeError, ShapeError
from gnnkit.nn._inputs import check_rows

REDUCTIONS = ("sum", "mean", "max", "min")


def pool(
    x: Tensor,
    batch: Tensor | None = None,
    *,
    ptr: Tensor | None = None,
    num_graphs: int | None = None,
    reduce: str = "mean",
) -> Tensor:
    r"""Reduces the nodes of each graph: :math:`y_g = \bigoplus_{i \in g} x_i`.

    Args:
        x: Node features, ``[N, *]``.
        batch: Graph of each node, ``[N]``, non-decreasing. Neither ``batch`` nor ``ptr``: one graph.
        ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``; spares the search of ``batch``.
        num_graphs: ``G``, with ``batch``. None: the last node's graph plus 1, which loses empty graphs at the end (and
            reads one number from the device).
        reduce: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.

    Returns:
        ``[G, *]``; zero for a graph without nodes.

    Raises:
        ConfigError: If ``reduce`` is unknown.
        ShapeError: If ``batch`` has not one entry per node, or both ``batch`` and ``ptr`` are given.
        IndexRangeError: If ``batch`` decreases or leaves ``[0, num_graphs)``, or ``ptr`` does not run from 0 to ``N``.

    Determinism: bitwise.
    Complexity: ``O(N F)``.
    """
    if reduce not in REDUCTIONS:
        raise ConfigError(f"reduce must be one of {', '.join(REDUCTIONS)}, got {reduce!r}")
    return ops.segment_reduce(x, graph_boundaries(x, batch, ptr=ptr, num_graphs=num_graphs), reduce)


def root_pool(
    x: Tensor,
    root_mask: Tensor,
    batch: Tensor | None = None,
    *,
    ptr: Tensor | None = None,
    num_graphs: int | None = None,
) -> Tensor:
    """Picks the root of each graph.

    Args:
        x: Node features, ``[N, *]``.
        root_mask: True at exactly one node per graph, bool ``[N]``.
        batch: As in :func:`pool`.
        ptr: As in :func:`pool`.
        num_graphs: As in :func:`pool`.

    Returns:
        ``[G, *]``.

    Raises:
        ShapeError: If ``root_mask`` is not a bool vector of one entry per node.
        IndexRangeError: If a graph has no root, or several (checked on the CPU only).

    Determinism: bitwise.
    Complexity: ``O(N + G F)``; no synchronisation with the device.
    """
    ptr = graph_boundaries(x, batch, ptr=ptr, num_graphs=num_graphs)
    if root_mask.dtype != torch.bool or root_mask.shape != x.shape[:1]:
        raise ShapeError(
            f"root_mask must be bool of shape [{x.size(0)}], got {root_mask.dtype} of shape {tuple(root_mask.shape)}"
        )
    seen = root_mask.cumsum(0)
    if _values_readable(seen):
        before = torch.cat([seen.new_zeros(1), seen])
        roots = before[ptr[1:].long()] - before[ptr[:-1].long()]
        if bool((roots != 1).any()):
            graph = int((roots != 1).nonzero()[0])
            raise IndexRangeError(
                f"every graph must have exactly one root, but graph {graph} has {int(roots[graph])}; check root_mask"
            )
    order = torch.arange(1, ptr.size(0), device=x.device)
    return x.index_select(0, torch.searchsorted(seen, order))


def graph_boundaries(
    x: Tensor, batch: Tensor | None = None, *, ptr: Tensor | None = None, num_graphs: int | None = None
) -> Tensor:
    """First node of each graph, and ``N`` at the end, ``[G + 1]``. Arguments and errors as in :func:`pool`."""
    if ptr is not None:
        if batch is not None:
            raise ShapeError("give either batch or ptr, not both")
        return ptr
    if batch is None:
        return torch.tensor([0, x.size(0)], device=x.device)
    check_rows("batch", batch, x.size(0), "node")
    if num_graphs is None:
        num_graphs = int(batch[-1]) + 1 if batch.numel() > 0 else 0
    if _values_readable(batch) and batch.numel() > 0:
        _check_batch(batch, num_graphs)
    return torch.searchsorted(batch.contiguous(), torch.arange(num_graphs + 1, dtype=batch.dtype, device=batch.device))


def _check_batch(batch: Tensor, num_graphs: int) -> None:
    falls = (batch[1:] < batch[:-1]).nonzero()
    if falls.numel() > 0:
        node = int(falls[0]) + 1
        raise IndexRangeError(
            f"batch must not decrease, but batch[{node - 1}] = {int(batch[node - 1])} and "
            f"batch[{node}] = {int(batch[node])}; sort the nodes by graph"
        )
    if int(batch[0]) < 0 or int(batch[-1]) >= num_graphs:
        raise IndexRangeError(
            f"batch must lie in [0, {num_graphs - 1}] for num_graphs = {num_graphs}, "
            f"got values from {int(batch[0])} to {int(batch[-1])}"
        )


def _values_readable(value: Tensor) -> bool:
    """Whether reading values costs no synchronisation, and is possible (not so while tracing)."""
    return value.device.type == "cpu" and not torch.compiler.is_compiling()
