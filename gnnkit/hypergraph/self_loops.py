"""Hyperedges of one node each, which let a node take part in what its layer computes."""

import torch

from gnnkit.hypergraph.hypergraph import Hypergraph


def add_self_loops(hypergraph: Hypergraph) -> Hypergraph:
    """Gives every node that is nowhere alone a hyperedge of its own.

    So do the authors of UniGNN and AllSet before training: a node in no hyperedge then keeps its features.

    Args:
        hypergraph: The topology.

    Returns:
        The hypergraph with the new hyperedges after the others, in the order of their nodes; itself where every node
        has a hyperedge of one incidence already. Computed once per hypergraph.

    Determinism: bitwise.
    Complexity: ``O(nnz + N + M)`` time and memory, the first time.
    """
    kept = hypergraph.to_hyperedges.cached("with_self_loop_hyperedges", lambda: _add_self_loops(hypergraph))
    return hypergraph if kept is None else kept


def _add_self_loops(hypergraph: Hypergraph) -> Hypergraph | None:
    """None: there is nothing to add. Kept with the graph itself, the hypergraph would be a cycle."""
    index = hypergraph.hyperedge_index
    node, hyperedge = index
    lonely = node[hypergraph.hyperedge_degree().index_select(0, hyperedge) == 1]
    lacking = torch.ones(hypergraph.num_nodes, dtype=torch.bool, device=index.device)
    lacking = lacking.index_fill(0, lonely.long(), False).nonzero().squeeze(1).to(index.dtype)
    if lacking.numel() == 0:
        return None
    loops = hypergraph.num_hyperedges + torch.arange(lacking.numel(), dtype=index.dtype, device=index.device)
    return Hypergraph.from_incidence(
        torch.cat([index, torch.stack([lacking, loops])], dim=1),
        num_nodes=hypergraph.num_nodes,
        num_hyperedges=hypergraph.num_hyperedges + lacking.numel(),
    )
