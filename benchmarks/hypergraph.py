"""Hypergraph convolution forward and backward, against PyTorch Geometric."""

from collections.abc import Callable
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor

from benchmarks.measure import extra_memory, interleaved, ratio, report
from gnnkit.hypergraph import Hypergraph, HypergraphConv

NODES, HYPEREDGES, INCIDENCES, WIDTH, REPEATS = 100_000, 50_000, 1_000_000, 64, 11
KINDS = ("uniform", "power law")

Run = Callable[[], dict[str, Tensor]]


def incidences(kind: str) -> Tensor:
    """Random incidences, ``[2, nnz]``: all equally likely, or by power laws of the ranks of nodes and hyperedges."""
    if kind == "uniform":
        return torch.stack([torch.randint(size, (INCIDENCES,)) for size in (NODES, HYPEREDGES)])
    # The square of a uniform number has a density proportional to r^(-1/2).
    ranks = [(torch.rand(INCIDENCES).square() * size).long().clamp(max=size - 1) for size in (NODES, HYPEREDGES)]
    return torch.stack([torch.randperm(size)[rank] for size, rank in zip((NODES, HYPEREDGES), ranks, strict=True)])


def training_pass(layer: torch.nn.Module, x: Tensor, upstream: Tensor, *topology: Any) -> dict[str, Tensor]:
    """One forward and backward pass: the output, the gradient of the input and those of all weights."""
    layer.zero_grad(set_to_none=True)
    x.grad = None
    out = layer(x, *topology)
    out.backward(upstream)
    grads = {"x": x.grad, **{name: value.grad for name, value in layer.named_parameters()}}
    return {"out": out.detach(), **{name: grad for name, grad in grads.items() if grad is not None}}


def candidates(hyperedge_index: Tensor) -> dict[str, Run]:
    def build() -> Hypergraph:
        return Hypergraph.from_incidence(hyperedge_index, num_nodes=NODES, num_hyperedges=HYPEREDGES)

    hypergraph = build()
    x, upstream = torch.randn(NODES, WIDTH, requires_grad=True), torch.randn(NODES, WIDTH)
    ours, theirs = HypergraphConv(WIDTH, WIDTH), pyg.HypergraphConv(WIDTH, WIDTH)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return {
        "gnnkit HypergraphConv": lambda: training_pass(ours, x, upstream, hypergraph),
        # As on sampled batches: the hypergraph is built and normalised in every pass.
        "gnnkit HypergraphConv, new hypergraph": lambda: training_pass(ours, x, upstream, build()),
        "PyG HypergraphConv": lambda: training_pass(theirs, x, upstream, hyperedge_index, None, None, HYPEREDGES),
    }


def check(group: str, runs: dict[str, Run]) -> float:
    """Largest difference of a result from the first candidate's, relative to its own size; refuses a large one."""
    first, *others = (run() for run in runs.values())
    differences = [
        ((other[name] - value).abs().max() / value.abs().max()).item()
        for other in others
        for name, value in first.items()
    ]
    if max(differences) > 1e-4:
        raise SystemExit(f"{group} differs by {max(differences):.1e}: nothing is timed")
    return max(differences)


def main() -> None:
    times, ratios, memory, differences = {}, {}, {}, {}
    for kind in KINDS:
        runs = candidates(incidences(kind))
        differences[kind] = check(kind, runs)
        memory |= {f"{kind}: {name}": extra_memory(run) for name, run in runs.items()}
        found = interleaved(runs, REPEATS, warmup=1)
        times |= {f"{kind}: {name}": summary for name, summary in found.items()}
        *ours, peer = runs
        ratios |= {f"{kind}: {peer} / {name}": ratio(found, peer, name) for name in ours}
    report(
        "hypergraph",
        {
            "title": f"hypergraph convolution forward and backward, {WIDTH} to {WIDTH}, float32",
            "hypergraphs": f"{NODES} nodes, {HYPEREDGES} hyperedges, {INCIDENCES} incidences",
            "repeats": REPEATS,
            "largest_relative_difference": differences,
            "extra_resident_memory_mb": memory,
            "times": times,
            "ratios": ratios,
        },
    )
    for name, value in memory.items():
        print(f"  extra memory, {name:64s} {value} MB")


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
