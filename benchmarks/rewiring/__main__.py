"""Speed of curvature, resistance and rewiring: ``python -m benchmarks.rewiring``."""

import argparse
import json
import traceback
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import (
    MEMORY_METHOD,
    RESULTS,
    environment,
    extra_memory,
    milliseconds,
    summary,
    within_budget,
    write_text,
)
from benchmarks.rewiring.graphs import change
from benchmarks.rewiring.peers import measured_before
from benchmarks.rewiring.tasks import Task, every

OUTPUT = RESULTS / "speed" / "rewiring.json"


def measure(task: Task, seconds: float) -> dict[str, Any]:
    """One line of the results; what fails is a line that says so."""
    collection = task.collection
    record: dict[str, Any] = {
        "task": task.name,
        "graph": collection.name,
        "graphs": len(collection.graphs),
        "nodes": round(collection.nodes, 1),
        "edges": round(collection.edges, 1),
        "settings": task.settings,
    }
    try:
        record |= _figures(task, seconds)
    except Exception as error:
        traceback.print_exc()
        record["failure"] = f"{type(error).__name__}: {error}"
    return record


def _figures(task: Task, seconds: float) -> dict[str, Any]:
    graphs = task.collection.graphs
    compute = task.prepare()
    results: list[Any] = []

    def run() -> None:
        results[:] = [compute(graph) for graph in graphs]

    taken: list[float] = []
    if not task.heavy:
        run()
    memory = extra_memory(lambda: taken.append(milliseconds(run)))
    if task.heavy:
        times = taken or [milliseconds(run)]
    else:
        times = within_budget({"gnnkit": lambda: milliseconds(run)}, seconds=seconds, at_least=3)["gnnkit"]
    per_graph = [value / len(graphs) for value in times]
    found: dict[str, Any] = {"runs": len(times), "times": _summary(per_graph), "extra_mb": memory}
    if task.check is not None:
        error, allowed = task.check(results[0])
        found |= {"error": error, "allowed": allowed}
        if not error <= allowed:
            raise RuntimeError(f"the result is wrong by {error:.1e}, {allowed:.1e} are allowed: no time is given")
    if hasattr(results[0], "edge_index"):
        changes = [change(graph, result) for graph, result in zip(graphs, results, strict=True)]
        found["added"], found["removed"] = (round(sum(part) / len(graphs), 2) for part in zip(*changes, strict=True))
    ours = found["times"]["median_ms"]
    others = measured_before(task.name, task.collection.name)
    if task.peers is not None:
        others = [*task.peers(results[0]), *others]
    found["peers"] = [peer.record(ours) for peer in others]
    if task.goal:
        found |= {"goal": task.goal, "met": _met(task.goal, ours, found["peers"])}
    return found


def _summary(values: list[float]) -> dict[str, float]:
    return summary(values if len(values) > 1 else values * 2)


def _met(goal: dict[str, float], ours: float, others: list[dict[str, Any]]) -> bool | None:
    """Whether a goal is reached; None where there is nothing to compare with."""
    if "at_most_ms" in goal:
        return ours <= goal["at_most_ms"]
    # What was measured in the same run counts, if anything was.
    ratios = [peer["ratio"] for peer in others if "ratio" in peer]
    return ratios[0] >= goal["ratio"] if ratios else None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rewiring", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="tasks whose name or graph contains this")
    parser.add_argument("--seconds", type=float, default=3.0, help="time spent on each line; default 3")
    parser.add_argument(
        "--slow-peers", action="store_true", help="run NetworkX and GraphRicciCurvature once (3 minutes)"
    )
    parser.add_argument("--no-large", action="store_true", help="leave the graphs of up to a million edges out")
    parser.add_argument("--json", type=Path, default=None, metavar="PATH", help=f"where to write; default {OUTPUT}")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(2)
    rows = []
    for task in every(slow_peers=chosen.slow_peers, with_large=not chosen.no_large):
        if chosen.only not in task.name and chosen.only not in task.collection.name:
            continue
        rows.append(measure(task, chosen.seconds))
        show(rows[-1])
    content = {
        "kind": "rewiring",
        "environment": environment(),
        "memory": MEMORY_METHOD,
        "title": "curvature, resistance and rewiring",
        "rows": rows,
    }
    # A part must not take the place of the whole.
    target = chosen.json or (OUTPUT if not chosen.only and not chosen.no_large else None)
    if target is not None:
        write_text(target, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return 1 if any("failure" in row or row.get("met") is False for row in rows) else 0


def show(row: dict[str, Any]) -> None:
    """One line on the screen."""
    where = f"{row['task']:44s} {row['graph']:22s}"
    if "failure" in row:
        print(f"{where} FAILED: {row['failure']}", flush=True)
        return
    ratios = ", ".join(f"{peer['ratio']:,.1f} x {peer['name']}" for peer in row["peers"] if "ratio" in peer)
    goal = {True: "goal met", False: "GOAL MISSED", None: ""}[row.get("met")]
    print(f"{where} {row['times']['median_ms']:12.3f} ms  {ratios}  {goal}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
