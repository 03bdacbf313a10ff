"""First-order spectral rewiring: the edges that raise the spectral gap most, to first order."""

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.rewire._rewiring import Change, Fill, Rewiring, check_edge_count, edge_count

_AUTHORS_STEPS = 5


class FoSR(Rewiring):
    r"""Adds edges one after the other, each where it raises the spectral gap most to first order.

    Karhadkar et al., "FoSR: First-order spectral rewiring for addressing oversquashing in GNNs", 2023. With ``x`` the
    second eigenvector of :math:`D^{-1/2} A D^{-1/2}`, every step takes the pair without an edge with the smallest

    .. math:: y_u y_v, \qquad y_u = x_u / \sqrt{1 + d_u}

    of several that differ by less than 1e-9 of the largest :math:`y^2`, the lowest. The eigenvector is computed to
    convergence after each edge. Its sign does not matter; where its eigenvalue is repeated, ``x`` is the projection
    onto the eigenspace of the numbers :math:`\mathrm{frac}((i + 1) \, 0.618\ldots) - 1/2` for the nodes ``i = 0, 1,
    ...`` of the component: a choice that is the same every time, but that depends on the order of the nodes.

    Each edge goes into the component with the smallest gap (of equal ones, that of the lowest node) that is not
    complete; it stops early where all are. So components are not joined, unless ``allow_bridging`` says so: the graph
    is then taken as a whole. While several components have edges, 1 is a repeated eigenvalue, and its eigenvectors are
    :math:`\sqrt{d}` times a constant on each component: edges join those whose constants differ most. Isolated nodes
    have ``x = 0``, and are joined only when nothing else is left. Weights are not looked at. What else happens to the
    data is said at the base class, ``Rewiring``.

    ``compat="authors"`` does what the published tables were computed with: five power iterations of
    :math:`I + D^{-1/2} A D^{-1/2}` from a random start, orthogonal to :math:`\sqrt{d}`, and one after each edge;
    components are joined. Where the authors' code goes wrong, this does not follow: it stops where the graph is
    complete (they add self-loops), and isolated nodes have ``x = 0`` (there, all of ``x`` turns into NaN).

    Args:
        num_edges: Number of undirected edges to add: a count, or a fraction of the edges there are.
        allow_bridging: Whether edges may join components.
        edge_fill: What added edges get in edge attributes.
        seed: Seed of the start with ``compat="authors"``; else there is no chance.
        compat: None, or ``"authors"``.

    Raises:
        ConfigError: If ``num_edges`` is neither a count nor a fraction, ``allow_bridging`` no bool, or ``compat``
            unknown.
        DataError: Where applied, as the base class.

    Determinism: the same edges for any number of threads.
    Complexity: per edge, a sort of the nodes, and a Lanczos iteration that takes a few dozen passes over a factor of
    the Laplacian or some hundred over the edges; memory is linear in nodes and edges times the iterations.
    """

    def __init__(
        self,
        *,
        num_edges: float,
        allow_bridging: bool = False,
        edge_fill: Fill | None = None,
        seed: int = 0,
        compat: str | None = None,
    ) -> None:
        super().__init__(edge_fill=edge_fill, seed=seed)
        if not isinstance(allow_bridging, bool):
            raise ConfigError(f"allow_bridging must be True or False, got {allow_bridging!r}")
        if compat not in (None, "authors"):
            raise ConfigError(f"compat must be None or 'authors', got {compat!r}")
        self.num_edges = check_edge_count("num_edges", num_edges)
        self.allow_bridging = allow_bridging
        self.compat = compat

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """The edges to add."""
        count = edge_count(self.num_edges, graph.num_edges)
        if self.compat == "authors":
            return Change(_as_authors(graph, count, generator))
        return Change(torch.ops.gnnkit.fosr(graph.rowptr, graph.col, count, self.allow_bridging))


def _as_authors(graph: SimpleGraph, count: int, generator: torch.Generator) -> Tensor:
    x = 2 * torch.rand(graph.num_nodes, dtype=torch.float64, generator=generator) - 1
    for _ in range(_AUTHORS_STEPS):
        x = _power_step(graph, x)
    parts = [torch.zeros(2, 0, dtype=torch.int64)]
    for _ in range(count):
        value = x / (1 + graph.degree.double()).sqrt()
        pair = torch.ops.gnnkit.least_product(graph.rowptr, graph.col, value, 0.0)
        if pair.size(1) == 0:
            break
        parts.append(pair)
        graph = SimpleGraph.from_ends(torch.cat([graph.ends, pair], dim=1), graph.num_nodes)
        x = _power_step(graph, x)
    return torch.cat(parts, dim=1)


def _power_step(graph: SimpleGraph, x: Tensor) -> Tensor:
    degree = graph.degree.double()
    if graph.num_edges == 0:
        return torch.zeros_like(x)
    root = degree.sqrt()
    x = torch.where(degree > 0, x - (x @ root) / degree.sum() * root, 0.0)
    scaled = torch.where(degree > 0, x / root, 0.0)
    u, v = graph.ends
    near = torch.zeros_like(x).index_add_(0, u, scaled[v]).index_add_(0, v, scaled[u])
    x = x + torch.where(degree > 0, near / root, 0.0)
    length = x.norm()
    return x / length if length > 0 else x
