"""What is timed, against what, and what it must reach."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from benchmarks.rewiring import peers
from benchmarks.rewiring.check import adjacency, dense_resistance, forman_error, transport_error
from benchmarks.rewiring.graphs import Collection, collections, edges_of, gnm, power_law_cluster
from benchmarks.rewiring.peers import Peer

SMALL, LARGE = 250_000, 1_000_000
EPSILON = 0.3
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Task:
    """One line of the table.

    Attributes:
        name: What is computed.
        collection: On which graphs.
        prepare: Gives what computes it on one graph; it may fail where gnnkit lacks something.
        check: From the result on the first graph, the error and the largest that is allowed. None: not checked here.
        peers: From the result on the first graph, what gnnkit is compared with besides figures measured before.
        goal: ``at_most_ms`` per graph, or ``ratio`` to the slowest peer, that must be reached.
        heavy: Whether one run must do, without a warm-up.
        settings: How it was called.
    """

    name: str
    collection: Collection
    prepare: Callable[[], Callable[[Data], Any]]
    check: Callable[[Any], tuple[float, float]] | None = None
    peers: Callable[[Any], list[Peer]] | None = None
    goal: dict[str, float] = field(default_factory=dict)
    heavy: bool = False
    settings: str = ""


def method(name: str, **settings: Any) -> Callable[[], Callable[[Data], Any]]:
    """A rewiring of :mod:`gnnkit.rewire`."""

    def prepare() -> Callable[[Data], Any]:
        from gnnkit import rewire

        return getattr(rewire, name)(**settings)

    return prepare


def number(name: str, **settings: Any) -> Callable[[], Callable[[Data], Any]]:
    """A function of :mod:`gnnkit.geometry`."""

    def prepare() -> Callable[[Data], Any]:
        from gnnkit import geometry

        function = getattr(geometry, name)
        return lambda data: function(data.edge_index, data.num_nodes, **settings)

    return prepare


METHODS: list[tuple[str, str, dict[str, Any]]] = [
    ("SDRF, 10 steps", "SDRF", {"num_steps": 10, "temperature": 1.0, "removal_bound": 0.5}),
    ("SDRF, 40 steps", "SDRF", {"num_steps": 40, "temperature": 1.0, "removal_bound": 0.5}),
    ("FoSR, 10 edges", "FoSR", {"num_edges": 10}),
    ("FoSR, 40 edges", "FoSR", {"num_edges": 40}),
    ("GTR, 10 edges", "GTR", {"num_edges": 10}),
    ("GTR, 40 edges", "GTR", {"num_edges": 40}),
    ("BORF, 3 batches of 3 added and 1 removed", "BORF", {"num_batches": 3, "add": 3, "remove": 1}),
    ("AFR, 3 added and 1 removed", "AFR", {"add": 3, "remove": 1}),
    ("LASER, radius 3, density 0.5", "LASER", {"radius": 3, "density": 0.5}),
]
GOALS: dict[tuple[str, str], dict[str, float]] = {
    ("BORF, 3 batches of 3 added and 1 removed", "MUTAG-like"): {"at_most_ms": 6},
    ("BORF, 3 batches of 3 added and 1 removed", "COLLAB-like"): {"at_most_ms": 600},
    ("SDRF, 40 steps", "REDDIT-like"): {"ratio": 20},
    ("GTR, 40 edges", "REDDIT-like"): {"ratio": 30},
}


def settings_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def rewirings() -> Iterator[Task]:
    """Every method that has a published program, on graphs of four kinds."""
    for collection in collections():
        for task, name, settings in METHODS:
            goal = GOALS.get((task, collection.name), {})
            text = f"{name}({settings_text(settings)})"
            yield Task(task, collection, method(name, **settings), goal=goal, settings=text)


def curvatures(*, slow_peers: bool) -> Iterator[Task]:
    """Curvatures and a resistance, on the two graphs on which the libraries were measured."""
    for collection in (
        Collection("gnm(1000, 5000)", [gnm(1000, 5000)], "random graph"),
        Collection("Cora-size", [power_law_cluster(2708)], "power-law cluster graph with 5,412 edges"),
    ):
        data = collection.graphs[0]
        for alpha in (0.0, 0.5):
            yield Task(
                f"Ollivier-Ricci, alpha {alpha:g}",
                collection,
                number("ollivier_ricci", alpha=alpha),
                partial(_check_transport, data, alpha),
                partial(_ricci_peers, data, alpha) if slow_peers else None,
                {"ratio": 50},
                settings=f"ollivier_ricci(alpha={alpha})",
            )
        yield Task("balanced Forman", collection, number("balanced_forman"), settings="balanced_forman()")
        yield Task(
            "augmented Forman, triangles",
            collection,
            number("augmented_forman"),
            lambda values, data=data: (forman_error(data, values), TOLERANCE),
            settings="augmented_forman()",
        )
        pair = _farthest_pair(data)
        yield Task(
            "resistance of one pair",
            collection,
            number("effective_resistance", pairs=torch.tensor([[pair[0]], [pair[1]]])),
            lambda values, data=data, pair=pair: (abs(float(values[0]) - dense_resistance(data)[pair]), 1e-8),
            partial(_resistance_peers, data, pair) if slow_peers else None,
            {"ratio": 500} if collection.name == "Cora-size" else {},
            settings=f"effective_resistance(pairs={pair})",
        )


def _farthest_pair(data: Data) -> tuple[int, int]:
    """The first node and one at the largest distance from it, in its component."""
    from scipy.sparse.csgraph import breadth_first_order

    reached: np.ndarray = breadth_first_order(adjacency(data), 0, return_predecessors=False)
    return 0, int(reached[-1])


def _check_transport(data: Data, alpha: float, values: Tensor) -> tuple[float, float]:
    return transport_error(data, values, alpha), TOLERANCE


def _ricci_peers(data: Data, alpha: float, values: Tensor) -> list[Peer]:
    peer, theirs = peers.ricci_library(data, alpha)
    # POT's solver stops at about 1e-9 relative to the cost.
    if theirs is not None and not np.allclose(theirs, values.numpy(), atol=1e-6):
        raise RuntimeError(f"differs from {peer.name} by {np.abs(theirs - values.numpy()).max():.1e}")
    return [peer]


def _resistance_peers(data: Data, pair: tuple[int, int], value: Tensor) -> list[Peer]:
    peer, theirs = peers.networkx_resistance(data, pair)
    if not np.isclose(theirs, float(value[0]), rtol=1e-6):
        raise RuntimeError(f"{float(value[0])} differs from {theirs} of {peer.name}")
    return [peer]


def large() -> Iterator[Task]:
    """A graph of a million edges, and one of a quarter, to see how time and memory grow."""
    for edges in (SMALL, LARGE):
        data = gnm(edges // 4, edges)
        collection = Collection(f"gnm({edges // 4:,}, {edges:,})", [data], "random graph of mean degree 8")
        yield Task(
            "sketch of the resistance of every edge",
            collection,
            number("effective_resistance", pairs="edges", method="sketch", epsilon=EPSILON),
            partial(_check_sketch, data),
            goal={"at_most_ms": 120_000} if edges == LARGE else {},
            heavy=True,
            settings=f'effective_resistance(pairs="edges", method="sketch", epsilon={EPSILON})',
        )
        yield Task(
            "augmented Forman, triangles",
            collection,
            number("augmented_forman"),
            partial(_check_forman, data),
            heavy=True,
            settings="augmented_forman()",
        )
        yield Task("balanced Forman", collection, number("balanced_forman"), heavy=True, settings="balanced_forman()")
    data = gnm(SMALL // 4, SMALL)
    yield Task(
        "Ollivier-Ricci, alpha 0",
        Collection(f"gnm({SMALL // 4:,}, {SMALL:,})", [data], "random graph of mean degree 8"),
        number("ollivier_ricci", alpha=0.0),
        partial(_check_transport, data, 0.0),
        heavy=True,
        settings="ollivier_ricci(alpha=0.0)",
    )


def _check_forman(data: Data, values: Tensor) -> tuple[float, float]:
    return forman_error(data, values), TOLERANCE


def _check_sketch(data: Data, values: Tensor, *, sample: int = 20) -> tuple[float, float]:
    """Largest relative error on a sample of edges, by conjugate gradients of SciPy."""
    import scipy.sparse
    from scipy.sparse.linalg import cg

    matrix = adjacency(data)
    degree = matrix.sum(0)
    laplacian: Any = scipy.sparse.diags_array(degree).tocsr() - matrix
    preconditioner: Any = scipy.sparse.diags_array(1 / np.maximum(degree, 1))
    worst = 0.0
    for column in np.random.default_rng(0).choice(data.num_edges, size=sample, replace=False):
        source, target = (int(end) for end in edges_of(data)[:, column])
        charge = np.zeros(degree.size)
        charge[[source, target]] = 1, -1
        potential: Any
        potential, failed = cg(laplacian, charge, rtol=1e-8, M=preconditioner, maxiter=2000)
        if failed:
            raise RuntimeError(f"SciPy's conjugate gradients did not converge for edge ({source}, {target})")
        exact = potential[source] - potential[target]
        worst = max(worst, abs(float(values[column]) / exact - 1))
    return worst, EPSILON


def every(*, slow_peers: bool, with_large: bool) -> Iterator[Task]:
    """All tasks."""
    yield from curvatures(slow_peers=slow_peers)
    yield from rewirings()
    if with_large:
        yield from large()
