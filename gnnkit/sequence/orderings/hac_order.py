"""Nodes in the order of the leaves of a hierarchy of clusters."""

from torch import Tensor

from gnnkit.graph import Graph
from gnnkit.sequence.hac import check_options, hierarchical_affinity_clustering


class HACOrder:
    """Depth-first through the hierarchy of clusters, so that every cluster of any size is read without a break.

    The order of GSM++ (Behrouz et al., "Best of both worlds: advantages of hybrid graph sequence models", ICML 2025),
    over :func:`~gnnkit.sequence.hac.hierarchical_affinity_clustering`, which says what the options mean.

    Args:
        similarity: ``"cosine"``, ``"jaccard"``, or None: the first where there are features, the second where not.
        linkage: ``"mean"`` or ``"max"``.

    Attributes:
        is_random: False.

    Raises:
        ConfigError: If an option is unknown.

    Determinism: exact, see there.
    Complexity: ``O(E log N)``, on the CPU.
    """

    is_random = False

    def __init__(self, *, similarity: str | None = None, linkage: str = "mean") -> None:
        check_options(similarity, linkage)
        self.similarity = similarity
        self.linkage = linkage

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """The nodes in reading order, int64 ``[N]``; see :class:`~gnnkit.sequence.parts.Ordering`.

        Raises:
            DataError, IndexRangeError, ShapeError: As the clustering does.
            ConfigError: If cosines are wanted without ``x``.
        """
        found = hierarchical_affinity_clustering(graph, ptr, x, similarity=self.similarity, linkage=self.linkage)
        return found.leaf_order()

    def __repr__(self) -> str:
        """The settings."""
        return f"HACOrder(similarity={self.similarity!r}, linkage={self.linkage!r})"
