"""Grouped matrix products, and relational convolution forward and backward, against torch and PyTorch Geometric."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor

from benchmarks.graphs import power_law
from benchmarks.measure import extra_memory, interleaved, ratio, report
from gnnkit import Graph, nn, ops

WIDTH = 64


@dataclass(frozen=True)
class Case:
    """A graph of the size of a known data set, with generated edges and relations of power-law frequencies."""

    name: str
    nodes: int
    edges: int
    relations: int
    settings: dict[str, Any]
    repeats: int


LAYERS = [
    Case("FB15k-237-like", 14_541, 272_115, 237, {}, 5),
    Case("AIFB-like", 8_285, 58_086, 90, {"num_bases": 30}, 11),
]
# Rows, relations: long segments of a power law, and hundreds of short ones.
PRODUCTS = {"200,000 rows, 237 relations": (200_000, 237), "2,000 rows, 500 relations": (2_000, 500)}


def relation_sizes(rows: int, relations: int) -> Tensor:
    """Rows per relation, proportional to 1 / rank."""
    share = 1 / torch.arange(1, relations + 1, dtype=torch.float64)
    sizes = (share / share.sum() * rows).long()
    sizes[0] += rows - sizes.sum()
    return sizes


def by_loop(x: Tensor, bounds: list[int], weight: Tensor) -> Tensor:
    out = x.new_empty(x.size(0), weight.size(2))
    for relation, (begin, end) in enumerate(pairwise(bounds)):
        torch.mm(x[begin:end], weight[relation], out=out[begin:end])
    return out


def by_padding(x: Tensor, sizes: Tensor, weight: Tensor) -> Tensor:
    """One batched product over segments padded to the longest."""
    padded = torch.nn.utils.rnn.pad_sequence(list(x.split(sizes.tolist())), batch_first=True)
    wanted = torch.arange(padded.size(1)) < sizes[:, None]
    return torch.bmm(padded, weight)[wanted]


def products(rows: int, relations: int) -> dict[str, Callable[[], Tensor]]:
    sizes = relation_sizes(rows, relations)
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    bounds = ptr.tolist()
    x, weight = torch.randn(rows, WIDTH), torch.randn(relations, WIDTH, WIDTH)
    found: dict[str, Callable[[], Tensor]] = {
        "gnnkit segment_matmul": lambda: ops.segment_matmul(x, ptr, weight),
        "loop of torch.mm": lambda: by_loop(x, bounds, weight),
        "torch.bmm, padded": lambda: by_padding(x, sizes, weight),
    }
    try:
        peer = importlib.import_module("pyg_lib").ops.segment_matmul
    except ImportError:
        return found
    return found | {"pyg_lib segment_matmul": lambda: peer(x, ptr, weight)}


def training_pass(layer: torch.nn.Module, x: Tensor, *topology: Any) -> Callable[[], Tensor]:
    """One forward and backward pass; returns the output, the gradient of the input and those of all weights, flat."""

    def run() -> Tensor:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        out = layer(x, *topology)
        out.backward(torch.ones_like(out))
        grads = [value.grad for value in (x, *layer.parameters()) if value.grad is not None]
        return torch.cat([value.detach().flatten() for value in (out, *grads)])

    return run


def layers(case: Case) -> dict[str, Callable[[], Tensor]]:
    edge_index = power_law(case.nodes, case.edges)
    sizes = relation_sizes(case.edges, case.relations)
    edge_type = torch.arange(case.relations).repeat_interleave(sizes)[torch.randperm(case.edges)]
    graph = Graph.from_edge_index(edge_index, num_nodes=case.nodes)
    x = torch.randn(case.nodes, WIDTH, requires_grad=True)
    ours = nn.RGCNConv(WIDTH, WIDTH, case.relations, **case.settings)
    found = {
        "gnnkit RGCNConv": training_pass(ours, x, graph, edge_type),
        # As on sampled batches: the graph is built and its pairs are worked out in every pass.
        "gnnkit RGCNConv, new graph": lambda: training_pass(
            ours, x, Graph.from_edge_index(edge_index, case.nodes), edge_type
        )(),
    }
    for name in ("RGCNConv", "FastRGCNConv"):
        theirs = getattr(pyg, name)(WIDTH, WIDTH, case.relations, **case.settings)
        theirs.load_state_dict(ours.state_dict(), strict=True)
        found[f"PyG {name}"] = training_pass(theirs, x, edge_index, edge_type)
    return found


def check(group: str, candidates: dict[str, Callable[[], Tensor]]) -> float:
    """Largest difference from the first candidate, relative to its largest value; refuses to go on if it is large."""
    first, *others = (run() for run in candidates.values())
    difference = max((other - first).abs().max().item() for other in others) / first.abs().max().item()
    if difference > 1e-4:
        raise SystemExit(f"{group} differs by {difference:.1e}: nothing is timed")
    return difference


def main() -> None:
    times, ratios, memory, differences = {}, {}, {}, {}
    groups = [(f"segment_matmul, {name}", products(*shape), 5) for name, shape in PRODUCTS.items()]
    groups += [(case.name, layers(case), case.repeats) for case in LAYERS]
    for group, candidates, repeats in groups:
        differences[group] = check(group, candidates)
        memory |= {f"{group}: {name}": extra_memory(run) for name, run in candidates.items()}
        found = interleaved(candidates, repeats, warmup=1)
        times |= {f"{group}: {name}": summary for name, summary in found.items()}
        ours, *peers = candidates
        ratios |= {f"{group}: {peer} / {ours}": ratio(found, peer, ours) for peer in peers if "gnnkit" not in peer}
    report(
        "relational",
        {
            "title": f"grouped products, and relational convolution forward and backward, {WIDTH} to {WIDTH}, float32",
            "graphs": {
                case.name: f"{case.nodes} nodes, {case.edges} edges, {case.relations} relations" for case in LAYERS
            },
            "largest_relative_difference": differences,
            "extra_resident_memory_mb": memory,
            "times": times,
            "ratios": ratios,
        },
    )
    for name, value in memory.items():
        print(f"  extra memory, {name:64s} {value:10.1f} MB")


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
