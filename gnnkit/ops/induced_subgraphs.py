"""Subgraphs that sets of nodes induce, side by side."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.errors import IndexRangeError, ShapeError
from gnnkit.ops._checks import (
    check_graphs,
    check_has_values,
    check_index,
    check_index_range,
    check_same_device,
    check_segments,
    values_readable,
)
from gnnkit.ops._library import define

if TYPE_CHECKING:
    from gnnkit.graph import Graph


def induced_subgraphs(graph: "Graph", members: Tensor, token_ptr: Tensor) -> tuple["Graph", Tensor]:
    r"""The subgraphs induced by several sets of nodes, as one graph without edges between them.

    .. math:: E' = \{(a, b) : \mathrm{set}(a) = \mathrm{set}(b),\ (m_a, m_b) \in E\}

    Node ``a`` of the result is the member at place ``a``, node :math:`m_a` of ``graph``. A node that belongs to several
    sets has a copy in each; multi-edges and self-loops are kept. Features follow by ``x[members]`` and
    ``edge_attr[edge]``.

    Args:
        graph: Topology; sources and destinations are the same nodes.
        members: Nodes of the sets, one set after the other, in any order, int32 or int64 ``[M]``.
        token_ptr: Where the members of each set begin, and ``M`` at the end, int32 or int64 ``[K + 1]``.

    Returns:
        The graph on ``M`` nodes, of the index dtype of ``graph``; edges are in order of destination, and for each
        destination in the order in which ``graph`` holds them. And for each edge, in the order of the result's
        ``edge_index``, the edge of ``graph`` that it copies (its number in the caller's order), int64 ``[E']``. Not
        differentiable.

    Raises:
        ShapeError: If an argument has the wrong shape, dtype or device, ``graph`` is bipartite, or there are more
            members than the index dtype of ``graph`` can count.
        IndexRangeError: If a member is no node of ``graph``, ``token_ptr`` decreases or does not run from 0 to ``M``,
            or a node is listed twice in one set. (Repetitions are not looked for while ``torch.compile`` traces: then
            edges leave from the first of the copies.)
        RuntimeError: If there are more edges than the index dtype can count; int64 indices can.

    Determinism: exact, for any number of threads.
    Complexity: ``O(D)`` time for the sum :math:`D` of the in-degrees of all members, whatever the size of ``graph``;
    a hub that is a member of many small sets costs each of them the size of the set and not its degree, once :math:`D`
    exceeds the number of edges. Memory ``O(M + E')``, and for each thread at most one number per node.
    """
    check_graphs(graph=graph)
    num_nodes = graph.num_nodes
    check_index("members", members)
    check_index("token_ptr", token_ptr)
    check_same_device(graph=graph.col, members=members, token_ptr=token_ptr)
    check_has_values(graph=graph.col)
    check_segments(token_ptr, members.size(0))
    check_index_range("members", members, num_nodes, "num_nodes")
    if members.size(0) > torch.iinfo(graph.col.dtype).max:
        raise ShapeError(f"{members.size(0)} members are too many for a graph with int32 indices; give int64 indices")
    rowptr, col, edge, repeated = torch.ops.gnnkit.induced_subgraphs(
        graph.rowptr, graph.col, graph.edge_id, members.long(), token_ptr.long()
    )
    if not torch.compiler.is_compiling():
        _check_unique(int(repeated), members, token_ptr)
    from gnnkit.graph import _trusted

    return _trusted(rowptr, col, None, members.size(0)), edge


def _check_unique(repeated: int, members: Tensor, token_ptr: Tensor) -> None:
    if repeated < 0:
        return
    token = int(torch.searchsorted(token_ptr, repeated, right=True)) - 1
    raise IndexRangeError(
        f"a set must list each of its nodes once, but set {token} has node {int(members[repeated])} again at "
        f"members[{repeated}]; make the members of each set unique"
    )


def reference(
    rowptr: Tensor, col: Tensor, edge_id: Tensor | None, members: Tensor, token_ptr: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All in-edges of all members, of which those stay whose source is a pair (set, node) that is listed.

    The last result is the place of the first member that its set has listed before, or -1, int64 scalar.
    """
    size, count = rowptr.size(0) - 1, members.size(0)
    if values_readable(col):
        check_segments(token_ptr, count)
        check_segments(rowptr, col.size(0))
        check_index_range("members", members, size, "num_nodes")
        check_index_range("col", col, size, "num_nodes")
    token = torch.repeat_interleave(token_ptr.diff(), output_size=count)
    listed, place = (token * size + members).sort(stable=True)
    again = place[1:][listed[1:] == listed[:-1]]
    repeated = again.min() if again.numel() else members.new_full((), -1)

    degree = rowptr.diff().long().index_select(0, members)
    total = int(degree.sum())
    row = torch.repeat_interleave(degree, output_size=total)
    first = rowptr.long().index_select(0, members) - (degree.cumsum(0) - degree)
    position = torch.arange(total, device=col.device) + first.index_select(0, row)
    wanted = token.index_select(0, row) * size + col.long().index_select(0, position)
    found = torch.searchsorted(listed, wanted).clamp(max=max(count - 1, 0))
    inside = listed.index_select(0, found) == wanted
    position, row, found = position[inside], row[inside], found[inside]

    out_rowptr = torch.zeros(count + 1, dtype=rowptr.dtype, device=col.device)
    out_rowptr[1:] = torch.bincount(row, minlength=count)[:count].cumsum(0)
    edge = position if edge_id is None else edge_id.long().index_select(0, position)
    return out_rowptr, place.index_select(0, found).to(col.dtype), edge, repeated


def _fake(
    rowptr: Tensor, col: Tensor, edge_id: Tensor | None, members: Tensor, token_ptr: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    edges = torch.library.get_ctx().new_dynamic_size()
    edge = members.new_empty(edges)
    return rowptr.new_empty(members.size(0) + 1), col.new_empty(edges), edge, members.new_empty(())


define(
    "induced_subgraphs(Tensor rowptr, Tensor col, Tensor? edge_id, Tensor members, Tensor token_ptr) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    reference=reference,
    fake=_fake,
)
