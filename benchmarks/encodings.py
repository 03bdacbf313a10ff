"""Positional encodings: time and memory against PyTorch Geometric, and over the molecules of a real data set."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import AddLaplacianEigenvectorPE, AddRandomWalkPE

from benchmarks.measure import (
    MEMORY_METHOD,
    extra_memory,
    milliseconds,
    ratio,
    report,
    summary,
    within_budget,
)
from benchmarks.rewiring.graphs import gnm, power_law_cluster
from gnnkit import encodings

STEPS, EIGENVECTORS = 20, 16
OURS = "gnnkit"
GRAPHS = {
    "cora-size": ("power-law cluster, 2,708 nodes", lambda: power_law_cluster(2708)),
    "gnm": ("uniform, 1,000 nodes, 5,000 edges", lambda: gnm(1000, 5000)),
}


def compare(name: str, title: str, candidates: dict[str, Callable[[Data], Any]], graph: Data) -> None:
    """Times transforms on one graph; slow ones three times, without a warm-up."""
    candidates[OURS](graph)
    runs = {key: (lambda made=made: milliseconds(lambda: made(graph.clone()))) for key, made in candidates.items()}
    taken = within_budget(runs, seconds=3.0, at_least=3)
    times: dict[str, dict[str, Any]] = {key: summary(values) for key, values in taken.items()}
    for key, made in candidates.items():
        times[key]["extra_mb"] = extra_memory(lambda made=made: made(graph.clone()))
    ratios = {f"{peer} / {OURS}": ratio(times, peer, OURS) for peer in candidates if peer != OURS}
    report(name, {"title": title, "times": times, "ratios": ratios, "memory": MEMORY_METHOD})


def check_random_walk(ours: Any, peer: Any) -> None:
    """Stops where the two differ."""
    error = float((ours.random_walk_pe - peer.random_walk_pe).abs().max())
    if not error < 1e-5:
        raise SystemExit(f"the random walks differ by {error:.1e}: nothing is timed")


def check_eigenvalues(ours: Any, graph: Data) -> None:
    """Stops where an eigenvector is none, or a smaller eigenvalue was missed."""
    size = int(ours.num_nodes)
    adjacency = torch.zeros(size, size, dtype=torch.float64)
    adjacency[graph.edge_index[0], graph.edge_index[1]] = 1.0  # type: ignore[index]
    root = adjacency.sum(1).clamp(min=1).rsqrt()
    laplacian = torch.eye(size, dtype=torch.float64) - root[:, None] * adjacency * root
    expected = np.linalg.eigvalsh(laplacian.numpy())[1 : EIGENVECTORS + 1]
    error = float(np.abs(ours.laplacian_eigenvector_pe_eigenvalue[0].double().numpy() - expected).max())
    vectors = ours.laplacian_eigenvector_pe.double()
    residual = float((laplacian @ vectors - vectors * torch.from_numpy(expected)).norm(dim=0).max())
    if not max(error, residual) < 1e-5:
        raise SystemExit(f"the eigenvectors are wrong by {max(error, residual):.1e}: nothing is timed")


def graphs(which: str) -> None:
    """Random walks and eigenvectors on one graph."""
    title, make = GRAPHS[which]
    graph = make()
    walk, peer_walk = encodings.RandomWalk(STEPS), AddRandomWalkPE(STEPS, attr_name="random_walk_pe")
    small = gnm(200, 600)
    check_random_walk(walk(small), peer_walk(small.clone()))
    compare(
        f"random-walk-{which}",
        f"RandomWalk({STEPS}), {title}",
        {OURS: walk, "PyG AddRandomWalkPE": peer_walk},
        graph,
    )
    vectors = encodings.LaplacianEigenvectors(EIGENVECTORS)
    check_eigenvalues(vectors(graph), graph)
    peer = AddLaplacianEigenvectorPE(EIGENVECTORS, attr_name="laplacian_pe")
    compare(
        f"laplacian-eigenvectors-{which}",
        f"LaplacianEigenvectors({EIGENVECTORS}), {title}",
        {OURS: vectors, "PyG AddLaplacianEigenvectorPE": peer},
        graph,
    )


def peptides() -> None:
    """Random walks on every graph of Peptides-func, one after the other; as PyG computes them, on the first 1,000."""
    from gnnkit.data import load

    whole = load("peptides-func")
    every = [whole[index] for index in range(len(whole))]
    some = every[:1000]
    walk, peer_walk = encodings.RandomWalk(STEPS), AddRandomWalkPE(STEPS, attr_name="random_walk_pe")
    check_random_walk(walk(every[0]), peer_walk(every[0].clone()))
    key, part = f"gnnkit, {len(every):,} graphs", f"{OURS}, the first 1,000"
    theirs = "PyG AddRandomWalkPE, the first 1,000"
    runs = {
        key: lambda: milliseconds(lambda: [walk(graph) for graph in every]),
        part: lambda: milliseconds(lambda: [walk(graph) for graph in some]),
        theirs: lambda: milliseconds(lambda: [peer_walk(graph.clone()) for graph in some]),
    }
    runs[part]()
    times = {name: summary(values) for name, values in within_budget(runs, seconds=10.0, at_least=3).items()}
    report(
        "random-walk-peptides",
        {
            "title": f"RandomWalk({STEPS}), Peptides-func, graph by graph",
            "times": times,
            "ratios": {"PyG / gnnkit, the first 1,000": ratio(times, theirs, part)},
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encodings", description=__doc__)
    parser.add_argument("--only", choices=(*GRAPHS, "peptides"), help="this part alone")
    only = parser.parse_args().only
    for which in GRAPHS:
        if only in (None, which):
            graphs(which)
    if only in (None, "peptides"):
        peptides()


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
