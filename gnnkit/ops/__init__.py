"""Operators on tensors and graphs; each is also ``torch.ops.gnnkit.<name>``, differentiable and traceable."""

from gnnkit import _backend
from gnnkit.ops import (  # noqa: F401 (they only register operators)
    balanced_forman,
    borf,
    chebyshev,
    cycles,
    ego_degrees,
    elimination,
    gather_rows,
    graph_random_features,
    greedy_edges,
    greedy_partition,
    k_hop_sample,
    laplacian,
    neighbor_sample,
    node_sets,
    ollivier,
    ollivier_weighted,
    orthonormal_columns,
    ppr_push,
    random_walk,
    root_distance,
    sdrf,
    supporting_edges,
    traversal,
    walk_tokens,
)
from gnnkit.ops.attention import attend, gat, gatv2
from gnnkit.ops.causal_conv import causal_conv1d
from gnnkit.ops.dropout import dropout_epilogue
from gnnkit.ops.edges import aggregate, gather
from gnnkit.ops.gate import gated_aggregate
from gnnkit.ops.gated_delta import gated_delta
from gnnkit.ops.induced_subgraphs import induced_subgraphs
from gnnkit.ops.k_hop import k_hop
from gnnkit.ops.masked_spgemm import masked_spgemm
from gnnkit.ops.scatter import scatter
from gnnkit.ops.segment import segment_reduce
from gnnkit.ops.segment_matmul import segment_matmul
from gnnkit.ops.segment_topk import segment_topk
from gnnkit.ops.selective_scan import selective_scan
from gnnkit.ops.softmax import edge_softmax, segment_softmax
from gnnkit.ops.sort import sort_index
from gnnkit.ops.spgemm import spgemm
from gnnkit.ops.spmm import sddmm, spmm
from gnnkit.ops.ssd import ssd

_backend.load()

__all__ = [
    "aggregate",
    "attend",
    "causal_conv1d",
    "dropout_epilogue",
    "edge_softmax",
    "gat",
    "gated_aggregate",
    "gated_delta",
    "gather",
    "gatv2",
    "induced_subgraphs",
    "k_hop",
    "masked_spgemm",
    "scatter",
    "sddmm",
    "segment_matmul",
    "segment_reduce",
    "segment_softmax",
    "segment_topk",
    "selective_scan",
    "sort_index",
    "spgemm",
    "spmm",
    "ssd",
]
