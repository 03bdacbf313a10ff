"""Tokens of Graph Mamba networks on 10^5 nodes: the walks from every node, and the subgraphs that they induce."""

import functools

import torch

from benchmarks.graphs import distinct_uniform
from benchmarks.measure import MEMORY_METHOD, extra_memory, milliseconds, ratio, report, summary, within_budget
from gnnkit import Graph, ops
from gnnkit.ops._library import references
from gnnkit.sequence import WalkTokens

NODES, DEGREE = 100_000, 8
LENGTH, WALKS, REPEATS = 3, 4, 4
REFERENCE = "reference of the sampler in NumPy"


def main() -> None:
    edges = distinct_uniform(NODES, NODES * DEGREE // 2)
    graph = Graph.from_edge_index(torch.cat([edges, edges.flip(0)], dim=1), NODES)
    ptr, tokenizer = torch.tensor([0, NODES]), WalkTokens(LENGTH, WALKS, REPEATS)
    tokens = tokenizer(graph, ptr)
    leaving = graph.transpose()
    arguments = (leaving.rowptr, leaving.col, LENGTH, WALKS, REPEATS, 0)
    expected = references["walk_tokens"](*arguments)
    if not (torch.equal(tokens.members, expected[0]) and torch.equal(tokens.token_ptr, expected[1])):
        raise SystemExit("the kernel and its reference in NumPy draw different tokens: nothing is timed")
    subgraphs, _ = tokens.induced(graph)

    sampler = functools.partial(tokenizer, graph, ptr)
    induced = functools.partial(ops.induced_subgraphs, graph, tokens.members, tokens.token_ptr)
    times = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        label = "1 thread" if threads == 1 else f"{threads} threads"
        runs = {f"WalkTokens, {label}": sampler, f"ops.induced_subgraphs, {label}": induced}
        taken = within_budget(
            {name: functools.partial(milliseconds, run) for name, run in runs.items()}, seconds=5.0, at_least=5
        )
        times |= {name: summary(values) for name, values in taken.items()}
    reference = functools.partial(references["walk_tokens"], *arguments)
    times[REFERENCE] = summary([milliseconds(reference) for _ in range(3)])
    ratios = {
        "WalkTokens, 2 threads, microseconds per node": round(
            1e3 * times["WalkTokens, 2 threads"]["median_ms"] / NODES, 3
        ),
        "reference / WalkTokens, 1 thread": ratio(times, REFERENCE, "WalkTokens, 1 thread"),
    }
    counts = {"tokens": tokens.num_tokens, "members": tokens.members.numel(), "induced_edges": subgraphs.num_edges}
    memory = {name: extra_memory(run) for name, run in (("WalkTokens", sampler), ("induced_subgraphs", induced))}
    title = f"GMN tokens of {NODES:,} nodes, mean degree {DEGREE}, m = {LENGTH}, M = {WALKS}, s = {REPEATS}"
    result = {"title": title, "times": times, "ratios": ratios, "counts": counts}
    report("walk_tokens", {**result, "memory_mb": memory, "memory": MEMORY_METHOD})


if __name__ == "__main__":
    main()
