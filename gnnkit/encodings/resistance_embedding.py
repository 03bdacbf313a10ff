"""Coordinates of nodes whose squared distances are effective resistances."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gnnkit.encodings._eigensolver import eigenpairs
from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings._laplacian import UndirectedGraph, single_threaded_blas
from gnnkit.encodings.laplacian import rank_in_graph
from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.geometry.sketch import sketch_coordinates
from gnnkit.ops._checks import check_count, check_seed


class ResistanceEmbedding(Encoding):
    r"""Node coordinates :math:`z_i` with :math:`\lVert z_i - z_j \rVert^2 = R_{ij}`, the effective resistance.

    ``method="exact"``: :math:`z_i = [v_{1i} / \sqrt{\lambda_1}, v_{2i} / \sqrt{\lambda_2}, \ldots]`, the rows of
    :math:`(L^+)^{1/2}` turned to the eigenvectors of the plain Laplacian :math:`L = D - A`. The ``k`` smallest
    eigenvalues are the best approximation of rank ``k``: distances never exceed the true ones, and equal them where
    ``k`` is at least ``n - c`` for ``n`` nodes and ``c`` components. Signs, bases of repeated eigenvalues, and what
    becomes of missing columns are as for :class:`LaplacianEigenvectors`. Fouss et al., "Random-walk computation of
    similarities between nodes of a graph", 2007.

    ``method="sketch"``: ``k`` random projections of all coordinates, :math:`Z = k^{-1/2} Q W^{1/2} B L^+` with a matrix
    of random signs (Spielman and Srivastava, "Graph sparsification by effective resistances", 2011). Squared distances
    of all pairs are within a factor :math:`1 \pm \epsilon` of the resistances with a probability of 0.99 for
    :math:`k \geq 8 \ln(10 n) / (\epsilon^2 - 2 \epsilon^3 / 3)`, whatever the number of edges.

    Distances mean something inside a connected component alone: resistances between components are infinite. On a
    ``Batch`` each graph is treated by itself.

    Args:
        k: Number of coordinates, at least 1.
        method: ``"exact"`` or ``"sketch"``.
        seed: Of the random signs; used by ``"sketch"`` alone.
        attr_name: Name of the node attribute, float32 ``[N, k]``. ``"exact"`` also writes ``attr_name + "_mask"``, bool
            ``[N, k]``, False in columns that the node's graph does not have.
        weight_attr: Name of the edge attribute that holds weights (conductances), used where the data has it. None: all
            weights 1.

    Raises:
        ConfigError: If ``k`` is below 1, ``seed`` is no integer, or ``method`` is unknown.

    Determinism: bitwise on one machine; a graph has the same coordinates alone and in a ``Batch``.
    Complexity: ``"exact"``: as :class:`LaplacianEigenvectors`. ``"sketch"``: ``k`` solutions of Laplacian systems.
    """

    def __init__(
        self,
        k: int,
        *,
        method: Literal["exact", "sketch"] = "exact",
        seed: int = 0,
        attr_name: str = "resistance_pe",
        weight_attr: str | None = "edge_weight",
    ) -> None:
        if method not in ("exact", "sketch"):
            raise ConfigError(f"method must be 'exact' or 'sketch', got {method!r}")
        self.k = check_count("k", k, 1)
        self.method = method
        self.seed = check_seed(seed)
        self.attr_name = attr_name
        self.weight_attr = weight_attr

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        """The coordinates, and where they are exact a mask.

        Raises:
            DataError: If the graph is directed, a weight is negative or not finite, or the eigenvalues of a very large
                component cannot be found.
            ShapeError: If there is not one weight per edge.
        """
        graph = UndirectedGraph.from_data(data, self.weight_attr, transform="ResistanceEmbedding")
        owner = graph_of_node.numpy()
        if self.method == "sketch":
            return {self.attr_name: self._sketch(graph, owner)}
        num_graphs = int(owner.max(initial=-1)) + 1
        out = np.zeros((graph.num_nodes, self.k), np.float32)
        mask = np.zeros((num_graphs, self.k), dtype=bool)
        with single_threaded_blas():
            found = list(eigenpairs(graph, self.k, normalized=False, transform="ResistanceEmbedding"))
        for pairs, column in zip(found, rank_in_graph(found, owner, num_graphs), strict=True):
            component, index = np.nonzero(column < self.k)
            nodes = pairs.part.nodes[component]
            target = column[component, index]
            scale = 1 / np.sqrt(pairs.values[component, index])
            out[nodes, target[:, None]] = pairs.vectors[component, :, index] * scale[:, None]
            mask[owner[nodes[:, 0]], target] = True
        return {self.attr_name: torch.from_numpy(out), self.attr_name + "_mask": torch.from_numpy(mask[owner])}

    def _sketch(self, graph: UndirectedGraph, owner: np.ndarray) -> Tensor:
        """Graph by graph, each with the same signs as alone."""
        out = torch.zeros(graph.num_nodes, self.k)
        counts = np.bincount(owner) if len(owner) else np.zeros(0, np.int64)
        begins = np.concatenate([[0], np.cumsum(counts)])
        edge_begins = np.searchsorted(graph.low, begins)
        for number, size in enumerate(counts.tolist()):
            edges = slice(edge_begins[number], edge_begins[number + 1])
            if size == 0 or edge_begins[number] == edge_begins[number + 1]:
                continue
            ends = torch.from_numpy(np.stack([graph.low[edges], graph.high[edges]]) - begins[number])
            simple = SimpleGraph.from_ends(ends, size, torch.from_numpy(graph.weight[edges]))
            out[begins[number] : begins[number + 1]] = sketch_coordinates(simple, self.k, self.seed).float()
        return out
