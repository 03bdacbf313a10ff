"""Which nodes a sampler starts from, and in which order it does in each epoch."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.compat.pyg import has_num_nodes
from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count, check_flag, check_index, check_index_range, check_seed
from gnnkit.ops._philox import mixed, philox_words
from gnnkit.sample._gather import check_parts, given_graph, index_like, take
from gnnkit.sample._loader import Loader

_INT32_MAX = 2**31 - 1
_BITS = 2**64
# In place of the number of a batch, in the key of the order of all targets.
_ORDER = -1


def key_of(*parts: int) -> int:
    """One 64-bit key for random numbers from several integers, as what an operator takes for a seed."""
    key = np.zeros(1, dtype=np.uint64)
    for part in parts:
        key = mixed(key ^ mixed(np.array([part % _BITS], dtype=np.uint64)))
    return int(key.view(np.int64)[0])


def permutation(count: int, key: int) -> Tensor:
    """A uniform order of ``count`` things, int64; the same for a key on every machine."""
    return torch.from_numpy(np.argsort(random_words(key, 0, count, stream=0), kind="stable"))


def random_words(key: int, first: int, count: int, *, stream: int) -> np.ndarray:
    """Random numbers ``first`` to ``first + count`` of a key and a stream, 64 bits each, uint64."""
    place = np.arange(first, first + count, dtype=np.uint64)
    low, high = place & np.uint64(0xFFFFFFFF), place >> np.uint64(32)
    words = philox_words(np.array(key % _BITS, np.uint64), low, high, stream, 0)
    return words[0] << np.uint64(32) | words[1]


def topology_of(data: Any) -> Graph:
    """The graph of a ``Data``, on the CPU, with narrow indices where they suffice; or ``data.graph``, as it is.

    Raises:
        DataError: If ``data`` has neither ``edge_index`` nor ``graph``, or an attribute that cannot follow into a part
            of a graph.
        IndexRangeError, ShapeError: If ``edge_index`` is no edge list of its nodes.
    """
    given = given_graph(data)
    if given is not None:
        check_parts(data)
        return given
    edge_index = data.edge_index
    if not isinstance(edge_index, Tensor):
        raise DataError("a graph needs data.edge_index, which is missing; set it, [2, E], or data.graph in its place")
    if not has_num_nodes(data):
        raise DataError("nothing tells the number of nodes; set data.num_nodes")
    num_nodes = int(data.num_nodes)
    graph = Graph.from_edge_index(edge_index.detach().cpu(), num_nodes)
    check_parts(data)
    if graph.col.dtype == torch.int32 or max(num_nodes, graph.num_edges) > _INT32_MAX:
        return graph
    edge_id = None if graph.edge_id is None else graph.edge_id.int()
    return Graph(graph.rowptr.int(), graph.col.int(), edge_id, num_nodes)


def nodes_of(name: str, given: Tensor | None, num_nodes: int) -> Tensor:
    """Nodes given as numbers or as a mask, int64; all of them where None.

    Raises:
        DtypeError, IndexRangeError, ShapeError: If they are no nodes.
    """
    if given is None:
        return torch.arange(num_nodes)
    if isinstance(given, Tensor) and given.dtype == torch.bool:
        if given.shape != (num_nodes,):
            raise ShapeError(f"{name} as a mask must have one entry per node, {num_nodes}, got {tuple(given.shape)}")
        return given.cpu().nonzero()[:, 0]
    check_index(name, given)
    chosen = given.detach().cpu().long()
    check_index_range(name, chosen, num_nodes, "num_nodes")
    return chosen


class TargetLoader(Loader):
    """Base of the samplers whose batches are made around some targets each.

    Args:
        data: The whole graph.
        num_targets: How many targets there are.
        batch_size: Targets of a batch; the last batch of an epoch has the rest.
        shuffle: Whether the order of the targets is drawn anew in each epoch.
        seed: Of that order and of everything that is drawn.
        prefetch: As of :class:`Loader`.
    """

    def __init__(
        self, data: Any, num_targets: int, *, batch_size: int, shuffle: bool, seed: int, prefetch: int
    ) -> None:
        super().__init__(prefetch=prefetch)
        self.data = data
        self.batch_size = check_count("batch_size", batch_size, 1)
        check_flag("shuffle", shuffle)
        self.shuffle = shuffle
        self.seed = check_seed(seed)
        self._num_targets = num_targets
        self._order: tuple[int, Tensor] = (-1, torch.arange(0))

    @property
    def num_batches(self) -> int:
        """Batches of an epoch: none where there are no targets."""
        return -(-self._num_targets // self.batch_size)

    def make(self, epoch: int, number: int) -> Data:
        """Batch ``number`` of an epoch.

        Raises:
            ConfigError: If there is no such batch.
        """
        check_count("epoch", epoch, 0)
        if check_count("number", number, 0) >= self.num_batches:
            raise ConfigError(f"number must be below num_batches = {self.num_batches}, got {number}")
        begin = number * self.batch_size
        end = min(begin + self.batch_size, self._num_targets)
        chosen = self._order_of(epoch)[begin:end] if self.shuffle else torch.arange(begin, end)
        return self._around(chosen, epoch, number)

    @abstractmethod
    def _around(self, chosen: Tensor, epoch: int, number: int) -> Data:
        """The batch of the targets ``chosen``, which are given by their places among all of them."""

    def _gathered(self, n_id: Tensor, e_id: Tensor, edge_index: Tensor) -> Data:
        """Nodes and edges of the given data, with ``edge_index`` of its dtype, all on its device."""
        like = index_like(self.data)
        return take(self.data, n_id.to(like.device), e_id.to(like.device), edge_index.to(like))

    @property
    def _device(self) -> torch.device:
        return index_like(self.data).device

    def _order_of(self, epoch: int) -> Tensor:
        known = self._order  # read once: another thread may be at another epoch
        if known[0] != epoch:
            known = self._order = (epoch, permutation(self._num_targets, key_of(self.seed, epoch, _ORDER)))
        return known[1]
