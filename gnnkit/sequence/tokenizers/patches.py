"""Graphs as sequences of overlapping patches."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.geometry.partition import METHODS, MOST_PARTS, metis, partition
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count, check_number
from gnnkit.sequence._batch import PATCHES, graph_of_nodes, random_keys, simple_graph
from gnnkit.sequence.tokens import Tokens

_METIS = 'PatchTokens(method="metis")'
_KEYS = 2**62


class PatchTokens(torch.nn.Module):
    r"""Each graph as ``num_patches`` overlapping sets of nodes, for MLP-Mixers and transformers: of level ``"graph"``.

    He et al., "A generalization of ViT/MLP-Mixer to graphs", ICML 2023. In training, edges are left out at random; the
    nodes of each graph are then divided into parts, and every part takes in what lies within ``num_hops`` hops of it,
    along the direction of all edges. Members of a patch ascend.

    Parts are found by ``"ldg"``, linear deterministic greedy partitioning (Stanton and Kliot, "Streaming graph
    partitioning for large distributed graphs", KDD 2012), in one pass over the nodes, breadth-first from that of lowest
    index. A node joins the part with room that has the largest :math:`|N(v) \cap p| (1 - |p| / C_p)`, with :math:`N(v)`
    its neighbours by any direction; ties go to the part of fewest nodes, then to the lowest number. Unlike in the
    paper, the capacities :math:`C_p` add up to the number of nodes: sizes of parts differ by one at most, and no part
    is empty where there are as many nodes. ``"metis"`` takes METIS (Karypis and Kumar, 1998) by recursive bisection, as
    the authors do, from the package ``pymetis``.

    A graph of fewer nodes than patches has a patch for each node, and empty ones after them, so that mixers find the
    same number in every graph; empty patches stay empty. METIS may leave more of them empty.

    Args:
        num_patches: :math:`P`, 1 to ``2^20``.
        num_hops: How far patches reach beyond their parts. 0: they do not overlap.
        method: ``"ldg"`` or ``"metis"``.
        drop_edges: Probability that an edge (both directions at once) is left out before the partition, in training
            alone. Edges come back for the hops.

    Attributes:
        is_random: Whether edges are left out now: by :meth:`train` and :meth:`eval`, as a module's dropout.

    Raises:
        ConfigError: If an argument is unknown or out of range.
        BackendError: If ``method`` is ``"metis"`` and ``pymetis`` is not installed.

    Determinism: the same patches for a seed, for any number of threads.
    Complexity: ``O(E + N P)`` time for the parts and :func:`gnnkit.ops.k_hop` and a sort of the pairs that it finds for
    the hops, on the CPU; memory ``O(E + \sum_v |B(v)|)`` for the balls :math:`B(v)` of ``num_hops`` around all nodes.
    """

    def __init__(
        self, num_patches: int = 32, num_hops: int = 1, method: str = "ldg", *, drop_edges: float = 0.3
    ) -> None:
        super().__init__()
        self.num_patches = check_count("num_patches", num_patches, 1)
        if num_patches > MOST_PARTS:
            raise ConfigError(f"num_patches must be at most 2^20, got {num_patches}")
        self.num_hops = check_count("num_hops", num_hops, 0)
        if method not in METHODS:
            raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if not 0 <= check_number("drop_edges", drop_edges) <= 1:
            raise ConfigError(f"drop_edges must be a probability, got {drop_edges}")
        self.method = method
        self.drop_edges = drop_edges
        if method == "metis":
            metis(_METIS)

    @property
    def is_random(self) -> bool:
        """Whether patches depend on the seed."""
        return self.training and self.drop_edges > 0

    def forward(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        """The tokens of all graphs of a batch; see :class:`~gnnkit.sequence.parts.Tokenizer`.

        Raises:
            DataError, IndexRangeError, ShapeError: If ``graph`` and ``ptr`` are not those of a batch.
            ConfigError: If ``seed`` is no integer.
        """
        number = graph_of_nodes(graph, ptr)
        simple, bounds = simple_graph(graph), ptr.cpu().long()
        if self.is_random:
            keys = random_keys(simple.num_edges, seed, PATCHES, torch.device("cpu"))
            simple = SimpleGraph.from_ends(simple.ends[:, keys >= self.drop_edges * _KEYS], simple.num_nodes)
        part = partition(simple, bounds, self.num_patches, self.method, purpose=_METIS).to(graph.device)
        patch = number * self.num_patches + part
        num_patches = (ptr.size(0) - 1) * self.num_patches
        members, token_ptr = _expanded(graph, patch, num_patches, self.num_hops)
        offsets = torch.arange(ptr.size(0), device=graph.device) * self.num_patches
        return Tokens(members, token_ptr, offsets, "graph", graph.num_nodes)

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"num_patches={self.num_patches}, num_hops={self.num_hops}, method={self.method!r}, "
            f"drop_edges={self.drop_edges}"
        )


def _expanded(graph: Graph, patch: Tensor, num_patches: int, num_hops: int) -> tuple[Tensor, Tensor]:
    """Members of the patches and where those of each begin, from the patch that each node is in."""
    num_nodes = max(graph.num_nodes, 1)
    pairs = patch * num_nodes + torch.arange(graph.num_nodes, device=graph.device)
    if num_hops > 0:
        near, _ = ops.k_hop(graph.transpose(), num_hops)
        reached = patch.index_select(0, near.dst_of_position().long()) * num_nodes + near.col.long()
        pairs = torch.cat([pairs, reached])
    pairs = pairs.unique()
    size = torch.bincount(pairs // num_nodes, minlength=num_patches)
    return pairs % num_nodes, torch.cat([size.new_zeros(1), size.cumsum(0)])
