"""Return probabilities of random walks."""

from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch_geometric.transforms import BaseTransform

from gnnkit.compat.pyg import put_node_attribute
from gnnkit.encodings._adjacency import Group, adjacency, chunks, components_by_size, num_nodes, scaled
from gnnkit.errors import ConfigError

_DENSE_SIZE = 256
_DENSE_ENTRIES = 2**22
_BLOCK_COLUMNS = 256


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
    with dense matrices (small or dense components; half of the powers suffice, since
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
        size = group.nodes.shape[1]
        if size <= _DENSE_SIZE:
            for begin, end in chunks(group, _DENSE_ENTRIES):
                out[group.nodes[begin:end]] = _dense(group.dense(begin, end), steps)
        else:
            for index, nodes in enumerate(group.nodes):
                out[nodes] = _one_component(group, index, steps)
    return out


def _one_component(group: Group, index: int, steps: int) -> np.ndarray:
    block = group.block(index)
    size = num_nodes(block)
    # Dense products run some sixty times faster per multiplication than sparse ones.
    if size <= 4096 and size * size <= 64 * block.nnz:
        return _dense(block.toarray()[None], steps)[0]
    difference = block - block.T
    if difference.nnz == 0 or not difference.data.any():
        return _reversible(block, steps)
    return _directed(block, steps)


def _dense(weights: np.ndarray, steps: int) -> np.ndarray:
    """Return probabilities of graphs of one size, ``[G, n, n] -> [G, n, steps]``."""
    walk = torch.from_numpy(weights)
    walk = walk * _inverse(walk.sum(2, keepdim=True))
    columns = [walk.diagonal(dim1=1, dim2=2)]
    power = walk
    while len(columns) < steps:
        columns.append((power * power.mT).sum(2))
        if len(columns) < steps:
            longer = power @ walk
            columns.append((power * longer.mT).sum(2))
            power = longer
    return torch.stack(columns, dim=2).numpy()


def _inverse(value: torch.Tensor) -> torch.Tensor:
    return torch.where(value > 0, 1 / value, 0.0)


def _reversible(weights: scipy.sparse.csr_array, steps: int) -> np.ndarray:
    """Symmetric weights: the walk is similar to a symmetric matrix, whose powers' columns give two diagonals each."""
    root = 1 / np.sqrt(weights.sum(axis=1))
    symmetric = scaled(weights, root, root)
    size = num_nodes(weights)
    out = np.empty((size, steps))
    for begin in range(0, size, _BLOCK_COLUMNS):
        nodes = np.arange(begin, min(begin + _BLOCK_COLUMNS, size))
        power = symmetric[:, nodes].toarray()
        out[nodes, 0] = power[nodes, nodes - begin]
        for step in range(2, steps + 1):
            longer = power if step % 2 == 0 else symmetric @ power
            out[nodes, step - 1] = np.einsum("ij,ij->j", power, longer)
            power = longer
    return out


def _directed(weights: scipy.sparse.csr_array, steps: int) -> np.ndarray:
    """Any weights: the diagonal of every power, some columns at a time."""
    degree = weights.sum(axis=1)
    walk = scaled(weights, np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0))
    size = num_nodes(weights)
    out = np.empty((size, steps))
    for begin in range(0, size, _BLOCK_COLUMNS):
        nodes = np.arange(begin, min(begin + _BLOCK_COLUMNS, size))
        power = walk[:, nodes].toarray()
        for step in range(steps):
            power = power if step == 0 else walk @ power
            out[nodes, step] = power[nodes, nodes - begin]
    return out
