"""Models that score pairs of nodes: an encoder of nodes, and a decoder of two of them."""

from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._blocks import affine
from gnnkit.nn.config import check_at_least_one, check_choice, check_probability
from gnnkit.nn.graph_network import attribute, graph_of
from gnnkit.ops import gather, masked_spgemm, sddmm, spmm
from gnnkit.ops._checks import check_index, check_index_range

_LISTED_AT_A_TIME = 1 << 23

DECODERS = ("inner_product", "mlp", "ncn", "ncnc")


class LinkModel(torch.nn.Module):
    """Encodes the nodes of one graph, and scores pairs of them.

    Args:
        encoder: From a ``Data`` to node states ``[N, D]``, such as a :class:`GraphModel` with ``pool="none"``.
        decoder: From states, graph and pairs to scores, such as :class:`InnerProductDecoder`, :class:`ProductDecoder`,
            :class:`NCN` or :class:`NCNC`.
        max_pairs: How many pairs are decoded at a time in evaluation, which bounds memory. None: all.

    Determinism: as encoder and decoder; ``max_pairs`` does not change a score.
    """

    def __init__(self, encoder: torch.nn.Module, decoder: torch.nn.Module, *, max_pairs: int | None = None) -> None:
        super().__init__()
        if max_pairs is not None:
            check_at_least_one("max_pairs", max_pairs)
        self.encoder = encoder
        self.decoder = decoder
        self.max_pairs = max_pairs

    def forward(self, data: Any) -> Tensor:
        """Scores ``data.pairs``, int64 ``[2, P]``; logits ``[P, 1]``.

        Raises:
            DataError: If an attribute is missing.
            ShapeError: If ``data.pairs`` has another shape.
        """
        pairs, graph = attribute(data, "pairs"), graph_of(data)
        h = self.encoder(data)
        if self.training or self.max_pairs is None:
            return self.decoder(h, graph, pairs)
        parts = pairs.split(self.max_pairs, dim=1)
        return torch.cat([self.decoder(h, graph, part) for part in parts])


class InnerProductDecoder(torch.nn.Module):
    r""":math:`s_{ij} = h_i \cdot h_j`."""

    def forward(self, h: Tensor, graph: Graph, pairs: Tensor) -> Tensor:
        """Scores pairs.

        Args:
            h: Node states, ``[N, D]``.
            graph: Not looked at.
            pairs: Two nodes each, int64 ``[2, P]``.

        Returns:
            ``[P, 1]``.

        Raises:
            ShapeError: If ``pairs`` has another shape.
            IndexRangeError: If a pair names a node that is not there.

        Determinism: bitwise.
        """
        return sddmm(_pair_graph(pairs, h.size(0)), h, h).unsqueeze(1)


