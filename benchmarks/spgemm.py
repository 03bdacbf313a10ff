"""Sparse times sparse, float32: forward and both gradients, and k-hop pairs, against SciPy and torch."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from benchmarks.graphs import distinct_power_law, distinct_uniform, molecules
from benchmarks.measure import interleaved, ratio, report
from gnnkit import Graph, ops

REPEATS = 15
OURS, SORTED, BACKWARD = "gnnkit.ops.spgemm", "gnnkit.ops.spgemm, sorted", "gnnkit.ops.spgemm, backward to both"
SCIPY, CSR, COO = "SciPy CSR", "torch.sparse CSR", "torch.sparse COO"


def measure(name: str, title: str, edge_index: Tensor, num_nodes: int, peers: tuple[str, ...]) -> None:
    shape = (num_nodes, num_nodes)
    matrix: Any = scipy.sparse.coo_array(
        (np.random.default_rng(1).random(edge_index.size(1)), edge_index.numpy()), shape
    )
    matrix = matrix.tocsr().astype(np.float32)
    rowptr, col, weight = (torch.from_numpy(array) for array in (matrix.indptr, matrix.indices, matrix.data))
    graph = Graph(rowptr.long(), col.long(), None, num_nodes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its CSR support a beta
        in_torch = torch.sparse_csr_tensor(graph.rowptr, graph.col, weight, shape)
    entries = in_torch.to_sparse_coo()
    product, values = ops.spgemm(graph, graph, weight, weight)
    check(matrix, product, values)
    grad = torch.rand_like(values)
    factor = (graph.rowptr, graph.col, None, weight)
    gradient = (product.rowptr, product.col, grad, num_nodes, True, True)
    every: dict[str, Callable[[], object]] = {
        OURS: lambda: ops.spgemm(graph, graph, weight, weight),
        SORTED: lambda: ops.spgemm(graph, graph, weight, weight, sort=True),
        BACKWARD: lambda: torch.ops.gnnkit.spgemm_backward(*factor, *factor, *gradient),
        SCIPY: lambda: matrix @ matrix,
        CSR: lambda: in_torch @ in_torch,
        COO: lambda: torch.sparse.mm(entries, entries),
    }
    times = interleaved({key: every[key] for key in (OURS, SORTED, BACKWARD, *peers)}, REPEATS)
    ratios = {f"{peer} / {ours}": ratio(times, peer, ours) for peer in peers for ours in (OURS, SORTED)}
    ratios["backward / forward"] = ratio(times, BACKWARD, OURS)
    size = f"{num_nodes:,} nodes, {graph.num_edges:,} entries, {product.num_edges:,} in the product"
    report(f"spgemm-{name}", {"title": f"A A, float32, {title}: {size}", "times": times, "ratios": ratios})


def check(matrix: Any, product: Graph, values: Tensor) -> None:
    """Stops where the product is not that of SciPy in float64."""
    found: Any = scipy.sparse.csr_array((values.numpy(), product.col.numpy(), product.rowptr.numpy()), matrix.shape)
    wide = matrix.astype(np.float64)
    expected = wide @ wide
    error = float(abs(found - expected).max() / expected.max())
    if found.nnz != expected.nnz or error > 1e-5:
        raise SystemExit(f"the product is wrong by {error:.1e}: nothing is timed")


def main() -> None:
    measure("uniform", "uniform", distinct_uniform(20_000, 320_000), 20_000, (SCIPY, CSR, COO))
    edges = distinct_power_law(100_000, 600_000, exponent=0.6)
    measure("power-law", "power law", edges, 100_000, (SCIPY, CSR))
    measure("molecules", "small molecules", *molecules(250_000), (SCIPY, CSR, COO))


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
