"""Attention layers, forward and backward, against PyTorch Geometric with equal weights, on a power-law graph."""

import threading
import time
from collections.abc import Callable

import torch
import torch_geometric.nn as pyg

from benchmarks.graphs import power_law
from benchmarks.measure import interleaved, ratio, report
from gnnkit import Graph, nn

NODES, EDGES, HEADS, WIDTH = 100_000, 1_600_000, 8, 8
LAYERS = ("GATConv", "GATv2Conv", "TransformerConv")
REPEATS = 5


def training_pass(layer: torch.nn.Module, x: torch.Tensor, topology: object) -> Callable[[], torch.Tensor]:
    """One forward and backward pass, to the input and all weights."""

    def run() -> torch.Tensor:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        out = layer(x, topology)
        out.backward(torch.ones_like(out))
        return out.detach()

    return run


def extra_memory(run: Callable[[], object]) -> float:
    """How far the resident memory rises above what it was before the call, in MB, sampled every millisecond."""
    pages: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            pages.append(_resident())
            time.sleep(0.001)

    before = _resident()
    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return round(max(max(pages, default=before) - before, 0) / 1e6, 1)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def main() -> None:
    edge_index = power_law(NODES, EDGES)
    graph = Graph.from_edge_index(edge_index, num_nodes=NODES)
    x = torch.randn(NODES, HEADS * WIDTH, requires_grad=True)
    candidates: dict[str, Callable[[], torch.Tensor]] = {}
    differences = {}
    for name in LAYERS:
        theirs = getattr(pyg, name)(HEADS * WIDTH, WIDTH, heads=HEADS)
        ours = getattr(nn, name)(HEADS * WIDTH, WIDTH, heads=HEADS)
        ours.load_state_dict(theirs.state_dict(), strict=True)
        candidates[f"gnnkit {name}"] = training_pass(ours, x, graph)
        candidates[f"PyG {name}"] = training_pass(theirs, x, edge_index)
        difference = candidates[f"gnnkit {name}"]() - candidates[f"PyG {name}"]()
        differences[name] = difference.abs().max().item()
        if differences[name] > 1e-4:
            raise SystemExit(f"{name} differs by {differences[name]:.1e}: nothing is timed")
    memory = {name: extra_memory(run) for name, run in candidates.items()}
    times = interleaved(candidates, REPEATS, warmup=1)
    report(
        "attention",
        {
            "title": f"attention layers, {HEADS} heads of {WIDTH}, forward and backward, float32",
            "graph": f"power law, {NODES} nodes, {EDGES} edges",
            "largest_difference_of_outputs": differences,
            "extra_resident_memory_mb": memory,
            "times": times,
            "ratios": {f"PyG / gnnkit, {name}": ratio(times, f"PyG {name}", f"gnnkit {name}") for name in LAYERS},
        },
    )
    for name, value in memory.items():
        print(f"  extra memory, {name:50s} {value:10.1f} MB")


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