class ProductDecoder(torch.nn.Module):
    r""":math:`s_{ij} = \mathrm{MLP}(h_i \odot h_j)`.

    Args:
        channels: Width ``D`` of the node states.
        num_layers: Affine maps, with ReLU and dropout between them.
        dropout: Probability of dropping an entry.
    """

    def __init__(self, channels: int, *, num_layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.mlp = _MLP(channels, channels, num_layers, dropout)

    def forward(self, h: Tensor, graph: Graph, pairs: Tensor) -> Tensor:
        """Scores pairs; see :meth:`InnerProductDecoder.forward`."""
        return self.mlp(_products(h, pairs))


class NCN(torch.nn.Module):
    r"""Neural common neighbour: :math:`s_{ij} = \mathrm{MLP}(h_i \odot h_j \,\|\, \sum_{u \in N(i) \cap N(j)} h_u)`.

    Wang, Yang and Zhang, "Neural Common Neighbor with Completion for Link Prediction", ICLR 2024,
    https://arxiv.org/abs/2302.00890. The formula is what is computed; scores were not compared with the authors' code.
    The common neighbours come from :func:`gnnkit.ops.masked_spgemm`.

    Args:
        channels: Width ``D`` of the node states.
        num_layers: Affine maps, with ReLU and dropout between them.
        dropout: Probability of dropping an entry.
    """

    def __init__(self, channels: int, *, num_layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.mlp = _MLP(2 * channels, channels, num_layers, dropout)

    def forward(self, h: Tensor, graph: Graph, pairs: Tensor) -> Tensor:
        """Scores pairs.

        Args:
            h: Node states, ``[N, D]``.
            graph: Undirected (every edge both ways) and without multi-edges, of ``N`` nodes. A link between the two
                nodes of a pair, if it is there, has no say unless one of them has a self-loop.
            pairs: Two nodes each, int64 ``[2, P]``.

        Returns:
            ``[P, 1]``; the same for ``(i, j)`` and ``(j, i)`` up to rounding.

        Raises:
            ShapeError: If ``pairs`` has another shape.
            IndexRangeError: If a pair names a node that is not there.

        Determinism: bitwise, for any number of threads.
        Complexity: ``O(sum over pairs of deg(i) + deg(j) + D |N(i) & N(j)|)`` time.
        """
        common = common_neighbors(graph, pairs)
        return self.mlp(torch.cat([_products(h, pairs), spmm(common, h)], dim=1))


class NCNC(NCN):
    r"""Neural common neighbour with one step of completion.

    .. math:: s_{ij} = \mathrm{MLP}(h_i \odot h_j \,\|\, \sum_{u \in N(i) \cup N(j)} p_{iju} h_u)

    where :math:`p_{iju}` is 1 for a common neighbour, and for a neighbour of :math:`i` alone the probability
    :math:`\sigma(s_{uj})` that NCN, with the same weights, gives to the missing link (likewise for :math:`j`). No
    gradient is taken through the probabilities. Same paper as :class:`NCN`; the scale and the offset that the authors'
    code can give the score within :math:`\sigma`, and its weight of completed neighbours, are not here.

    Args:
        channels: Width ``D`` of the node states.
        num_layers: Affine maps, with ReLU and dropout between them.
        dropout: Probability of dropping an entry; not within the probabilities.
        max_pairs: How many missing links are scored at a time, which bounds memory.
    """

    def __init__(self, channels: int, *, num_layers: int = 2, dropout: float = 0.0, max_pairs: int = 1 << 16) -> None:
        super().__init__(channels, num_layers=num_layers, dropout=dropout)
        check_at_least_one("max_pairs", max_pairs)
        self.max_pairs = max_pairs

    def forward(self, h: Tensor, graph: Graph, pairs: Tensor) -> Tensor:
        """Scores pairs; see :meth:`NCN.forward`. Takes that for each neighbour that is not common."""
        _check_pairs(pairs, graph.num_nodes)
        common = common_neighbors(graph, pairs)
        total = spmm(common, h)
        for own, other in (pairs, pairs.flip(0)):
            rows, is_common = _neighbors_and_common(graph, own, other)
            alone = _keep(rows, is_common == 0)
            missing = torch.stack([alone.col, other.index_select(0, alone.dst_of_position())])
            total = total + spmm(alone, h, self._probabilities(h, graph, missing))
        return self.mlp(torch.cat([_products(h, pairs), total], dim=1))

    @torch.no_grad()
    def _probabilities(self, h: Tensor, graph: Graph, pairs: Tensor) -> Tensor:
        training = self.training
        # Dropout of a probability would be noise in a weight.
        self.eval()
        try:
            scores = [super(NCNC, self).forward(h, graph, part) for part in pairs.split(self.max_pairs, dim=1)]
        finally:
            self.train(training)
        return torch.cat(scores).sigmoid().squeeze(1).to(h.dtype)


def common_neighbors(graph: Graph, pairs: Tensor) -> Graph:
    """The nodes that both nodes of a pair have as neighbours.

    Args:
        graph: Undirected, without multi-edges.
        pairs: Two nodes each, ``[2, P]``.

    Returns:
        A bipartite graph to ``P`` destinations, whose in-neighbours are the common neighbours of the pair.

    Raises:
        ShapeError: If ``pairs`` has another shape.
        IndexRangeError: If a pair names a node that is not there.

    Determinism: bitwise, for any number of threads.
    Complexity: ``O(sum over pairs of deg(i) + deg(j))`` time; memory of the result, and of some 10 million neighbours.
    """
    _check_pairs(pairs, graph.num_nodes)
    degree = graph.in_degree().index_select(0, pairs.flatten()).view_as(pairs)
    swap = degree[0] > degree[1]
    # Of the node with fewer neighbours, so that there are fewer to look at.
    own, other = torch.where(swap, pairs.flip(0), pairs)
    piece = degree.amin(dim=0).cumsum(0) // _LISTED_AT_A_TIME
    sizes = piece.unique_consecutive(return_counts=True)[1].tolist()
    parts = []
    for first, second in zip(own.split(sizes), other.split(sizes), strict=True):
        rows, is_common = _neighbors_and_common(graph, first, second)
        parts.append(_keep(rows, is_common > 0))
    counts = torch.cat([graph.rowptr.new_zeros(1), *(part.in_degree().to(graph.rowptr.dtype) for part in parts)])
    col = torch.cat([graph.col.new_zeros(0), *(part.col for part in parts)])
    return Graph(counts.cumsum(0, dtype=counts.dtype), col, None, graph.num_nodes)


def make_link_decoder(kind: str, channels: int, *, num_layers: int = 2, dropout: float = 0.0) -> torch.nn.Module:
    """A decoder by name: ``inner_product``, ``mlp``, ``ncn`` or ``ncnc``.

    Raises:
        ConfigError: If there is no such decoder, or a value is out of range.
    """
    check_choice("decoder", kind, DECODERS)
    if kind == "inner_product":
        return InnerProductDecoder()
    cls = {"mlp": ProductDecoder, "ncn": NCN, "ncnc": NCNC}[kind]
    return cls(channels, num_layers=num_layers, dropout=dropout)


class _MLP(torch.nn.Module):
    """Affine maps from ``in_channels`` through ``channels`` to one score."""

    def __init__(self, in_channels: int, channels: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("num_layers", num_layers)):
            check_at_least_one(name, value)
        check_probability("dropout", dropout)
        self.dropout = dropout
        widths = [in_channels, *[channels] * (num_layers - 1), 1]
        self.linears = torch.nn.ModuleList(torch.nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = cast(list[torch.nn.Linear], list(self.linears))
        for linear in hidden:
            x = affine(linear, x, None, self.dropout, "relu", self.training)
        return last(x)


def _products(h: Tensor, pairs: Tensor) -> Tensor:
    """Entrywise products of the states of both nodes, ``[P, D]``."""
    graph = _pair_graph(pairs, h.size(0))
    return gather(graph, h, "src") * gather(graph, h, "dst")


def _pair_graph(pairs: Tensor, num_nodes: int) -> Graph:
    """The pairs as edges: taking states from their ends has a deterministic gradient."""
    _check_pairs(pairs, num_nodes)
    return Graph.from_edge_index(pairs, num_nodes=num_nodes)


def _check_pairs(pairs: Tensor, num_nodes: int) -> None:
    check_index("pairs", pairs, dim=2)
    if pairs.dim() != 2 or pairs.size(0) != 2:
        raise ShapeError(f"pairs must have shape [2, P], got {tuple(pairs.shape)}")
    check_index_range("pairs", pairs.flatten(), num_nodes, "num_nodes")


def _neighbors_and_common(graph: Graph, own: Tensor, other: Tensor) -> tuple[Graph, Tensor]:
    """Row ``p`` has the neighbours of ``own[p]``; of each, whether it is a neighbour of ``other[p]``, 1 or 0."""
    rows = _rows(graph, own)
    first = torch.arange(other.numel() + 1, dtype=graph.rowptr.dtype, device=graph.device)
    chosen = Graph(first, other.to(graph.col.dtype), None, graph.num_nodes)
    return rows, masked_spgemm(rows, chosen, graph)


def _rows(graph: Graph, nodes: Tensor) -> Graph:
    """Rows of the adjacency matrix, ``[P, N]``."""
    nodes = nodes.to(graph.col.dtype)
    begin = graph.rowptr.index_select(0, nodes)
    counts = graph.rowptr.index_select(0, nodes + 1) - begin
    rowptr = torch.cat([counts.new_zeros(1), counts.cumsum(0, dtype=counts.dtype)])
    position = torch.arange(int(rowptr[-1]), dtype=counts.dtype, device=counts.device)
    position += (begin - rowptr[:-1]).repeat_interleave(counts)
    return Graph(rowptr, graph.col.index_select(0, position), None, graph.num_nodes)


def _keep(rows: Graph, kept: Tensor) -> Graph:
    """The graph of some of the edges; ``rows`` has its edges in order."""
    before = torch.cat([kept.new_zeros(1, dtype=rows.rowptr.dtype), kept.cumsum(0, dtype=rows.rowptr.dtype)])
    return Graph(before.index_select(0, rows.rowptr), rows.col[kept], None, rows.num_src)
