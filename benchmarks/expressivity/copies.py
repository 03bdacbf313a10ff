"""Relabelled copies of graphs."""

import numpy as np
import torch
from numpy.typing import NDArray

from gnnkit.data import DatasetInfo, GraphDataset

_TRIES = 100
Matrix = NDArray[np.bool_]


def matrix_of(dataset: GraphDataset, number: int) -> Matrix:
    """Adjacency matrix of a graph of a dataset, ``[n, n]``."""
    nodes = int(dataset.node_ptr[number + 1] - dataset.node_ptr[number])
    source, target = dataset.edge_index[:, int(dataset.edge_ptr[number]) : int(dataset.edge_ptr[number + 1])].numpy()
    matrix = np.zeros((nodes, nodes), dtype=bool)
    matrix[source, target] = True
    return matrix


def relabelled(matrix: Matrix, count: int, generator: np.random.Generator, *, distinct: bool = False) -> Matrix:
    """The matrix itself and ``count - 1`` copies with their nodes in random order, ``[count, n, n]``.

    Args:
        matrix: Adjacency matrix, ``[n, n]``.
        count: Number of matrices wanted.
        generator: Draws the orders.
        distinct: No two of the matrices may be equal.

    Raises:
        ValueError: If there are not as many distinct matrices, or not enough of them are met in a hundred rounds.
    """
    nodes = matrix.shape[0]
    found = matrix[None]
    for _ in range(_TRIES):
        order = generator.random((count - len(found), nodes)).argsort(axis=1)
        found = np.concatenate([found, matrix[order[:, :, None], order[:, None, :]]])
        if distinct:
            _, first = np.unique(found.reshape(len(found), -1), axis=0, return_index=True)
            found = found[np.sort(first)]
        if len(found) == count:
            return found
    raise ValueError(f"{len(found)} distinct relabellings of a graph of {nodes} nodes were found, {count} are needed")


def packed(matrices: list[Matrix]) -> GraphDataset:
    """A dataset of the graphs in stacks ``[count, n, n]``, one after the other; edges by source, then target."""
    sizes = np.concatenate([np.full(len(stack), stack.shape[1]) for stack in matrices])
    entries = [np.nonzero(stack) for stack in matrices]
    counts = np.concatenate([stack.sum(axis=(1, 2)) for stack in matrices])
    ends = np.concatenate([np.stack([source, target]) for _, source, target in entries], axis=1)
    graphs = torch.arange(len(sizes))
    return GraphDataset(
        DatasetInfo("copies", "multiclass", "accuracy", len(sizes)),
        node_ptr=torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)])),
        edge_ptr=torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])),
        edge_index=torch.from_numpy(ends),
        node={},
        edge={},
        graph={"y": graphs},
        split={"test": graphs.clone()},
    )
