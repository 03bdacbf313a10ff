"""Attention among all nodes of each graph."""

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._blocks import check_dropout
from gnnkit.nn.attended_pairs import complete_graphs
from gnnkit.nn.conv._attention import weights
from gnnkit.ops._checks import check_count, check_segments

_DENSE_SIZE = 64
"""Nodes from which on a graph's own dense product beats the sparse kernel on a CPU, for heads of 16 to 24."""


class GraphBlocks(NamedTuple):
    """Consecutive graphs of a batch, in runs that are attended to by one call each.

    Attributes:
        sizes: Nodes of each run.
        pairs: All pairs within the graphs of each run, for the sparse kernel; None where it takes a dense product.
        dense: Nodes of each graph of a run that takes a dense product, which are of one size; 0 for other runs.
    """

    sizes: tuple[int, ...]
    pairs: tuple[Graph | None, ...]
    dense: tuple[int, ...]

    @classmethod
    def of(cls, ptr: Tensor) -> "GraphBlocks":
        """The runs of a batch; ``ptr`` as of a ``Batch``, ``[G + 1]``.

        Layers that are stacked can share them. Under ``torch.compile`` they are never part of a trace, since their
        sizes follow from values: compute them outside of what is compiled with ``fullgraph=True``.

        Raises:
            ShapeError, DtypeError, IndexRangeError: If ``ptr`` is not a vector of boundaries.
        """
        return _blocks(ptr)


def _runs(ptr: Tensor) -> GraphBlocks:
    check_segments(ptr, int(ptr[-1]) if ptr.dim() == 1 and ptr.numel() > 0 else 0)
    if ptr.device.type != "cpu":
        # The dense product's gradients are not deterministic there.
        return GraphBlocks((int(ptr[-1]),), (complete_graphs(ptr),), (0,))
    sizes: list[int] = []
    pairs: list[Graph | None] = []
    dense: list[int] = []
    first = 0
    for size, group in groupby(ptr.diff().tolist(), key=lambda size: size if size >= _DENSE_SIZE else 0):
        run = list(group)
        last = first + len(run)
        sizes.append(sum(run))
        pairs.append(None if size > 0 else complete_graphs(ptr[first : last + 1] - ptr[first]))
        dense.append(size)
        first = last
    return GraphBlocks(tuple(sizes), tuple(pairs), tuple(dense))


# Outside of any trace, where sizes may follow from values.
_blocks = cast(Callable[[Tensor], GraphBlocks], torch.compiler.disable(_runs))


class GlobalAttention(torch.nn.Module):
    r"""Multi-head attention by scaled dot products (Vaswani et al., 2017) among all nodes of each graph.

    .. math::
        y_i = W_o \Bigl[\, \big\Vert_h \sum_{j \in g(i)} \mathrm{softmax}_{j \in g(i)}
            \bigl(d_h^{-1/2} \langle q_{ih}, k_{jh} \rangle\bigr)\, v_{jh} \Bigr] + b_o

    Weights and results are those of ``torch.nn.MultiheadAttention(dim, num_heads)`` as self-attention on each graph
    alone, and state dicts load in both directions. Graphs are not padded: the work is :math:`\sum n^2`.

    Args:
        dim: Width of nodes, a multiple of ``num_heads``.
        num_heads: Number of heads.
        dropout: Probability of dropping an attention weight in training, by torch's global generator.
        bias: Give the affine maps a bias.

    Raises:
        ConfigError: If the heads do not divide the width, or a setting is out of range.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(sum n^2 dim + N dim^2)`` time. Memory, on a CPU: ``O(N dim)``, and one index for each pair of graphs
    below 64 nodes; no weight is stored, but in training with ``dropout``, which takes ``O(sum n^2 heads)``. On an
    accelerator: one index for each pair. Neighbouring small graphs share one call of the sparse kernel; large ones have
    dense products of their own, neighbours of one size together.
    """

    def __init__(self, dim: int, num_heads: int, *, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        check_count("dim", dim, 1)
        check_count("num_heads", num_heads, 1)
        check_dropout("dropout", dropout)
        if dim % num_heads != 0:
            raise ConfigError(f"dim must be a multiple of num_heads, got {dim} and {num_heads}")
        self.dim = dim
        self.num_heads = num_heads
        self.dropout = dropout
        # Names as in torch.nn.MultiheadAttention.
        self.in_proj_weight = torch.nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = torch.nn.Parameter(torch.empty(3 * dim)) if bias else None
        self.out_proj = torch.nn.Linear(dim, dim, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights, as ``torch.nn.MultiheadAttention`` does."""
        torch.nn.init.xavier_uniform_(self.in_proj_weight)
        self.out_proj.reset_parameters()
        if self.in_proj_bias is not None:
            torch.nn.init.zeros_(self.in_proj_bias)
            torch.nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, ptr: Tensor | None = None, *, blocks: GraphBlocks | None = None) -> Tensor:
        """Lets every node attend to all nodes of its graph, itself included.

        Args:
            x: Node features, ``[N, dim]``.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``. None: one graph.
            blocks: ``GraphBlocks.of(ptr)``, where it has been computed already; ``ptr`` is then not looked at.

        Returns:
            ``[N, dim]``.

        Raises:
            ShapeError: If ``x`` is not ``[N, dim]``, or the graphs have another number of nodes.
            IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
        """
        if x.dim() != 2 or x.size(1) != self.dim:
            raise ShapeError(f"GlobalAttention needs x of shape [N, {self.dim}], got {tuple(x.shape)}")
        if blocks is None:
            ptr = torch.tensor([0, x.size(0)], device=x.device) if ptr is None else ptr
            check_segments(ptr, x.size(0))
            blocks = GraphBlocks.of(ptr)
        if sum(blocks.sizes) != x.size(0):
            raise ShapeError(f"x has {x.size(0)} nodes, but the graphs of the batch have {sum(blocks.sizes)} in all")
        heads = linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(1, (3, self.num_heads, -1))
        q, k, v = (part.split(blocks.sizes) for part in heads.unbind(1))
        out = [self._attend(*parts) for parts in zip(q, k, v, blocks.pairs, blocks.dense, strict=True)]
        return self.out_proj((torch.cat(out) if len(out) != 1 else out[0]).flatten(1) if out else x)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, pairs: Graph | None, size: int) -> Tensor:
        p = self.dropout if self.training else 0.0
        if pairs is None:
            q, k, v = (part.unflatten(0, (-1, size)).transpose(1, 2) for part in (q, k, v))
            return scaled_dot_product_attention(q, k, v, dropout_p=p).transpose(1, 2).flatten(0, 1)
        if p == 0.0:
            return ops.attend(pairs, q, k, v)
        score = ops.sddmm(pairs, q, k) * q.size(2) ** -0.5
        return ops.spmm(pairs, v, weights(pairs, score, p))

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.dim}, {self.num_heads}, dropout={self.dropout}"
