"""What each rewiring does to real graphs: ``GNNKIT_DATA=folder python -m benchmarks.rewiring.real_data``."""

import argparse
import json
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import RESULTS, environment, summary, write_text
from benchmarks.rewiring.graphs import change

OUTPUT = RESULTS / "speed" / "rewiring-real.json"
DATA: dict[str, int | None] = {
    "mutag": None, "enzymes": None, "proteins": None, "imdb-binary": None, "peptides-func": 1000,
}  # fmt: skip
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("SDRF", {"num_steps": 10, "removal_bound": 0.5}),
    ("FoSR", {"num_edges": 10}),
    ("BORF", {"num_batches": 3, "add": 3, "remove": 1}),
    ("AFR", {"add": 3, "remove": 1}),
    ("GTR", {"num_edges": 10}),
    ("LASER", {"radius": 2, "density": 0.1}),
    ("DigL", {"alpha": 0.15, "top_k": 8}),
    ("Expander", {"degree": 4}),
    ("VirtualNode", {}),
    ("SpectralSparsify", {"epsilon": 0.5}),
    ("RandomEdges", {"num_edges": 10}),
]
DISCONNECTED = (
    "the spectral gap (second smallest eigenvalue of the symmetrically normalised Laplacian) is that of the component "
    "with the most nodes, of the first of them among equals, and left out where that is a single node; the total "
    "resistance (sum over all pairs) is added up over components; edge weights that a method gives count"
)


@dataclass
class Spectrum:
    """Two numbers about a graph.

    Attributes:
        gap: Spectral gap of the largest component; None where that is a single node.
        resistance: Total effective resistance, summed over components.
    """

    gap: float | None
    resistance: float


@dataclass
class Outcome:
    """What a method did to some graphs.

    Attributes:
        times: Milliseconds, by graph.
        changes: Undirected edges added and removed, by graph.
        before: Of the graphs that it did not fail on.
        after: The same graphs rewired.
        failures: Number of the graph and message.
        tried: Number of graphs on which it was tried before its time was spent.
    """

    times: list[float] = field(default_factory=list)
    changes: list[tuple[int, int]] = field(default_factory=list)
    before: list[Spectrum] = field(default_factory=list)
    after: list[Spectrum] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)
    tried: int = 0


