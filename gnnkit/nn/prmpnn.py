"""Message passing on graphs whose edges are sampled by a model that is trained along with it."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, DataError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import node_features
from gnnkit.nn._packing import Packing
from gnnkit.nn.batch_norm import BatchNorm
from gnnkit.nn.candidates import longest_path_candidates
from gnnkit.nn.pool import REDUCTIONS, graph_boundaries, pool
from gnnkit.nn.subset import Estimator, map_subset, sample_subset
from gnnkit.ops._checks import check_count


class WeightedGIN(torch.nn.Module):
    r"""Graph isomorphism layer with a weight for each edge and head.

    .. math:: x_{i, c}' = h\Bigl((1 + \epsilon)\, x_{i, c} + \sum_{e : j \to i} w_{e, c}\, x_{j, c}\Bigr)

    for every head ``c``, all of which share :math:`h` (two affine maps with batch normalisation between and after) and
    :math:`\epsilon`. A weight 0 is as good as no edge, but has a gradient.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(E C F + N C F^2)`` time, no message per edge.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.eps = torch.nn.Parameter(torch.zeros(1))
        self.expand = torch.nn.Linear(in_channels, out_channels)
        self.norm = BatchNorm(out_channels)
        self.contract = torch.nn.Linear(out_channels, out_channels)
        self.norm_out = BatchNorm(out_channels)

    def forward(self, x: Tensor, graph: Graph, weight: Tensor | None = None) -> Tensor:
        """``[N, C, F]`` to ``[N, C, F']``, given weights ``[E, C]`` (None: all 1)."""
        weight = None if weight is None else weight.to(x.dtype)  # narrower or wider under autocast
        out = ops.spmm(graph, x, weight) + (1 + self.eps) * x
        hidden = _normalized(self.norm, self.expand(out)).relu()
        return _normalized(self.norm_out, self.contract(hidden)).relu()


