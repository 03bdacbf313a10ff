"""Patches of a graph: how they overlap, and a vector for each.

He et al., "A generalization of ViT/MLP-Mixer to graphs", 2023.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.nn._blocks import check_dropout
from gnnkit.nn.attended_pairs import complete_graphs
from gnnkit.nn.batch_norm import BatchNorm
from gnnkit.nn.conv import GINEConv
from gnnkit.nn.epilogue import epilogue
from gnnkit.ops._checks import check_count
from gnnkit.sequence._models import convolved, copied_rows
from gnnkit.sequence.tokens import Tokens


class PatchPairs(NamedTuple):
    """All pairs of patches of each graph.

    Attributes:
        graph: From every patch to every patch of its graph, itself included, as :func:`gnnkit.nn.complete_graphs`.
        weight: How close the patches of each pair are, float64, one per edge.
    """

    graph: Graph
    weight: Tensor


def without_empty(tokens: Tokens) -> Tokens:
    """The tokens that have members; the sequences stay, some shorter, and the order of tokens stays."""
    filled = tokens.token_ptr.diff() > 0
    before = torch.cat([filled.new_zeros(1, dtype=torch.int64), filled.cumsum(0)])
    return replace(
        tokens,
        token_ptr=torch.cat([tokens.token_ptr[:-1][filled], tokens.token_ptr[-1:]]).long(),
        offsets=before[tokens.offsets.long()],
        kind=None if tokens.kind is None else tokens.kind[filled],
    )


class PatchOverlap:
    r"""Which patches share nodes, for tokens without empty ones.

    The patches of a graph are adjacent by the number of nodes that two of them share, :math:`A = B B^\top` with
    :math:`B_{pi} = [i \in p]`; a patch shares all its nodes with itself. :math:`M = D^{-1} A` are the steps of a random
    walk on them. Float64, without gradient.

    Args:
        tokens: The patches, ``K`` in all.

    Complexity: ``O(\sum_i t_i^2)`` for nodes in :math:`t_i` patches each, and ``O(S P^2)`` memory for ``S`` graphs of
    at most ``P`` patches; ``O(S P^3)`` for each step of a walk.
    """

    def __init__(self, tokens: Tokens) -> None:
        self.offsets = tokens.offsets
        sizes = tokens.offsets.diff()
        width = int(sizes.max()) if sizes.numel() > 0 else 0
        self.filled = torch.arange(width, device=sizes.device) < sizes.unsqueeze(1)
        members = tokens.incidence()
        shared, count = ops.spgemm(members, members.transpose())
        source, destination = shared.edge_index.long()
        graph, place = self.filled.nonzero().T
        adjacency = torch.zeros((*self.filled.shape, width), dtype=torch.float64, device=sizes.device)
        # A patch is a row; entries of one row stand in one graph.
        adjacency[graph[destination], place[destination], place[source]] = count.double()
        self.adjacency = adjacency

    def walks(self) -> Tensor:
        """:math:`M`, zero where there is no patch, ``[S, P, P]``."""
        return self.adjacency / self.adjacency.sum(-1, keepdim=True).clamp(min=1)

    def return_probabilities(self, steps: int) -> Tensor:
        """Diagonals of :math:`M, M^2, ..., M^k`, ``[K, steps]``."""
        walk = power = self.walks()
        diagonals = [walk.diagonal(dim1=1, dim2=2)]
        for _ in range(steps - 1):
            power = power @ walk
            diagonals.append(power.diagonal(dim1=1, dim2=2))
        return torch.stack(diagonals, dim=-1)[self.filled]

    def pairs(self, steps: int = 0) -> PatchPairs:
        """All pairs with :math:`A`, or with :math:`M^k` for ``steps`` of at least 1: that from a row to a column."""
        weight = self.adjacency if steps == 0 else torch.linalg.matrix_power(self.walks(), steps)
        both = self.filled.unsqueeze(1) & self.filled.unsqueeze(2)
        return PatchPairs(complete_graphs(self.offsets), weight[both])


class PatchEncoder(torch.nn.Module):
    r"""A vector for each set of nodes by message passing within it, and by what it has in common with others.

    Each token is the subgraph that its nodes induce; a node of several has a copy in each. Layers
    :math:`l = 1, \ldots, L` are

    .. math::
        x \leftarrow W_l \bigl(x + \mathrm{dropout}(\mathrm{relu}(\mathrm{BN}(\mathrm{conv}_l(x, e))))\bigr)

    and before each but the first, the copies hear of their token, then of each other:

    .. math::
        x_{ip} \leftarrow x_{ip} + \mathrm{relu}(\mathrm{BN}(U_l\, \mathrm{mean}_{j \in p}\, x_{jp})), \qquad
        x_{ip} \leftarrow \mathrm{mean}_{q \ni i}\, x_{iq}

    The vector of a token is the mean of its copies at the end, as in the authors' code (He et al., 2023).

    Args:
        dim: Width of nodes, edges and tokens.
        num_layers: :math:`L`.
        convs: The convolutions, of ``gnnkit.nn`` or called as ``conv(x, graph, edge_attr)`` or ``conv(x, graph)``, one
            per layer. None: :class:`gnnkit.nn.GINEConv` with learned :math:`\epsilon` and a network of two layers with
            a batch normalisation between them.
        dropout: Probability of dropping an entry of what a layer adds.

    Raises:
        ConfigError: If a setting is out of range, or there are not ``num_layers`` convolutions.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(L (M + E') dim^2)`` for ``M`` copies with ``E'`` edges among them.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_layers: int = 4,
        convs: Sequence[torch.nn.Module] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_count("dim", dim, 1)
        check_count("num_layers", num_layers, 1)
        check_dropout("dropout", dropout)
        if convs is None:
            convs = [_isomorphism(dim) for _ in range(num_layers)]
        if len(convs) != num_layers:
            raise ConfigError(f"convs must be num_layers = {num_layers} convolutions, got {len(convs)}")
        self.dim = dim
        self.dropout = dropout
        self.convs = torch.nn.ModuleList(convs)
        self.norms = torch.nn.ModuleList(RowNorm(dim) for _ in range(num_layers))
        self.linears = torch.nn.ModuleList(torch.nn.Linear(dim, dim) for _ in range(num_layers))
        self.patch_maps = torch.nn.ModuleList(torch.nn.Linear(dim, dim, bias=False) for _ in range(num_layers - 1))
        self.patch_norms = torch.nn.ModuleList(RowNorm(dim) for _ in range(num_layers - 1))

    def forward(self, tokens: Tokens, x: Tensor, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        """Vectors of the tokens.

        Args:
            tokens: The sets of nodes; one without nodes gets a vector of zeros.
            x: Node features, ``[N, dim]``.
            graph: The topology.
            edge_attr: Edge features in the caller's order, ``[E, dim]``. None: zeros, for convolutions that use some.

        Returns:
            ``[K, dim]``.

        Raises:
            ShapeError: If shapes do not fit, or a convolution returns another shape.
        """
        members = tokens.incidence()
        patches, edge = tokens.induced(graph)
        x = ops.gather(members, x, "src")
        if edge_attr is not None:
            edge_attr = copied_rows(edge_attr, edge)
        for number, conv in enumerate(self.convs):
            if number > 0:
                x = self._exchanged(number - 1, x, members)
            out, edge_attr = convolved(conv, x, patches, edge_attr)
            x = epilogue(self.norms[number](out), None, x, self.dropout, "relu", self.training)
            x = self.linears[number](x)
        return ops.aggregate(members, x, "mean")

    def _exchanged(self, number: int, x: Tensor, members: Graph) -> Tensor:
        heard = self.patch_maps[number](ops.aggregate(members, x, "mean"))
        # Statistics are those of copies: a large patch counts more.
        heard = self.patch_norms[number](ops.gather(members, heard, "dst"))
        by_node = members.transpose()
        mean = ops.aggregate(by_node, x + heard.relu(), "mean")
        return ops.gather(by_node, mean, "dst")

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.dim}, num_layers={len(self.convs)}, dropout={self.dropout}"


class RowNorm(BatchNorm):
    """Batch normalisation that also takes batches of one row.

    These have no statistics to take; in training as in evaluation they are normalised by those of the batches before.
    """

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalises rows, ``[R, dim]``."""
        if input.size(0) != 1 or mask is not None or self.processes is not None:
            return super().forward(input, mask)
        return torch.nn.functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


class WalkEncoding(torch.nn.Module):
    r"""Vectors that say where a patch lies among the others: :math:`\mathrm{relu}(\mathrm{BN}(W p))`.

    :math:`p` are probabilities of return, see :meth:`PatchOverlap.return_probabilities`.

    Args:
        steps: Number of probabilities.
        dim: Width of the vectors.
    """

    def __init__(self, steps: int, dim: int) -> None:
        super().__init__()
        self.steps = steps
        self.linear = torch.nn.Linear(steps, dim, bias=False)
        self.norm = RowNorm(dim)

    def forward(self, overlap: PatchOverlap) -> Tensor:
        """``[K, dim]``."""
        probabilities = overlap.return_probabilities(self.steps)
        return self.norm(self.linear(probabilities.to(self.linear.weight.dtype))).relu()


def _isomorphism(dim: int) -> GINEConv:
    network = torch.nn.Sequential(
        torch.nn.Linear(dim, dim, bias=False), RowNorm(dim), torch.nn.ReLU(), torch.nn.Linear(dim, dim, bias=False)
    )
    return GINEConv(network, train_eps=True)
