"""Sparse times dense, forward, in float32 on a power-law graph, against what torch offers."""

import warnings

import torch

from benchmarks.graphs import power_law
from benchmarks.measure import interleaved, ratio, report
from gnnkit import Graph, ops

NUM_NODES, NUM_EDGES, WIDTH, REPEATS = 100_000, 1_600_000, 64, 15


def main() -> None:
    edge_index = power_law(NUM_NODES, NUM_EDGES)
    src, dst = edge_index
    x, weight = torch.randn(NUM_NODES, WIDTH), torch.rand(NUM_EDGES)
    graph = Graph.from_edge_index(edge_index, num_nodes=NUM_NODES)
    if graph.edge_id is None:
        raise SystemExit("the generated edges happen to be sorted")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its CSR support a beta
        matrix = torch.sparse_csr_tensor(graph.rowptr, graph.col, weight[graph.edge_id], (NUM_NODES, NUM_NODES))

    def gather_add() -> torch.Tensor:
        return torch.zeros_like(x).index_add_(0, dst, x[src] * weight[:, None])

    order = graph.edge_id
    in_order = Graph.from_edge_index(edge_index[:, order], num_nodes=NUM_NODES)
    ordered_weight = weight[order]
    candidates = {
        "gnnkit.ops.spmm, edges in any order": lambda: ops.spmm(graph, x, weight),
        "gnnkit.ops.spmm, edges sorted as for CSR": lambda: ops.spmm(in_order, x, ordered_weight),
        "torch.sparse CSR": lambda: matrix @ x,
        "gather + index_add_": gather_add,
    }
    expected = matrix.double() @ x.double()
    for name, run in candidates.items():
        error = float((run().double() - expected).abs().max() / expected.abs().max())
        if error > 1e-5:
            raise SystemExit(f"{name} is wrong by {error:.1e}: nothing is timed")
    times = interleaved(candidates, REPEATS)
    report(
        "spmm",
        {
            "title": f"spmm forward, float32, {NUM_NODES:,} nodes, {NUM_EDGES:,} power-law edges, {WIDTH} features",
            "times": times,
            "ratios": {
                f"{peer} / {ours}": ratio(times, peer, ours)
                for peer in ("torch.sparse CSR", "gather + index_add_")
                for ours in candidates
                if ours.startswith("gnnkit")
            },
        },
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