def spectrum(data: Any) -> Spectrum:
    """Gap and total resistance, component by component, so that each number is about a connected graph."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from gnnkit.geometry import spectral_gap, total_resistance

    num_nodes = int(data.num_nodes)
    source, target = data.edge_index
    proper = source != target
    source, target = source[proper], target[proper]
    weight = data.get("edge_weight")
    weight = None if weight is None else weight.double()[proper]
    matrix = coo_array((torch.ones(source.numel()).numpy(), (source.numpy(), target.numpy())), (num_nodes, num_nodes))
    count, label = connected_components(matrix, directed=False)
    component = torch.from_numpy(label).long()
    sizes = torch.bincount(component, minlength=count)
    largest = int(sizes.argmax()) if count else -1
    found = Spectrum(None, 0.0)
    for number in (sizes > 1).nonzero().flatten().tolist():
        edge_index, chosen = _part(source, target, component, number)
        settings = {} if weight is None else {"weight": weight[chosen]}
        found.resistance += float(total_resistance(edge_index, int(sizes[number]), **settings))
        if number == largest:
            found.gap = float(spectral_gap(edge_index, int(sizes[number]), **settings))
    return found


def _part(source: Tensor, target: Tensor, component: Tensor, number: int) -> tuple[Tensor, Tensor]:
    inside = component == number
    place = inside.cumsum(0) - 1
    chosen = inside[source]
    return torch.stack([place[source[chosen]], place[target[chosen]]]), chosen


def apply(
    transform: Callable[[Any], Any], graphs: Sequence[Any], seconds: float, known: dict[int, Spectrum] | None = None
) -> Outcome:
    """Rewires graph by graph, each once after a warm-up on the first, until the time is spent.

    Args:
        transform: The method.
        graphs: All graphs.
        seconds: Time for the method itself.
        known: Spectra of the graphs by number, as far as they have been computed; those that are missing are added.
    """
    outcome, spent = Outcome(), 0.0
    known = {} if known is None else known
    for number, graph in enumerate(graphs):
        if spent > seconds:
            break
        outcome.tried += 1
        try:
            if number == 0:
                transform(graph)
            start = time.perf_counter()
            result = transform(graph)
            taken = time.perf_counter() - start
            spent += taken
            if number not in known:
                known[number] = spectrum(graph)
            after = spectrum(result)
        except Exception as error:
            if not outcome.failures:
                traceback.print_exc()
            outcome.failures.append((number, f"{type(error).__name__}: {error}"))
            continue
        outcome.times.append(1e3 * taken)
        outcome.changes.append(change(graph, result))
        outcome.before.append(known[number])
        outcome.after.append(after)
    return outcome


def row(method: str, settings: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """One line of the results."""
    found: dict[str, Any] = {
        "method": method,
        "settings": settings,
        "tried": outcome.tried,
        "graphs": len(outcome.times),
    }
    if outcome.failures:
        number, message = outcome.failures[0]
        found["failure"] = f"graph {number}: {message}"
        found["failed"] = len(outcome.failures)
    if not outcome.times:
        return found
    found["times"] = summary(outcome.times if len(outcome.times) > 1 else outcome.times * 2)
    added, removed = zip(*outcome.changes, strict=True)
    found |= {"added": round(statistics.fmean(added), 3), "removed": round(statistics.fmean(removed), 3)}
    for key, spectra in (("before", outcome.before), ("after", outcome.after)):
        gaps = [entry.gap for entry in spectra if entry.gap is not None]
        found[key] = {
            "gap": _mean_and_median(gaps),
            "resistance": _mean_and_median([entry.resistance for entry in spectra]),
            "without_gap": len(spectra) - len(gaps),
        }
    return found


def _mean_and_median(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"mean": float(f"{statistics.fmean(values):.6g}"), "median": float(f"{statistics.median(values):.6g}")}


def dataset_rows(
    name: str, limit: int | None, methods: list[tuple[str, dict[str, Any]]], seconds: float
) -> dict[str, Any]:
    """All methods on the first graphs of a data set."""
    from gnnkit import data, rewire

    found: dict[str, Any] = {"name": name}
    try:
        dataset = data.load(name, progress=False)
    except Exception as error:
        return found | {"failure": f"{type(error).__name__}: {error}"}
    graphs = [dataset[number] for number in range(min(limit or len(dataset), len(dataset)))]
    found |= {
        "graphs": len(graphs),
        "nodes": round(statistics.fmean(int(graph.num_nodes or 0) for graph in graphs), 2),
        "edges": round(statistics.fmean(graph.num_edges / 2 for graph in graphs), 2),
        "checksums": dataset.checksums,
        "official": dataset.official,
        "rows": [],
    }
    known: dict[int, Spectrum] = {}
    for method, settings in methods:
        try:
            transform = getattr(rewire, method)(**settings)
        except Exception as error:
            failed = {"method": method, "settings": settings, "tried": 0, "graphs": 0}
            found["rows"].append(failed | {"failure": f"{type(error).__name__}: {error}", "failed": 0})
        else:
            found["rows"].append(row(method, settings, apply(transform, graphs, seconds, known)))
        show(name, found["rows"][-1])
    return found


def show(name: str, line: dict[str, Any]) -> None:
    """One line on the screen."""
    where = f"{name:14s} {line['method']:18s}"
    if "times" not in line:
        print(f"{where} FAILED: {line['failure']}", flush=True)
        return
    failed = f"  FAILED on {line['failed']}: {line['failure']}" if "failure" in line else ""
    gap = " to ".join(
        "none" if line[key]["gap"] is None else f"{line[key]['gap']['mean']:.4f}" for key in ("before", "after")
    )
    print(
        f"{where} {line['times']['median_ms']:9.3f} ms  +{line['added']} -{line['removed']}  gap {gap}{failed}",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rewiring.real_data", description=__doc__)
    parser.add_argument("--data", nargs="*", default=list(DATA), choices=list(DATA), help="data sets; default all")
    parser.add_argument("--methods", nargs="*", default=None, help="methods; default all")
    parser.add_argument("--limit", type=int, default=None, help="only so many graphs of each")
    parser.add_argument("--seconds", type=float, default=300.0, help="time for one method on one data set; default 300")
    parser.add_argument("--json", type=Path, default=None, metavar="PATH", help=f"where to write; default {OUTPUT}")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(2)
    methods = [entry for entry in METHODS if chosen.methods is None or entry[0] in chosen.methods]
    sets = []
    for name in chosen.data:
        limits = [limit for limit in (DATA[name], chosen.limit) if limit is not None]
        sets.append(dataset_rows(name, min(limits, default=None), methods, chosen.seconds))
    content = {
        "kind": "rewiring-real",
        "environment": environment(),
        "title": "rewiring real graphs",
        "disconnected": DISCONNECTED,
        "datasets": sets,
    }
    whole = chosen.limit is None and chosen.methods is None and chosen.data == list(DATA)
    target = chosen.json or (OUTPUT if whole else None)
    if target is not None:
        write_text(target, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    failed = any("failure" in entry or any("failure" in line for line in entry.get("rows", [])) for entry in sets)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
