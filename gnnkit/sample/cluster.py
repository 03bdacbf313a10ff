"""Parts of a graph as batches."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.geometry.partition import METHODS, MOST_PARTS, metis, partition
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_count
from gnnkit.sample._gather import ends_of, index_like
from gnnkit.sample._targets import TargetLoader, topology_of


class ClusterPartition(TargetLoader):
    r"""The nodes of a graph divided once into parts with few edges between them; a batch is the union of some parts.

    Chiang et al., "Cluster-GCN", KDD 2019. A batch is the subgraph that its nodes induce, so that edges between two
    parts of a batch are there: a ``Data`` with ``edge_index``, ``n_id`` (ascending), ``e_id``, the attributes of these,
    and ``part``, the part of each node.

    Parts come from ``"ldg"``, streaming partitioning whose parts differ by one node at most (Stanton and Kliot,
    "Streaming graph partitioning for large distributed graphs", KDD 2012), or ``"metis"``, from the package
    ``pymetis``; see :func:`gnnkit.geometry.partition.partition`. Directions, multi-edges and self-loops do not count.

    Args:
        data: The whole graph.
        num_parts: 1 to ``2^20``. Where a graph has fewer nodes, each is a part.
        batch_size: Parts of a batch.
        method: ``"ldg"`` or ``"metis"``.
        shuffle: Whether the order of the parts, and with it which of them make a batch, is drawn anew in each epoch.
        seed: Of that order.
        prefetch: As of :class:`Loader`.

    Attributes:
        part: The part of each node, int64 ``[N]``.

    Raises:
        ConfigError: If an argument is unknown or out of range.
        BackendError: If ``method`` is ``"metis"`` and ``pymetis`` is not installed.
        DataError, IndexRangeError, ShapeError: If ``data`` is no graph that can be divided.

    Determinism: the same batches for a seed, at any number of threads.
    Complexity: ``O(E + N P)`` time once with ``"ldg"``; of a batch, the in-degrees of its nodes.
    """

    def __init__(
        self,
        data: Any,
        num_parts: int,
        *,
        batch_size: int = 1,
        method: str = "ldg",
        shuffle: bool = True,
        seed: int = 0,
        prefetch: int = 2,
    ) -> None:
        if check_count("num_parts", num_parts, 1) > MOST_PARTS:
            raise ConfigError(f"num_parts must be at most 2^20, got {num_parts}")
        if method not in METHODS:
            raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        purpose = 'ClusterPartition(method="metis")'
        if method == "metis":
            metis(purpose)
        graph = topology_of(data)
        num_nodes = graph.num_nodes
        self.num_parts = min(num_parts, num_nodes)
        super().__init__(data, self.num_parts, batch_size=batch_size, shuffle=shuffle, seed=seed, prefetch=prefetch)
        self.method = method
        self._graph = graph
        simple, whole = SimpleGraph.from_graph(graph), torch.tensor([0, num_nodes])
        self.part = partition(simple, whole, max(self.num_parts, 1), method, purpose=purpose)
        self._ptr, self._nodes = ops.sort_index(self.part, self.num_parts)

    def _around(self, chosen: Tensor, epoch: int, number: int) -> Data:
        pieces = [self._nodes[self._ptr[part] : self._ptr[part + 1]] for part in chosen.tolist()]
        n_id = torch.cat(pieces).sort().values
        found, e_id = ops.induced_subgraphs(self._graph, n_id, torch.tensor([0, n_id.numel()]))
        batch = self._gathered(n_id, e_id, ends_of(found, index_like(self.data)))
        batch.part = self.part[n_id].to(self._device)
        return batch
