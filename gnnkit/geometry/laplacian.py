"""Solutions of Laplacian systems: nodes are eliminated while that is cheap, the core that remains is solved."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gnnkit.errors import DataError
from gnnkit.geometry.simple_graph import SimpleGraph

# Columns that are solved at a time, and the largest core that gets dense matrices, of 134 MB each.
BLOCK = 32
LARGEST_DENSE = 4096
_LIMIT = 20_000
_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Laplacian:
    """The Laplacian of a graph after Gaussian elimination of some nodes; all values in float64.

    Rows of blocks are in the order of ``order``: eliminated nodes first, the core after them.

    Attributes:
        graph: The graph.
        order: All nodes, ``[N]``.
        ptr: Boundaries of the eliminated nodes in ``neighbor``, ``[F + 1]``.
        neighbor: Places of the neighbours that an eliminated node had left, ascending.
        share: Their weights, divided by the pivot.
        pivot: Total weight an eliminated node had left, ``[F]``; 0 for the last node of a component.
        core_rowptr: Boundaries of the nodes of the core, ``[C + 1]``.
        core_col: Their neighbours within the core, ascending.
        core_weight: Weights of these.
    """

    graph: SimpleGraph
    order: Tensor
    ptr: Tensor
    neighbor: Tensor
    share: Tensor
    pivot: Tensor
    core_rowptr: Tensor
    core_col: Tensor
    core_weight: Tensor

    @classmethod
    def eliminated(cls, graph: SimpleGraph, effort: int, late_effort: int) -> "Laplacian":
        """Eliminates as many nodes as the effort allows; see the operator ``eliminate``."""
        parts = torch.ops.gnnkit.eliminate(graph.rowptr, graph.col, graph.position_weight, effort, late_effort)
        return cls(graph, *parts)

    @classmethod
    def for_all_edges(cls, graph: SimpleGraph) -> "Laplacian":
        """Most of the work goes into the elimination, which then serves for the whole graph."""
        size = graph.num_nodes + graph.col.numel()
        return cls.eliminated(graph, 32 * size + 2**16, 1024 * size + 2**16)

    @classmethod
    def for_few_solutions(cls, graph: SimpleGraph) -> "Laplacian":
        """Eliminates what is cheaper to eliminate than to iterate over."""
        effort = 8 * (graph.num_nodes + graph.col.numel()) + 2**12
        return cls.eliminated(graph, effort, effort)

    @classmethod
    def for_many_solutions(cls, graph: SimpleGraph) -> "Laplacian":
        """Eliminates nodes of three neighbours at most, which makes no graph larger, and a few more later on."""
        return cls.eliminated(graph, 10 * graph.num_nodes, 10 * graph.num_nodes)

    @property
    def num_eliminated(self) -> int:
        """``F``."""
        return self.pivot.numel()

    @property
    def num_core(self) -> int:
        """``C``."""
        return self.core_rowptr.numel() - 1

    @cached_property
    def place(self) -> Tensor:
        """Where each node stands in ``order``, ``[N]``."""
        return torch.empty_like(self.order).scatter_(0, self.order, torch.arange(self.order.numel()))

    @cached_property
    def core_component(self) -> Tensor:
        """Component of each node of the core, ``[C]``, numbered from 0."""
        if self.num_core == 0:
            return self.core_rowptr[:0]
        label = self.graph.components()[self.order[self.num_eliminated :]]
        return torch.unique(label, return_inverse=True)[1]

    @cached_property
    def core_inverse(self) -> Tensor:
        """A generalised inverse of the core, dense ``[C, C]``: of each component without its last node.

        Its rows and columns for that node are 0.
        """
        row = torch.arange(self.num_core).repeat_interleave(self.core_rowptr.diff())
        inverse = torch.zeros(self.num_core, self.num_core, dtype=torch.float64)
        for nodes in members_by_label(self.core_component):
            local = torch.full((self.num_core,), -1).scatter_(0, nodes, torch.arange(nodes.numel()))
            inside = local[row] >= 0
            block = inverse.new_zeros(nodes.numel(), nodes.numel())
            block[local[row[inside]], local[self.core_col[inside]]] = -self.core_weight[inside]
            block.diagonal().copy_(-block.sum(1))
            kept = nodes[:-1]
            if kept.numel():
                inverse[kept[:, None], kept] = inverse_of_positive(block[:-1, :-1])
        return inverse

    def forward(self, block: Tensor) -> Tensor:
        """Eliminates the nodes from right-hand sides, ``[N, K]``."""
        return torch.ops.gnnkit.substitute(self.ptr, self.neighbor, self.share, block, False)

    def backward(self, block: Tensor) -> Tensor:
        """Potentials of all nodes from those of the core and, for eliminated nodes, what they add to their mean."""
        return torch.ops.gnnkit.substitute(self.ptr, self.neighbor, self.share, block, True)

    @cached_property
    def inverse_pivot(self) -> Tensor:
        """``1 / pivot``; 0 where a node is grounded."""
        return torch.where(self.pivot > 0, 1 / self.pivot, 0.0)

    def quadratic_forms(self, block: Tensor, *, dense: bool) -> Tensor:
        """``b^T L^+ b`` for each column of ``[N, K]``, which must sum to 0 over each component."""
        block = self.forward(block)
        top, rest = block[: self.num_eliminated], block[self.num_eliminated :]
        value = (top.square() * self.inverse_pivot[:, None]).sum(0)
        if self.num_core == 0:
            return value
        solution = self.core_inverse @ rest if dense else self.solve_core(rest)
        return value + (solution * rest).sum(0)

    def solve_core(self, rhs: Tensor, tolerance: float = _TOLERANCE, *, single: bool = False) -> Tensor:
        """Solutions of the core for right-hand sides ``[C, K]``, up to a constant per component.

        Args:
            rhs: Right-hand sides, each with sum 0 over each component.
            tolerance: Relative error in the energy norm.
            single: Iterate in float32 where that suffices.

        Raises:
            DataError: If no method reaches the tolerance.
        """
        graph = self.core_rowptr, self.core_col, self.core_weight
        for low in (True, False) if single else (False,):
            solution, steps = torch.ops.gnnkit.laplacian_solve(*graph, rhs, tolerance, _LIMIT, low)
            if bool((steps >= 0).all()):
                return solution
        if self.num_core <= LARGEST_DENSE:
            return self.core_inverse @ rhs
        raise DataError(
            f"a Laplacian system of {self.num_core} nodes was not solved to {tolerance:.0e} in {_LIMIT} steps; "
            "weights that differ less, or a smaller graph, can be solved"
        )


def members_by_label(label: Tensor) -> list[Tensor]:
    """The nodes of each label ``0, 1, ...``, ascending."""
    if label.numel() == 0:
        return []
    order = label.argsort(stable=True)
    return list(order.split(torch.bincount(label).tolist()))


def inverse_of_positive(matrix: Tensor) -> Tensor:
    """Inverse of a symmetric positive definite matrix; raises DataError where rounding has left it none."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed):
        raise DataError("a Laplacian is singular to machine precision; use weights that differ less")
    return torch.cholesky_inverse(factor)
