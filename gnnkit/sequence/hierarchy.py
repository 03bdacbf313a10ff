"""Trees of clusters over the nodes of graphs."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import DataError, IndexRangeError, ShapeError
from gnnkit.ops._checks import check_index, check_index_range, check_same_device, check_segments, check_size, describe
from gnnkit.ops.segment import segment_of_row


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """One tree per graph of a batch, whose leaves are the nodes of the graph.

    Tree nodes ``0`` to ``N - 1`` are the leaves, under the numbers of the nodes; the others are clusters. Every tree
    node has a lower number than its parent.

    Attributes:
        parent: Parent of each tree node, -1 for the root of a graph, int64 ``[K]``.
        level: Round in which each cluster was formed, 0 for leaves, int64 ``[K]``; it grows towards the root.
        ptr: First node of each graph, and ``N`` at the end, int64 ``[G + 1]``.

    Raises:
        DtypeError, ShapeError, IndexRangeError: If the tensors have the wrong dtype or shape.
        DataError: If they do not describe such trees.
    """

    parent: Tensor
    level: Tensor
    ptr: Tensor

    def __post_init__(self) -> None:
        """Checks that these are trees."""
        for name, value in (("parent", self.parent), ("level", self.level), ("ptr", self.ptr)):
            check_index(name, value)
            if value.dtype != torch.int64:
                raise ShapeError(f"{name} must be int64, got {describe(value)}")
        check_same_device(parent=self.parent, level=self.level, ptr=self.ptr)
        if self.level.shape != self.parent.shape:
            raise ShapeError(f"level must have one entry per tree node, {self.num_tree_nodes}, got {len(self.level)}")
        if self.ptr.numel() == 0 or self.num_nodes > self.num_tree_nodes:
            raise ShapeError(f"ptr must end at the number of leaves, at most {self.num_tree_nodes}")
        check_segments(self.ptr, self.num_nodes)
        self._check_parents()
        self._check_roots()

    def _check_parents(self) -> None:
        child = (self.parent >= 0).nonzero()[:, 0]
        above = self.parent[child]
        check_index_range("parent", above, self.num_tree_nodes, "the number of tree nodes")
        if bool(((above <= child) | (above < self.num_nodes)).any()):
            raise DataError("the parent of a tree node must be a cluster, and have a higher number than the node")
        if bool((self.level[above] <= self.level[child]).any()):
            raise DataError("the level of a tree node must be below that of its parent")
        if bool((torch.bincount(above, minlength=self.num_tree_nodes)[self.num_nodes :] == 0).any()):
            raise DataError("every tree node from the number of nodes on must be the parent of another")

    def _check_roots(self) -> None:
        roots, graph = self._root[: self.num_nodes], segment_of_row(self.ptr, self.num_nodes)
        shared = torch.unique(roots).numel() < int((self.ptr.diff() > 0).sum())
        if shared or bool((roots != roots[self.ptr[graph]]).any()):
            raise DataError("the nodes of a graph must have one root, which is not that of another graph")

    @property
    def num_nodes(self) -> int:
        """Number of leaves ``N``."""
        return int(self.ptr[-1])

    @property
    def num_tree_nodes(self) -> int:
        """Number of leaves and clusters ``K``."""
        return self.parent.numel()

    @cached_property
    def depth(self) -> Tensor:
        """Number of edges from each tree node to its root, int64 ``[K]``."""
        return self._sum_to_root(torch.ones_like(self.parent)) - 1

    @cached_property
    def num_leaves(self) -> Tensor:
        """Size of each cluster in leaves, int64 ``[K]``; 1 for a leaf."""
        return torch.bincount(self.paths()[0], minlength=self.num_tree_nodes)

    @cached_property
    def first_leaf(self) -> Tensor:
        """The lowest leaf of each cluster, int64 ``[K]``."""
        nodes, offsets = self.paths()
        leaf = segment_of_row(offsets, nodes.numel())
        return torch.full_like(self.parent, self.num_nodes).scatter_reduce_(0, nodes, leaf, "amin")

    @cached_property
    def position(self) -> Tensor:
        """Place in :meth:`leaf_order` of the first leaf of each cluster, int64 ``[K]``; of a leaf, its own."""
        order = ops.sort_index(self.first_leaf, self.num_nodes + 1)[1]
        # Roots come first, as children of number -1.
        order = order[ops.sort_index(self.parent[order] + 1, self.num_tree_nodes + 1)[1]]
        size, parent = self.num_leaves[order], self.parent[order]
        before = size.cumsum(0) - size
        begins = torch.ones_like(parent, dtype=torch.bool)
        begins[1:] = parent[1:] != parent[:-1]
        among_siblings = before - before[begins][begins.cumsum(0) - 1]
        out = torch.empty_like(before)
        # Graphs lie one after the other, as if all roots were siblings.
        out[order] = among_siblings
        return self._sum_to_root(out)

    def leaf_order(self) -> Tensor:
        """The leaves in the order of a depth-first search, children by their lowest leaf, int64 ``[N]``.

        The leaves of every cluster are consecutive.

        Complexity: ``O(K D)`` for trees of depth ``D``, the first time.
        """
        order = torch.empty_like(self.position[: self.num_nodes])
        order[self.position[: self.num_nodes]] = torch.arange(self.num_nodes, device=order.device)
        return order

    def paths(self) -> tuple[Tensor, Tensor]:
        """The tree nodes from the root to each leaf, the leaf last.

        Returns:
            Tree nodes, int64 ``[P]``, and where those of each leaf begin, with ``P`` at the end, int64 ``[N + 1]``.

        Complexity: ``O(P)``.
        """
        offsets = torch.zeros(self.num_nodes + 1, dtype=torch.int64, device=self.parent.device)
        torch.cumsum(self.depth[: self.num_nodes] + 1, 0, out=offsets[1:])
        out = torch.empty(int(offsets[-1]), dtype=torch.int64, device=self.parent.device)
        node, place = torch.arange(self.num_nodes, device=out.device), offsets[1:] - 1
        while node.numel() > 0:
            out[place] = node
            above = self.parent[node]
            node, place = above[above >= 0], place[above >= 0] - 1
        return out, offsets

    def clusters(self, level: int) -> Tensor:
        """The cluster that each leaf belongs to after a round, as number of a tree node, int64 ``[N]``.

        It is the highest above the leaf of at most this level: with 0 the leaf itself, at last the root.

        Raises:
            ShapeError: If ``level`` is no integer that is not negative.
        """
        level = check_size("level", level)
        node = torch.arange(self.num_nodes, device=self.parent.device)
        while True:
            above = self.parent[node]
            rises = (above >= 0) & (self.level[above] <= level)
            if not bool(rises.any()):
                return node
            node = torch.where(rises, above, node)

    def leaves(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """The leaves of each of some tree nodes ``[C]``, in the order of :meth:`leaf_order`.

        Returns:
            Leaves, int64 ``[M]``, and where those of each begin, with ``M`` at the end, int64 ``[C + 1]``.
        """
        size = self.num_leaves[nodes]
        offsets = torch.zeros(nodes.numel() + 1, dtype=torch.int64, device=nodes.device)
        torch.cumsum(size, 0, out=offsets[1:])
        total = int(offsets[-1])
        shift = torch.repeat_interleave(self.position[nodes] - offsets[:-1], size, output_size=total)
        return self.leaf_order()[shift + torch.arange(total, device=nodes.device)], offsets

    def lowest_common_ancestor(self, pairs: Tensor) -> Tensor:
        """The smallest cluster that both tree nodes of each pair lie in (or are), int64 ``[P]``.

        Args:
            pairs: Tree nodes, leaves among them, ``[2, P]``.

        Raises:
            DtypeError, ShapeError: If ``pairs`` is not ``[2, P]`` of integers.
            IndexRangeError: If a tree node does not exist.
            DataError: If a pair lies in two graphs.

        Complexity: ``O(P D)`` for trees of depth ``D``.
        """
        check_index("pairs", pairs, dim=2)
        if pairs.size(0) != 2:
            raise ShapeError(f"pairs must have shape [2, P], got {describe(pairs)}")
        for row in (0, 1):
            check_index_range(f"pairs[{row}]", pairs[row], self.num_tree_nodes, "the number of tree nodes")
        a, b = pairs.long()
        apart = self._root[a] != self._root[b]
        if bool(apart.any()):
            where = int(apart.nonzero()[0, 0])
            raise DataError(
                f"both nodes of a pair must lie in one graph, but pair {where}, ({int(a[where])}, {int(b[where])}), "
                "joins two"
            )
        while bool((a != b).any()):
            # Of two tree nodes, the one of lower number is not above the other.
            a, b = torch.where(a < b, self.parent[a], a), torch.where(b < a, self.parent[b], b)
        return a

    def tree_distance(self, pairs: Tensor) -> Tensor:
        """Number of edges of the tree between the tree nodes of each pair, int64 ``[P]``.

        Between leaves, this is the relative form of the hierarchical positional encoding. Arguments, errors and
        complexity are those of :meth:`lowest_common_ancestor`.
        """
        ancestor = self.lowest_common_ancestor(pairs)
        return self.depth[pairs[0]] + self.depth[pairs[1]] - 2 * self.depth[ancestor]

    @cached_property
    def _root(self) -> Tensor:
        """The root above each tree node, ``[K]``."""
        above = torch.arange(self.num_tree_nodes, device=self.parent.device)
        root = torch.where(self.parent >= 0, self.parent, above)
        while bool((root != root[root]).any()):
            root = root[root]
        return root

    def _sum_to_root(self, value: Tensor) -> Tensor:
        """Sum of a value over each tree node and all above it, ``[K]``, by pointer jumping."""
        # Above the roots there is one more, of value 0, that is its own parent.
        top = self.num_tree_nodes
        above = torch.where(self.parent >= 0, self.parent, top)
        above = torch.cat([above, above.new_tensor([top])])
        total = torch.cat([value, value.new_zeros(1)])
        while bool((above != top).any()):
            total = total + total[above]
            above = above[above]
        return total[:-1]
