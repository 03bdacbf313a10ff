"""What gnnkit is compared with: libraries that can be imported, and figures that were measured before."""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch_geometric.data import Data

from benchmarks.rewiring.graphs import edges_of
from gnnkit._optional import is_absent

EARLIER = "measured earlier on 2 cores"
SAME_RUN = "measured in this run"

Times = dict[str, float]

# Milliseconds per graph of the authors' programs and of other libraries, on random graphs of the same kinds.
# None: it failed; the reason stands in FAILED.
MEASURED: dict[str, dict[str, float | None]] = {
    "SDRF, 10 steps": {"ENZYMES-like": 15.5, "MUTAG-like": None, "COLLAB-like": None, "REDDIT-like": 455},
    "SDRF, 40 steps": {"ENZYMES-like": None, "MUTAG-like": None, "COLLAB-like": None, "REDDIT-like": 1441},
    "FoSR, 10 edges": {"MUTAG-like": 0.21, "ENZYMES-like": 0.37, "COLLAB-like": 1.9, "REDDIT-like": 13},
    "FoSR, 40 edges": {"MUTAG-like": 0.84, "ENZYMES-like": 0.83, "COLLAB-like": 4.7, "REDDIT-like": 45},
    "GTR, 10 edges": {"MUTAG-like": 20, "ENZYMES-like": 31, "COLLAB-like": 211, "REDDIT-like": 8045},
    "GTR, 40 edges": {"MUTAG-like": 49, "ENZYMES-like": 59, "COLLAB-like": 292, "REDDIT-like": 12146},
    "BORF, 3 batches of 3 added and 1 removed": {
        "MUTAG-like": 1182, "ENZYMES-like": 2067, "COLLAB-like": 63210, "REDDIT-like": 4885,
    },
    "LASER, radius 3, density 0.5": {"MUTAG-like": 2.4, "ENZYMES-like": 5.2, "REDDIT-like": 313},
    "Ollivier-Ricci, alpha 0": {"gnm(1000, 5000)": 4900, "Cora-size": 7400},
    "Ollivier-Ricci, alpha 0.5": {"gnm(1000, 5000)": 3400, "Cora-size": 5200},
    "augmented Forman, triangles": {"gnm(1000, 5000)": 190, "Cora-size": 360},
    "resistance of one pair": {"gnm(1000, 5000)": 6700, "Cora-size": 88800},
}  # fmt: skip
PROGRAM = {
    "SDRF": "the authors' program (wrong curvature)",
    "FoSR": "the authors' program (5 power iterations)",
    "GTR": "the authors' program",
    "BORF": "the authors' program",
    "LASER": "the authors' program",
    "Ollivier-Ricci": "GraphRicciCurvature 0.6.1, 2 processes",
    "augmented Forman": "GraphRicciCurvature 0.6.1",
    "resistance": "NetworkX",
}
FAILED = "it crashed"


@dataclass(frozen=True)
class Peer:
    """A comparison.

    Attributes:
        name: The program.
        origin: ``SAME_RUN`` or ``EARLIER``.
        median_ms: Milliseconds per graph; None: it failed.
        failure: Why it failed.
    """

    name: str
    origin: str
    median_ms: float | None = None
    failure: str = ""

    def record(self, ours_ms: float | None) -> dict[str, Any]:
        """As written into the results, with how many times longer it takes."""
        found: dict[str, Any] = {"name": self.name, "origin": self.origin}
        if self.median_ms is None:
            return found | {"failure": self.failure}
        found["median_ms"] = round(self.median_ms, 3)
        if ours_ms:
            found["ratio"] = round(self.median_ms / ours_ms, 2)
        return found


def measured_before(task: str, graph: str) -> list[Peer]:
    """The figure that is known of a task on a kind of graph, if any."""
    name = next((program for start, program in PROGRAM.items() if task.startswith(start)), "")
    figures = MEASURED.get(task, {})
    if graph not in figures:
        return []
    return [Peer(name, EARLIER, figures[graph], "" if figures[graph] else FAILED)]


def to_networkx(data: Data) -> Any:
    """The graph without attributes, nodes in order."""
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(int(data.num_nodes or 0)))
    graph.add_edges_from(edges_of(data).T.tolist())
    return graph


def ricci_library(data: Data, alpha: float) -> tuple[Peer, np.ndarray | None]:
    """One run of GraphRicciCurvature, and its value for each column of ``edge_index``.

    Returns:
        The time, or why there is none; and the values, to be compared.
    """
    name = "GraphRicciCurvature, 2 processes"
    try:
        # The package first: a module of it may have been imported before.
        importlib.import_module("GraphRicciCurvature")
        library = importlib.import_module("GraphRicciCurvature.OllivierRicci")
    except Exception as error:  # what a library built against another one raises is anybody's guess
        state = "absent" if is_absent(error, "GraphRicciCurvature") else "its import fails"
        return Peer(name, SAME_RUN, failure=f"{state}: {type(error).__name__}: {error}"), None
    curvature: Any = library.OllivierRicci(to_networkx(data), alpha=alpha, proc=2, verbose="ERROR")
    taken = _once(curvature.compute_ricci_curvature)
    values = [curvature.G[u][v]["ricciCurvature"] for u, v in edges_of(data).T.tolist()]
    return Peer(name, SAME_RUN, taken), np.array(values)


def networkx_resistance(data: Data, pair: tuple[int, int]) -> tuple[Peer, float]:
    """One run of ``networkx.resistance_distance``, and its value."""
    import networkx

    graph, found = to_networkx(data), []
    taken = _once(lambda: found.append(networkx.resistance_distance(graph, *pair)))
    return Peer(f"NetworkX {networkx.__version__}", SAME_RUN, taken), float(found[0])


def _once(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)
