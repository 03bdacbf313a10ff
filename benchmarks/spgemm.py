"""Sparse times sparse, and its gradients, in float32 against SciPy and torch."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch

from benchmarks.graphs import distinct_power_law, distinct_uniform, molecules
from benchmarks.measure import interleaved, ratio, report
from gnnkit import Graph, ops

REPEATS = 7
GRAPHS = {
    "uniform, 20,000 nodes, 320,000 edges": lambda: (distinct_uniform(20_000, 320_000), 20_000),
    "power law, 100,000 nodes, 600,000 edges": lambda: (distinct_power_law(100_000, 600_000), 100_000),
    "molecules, 1,000,000 edges": lambda: molecules(1_000_000),
}


def candidates(edge_index: torch.Tensor, num_nodes: int) -> dict[str, Callable[[], Any]]:
    """The square of one weighted matrix, by everyone."""
    graph = Graph.from_edge_index(edge_index[:, torch.argsort(edge_index[1], stable=True)], num_nodes)
    weight = torch.rand(graph.num_edges)
    shape = (num_nodes, num_nodes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its CSR support a beta
        csr = torch.sparse_csr_tensor(graph.rowptr, graph.col, weight, shape)
    coo = torch.sparse_coo_tensor(graph.edge_index.flip(0), weight, shape).coalesce()
    scipy_matrix = scipy.sparse.csr_matrix((weight.numpy(), graph.col.numpy(), graph.rowptr.numpy()), shape)
    product, values = ops.spgemm(graph, graph, weight, weight)
    check(product, values, scipy_matrix @ scipy_matrix)
    upstream = torch.rand_like(values)
    left, right = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    made = ops.spgemm(graph, graph, left, right)[1]
    return {
        "gnnkit": lambda: ops.spgemm(graph, graph, weight, weight),
        "gnnkit, columns sorted": lambda: ops.spgemm(graph, graph, weight, weight, sort=True),
        "gnnkit, gradients to both": lambda: torch.autograd.grad(made, [left, right], upstream, retain_graph=True),
        "SciPy": lambda: scipy_matrix @ scipy_matrix,
        "torch CSR": lambda: csr @ csr,
        "torch COO": lambda: torch.sparse.mm(coo, coo),
    }


def check(product: Graph, values: torch.Tensor, expected: scipy.sparse.csr_matrix) -> None:
    """Raises SystemExit where our square is not SciPy's."""
    shape = (product.num_dst, product.num_src)
    found = scipy.sparse.csr_matrix((values.numpy(), product.col.numpy(), product.rowptr.numpy()), shape)
    difference = np.abs((found - expected).data).max(initial=0.0)
    if found.nnz != expected.nnz or difference > 1e-4:
        raise SystemExit(f"the product differs by {difference:.1e}: nothing is timed")


def main() -> None:
    times, ratios, sizes = {}, {}, {}
    for name, draw in GRAPHS.items():
        runs = candidates(*draw())
        found = interleaved(runs, REPEATS, warmup=1)
        times |= {f"{name}: {candidate}": value for candidate, value in found.items()}
        ratios |= {
            f"{name}: {peer} / gnnkit": ratio(found, peer, "gnnkit") for peer in ("SciPy", "torch CSR", "torch COO")
        }
        ratios[f"{name}: gradients / forward"] = ratio(found, "gnnkit, gradients to both", "gnnkit")
        sizes[name] = runs["SciPy"]().nnz
    report(
        "spgemm",
        {
            "title": "spgemm, a matrix times itself, float32",
            "entries_of_the_result": sizes,
            "times": times,
            "ratios": ratios,
        },
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
