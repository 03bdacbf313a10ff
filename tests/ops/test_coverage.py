"""Every operator has a kernel in every library: one that is forgotten would quietly run as its reference."""

import pytest
import torch

from gnnkit import _backend
from gnnkit.ops._library import references
from tests.ops.kernels import EMULATED

# Operators that need no kernel of their own, by device, and why.
AS_ITS_REFERENCE = "batched products of PyTorch, position by position, until it has a kernel of its own"
ON_CPU_ONLY = "part of the preprocessing of graphs, which its front moves to the CPU"
DENSE_PRODUCTS = "dense products for a library of the device: its reference is made of them"
BY_TORCH = "its reference is made of operators of torch, and runs on the GPU"
EXCEPTIONS: dict[str, dict[str, str]] = {
    "CPU": {},
    "CUDA": {
        "balanced_forman": ON_CPU_ONLY,
        "borf": ON_CPU_ONLY,
        "chebyshev_diagonal": ON_CPU_ONLY,
        "chebyshev_filter": ON_CPU_ONLY,
        "edge_cycles": ON_CPU_ONLY,
        "ego_degrees": ON_CPU_ONLY,
        "eliminate": ON_CPU_ONLY,
        "eliminated_resistance": ON_CPU_ONLY,
        "fosr": ON_CPU_ONLY,
        "gated_delta": AS_ITS_REFERENCE,
        "gated_delta_backward": AS_ITS_REFERENCE,
        "frontier_sets": ON_CPU_ONLY,
        "gather_rows": ON_CPU_ONLY,
        "graph_random_features": ON_CPU_ONLY,
        "greedy_partition": ON_CPU_ONLY,
        "gtr": ON_CPU_ONLY,
        "induced_subgraphs": BY_TORCH,
        "k_hop_sample": ON_CPU_ONLY,
        "laplacian_solve": ON_CPU_ONLY,
        "least_product": ON_CPU_ONLY,
        "neighbor_sample": ON_CPU_ONLY,
        "ollivier": ON_CPU_ONLY,
        "ollivier_plan": ON_CPU_ONLY,
        "ollivier_sinkhorn": ON_CPU_ONLY,
        "ollivier_weighted": ON_CPU_ONLY,
        "ollivier_weighted_plan": ON_CPU_ONLY,
        "ppr_push": ON_CPU_ONLY,
        "return_probabilities": ON_CPU_ONLY,
        "orthonormal_columns": ON_CPU_ONLY,
        "root_distance": ON_CPU_ONLY,
        "sdrf": ON_CPU_ONLY,
        "second_eigenpair": ON_CPU_ONLY,
        "segment_topk": "its reference is made of sorts of torch, which a GPU has kernels for",
        "sketch_sums": ON_CPU_ONLY,
        "squared_distances": ON_CPU_ONLY,
        "ssd": DENSE_PRODUCTS,
        "ssd_backward": DENSE_PRODUCTS,
        "substitute": ON_CPU_ONLY,
        "supporting_edges": ON_CPU_ONLY,
        "traversal_order": ON_CPU_ONLY,
        "walk_pairs": ON_CPU_ONLY,
        "walk_sets": ON_CPU_ONLY,
        "walk_tokens": ON_CPU_ONLY,
    },
}


# Under emulation, the CPU library is made of the CUDA kernels.
@pytest.mark.parametrize("device", ["CPU", "CUDA"])
def test_every_operator_has_a_kernel(device):
    if not _backend.is_active(device.lower()):
        pytest.skip(f"no library for {device} is loaded")
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    missing = {name for name in references if not has_kernel(f"gnnkit::{name}", device)}
    assert missing == set(EXCEPTIONS["CUDA" if EMULATED else device])
