"""The clusters that each node belongs to, from the whole graph to the node itself."""

import torch
from torch import Tensor

from gnnkit.errors import DataError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count
from gnnkit.sequence.hac import check_options, hierarchical_affinity_clustering
from gnnkit.sequence.hierarchy import Hierarchy
from gnnkit.sequence.tokens import Tokens

_MOST_MEMBERS = 2**30


class HACTokens:
    r"""Hierarchical tokens of GSM++: per node the clusters on the path from the root to it, the node itself last.

    The clusters are those of :func:`~gnnkit.sequence.hac.hierarchical_affinity_clustering`, which says what the first
    two options mean. ``kind`` is the level of a cluster, 0 for the node itself, at most :math:`\log_2 n + 1`.

    Every token holds the nodes of its cluster, so that without ``max_levels`` there are more than :math:`n^2` members
    for a graph of ``n`` nodes. Large graphs need it.

    Args:
        similarity: ``"cosine"``, ``"jaccard"``, or None: the first where there are features, the second where not.
        linkage: ``"mean"`` or ``"max"``.
        max_levels: Take clusters of the first so many rounds only, not those above; 0: the node alone. None: all.

    Attributes:
        is_random: False.

    Raises:
        ConfigError: If an option is unknown, or ``max_levels`` is negative.

    Determinism: exact.
    Complexity: that of the clustering, and linear in the members.
    """

    is_random = False

    def __init__(
        self, *, similarity: str | None = None, linkage: str = "mean", max_levels: int | None = None
    ) -> None:
        check_options(similarity, linkage)
        self.similarity = similarity
        self.linkage = linkage
        self.max_levels = None if max_levels is None else check_count("max_levels", max_levels, 0)

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        """The tokens of all nodes of a batch; see :class:`~gnnkit.sequence.parts.Tokenizer`.

        Raises:
            DataError, IndexRangeError, ShapeError: As the clustering does.
            DataError: If tokens would have more than 2^30 members in all.
            ConfigError: If cosines are wanted without ``x``.
        """
        found = hierarchical_affinity_clustering(graph, ptr, x, similarity=self.similarity, linkage=self.linkage)
        return path_tokens(found, self.max_levels)

    def __repr__(self) -> str:
        """The settings."""
        return (
            f"HACTokens(similarity={self.similarity!r}, linkage={self.linkage!r}, max_levels={self.max_levels!r})"
        )


def path_tokens(hierarchy: Hierarchy, max_levels: int | None = None) -> Tokens:
    """The tokens of :class:`HACTokens` from a hierarchy that is there already. Errors as there."""
    nodes, offsets = hierarchy.paths()
    if max_levels is not None:
        kept = hierarchy.level[nodes] <= check_count("max_levels", max_levels, 0)
        before = torch.cat([offsets.new_zeros(1), kept.cumsum(0)])
        nodes, offsets = nodes[kept], before[offsets]
    members = int(hierarchy.num_leaves[nodes].sum())
    if members > _MOST_MEMBERS:
        raise DataError(
            f"the tokens of all nodes would have {members} members in all, more than {_MOST_MEMBERS}; take fewer "
            "levels with max_levels, or smaller batches"
        )
    leaves, token_ptr = hierarchy.leaves(nodes)
    return Tokens(leaves, token_ptr, offsets, "node", hierarchy.num_nodes, hierarchy.level[nodes])
