"""Neighbor and ShaDow on a graph of 100,000 nodes and 1.6 million power-law edges."""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch_geometric.data import Data

from benchmarks.graphs import power_law
from benchmarks.measure import interleaved, ratio, report
from gnnkit.sample import Neighbor, ShaDow

NODES, EDGES, BATCHES, REPEATS = 100_000, 1_600_000, 20, 9
FANOUT, BATCH = [15, 10], 1024
TARGETS, RANKED, EPSILON = 1000, 200, 1e-6
OURS = f"Neighbor {FANOUT}, {BATCHES} batches of {BATCH:,} seeds"
PEER = f"torch_geometric NeighborLoader {FANOUT}, the same"
SCORES = f"ShaDow.precompute(), ppr={RANKED}, epsilon={EPSILON:g}, {TARGETS:,} targets"
SUBGRAPHS = f"ShaDow, the same with subgraphs, batches of 100, {TARGETS:,} targets"
HOPS = f"ShaDow, depth 2, fanout 10, batches of 100, {TARGETS:,} targets"


def ours(data: Data) -> dict[str, Callable[[], object]]:
    seeds = torch.randperm(NODES)[: BATCHES * BATCH]
    neighbor = Neighbor(data, FANOUT, seeds, batch_size=BATCH)
    settings: dict[str, Any] = {"targets": seeds[:TARGETS], "batch_size": 100}
    ranked = ShaDow(data, ppr=RANKED, epsilon=EPSILON, **settings)
    hops = ShaDow(data, 2, 10, **settings)
    return {
        OURS: lambda: sum(1 for _ in neighbor),
        SCORES: ShaDow(data, ppr=RANKED, epsilon=EPSILON, **settings).precompute,
        SUBGRAPHS: lambda: sum(1 for _ in ranked),
        HOPS: lambda: sum(1 for _ in hops),
    } | peers(data, seeds)


def peers(data: Data, seeds: torch.Tensor) -> dict[str, Callable[[], object]]:
    """PyTorch Geometric's loader, where it can run: it needs pyg-lib or torch-sparse."""
    if not any(importlib.util.find_spec(name) for name in ("pyg_lib", "torch_sparse")):
        print("neither pyg-lib nor torch-sparse is installed: PyTorch Geometric's loader is left out")
        return {}
    from torch_geometric.loader import NeighborLoader

    loader = NeighborLoader(data, FANOUT, input_nodes=seeds, batch_size=BATCH)
    return {PEER: lambda: sum(1 for _ in loader)}


def main() -> None:
    data = Data(edge_index=power_law(NODES, EDGES), num_nodes=NODES)
    times: dict[str, dict[str, Any]] = dict(interleaved(ours(data), REPEATS, warmup=1))
    for name in (SCORES, SUBGRAPHS, HOPS):
        times[name]["targets_per_minute"] = round(TARGETS / times[name]["median_ms"] * 60_000)
        print(f"{name}: {times[name]['targets_per_minute']:,} targets per minute")
    ratios = {f"{PEER} / ours": ratio(times, PEER, OURS)} if PEER in times else {}
    title = f"Batches around targets, {NODES:,} nodes, {EDGES:,} power-law edges"
    report("neighbors", {"title": title, "times": times, "ratios": ratios})


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