class PairScore(torch.nn.Module):
    r"""Scores of unordered pairs, one per head: :math:`s(u, v) = g([h_u \| h_v]) + g([h_v \| h_u])`.

    The sum makes it the same in both orders, so that the order in which nodes happen to be numbered cannot matter.

    Args:
        channels: Width of the node embeddings.
        heads: Number of scores.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.expand = torch.nn.Linear(2 * channels, channels)
        # Without a bias: one number added to all scores changes no probability.
        self.contract = torch.nn.Linear(channels, heads, bias=False)

    def forward(self, h: Tensor, pairs: Graph) -> Tensor:
        """Embeddings ``[N, channels]`` and pairs, as edges of a graph, to scores ``[P, heads]``."""
        # The affine map of [h_u || h_v] is taken apart: once per node in place of twice per pair.
        left, right = self.expand.weight.chunk(2, dim=1)
        as_first, as_second = h @ left.T + self.expand.bias, h @ right.T
        forward = (ops.gather(pairs, as_first, "src") + ops.gather(pairs, as_second, "dst")).relu()
        backward = (ops.gather(pairs, as_first, "dst") + ops.gather(pairs, as_second, "src")).relu()
        return self.contract(forward + backward)


class Choice(NamedTuple):
    """What was chosen among pairs.

    Attributes:
        pairs: ``[2, P]``.
        logits: Scores, ``[P, heads]``.
        chosen: 0 or 1, with the gradient of the estimator, ``[P, heads]``.
    """

    pairs: Tensor
    logits: Tensor
    chosen: Tensor


class PRMPNN(torch.nn.Module):
    r"""Probabilistically rewired message passing (Qian et al., "Probabilistically rewired MPNNs", 2024).

    1. The upstream network, :class:`WeightedGIN` layers on the given graph, embeds the nodes.
    2. Each candidate pair gets a logit per head (``ensemble`` of them) by :class:`PairScore`, and each head draws
       exactly ``num_add`` candidates of each graph; likewise, by scores of their own, ``num_remove`` of its edges.
       A graph with fewer gives all it has.
    3. The downstream network, one for all, runs on the original graph and on each head's rewired graph. What was drawn
       enters as edge weights 0 and 1, by which the gradient of the loss reaches the scores.
    4. The readouts of these graphs are joined or averaged, and an affine map follows.

    While training, subsets are sampled (:func:`gnnkit.nn.sample_subset`); in evaluation each head takes the most
    probable one, without chance. The paper samples exactly, by ``"simple"``; its published code takes Gumbel-top-k
    samples for removed edges, and gives added ones their marginals as dense weights, without sampling.

    Edge features are not used. Self-loops stay and are never removed.

    Args:
        in_channels: Width of ``data.x``.
        hidden_channels: Width of both networks.
        out_channels: Number of outputs per graph.
        num_add: Pairs to add to each graph, by each head.
        num_remove: Edges to remove from each graph, by each head; both directions of an edge go together.
        ensemble: Number of heads.
        candidate_pool: Number of candidate pairs of each graph where ``data.candidate_index`` is missing.
        num_upstream_layers: Layers of the upstream network, at least 1.
        num_layers: Layers of the downstream network, at least 1.
        estimator: ``"simple"``, ``"gumbel"`` or ``"imle"``.
        temperature: Of the estimator.
        readout: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"`` over the nodes of a graph.
        combine: ``"concat"`` or ``"mean"`` over the original and the rewired graphs.

    Raises:
        ConfigError: If a setting is unknown or out of range.

    Determinism: bitwise, given the state of the generator; in evaluation without one.
    Complexity: ``O((E + C) H F + N H F^2)`` time per layer for ``C`` candidates and ``H = ensemble + 1`` graphs, all of
    them at once; and that of sampling. Candidates that were not drawn take part with weight 0, since the gradient
    needs theirs.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        *,
        num_add: int,
        num_remove: int = 0,
        ensemble: int = 1,
        candidate_pool: int = 100,
        num_upstream_layers: int = 2,
        num_layers: int = 3,
        estimator: Estimator = "simple",
        temperature: float = 1.0,
        readout: str = "mean",
        combine: Literal["concat", "mean"] = "concat",
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("num_add", num_add, 0),
            ("num_remove", num_remove, 0),
            ("ensemble", ensemble, 1),
            ("candidate_pool", candidate_pool, 0),
            ("num_upstream_layers", num_upstream_layers, 1),
            ("num_layers", num_layers, 1),
        ):
            check_count(name, value, least)
        for name, value, allowed in (
            ("estimator", estimator, ("simple", "gumbel", "imle")),
            ("readout", readout, REDUCTIONS),
            ("combine", combine, ("concat", "mean")),
        ):
            if value not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        if not temperature > 0:
            raise ConfigError(f"temperature must be positive, got {temperature}")
        self.in_channels = in_channels
        self.num_add, self.num_remove, self.ensemble = num_add, num_remove, ensemble
        self.candidate_pool = candidate_pool
        self.estimator: Estimator = estimator
        self.temperature = temperature
        self.readout, self.combine = readout, combine
        self.upstream = _stack(in_channels, hidden_channels, num_upstream_layers)
        self.downstream = _stack(in_channels, hidden_channels, num_layers)
        self.add_score = PairScore(hidden_channels, ensemble) if num_add > 0 else None
        self.remove_score = PairScore(hidden_channels, ensemble) if num_remove > 0 else None
        graphs = ensemble + 1 if combine == "concat" else 1
        self.head = torch.nn.Linear(graphs * hidden_channels, out_channels)

    def forward(self, data: Any, *, generator: torch.Generator | None = None) -> Tensor:
        """Predicts.

        Args:
            data: A ``Data`` or ``Batch`` with ``x``, ``edge_index`` (both directions of every edge), and best with
                ``candidate_index``, ``[2, C]``: pairs of different nodes of one graph that are no edges, each once, as
                :func:`gnnkit.nn.longest_path_candidates` gives them. Where it is missing, it is computed in each call.
            generator: Source of chance while training. None: torch's global one.

        Returns:
            ``[G, out_channels]``.

        Raises:
            DataError: If an attribute is missing, or an edge to be removed has one direction only.
            ShapeError, IndexRangeError: If attributes do not fit together.
        """
        x, original, ptr = self._read(data)
        added, removed = self._choose_all(data, x, original, ptr, generator)
        graph, weight = _joined(original, added, removed, self.ensemble, x.dtype)
        h = x.unsqueeze(1).expand(-1, self.ensemble + 1, -1).contiguous()
        for layer in self.downstream:
            h = layer(h, graph, weight)
        out = pool(h, ptr=ptr, reduce=self.readout)
        return self.head(out.flatten(1) if self.combine == "concat" else out.mean(1))

    def choose(self, data: Any, *, generator: torch.Generator | None = None) -> tuple[Choice | None, Choice | None]:
        """What the model adds and removes: random while training, the most probable in evaluation.

        Args:
            data: As in :meth:`forward`.
            generator: As in :meth:`forward`.

        Returns:
            Added candidates and removed edges (each undirected edge once, smaller node first); None where ``num_add``,
            or ``num_remove``, is 0.
        """
        return self._choose_all(data, *self._read(data), generator)

    def _choose_all(
        self, data: Any, x: Tensor, graph: Graph, ptr: Tensor, generator: torch.Generator | None
    ) -> tuple[Choice | None, Choice | None]:
        h = x.unsqueeze(1)
        for layer in self.upstream:
            h = layer(h, graph)
        h = h.squeeze(1)
        added = removed = None
        if self.add_score is not None:
            pairs = self._candidates(data, graph, ptr)
            added = self._choose(self.add_score, h, pairs, ptr, self.num_add, generator)
        if self.remove_score is not None:
            pairs = undirected_pairs(graph.edge_index, graph.num_nodes)
            removed = self._choose(self.remove_score, h, pairs, ptr, self.num_remove, generator)
        return added, removed

    def _choose(
        self, score: PairScore, h: Tensor, pairs: Tensor, ptr: Tensor, k: int, generator: torch.Generator | None
    ) -> Choice:
        logits = score(h, Graph.from_edge_index(pairs, h.size(0)))
        packed = Packing.of(pairs[0], ptr)
        rows = packed.pad(logits, -torch.inf)
        sizes = packed.sizes.clamp(max=k).unsqueeze(1).expand(-1, rows.size(1))
        if self.training:
            drawn = sample_subset(
                rows, sizes, estimator=self.estimator, temperature=self.temperature, generator=generator
            )
        else:
            drawn = map_subset(rows, sizes)
        return Choice(pairs, logits, packed.unpad(drawn))

    def _candidates(self, data: Any, graph: Graph, ptr: Tensor) -> Tensor:
        given = getattr(data, "candidate_index", None)
        if isinstance(given, Tensor):
            Graph.from_edge_index(given, graph.num_nodes)  # its checks
            return given.long()
        num_graphs = ptr.size(0) - 1
        batch = torch.arange(num_graphs, device=ptr.device).repeat_interleave(ptr.diff())
        return longest_path_candidates(
            graph.edge_index, graph.num_nodes, self.candidate_pool, batch=batch, num_graphs=num_graphs
        ).long()

    def _read(self, data: Any) -> tuple[Tensor, Graph, Tensor]:
        x, edge_index = _attribute(data, "x"), _attribute(data, "edge_index")
        graph = Graph.from_edge_index(edge_index, x.size(0))
        node_features(x, graph, layer="PRMPNN", width=self.in_channels)
        ptr = getattr(data, "ptr", None)
        if not isinstance(ptr, Tensor):
            ptr = graph_boundaries(x, getattr(data, "batch", None), num_graphs=getattr(data, "num_graphs", None))
        return x, graph, ptr


