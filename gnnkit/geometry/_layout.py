"""Where to draw the nodes of a graph."""

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import dijkstra

from gnnkit.geometry.simple_graph import SimpleGraph

_EXACT_SIZE = 400
_PIVOTS = 50
_ROUNDS = 60


def layout(graph: SimpleGraph, seed: int = 0) -> np.ndarray:
    """Positions ``[N, 2]`` in which distances come close to numbers of hops; components lie side by side.

    Components of up to 400 nodes by stress majorisation (Gansner, Koren, North 2004), larger ones by pivot MDS
    (Brandes, Pich 2006). ``seed`` moves nodes apart that no distance tells apart.

    Determinism: the same graph and seed give the same positions on one machine.
    Complexity: ``O(50 (N + M))`` time for large components, ``O(n^3)`` for small ones.
    """
    random = np.random.default_rng(seed)
    num_nodes = graph.num_nodes
    component = graph.components().numpy()
    ones = np.ones(graph.col.numel())
    matrix = scipy.sparse.csr_array((ones, graph.col.numpy(), graph.rowptr.numpy()), shape=(num_nodes, num_nodes))
    order = np.argsort(component, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(component))[:-1]) if num_nodes else []
    groups.sort(key=len, reverse=True)
    boxes = [_boxed(_component_layout(matrix[nodes][:, nodes], random)) for nodes in groups if len(nodes) > 1]
    boxes += [np.zeros((1, 2))] * (len(groups) - len(boxes))
    out = np.zeros((num_nodes, 2))
    for nodes, box in zip(groups, _packed(boxes), strict=True):
        out[nodes] = box
    return out


def _component_layout(matrix: scipy.sparse.csr_array, random: np.random.Generator) -> np.ndarray:
    size = len(matrix.indptr) - 1
    if size == 2:
        return np.array([[0.0, 0.0], [1.0, 0.0]])
    exact = size <= _EXACT_SIZE
    pivots = np.arange(size) if exact else random.choice(size, _PIVOTS, replace=False)
    distance = dijkstra(matrix, directed=False, indices=pivots, unweighted=True)
    position = _scaling(distance) + random.normal(scale=0.05, size=(size, 2))
    return _majorised(distance, position) if exact else position


def _scaling(distance: np.ndarray) -> np.ndarray:
    """Positions from distances to pivots, ``[P, N] -> [N, 2]``."""
    squared = distance.T**2
    centred = squared - squared.mean(0) - squared.mean(1, keepdims=True) + squared.mean()
    _, vectors = np.linalg.eigh(centred.T @ centred)
    position = -0.5 * centred @ vectors[:, :-3:-1]
    # The eigenvectors are known up to their sign.
    largest = np.abs(position).argmax(0)
    position *= np.sign(position[largest, [0, 1]] + 1e-300)
    spread = np.linalg.norm(position, axis=0, keepdims=True)
    return position / np.maximum(spread, 1e-9) * np.sqrt(len(position)) * distance.mean() / 2


def _majorised(distance: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Lowers the stress ``sum (|x_i - x_j| - d_ij)^2 / d_ij^2``."""
    weight = np.divide(1.0, distance**2, out=np.zeros_like(distance), where=distance > 0)
    laplacian = np.diag(weight.sum(1)) - weight
    inverse = np.linalg.inv(laplacian + 1 / len(weight))
    for _ in range(_ROUNDS):
        norm = np.linalg.norm(position[:, None] - position[None], axis=2)
        ratio = np.divide(weight * distance, norm, out=np.zeros_like(norm), where=norm > 1e-9)
        position = inverse @ ((np.diag(ratio.sum(1)) - ratio) @ position)
    return position


def _boxed(position: np.ndarray) -> np.ndarray:
    """Shifted to the origin, scaled so that the area is that of its nodes."""
    position = position - position.min(0)
    extent = max(float(position.max()), 1e-9)
    return position / extent * np.sqrt(len(position))


def _packed(boxes: list[np.ndarray]) -> list[np.ndarray]:
    """Boxes in rows of about equal width, from the largest to the smallest."""
    sides = [float(box.max()) + 1.0 for box in boxes]
    width = max([np.sqrt(sum(side**2 for side in sides)), *sides[:1]])
    placed, x, y, height = [], 0.0, 0.0, 0.0
    for box, side in zip(boxes, sides, strict=True):
        if x > 0 and x + side > width:
            x, y, height = 0.0, y - height, 0.0
        placed.append(box + np.array([x, y - side]))
        x, height = x + side, max(height, side)
    return placed
