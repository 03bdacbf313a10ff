"""Samplers of GraphSAINT on 100,000 nodes and 1.6 million power-law edges: 20 subgraphs, induced, as Data."""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch_geometric.data import Data

from benchmarks.graphs import power_law
from benchmarks.measure import interleaved, milliseconds, ratio, report, summary
from gnnkit.sample import SaintEdge, SaintFrontier, SaintNode, SaintWalk
from gnnkit.sample._saint import Saint

NODES, EDGES, STEPS, REPEATS = 100_000, 1_600_000, 20, 15
ROOTS, LENGTH = 2000, 2
COVERAGE = 50
OURS, PEER = f"SaintWalk, {ROOTS:,} roots, length {LENGTH}", "torch_geometric GraphSAINTRandomWalkSampler, the same"
SAMPLERS: dict[str, Callable[..., Saint]] = {
    OURS: lambda data, **options: SaintWalk(data, ROOTS, LENGTH, STEPS, **options),
    "SaintNode, 6,000 draws": lambda data, **options: SaintNode(data, 6000, STEPS, **options),
    "SaintEdge, 3,000 draws": lambda data, **options: SaintEdge(data, 3000, STEPS, **options),
    "SaintFrontier, 6,000 draws, frontier 1,000": lambda data, **options: SaintFrontier(
        data, 6000, 1000, STEPS, **options
    ),
}


def peers(data: Data) -> dict[str, Any]:
    """PyTorch Geometric's sampler, where it can run: it needs torch-sparse."""
    if importlib.util.find_spec("torch_sparse") is None:
        print("torch-sparse is not installed: PyTorch Geometric's sampler is left out")
        return {}
    from torch_geometric.loader import GraphSAINTRandomWalkSampler

    return {PEER: GraphSAINTRandomWalkSampler(data, ROOTS, LENGTH, num_steps=STEPS, sample_coverage=0)}


def main() -> None:
    data = Data(edge_index=power_law(NODES, EDGES), num_nodes=NODES)
    candidates: dict[str, Any] = {name: make(data, coverage=0) for name, make in SAMPLERS.items()} | peers(data)
    runs = {name: (lambda sampler=sampler: sum(1 for _ in sampler)) for name, sampler in candidates.items()}
    times = interleaved(runs, REPEATS)
    counting = [milliseconds(SAMPLERS[OURS](data, coverage=COVERAGE).pre_sample) for _ in range(3)]
    times[f"{OURS}: pre-sampling, coverage {COVERAGE}"] = summary(counting)
    ratios = {f"{PEER} / ours": ratio(times, PEER, OURS)} if PEER in times else {}
    title = f"{STEPS} subgraphs, {NODES:,} nodes, {EDGES:,} power-law edges"
    report("saint", {"title": title, "times": times, "ratios": ratios})


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