def _attribute(data: Any, name: str) -> Tensor:
    value = getattr(data, name, None)
    if not isinstance(value, Tensor):
        raise DataError(f"PRMPNN reads data.{name}, which is missing")
    return value


def undirected_pairs(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Each edge once, smaller node first, in lexicographic order, without self-loops, int64 ``[2, M]``."""
    source, target = edge_index.long()
    key = (source * num_nodes + target)[source < target].unique()
    turned = (target * num_nodes + source)[source > target].unique()
    if not torch.equal(key, turned):
        raise DataError(
            "PRMPNN removes both directions of an edge together, but edge_index holds some edge in one direction only; "
            "make it undirected with torch_geometric.utils.to_undirected"
        )
    return torch.stack([key // max(num_nodes, 1), key % max(num_nodes, 1)])


def _joined(
    original: Graph, added: Choice | None, removed: Choice | None, ensemble: int, dtype: torch.dtype
) -> tuple[Graph, Tensor]:
    """The original edges and both directions of all candidates, and the weight of each on each graph ``[E', H]``.

    Head 0 is the original graph.
    """
    edge_index = original.edge_index
    kept = torch.ones((edge_index.size(1), ensemble), dtype=dtype, device=edge_index.device)
    if removed is not None and removed.pairs.size(1) > 0:
        num_nodes = original.num_nodes
        lower, upper = edge_index.long().amin(0), edge_index.long().amax(0)
        keys = removed.pairs[0] * num_nodes + removed.pairs[1]
        pair = torch.searchsorted(keys, lower * num_nodes + upper).clamp(max=keys.size(0) - 1)
        columns = Graph.from_edge_index(
            torch.stack([pair, torch.arange(pair.size(0), device=pair.device)]),
            num_src=keys.size(0),
            num_dst=pair.size(0),
        )
        gone = ops.gather(columns, removed.chosen.to(dtype), "src")
        kept = torch.where((lower == upper).unsqueeze(-1), kept, kept - gone)
    graph, weight, base = original, kept, kept.new_ones((edge_index.size(1), 1))
    if added is not None:
        pairs = added.pairs.to(edge_index.dtype)
        graph = Graph.from_edge_index(torch.cat([edge_index, pairs, pairs.flip(0)], dim=1), original.num_nodes)
        chosen = added.chosen.to(dtype)
        weight = torch.cat([kept, chosen, chosen])
        base = torch.cat([base, base.new_zeros((2 * pairs.size(1), 1))])
    return graph, torch.cat([base, weight], dim=1)


def _stack(in_channels: int, channels: int, num_layers: int) -> torch.nn.ModuleList:
    return torch.nn.ModuleList(WeightedGIN(channels if n else in_channels, channels) for n in range(num_layers))


def _normalized(norm: BatchNorm, value: Tensor) -> Tensor:
    """Over nodes and heads alike."""
    return norm(value.flatten(0, 1)).reshape(value.shape)
