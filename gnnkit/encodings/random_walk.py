"""Return probabilities of random walks."""

from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch_geometric.transforms import BaseTransform

from gnnkit.compat.pyg import put_node_attribute
from gnnkit.encodings._adjacency import adjacency, chunks, components_by_size, num_nodes, scaled
from gnnkit.errors import ConfigError

_DENSE_SIZE = 4096
_DENSE_FACTOR = 16
_BLOCK_COLUMNS = 256
_ENTRIES = 2**22


class RandomWalk(BaseTransform):
    r"""Probability that a random walk is back at its start after 1 to ``steps`` steps.

    .. math::
        p_i = [P_{ii}, (P^2)_{ii}, \ldots, (P^K)_{ii}], \qquad P = D^{-1} A

    Dwivedi et al., "Graph neural networks with learnable structural and positional representations", 2022.
    :math:`A_{ij}` is the total weight of the edges from :math:`i` to :math:`j` (so multi-edges add, and a walk follows
    the direction of the edges), :math:`D_{ii} = \sum_j A_{ij}`. A walk ends at a node without out-edges: an isolated
    node has only zeros. The probabilities are exact, computed in float64 and stored in float32. On a ``Batch`` no walk
    leaves its graph.

    Args:
        steps: :math:`K`, at least 1.
        attr_name: Name of the node attribute that is written, float32 ``[N, steps]``.
        weight_attr: Name of the edge attribute that holds weights, used where the data has it. None: all weights 1.

    Raises:
        ConfigError: If ``steps`` is below 1.

    Determinism: bitwise on one machine.
    Complexity: per connected component of ``n`` nodes and ``m`` edges, either ``O(K n^3)`` time and ``O(n^2)`` memory
    with dense matrices (dense components of up to 4096 nodes; half of the powers suffice, since
    :math:`(P^{a+b})_{ii} = \sum_j (P^a)_{ij} (P^b)_{ji}`), or ``O(K m n)`` time and ``O(n)`` memory.
    """

    def __init__(
        self, steps: int, *, attr_name: str = "random_walk_pe", weight_attr: str | None = "edge_weight"
    ) -> None:
        if steps < 1:
            raise ConfigError(f"steps must be at least 1, got {steps}")
        self.steps = steps
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def forward(self, data: Any) -> Any:
        """Adds the attribute to a ``Data`` or ``Batch``.

        Raises:
            DataError: If ``edge_index`` is missing, or a weight is negative or not finite.
            ShapeError: If there is not one weight per edge.
        """
        matrix = adjacency(data, self.weight_attr, transform="RandomWalk")
        value = torch.from_numpy(return_probabilities(matrix, self.steps)).float()
        put_node_attribute(data, self.attr_name, value.to(data.edge_index.device))
        return data

    def __repr__(self) -> str:
        """The settings."""
        return f"RandomWalk({self.steps}, attr_name={self.attr_name!r}, weight_attr={self.weight_attr!r})"


def return_probabilities(matrix: scipy.sparse.csr_array, steps: int) -> np.ndarray:
    """Return probabilities for a matrix of non-negative weights ``[N, N]``, float64 ``[N, steps]``."""
    out = np.zeros((num_nodes(matrix), steps))
    for group in components_by_size(matrix):
        count, size = group.nodes.shape
        # A dense product does some sixteen times more multiplications in the same time.
        dense = size * size * count <= _DENSE_FACTOR * group.matrix.nnz and size <= _DENSE_SIZE
        width = size if dense else min(size, _BLOCK_COLUMNS)
        for begin, end in chunks(group, size * width, _ENTRIES):
            nodes = group.nodes[begin:end]
            if dense:
                out[nodes] = _dense(group.dense(begin, end), steps)
            else:
                out[nodes] = _sparse(group.blocks(begin, end), size, steps)
    return out


def _dense(weights: np.ndarray, steps: int) -> np.ndarray:
    """Return probabilities of graphs of one size, ``[G, n, n] -> [G, n, steps]``."""
    walk = torch.from_numpy(weights * _inverse(weights.sum(2, keepdims=True)))
    columns = [walk.diagonal(dim1=1, dim2=2)]
    power = walk
    while len(columns) < steps:
        longer = power if len(columns) % 2 == 1 else power @ walk
        columns.append((power * longer.mT).sum(2))
        power = longer
    return torch.stack(columns, dim=2).numpy()


def _sparse(blocks: scipy.sparse.csr_array, size: int, steps: int) -> np.ndarray:
    """Return probabilities of the ``G`` blocks of a block-diagonal matrix, ``[G, size, steps]``."""
    degree = blocks.sum(axis=1)
    difference = blocks - blocks.T
    reversible = difference.nnz == 0 or not difference.data.any()
    if reversible:
        # Similar to a symmetric matrix, the columns of whose powers give two diagonals each.
        root = np.sqrt(_inverse(degree))
        walk = scaled(blocks, root, root)
    else:
        walk = scaled(blocks, _inverse(degree))
    follow = _reversible_columns if reversible else _directed_columns
    parts = [follow(walk, size, begin, min(begin + _BLOCK_COLUMNS, size), steps) for begin in _starts(size)]
    return np.concatenate(parts, axis=1)


def _starts(size: int) -> range:
    return range(0, size, _BLOCK_COLUMNS)


def _reversible_columns(walk: scipy.sparse.csr_array, size: int, begin: int, end: int, steps: int) -> np.ndarray:
    power = _columns(walk, size, begin, end)
    out = [_diagonal(power, size, begin)]
    while len(out) < steps:
        longer = power if len(out) % 2 == 1 else walk @ power
        shape = (-1, size, end - begin)
        out.append(np.einsum("gij,gij->gj", power.reshape(shape), longer.reshape(shape)))
        power = longer
    return np.stack(out, axis=2)


def _directed_columns(walk: scipy.sparse.csr_array, size: int, begin: int, end: int, steps: int) -> np.ndarray:
    power = _columns(walk, size, begin, end)
    out = [_diagonal(power, size, begin)]
    while len(out) < steps:
        power = walk @ power
        out.append(_diagonal(power, size, begin))
    return np.stack(out, axis=2)


def _columns(blocks: scipy.sparse.csr_array, size: int, begin: int, end: int) -> np.ndarray:
    """Columns ``begin:end`` of every block, one below the other, ``[G * size, end - begin]``."""
    entries = blocks.tocoo()
    column = entries.col % size
    chosen = (column >= begin) & (column < end)
    out = np.zeros((num_nodes(blocks), end - begin))
    out[entries.row[chosen], column[chosen] - begin] = entries.data[chosen]
    return out


def _diagonal(columns: np.ndarray, size: int, begin: int) -> np.ndarray:
    """The diagonal entries in columns that start at ``begin``, ``[G, columns]``."""
    width = np.arange(columns.shape[1])
    return columns.reshape(-1, size, len(width))[:, width + begin, width]


def _inverse(value: np.ndarray) -> np.ndarray:
    return np.divide(1.0, value, out=np.zeros_like(value), where=value > 0)
