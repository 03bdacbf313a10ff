"""Partitions of the nodes of graphs into parts of nearly equal size with few edges between them."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit._optional import require
from gnnkit.geometry.simple_graph import SimpleGraph

METHODS = ("ldg", "metis")
MOST_PARTS = 2**20


def partition(simple: SimpleGraph, ptr: Tensor, num_parts: int, method: str, *, purpose: str) -> Tensor:
    """The part of each node, below ``num_parts``, int64 ``[N]``.

    ``"ldg"``: linear deterministic greedy partitioning (Stanton and Kliot, "Streaming graph partitioning for large
    distributed graphs", KDD 2012) in one pass over the nodes, breadth-first from that of lowest index; sizes of parts
    differ by one at most. ``"metis"``: METIS (Karypis and Kumar, 1998) by recursive bisection, from ``pymetis``.

    Args:
        simple: The graphs.
        ptr: Where the nodes of each graph begin, and ``N`` at the end, int64 ``[G + 1]``.
        num_parts: Parts of each graph, 1 to ``2^20``. A graph of no more nodes has a part for each.
        method: ``"ldg"`` or ``"metis"``.
        purpose: What needs METIS, for the message where it is missing.

    Raises:
        BackendError: If ``method`` is ``"metis"`` and ``pymetis`` is not installed.

    Determinism: exact, for any number of threads.
    Complexity: ``"ldg"``: ``O(E + N P)`` time, ``O(E + N)`` memory.
    """
    if method == "metis":
        return _metis_parts(metis(purpose), simple, ptr, num_parts)
    # Roots in order of index, and with them the nodes, come graph by graph.
    order = torch.ops.gnnkit.traversal_order(simple.rowptr, simple.col, torch.arange(simple.num_nodes), False)
    return torch.ops.gnnkit.greedy_partition(simple.rowptr, simple.col, order, ptr, num_parts)


def metis(purpose: str) -> Any:
    """The module ``pymetis``.

    Raises:
        BackendError: If it is not installed.
    """
    return require("pymetis", "pymetis", purpose, "metis")


def _metis_parts(pymetis: Any, simple: SimpleGraph, ptr: Tensor, num_parts: int) -> Tensor:
    part = np.empty(simple.num_nodes, dtype=np.int64)
    rowptr, col = simple.rowptr.numpy(), simple.col.numpy()
    bounds = ptr.tolist()
    for begin, end in pairwise(bounds):
        if end - begin <= num_parts:  # METIS would put all of them into one part
            part[begin:end] = np.arange(end - begin)
            continue
        starts = rowptr[begin : end + 1]
        rows = pymetis.CSRAdjacency(starts - starts[0], col[starts[0] : starts[-1]] - begin)
        part[begin:end] = pymetis.part_graph(num_parts, rows, recursive=True).vertex_part
    return torch.from_numpy(part)
