"""Sampled neighbours of a batch of nodes, hop by hop; see :class:`gnnkit.sample.Neighbor`."""

import torch
from torch import Tensor

from gnnkit.ops._library import define

Sampled = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def reference(
    rowptr: Tensor, col: Tensor, seeds: Tensor, fanout: Tensor, replace: bool, disjoint: bool, seed: int
) -> Sampled:
    """One node after the other.

    Draws ``2 b`` and ``2 b + 1`` at a node take the words of the Philox block with key ``seed`` and counter
    ``(b, node, hop, tree)``: two words each, as a number in ``[0, 1)`` times what is drawn from.

    Args:
        rowptr: Boundaries of the neighbours of each node, int32 or int64 ``[N + 1]``, at most ``2^32`` nodes.
        col: The neighbours, ``[E]``.
        seeds: Nodes to start from, int64 ``[S]``; each once unless ``disjoint``.
        fanout: Neighbours to sample at each hop, int64 ``[H]``; -1: all of them.
        replace: Whether with replacement: then a node with neighbours has exactly that many draws, at most ``2^20``.
            Without, a node of no more neighbours than that has all of them, and another one has different ones, by
            Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", 1987), in the order in which it holds them.
        disjoint: Whether each seed has a tree of its own: nodes that several seeds reach have a copy for each.
        seed: 64 bits.

    Returns:
        Number of each node, seeds first, then in order of discovery, and its tree (0 if not ``disjoint``), int64
        ``[n]``; the neighbour and the node that has it, as places among these, and the position in ``col`` of each
        edge, int64 ``[e]``; and how many nodes and edges each hop adds, int64 ``[H + 1]`` (the seeds first) and ``[H]``.
    """
    bounds, neighbours = rowptr.tolist(), col.tolist()
    found = [(tree if disjoint else 0, node) for tree, node in enumerate(seeds.tolist())]
    place: dict[tuple[int, int], int] = {}
    for number, named in enumerate(found):
        place.setdefault(named, number)
    edges: list[tuple[int, int, int]] = []
    nodes_per_hop, edges_per_hop, begin = [len(found)], [], 0
    for hop, most in enumerate(fanout.tolist()):
        end, known = len(found), len(edges)
        for row in range(begin, end):
            tree, node = found[row]
            degree = bounds[node + 1] - bounds[node]
            for drawn in _drawn(degree, most, replace, seed, (node, hop, tree)):
                position = bounds[node] + drawn
                named = (tree, neighbours[position])
                if named not in place:
                    place[named] = len(found)
                    found.append(named)
                edges.append((place[named], row, position))
        nodes_per_hop.append(len(found) - end)
        edges_per_hop.append(len(edges) - known)
        begin = end
    tree, node = torch.tensor(found, dtype=torch.int64).reshape(-1, 2).T.contiguous()
    source, target, position = torch.tensor(edges, dtype=torch.int64).reshape(-1, 3).T.contiguous()
    nodes, per_hop = torch.tensor(nodes_per_hop), torch.tensor(edges_per_hop, dtype=torch.int64)
    return node.clone(), tree.clone(), source.clone(), target.clone(), position.clone(), nodes, per_hop


def _drawn(degree: int, most: int, replace: bool, key: int, words: tuple[int, int, int]) -> list[int]:
    """Which of its neighbours a node has."""
    from gnnkit.ops._draws import draws_below  # which needs NumPy

    if most < 0 or (not replace and degree <= most):
        return list(range(degree))
    if degree == 0:
        return []
    if replace:
        return draws_below([degree] * most, key, words)
    sizes = list(range(degree - most + 1, degree + 1))
    taken: set[int] = set()
    for drawn, size in zip(draws_below(sizes, key, words), sizes, strict=True):
        taken.add(size - 1 if drawn in taken else drawn)
    return sorted(taken)


def _fake(
    rowptr: Tensor, col: Tensor, seeds: Tensor, fanout: Tensor, replace: bool, disjoint: bool, seed: int
) -> Sampled:
    context = torch.library.get_ctx()
    node = seeds.new_empty(context.new_dynamic_size())
    edge = seeds.new_empty(context.new_dynamic_size())
    of_nodes = (torch.empty_like(node), torch.empty_like(node))
    of_edges = (torch.empty_like(edge), torch.empty_like(edge), torch.empty_like(edge))
    return *of_nodes, *of_edges, seeds.new_empty(fanout.size(0) + 1), seeds.new_empty(fanout.size(0))


define(
    "neighbor_sample(Tensor rowptr, Tensor col, Tensor seeds, Tensor fanout, bool replace, bool disjoint, int seed) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=reference,
    fake=_fake,
)
