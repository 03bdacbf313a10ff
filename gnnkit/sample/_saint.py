"""What the samplers of GraphSAINT share: the graph they draw from, batches, and normalisation."""

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import ops
from gnnkit.errors import ConfigError, DataError, DtypeError, ShapeError
from gnnkit.ops._checks import check_count, check_flag, check_number, check_seed, describe
from gnnkit.ops._philox import mixed
from gnnkit.sample._counts import Counts, counted, fingerprint, read, write
from gnnkit.sample._gather import ends_of, index_like, take
from gnnkit.sample._loader import Loader
from gnnkit.sample._targets import topology_of

_MOST_DRAWS = 2**31


class _Norms(NamedTuple):
    counts: Counts
    node: Tensor
    """``node_norm`` of each node of the training graph."""
    edge: Tensor
    """``edge_norm`` of each of its edges."""


class _Held:
    """What a sampler and all its shards share: the normalisation, once it is known."""

    norms: _Norms | None = None


class Saint(Loader):
    """Base of the samplers; a subclass draws sets of nodes, of which the induced subgraphs are the batches.

    Subclasses call :meth:`_finish` when their attributes are set.
    """

    def __init__(
        self,
        data: Any,
        *,
        coverage: float,
        seed: int,
        train_mask: Tensor | None,
        inductive: bool,
        prefetch: int,
    ) -> None:
        super().__init__(prefetch=prefetch)
        self.coverage = check_number("coverage", coverage)
        if not 0 <= self.coverage < math.inf:
            raise ConfigError(f"coverage must be a finite number of at least 0, got {coverage}")
        self.seed = check_seed(seed)
        check_flag("inductive", inductive)
        self.inductive = inductive
        self._read(data, train_mask)
        self._held = _Held()

    @abstractmethod
    def draw(self, first: int, count: int, key: int) -> tuple[Tensor, Tensor]:
        """Nodes of subgraphs ``first`` to ``first + count - 1``, those of each distinct, and where each begins.

        They must depend on the number of the subgraph and on ``key`` (64 bits) alone; nodes are those of the training
        graph.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the law of the subgraphs depends on, besides the graph; plain values."""

    @property
    def num_batches(self) -> int:
        """Subgraphs of an epoch."""
        return self.num_steps

    def make(self, epoch: int, number: int) -> Data:
        """Subgraph ``number`` of an epoch; see :class:`Loader`."""
        members, ptr = self.draw(number, 1, self._key(1 + epoch))
        graph, edge = ops.induced_subgraphs(self._graph, members, ptr)
        ends = ends_of(graph, index_like(self.data))
        device = ends.device
        n_id = members if self._nodes is None else self._nodes[members]
        e_id = edge if self._edges is None else self._edges[edge]
        batch = take(self.data, n_id.to(device), e_id.to(device), ends)
        batch.in_degree = self._in_degree[members].to(device)
        if self.coverage > 0:
            norms = self._norms()
            batch.node_norm = norms.node[members].to(device)
            batch.edge_norm = norms.edge[edge].to(device)
        return batch

    def save(self, path: str | Path) -> None:
        """Writes the counts of the pre-sampling, drawn now where they have not been; whole or not at all.

        Args:
            path: Of the file; safetensors with JSON in its header.

        Raises:
            ConfigError: If ``coverage`` is 0.
            OSError: If the file cannot be written.
        """
        write(Path(path), self._norms().counts, *self._identity())

    def load(self, path: str | Path) -> None:
        """Takes the counts of :meth:`save` in place of a pre-sampling.

        Raises:
            DataError: If the file is missing or damaged, or was made for another graph, sampler, coverage or seed.
        """
        shapes = self._graph.num_nodes, self._graph.num_edges
        self._held.norms = self._weighted(read(Path(path), *self._identity(), shapes))

    def pre_sample(self) -> Counts:
        """The counts behind ``node_norm`` and ``edge_norm``, drawn now where they have not been.

        Returns:
            Counts by node and by edge of the training graph, which is the whole one unless ``inductive``.

        Raises:
            ConfigError: If ``coverage`` is 0.
        """
        return self._norms().counts

    def _finish(self, num_steps: int | None, budget: int, draws: int) -> None:
        """Takes the length of an epoch: by default as many subgraphs as ``budget`` nodes each make all nodes."""
        if draws > _MOST_DRAWS:
            raise ConfigError(f"a subgraph is of at most 2^31 draws, got {draws}")
        self._draws = draws
        default = -(-self._graph.num_nodes // budget)
        self.num_steps = default if num_steps is None else check_count("num_steps", num_steps, 1)

    def _read(self, data: Any, train_mask: Tensor | None) -> None:
        graph, mask = topology_of(data), train_mask
        num_nodes = graph.num_nodes
        if num_nodes == 0:
            raise DataError(f"{type(self).__name__}: data has no nodes to draw from")
        if mask is not None:
            mask = _checked_mask(mask, num_nodes)
        elif self.inductive:
            raise ConfigError("inductive=True draws from the training nodes alone; say which by train_mask=")
        self.data, self._graph, self._nodes, self._edges = data, graph, None, None
        self._num_edges = graph.num_edges
        self._wanted = torch.ones(num_nodes, dtype=torch.bool) if mask is None else mask
        if self.inductive:
            self._nodes = self._wanted.nonzero().squeeze(1)
            ptr = torch.tensor([0, self._nodes.numel()])
            self._graph, self._edges = ops.induced_subgraphs(graph, self._nodes, ptr)
            self._wanted = self._wanted[self._nodes]
        self._in_degree = self._graph.in_degree().long()

    def _key(self, stream: int) -> int:
        """Key of the random numbers of the pre-sampling (0) or of an epoch (1 and up)."""
        seed = mixed(np.array([self.seed % 2**64], dtype=np.uint64))
        return int(mixed(seed + np.uint64(stream % 2**64)).view(np.int64)[0])

    def _norms(self) -> _Norms:
        if self.coverage == 0:
            raise ConfigError("a sampler with coverage=0 draws no subgraphs to count in; give a coverage such as 50")
        if self._held.norms is None:
            key, most = self._key(0), min(self._draws, self._graph.num_nodes)
            counts = counted(self._graph, lambda first, count: self.draw(first, count, key), self.coverage, most)
            self._held.norms = self._weighted(counts)
        return self._held.norms

    def _weighted(self, counts: Counts) -> _Norms:
        target = self._graph.edge_index[1].long()
        return _Norms(counts, counts.node_norm(self._wanted), counts.edge_norm(target))

    def _identity(self) -> tuple[str, dict[str, Any]]:
        parts = (self._nodes, self._edges)
        settings = {"class": type(self).__name__, **self.settings(), "coverage": self.coverage, "seed": self.seed}
        return fingerprint(self._graph, parts), settings

    def _of_nodes(self, value: Tensor) -> Tensor:
        """One number for each node of the given data; 0 outside of the training graph."""
        return value if self._nodes is None else value.new_zeros(self.data.num_nodes).index_copy_(0, self._nodes, value)

    def _of_edges(self, value: Tensor) -> Tensor:
        """One number for each edge of the given data; 0 outside of the training graph."""
        return value if self._edges is None else value.new_zeros(self._num_edges).index_copy_(0, self._edges, value)


def _checked_mask(mask: Any, num_nodes: int) -> Tensor:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        given = describe(mask) if isinstance(mask, Tensor) else type(mask).__name__
        raise DtypeError(f"train_mask must be a boolean tensor with one entry per node, got {given}")
    if mask.shape != (num_nodes,):
        raise ShapeError(f"train_mask must have one entry for each of {num_nodes} nodes, got {describe(mask)}")
    if not bool(mask.any()):
        raise DataError("train_mask names no training node, so that there is no loss to take; check the split")
    return mask.cpu()
